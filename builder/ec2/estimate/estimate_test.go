package estimate

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/policy"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

func web() *recipe.Recipe {
	return &recipe.Recipe{
		Name: "web", Version: recipe.Version{Major: 1, Minor: 4}, Platform: "Linux",
		Parent:         recipe.Parent{Kind: recipe.ParentAlias, Name: "debian-12", Text: "debian-12"},
		Components:     []recipe.Use{{Name: "update-linux"}, {Name: "nginx"}},
		Tests:          []recipe.Use{{Name: "http"}},
		Infrastructure: recipe.Infrastructure{Driver: "ec2"},
	}
}

func operations(p Plan) []string {
	var all []string
	for _, s := range p.Steps {
		for _, c := range s.Calls {
			all = append(all, c.Operation)
		}
	}
	return all
}

func stagesOfPlan(p Plan) (all []string) {
	for _, s := range p.Steps {
		all = append(all, strings.TrimSpace(s.Stage+" "+s.Name))
	}
	return all
}

func TestPlanInItsOrder(t *testing.T) {
	p := Of(Input{Recipe: web(), Region: "eu-west-1", InstanceType: "m5.large"})
	for _, s := range p.Steps {
		if s.Seconds <= 0 || s.From != "default" || len(s.Calls) == 0 {
			t.Errorf("%+v", s)
		}
	}
	want := []string{"resolve", "launch", "build update-linux", "build nginx", "inventory", "clean", "image", "close build instance", "boot", "test http", "close test instance"}
	if stages := stagesOfPlan(p); !slices.Equal(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
	if p.Parent != "newest of debian-12 for x86_64" || p.Architecture != "x86_64" {
		t.Errorf("parent %q for %s", p.Parent, p.Architecture)
	}
}

// documented is a component whose document has some phases.
func documented(t *testing.T, name string, phases ...string) recipe.Use {
	t.Helper()
	text := "schemaVersion: 1.0\nphases:\n"
	for _, phase := range phases {
		text += "  - name: " + phase + "\n    steps: [{name: Step, action: ExecuteBash, inputs: {commands: ['true']}}]\n"
	}
	doc, problems := component.Parse(name+".yaml", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return recipe.Use{Name: name, Document: doc}
}

// TestPlanFollowsThePhases: what runs, and where, is decided by the phases that
// documents have; an instance is booted from every image.
func TestPlanFollowsThePhases(t *testing.T) {
	none := web()
	none.Components, none.Tests = nil, nil
	if got, want := stagesOfPlan(Of(Input{Recipe: none, Region: "eu-west-1", InstanceType: "m5.large"})), []string{
		"resolve", "launch", "inventory", "clean", "image", "close build instance", "boot", "close test instance",
	}; !slices.Equal(got, want) {
		t.Errorf("of nothing: %v, want %v", got, want)
	}
	r := web()
	r.Components = []recipe.Use{documented(t, "nginx", "build", "test"), documented(t, "smoke", "test")}
	r.Tests = []recipe.Use{documented(t, "scan", "prepare", "test")}
	if got, want := stagesOfPlan(Of(Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large"})), []string{
		"resolve", "launch", "build nginx", "inventory", "clean", "image", "close build instance",
		"boot", "prepare scan", "test nginx", "test smoke", "test scan", "close test instance",
	}; !slices.Equal(got, want) {
		t.Errorf("of phases: %v, want %v", got, want)
	}
	tested := Of(Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large", TestsOnly: true})
	if got, want := stagesOfPlan(tested), []string{
		"resolve", "boot", "prepare scan", "test nginx", "test smoke", "test scan", "close test instance",
	}; !slices.Equal(got, want) {
		t.Errorf("of tests: %v, want %v", got, want)
	}
	if tested.Costs[0].What != testInstance {
		t.Errorf("tests alone cost %+v", tested.Costs)
	}
}

func TestPlanOfPublishing(t *testing.T) {
	r := web()
	r.Infrastructure.Driver, r.Publish = "local", &recipe.Publish{Driver: "ec2"}
	p := Of(Input{Recipe: r, Region: "us-east-1", InstanceType: "m5.large"})
	want := []string{"resolve", "launch", "build update-linux", "build nginx", "inventory", "clean", "image", "publish", "boot", "test http", "close test instance"}
	if got := stagesOfPlan(p); !slices.Equal(got, want) {
		t.Errorf("stages %v, want %v", got, want)
	}
	for _, s := range p.Steps[:7] {
		if len(s.Calls) > 0 || s.On != "" {
			t.Errorf("on the host: %+v", s)
		}
	}
	asks := []string{"ec2.DescribeSnapshots…", "ec2.CreateTags?", "ebs.StartSnapshot", "ebs.PutSnapshotBlock×8,192", "ebs.CompleteSnapshot", "ec2.DescribeImages…", "ec2.RegisterImage"}
	if got := p.Steps[7].Asks(); !slices.Equal(got, asks) {
		t.Errorf("publish asks %v, want %v", got, asks)
	}
	// boot 75, test 20, close 3; 8,192 blocks at $0.006 a thousand
	const test = 98.0
	sum := test/3600*0.096 + 4*0.08*test/3600/730 + 8.192*0.006
	const writes, reads = 20 + 20 + 3, 20 // lists and notes, the agent, the request and the outcome; notes
	sum += writes/1000.0*0.005 + reads/1000.0*0.0004
	if math.Abs(p.Dollars-sum) > 1e-9 || p.Monthly != 4*0.05 || len(p.Missing) > 0 {
		t.Errorf("$%f and $%f a month, missing %v, want $%f: %+v", p.Dollars, p.Monthly, p.Missing, sum, p.Costs)
	}
	r.DiskGiB = 10
	if grown := Of(Input{Recipe: r, Region: "us-east-1", InstanceType: "m5.large"}); grown.Monthly != 0.5 || !strings.Contains(fmt.Sprint(grown.Steps[7].Asks()), "×20,480") {
		t.Errorf("10 GiB: $%f a month, %v", grown.Monthly, grown.Steps[7].Asks())
	}
	if p := Of(Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large"}); !strings.HasSuffix(p.Sentence(), ", without writing the disk, of which no price in eu-west-1 is known") {
		t.Errorf("%q", p.Sentence())
	}
	r.Publish.Via = recipe.ViaImportImage
	if p := Of(Input{Recipe: r, Region: "us-east-1", InstanceType: "m5.large"}); p.Steps[7].Seconds != 1800 || strings.Contains(p.Sentence(), "writing") || len(p.Missing) > 0 {
		t.Errorf("by VM Import: %+v, %q", p.Steps[7], p.Sentence())
	} else if staged, want := costOf(p, "disk in the bucket, at most 10 GiB, as long as it is imported"), 10*0.023*0.5/730; math.Abs(staged-want) > 1e-9 {
		t.Errorf("by VM Import: $%f in the bucket, want $%f", staged, want)
	}
	if p := Of(Input{Recipe: r, Region: "eu-south-1", InstanceType: "m5.large"}); !strings.Contains(p.Sentence(), "without the disk in the bucket, of which no price in eu-south-1 is known, and ") {
		t.Errorf("by VM Import: %q", p.Sentence())
	}
	r.Publish.Via = ""
	r.DiskGiB, r.Parent = 0, recipe.Parent{Kind: recipe.ParentFile, Name: "base.qcow2"}
	unknown := Of(Input{Recipe: r, Region: "us-east-1", InstanceType: "m5.large"})
	if !strings.HasSuffix(unknown.Sentence(), ", without the root volume and its snapshot, whose size is not known, and writing the disk, whose size is not known") || unknown.Monthly != 0 {
		t.Errorf("%q, $%f a month", unknown.Sentence(), unknown.Monthly)
	}
	if known := Of(Input{Recipe: r, Region: "us-east-1", InstanceType: "m5.large", History: History{DiskGiB: 4}}); math.Abs(known.Dollars-sum) > 1e-9 {
		t.Errorf("with the last image's size: $%f, want $%f", known.Dollars, sum)
	}
}

// TestCallsMayBeMade: what the plan tells is what the policies know.
func TestCallsMayBeMade(t *testing.T) {
	r := web()
	r.Files = []recipe.Files{{Source: "site"}}
	local := web()
	local.Infrastructure.Driver, local.Publish = "local", &recipe.Publish{Driver: "ec2"}
	windows := web()
	windows.Platform = "Windows"
	imported, snapshot := *local, *local
	imported.Publish, snapshot.Publish = &recipe.Publish{Driver: "ec2", Via: recipe.ViaImportImage}, &recipe.Publish{Driver: "ec2", Via: recipe.ViaImportSnapshot}
	for _, in := range []Input{{Recipe: local}, {Recipe: &imported}, {Recipe: &snapshot}, {Recipe: &imported, TestsOnly: true}, {Recipe: windows}, {Recipe: r, TestsOnly: true}, {Recipe: r, Spot: true}} {
		in.Region, in.InstanceType = "eu-west-1", "m5.large"
		if _, err := policy.For(operations(Of(in))); err != nil {
			t.Error(err)
		}
	}
	for _, parent := range []recipe.Parent{
		r.Parent, {Kind: recipe.ParentAlias, Name: "amazon-linux-2023"}, {Kind: recipe.ParentSSM, Name: "ssm:/golden"}, {Kind: recipe.ParentObject, Name: "s3://disks/web.vmdk"},
	} {
		r.Parent = parent
		if _, err := policy.For(operations(Of(Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large"}))); err != nil {
			t.Error(err)
		}
	}
}

func TestCost(t *testing.T) {
	p := Of(Input{Recipe: web(), Region: "eu-west-1", InstanceType: "m5.large"})
	// launch 60, two components 60 each, inventory 10, clean 20, image 180, close 3; boot 75, test 20, close 3
	const build, test = 393.0, 98.0
	want := (build + test) / 3600 * 0.107
	want += 8 * 0.088 * (build + test) / 3600 / 730
	const polled = 60 + 60 + 10 + 20 + 180 + 20 // lists, reads, and what instances write
	const puts, reads = 1 + 7*2 + 1, 2          // the agent; requests and outcomes; the inventory. It, and whether the agent has gone
	want += (2*polled+puts)/1000.0*0.005 + (polled+reads)/1000.0*0.0004
	if math.Abs(p.Dollars-want) > 1e-9 || p.Seconds != 3+393+98 || math.Abs(p.Monthly-8*0.05) > 1e-9 || len(p.Missing) > 0 {
		t.Errorf("$%f in %d s and $%f a month, missing %v; want $%f", p.Dollars, p.Seconds, p.Monthly, p.Missing, want)
	}
	if got := p.Sentence(); got != "about 8 minutes and $0.02 (m5.large in eu-west-1, list prices of 2026-11-22)" {
		t.Errorf("%q", got)
	}
	windows := web()
	windows.Platform, windows.Parent = "Windows", recipe.Parent{Kind: recipe.ParentAlias, Name: "windows-2022"}
	w := Of(Input{Recipe: windows, Region: "eu-west-1", InstanceType: "m5.large", Parent: &catalogue.Image{ID: "ami-1", Name: "Windows", RootDevice: "/dev/sda1", Volumes: []catalogue.Volume{{Device: "/dev/sda1", GiB: 50, Type: "gp3"}}}})
	if w.Dollars <= p.Dollars*2 || math.Abs(w.Monthly-2.5) > 1e-9 || w.Parent != "ami-1 (Windows)" {
		t.Errorf("Windows: $%f, $%f a month, from %s", w.Dollars, w.Monthly, w.Parent)
	}
}

// TestNothingIsGuessed: what is not in the list is said, and never counted as free.
func TestNothingIsGuessed(t *testing.T) {
	on := func(change func(*Input)) Plan {
		in := Input{Recipe: web(), Region: "eu-west-1", InstanceType: "m5.large"}
		change(&in)
		return Of(in)
	}
	for says, p := range map[string]Plan{
		"about 8 minutes; the cost is unknown: no price of z9.large is known":                 on(func(in *Input) { in.InstanceType = "z9.large" }),
		"about 8 minutes; the cost is unknown: no price of m5.large in mars-north-1 is known": on(func(in *Input) { in.Region = "mars-north-1" }),
		"about 8 minutes; the cost is unknown: Windows does not run on t4g.small": on(func(in *Input) {
			in.InstanceType, in.Recipe.Platform = "t4g.small", "Windows"
		}),
	} {
		says = strings.Replace(says, "8 minutes", minutes(p.Seconds), 1)
		if got := p.Sentence(); got != says || len(p.Costs) > 0 || p.Dollars != 0 {
			t.Errorf("%q, %v; want %q", got, p.Costs, says)
		}
	}
	rhel := on(func(in *Input) { in.Recipe.Parent.Name = "rhel-9" })
	if !strings.HasSuffix(rhel.Sentence(), ", without the hourly fee of Red Hat") {
		t.Errorf("%q", rhel.Sentence())
	}
	milan := on(func(in *Input) { in.Region = "eu-south-1" })
	if milan.Monthly != 0 || !strings.Contains(milan.Sentence(), "without the snapshots of the image, of which no price in eu-south-1 is known") {
		t.Errorf("%q", milan.Sentence())
	}
	if spot := on(func(in *Input) { in.Spot = true }); !strings.Contains(spot.Sentence(), "at most $0.02 (m5.large on Spot in eu-west-1") {
		t.Errorf("%q", spot.Sentence())
	}
}

func TestHistoryGoesBeforeDefaults(t *testing.T) {
	took := func(stage builder.Stage, name string, seconds ...int) (all []Took) {
		for _, s := range seconds {
			all = append(all, Took{stage, name, time.Duration(s) * time.Second})
		}
		return all
	}
	p := Of(Input{Recipe: web(), Region: "eu-west-1", InstanceType: "m5.large", History: History{Took: slices.Concat(
		took(builder.StageBuild, "nginx", 500, 10, 20), took(builder.StageTest, "http", 7), took(builder.StageLaunch, "", 40, 50),
		took(builder.StageBuild, "gone", 9999),
	)}})
	want := map[string]string{"nginx": "20 median of 3 builds", "http": "7 median of 1 build", "launch": "45 median of 2 builds", "update-linux": "60 default"}
	for _, s := range p.Steps {
		name := s.Name
		if name == "" {
			name = s.Stage
		}
		if w, ok := want[name]; ok && strconv.Itoa(s.Seconds)+" "+s.From != w {
			t.Errorf("%s: %d %s, want %s", name, s.Seconds, s.From, w)
		}
	}
}

// TestPriceListIsWhole holds the list to its own form.
func TestPriceListIsWhole(t *testing.T) {
	list := prices()
	if _, err := time.Parse(time.DateOnly, list.AsOf); err != nil {
		t.Error(err)
	}
	number := regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	sane := func(what string, p price, least, most float64) {
		if !number.MatchString(string(p)) || p.dollars() < least || p.dollars() > most {
			t.Errorf("%s costs %q", what, p)
		}
	}
	for _, region := range []string{"us-east-1", "eu-west-1", "eu-central-1", "eu-south-1"} {
		r, ok := list.Regions[region]
		if !ok {
			t.Fatalf("%s is missing", region)
		}
		for kind, v := range r.Volumes {
			what := region + " " + kind
			sane(what, v.GiB, 0.015, 0.2)
			for _, p := range v.IOPS {
				sane(what+" IOPS", p, 0.005, 0.1)
			}
			if prices := map[string]int{"gp3": 1, "io1": 1, "io2": 3}[kind]; len(v.IOPS) != prices {
				t.Errorf("%s has %d prices of IOPS, want %d", what, len(v.IOPS), prices)
			}
			if kind == "gp3" {
				sane(what+" throughput", v.Throughput, 0.04, 0.1)
			} else if v.Throughput != "" {
				t.Errorf("%s has no throughput of its own", what)
			}
		}
		for _, kind := range []string{"gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"} {
			if _, ok := r.Volumes[kind]; !ok && region+" "+kind != "eu-south-1 io2" {
				t.Errorf("%s has no price of %s", region, kind)
			}
		}
		if r.Objects != "" {
			sane(region+" objects", r.Objects, 0.02, 0.03)
		}
		sane(region+" writes", r.Writes, 0.004, 0.01)
		sane(region+" reads", r.Reads, 0.0003, 0.001)
		if r.Snapshot != "" {
			sane(region+" snapshot", r.Snapshot, 0.04, 0.1)
		}
		if r.Blocks != "" {
			sane(region+" blocks", r.Blocks, 0.005, 0.012)
		}
	}
	for name, i := range list.Instances {
		for region, p := range i.Linux {
			if _, ok := list.Regions[region]; !ok {
				t.Errorf("%s has a price in %s, which has none for storage", name, region)
			}
			sane(name+" in "+region, p, 0.01, 1)
			if p.dollars() < i.Linux["us-east-1"].dollars() {
				t.Errorf("%s is cheaper in %s than where it is cheapest", name, region)
			}
		}
		if arm := catalogue.ArchitectureOf(name) == catalogue.ARM64; arm == (i.Windows != "") {
			t.Errorf("%s: Windows needs a price on x86_64, and does not run on ARM", name)
		}
	}
	for _, platform := range []string{"Linux", "Windows"} {
		for _, stage := range []builder.Stage{builder.StageResolve, builder.StageLaunch, builder.StageFiles, builder.StageBuild, builder.StageInventory, builder.StageClean, builder.StageImage, builder.StagePublish, builder.StageBoot, builder.StagePrepare, builder.StageTest, stageClose} {
			if list.Stages[platform][string(stage)] <= 0 {
				t.Errorf("%s on %s takes no time", stage, platform)
			}
		}
		if list.RootGiB[platform] <= 0 {
			t.Errorf("the root of %s has no size", platform)
		}
	}
}

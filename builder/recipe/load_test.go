package recipe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fullRecipe uses every key.
const fullRecipe = `apiVersion: ingot/v1
kind: ImageRecipe
name: web-server
version: 1.4.0
description: Serves the site
platform: Linux
parentImage: base/1.x.x
workingDirectory: /var/tmp
volumeSize: 8
components:
  - component: update-linux@1.x.x
  - component: ./nginx.yaml
    parameters: {Port: 0080}
files:
  - {source: ./site, destination: /var/www/html, owner: www-data, group: "33", permissions: 0644}
  - {source: motd, destination: /etc/}
tests:
  - component: simple-boot-test-linux
  - component: ../../tests/http.yaml
schedule: {cron: "0 3 * * SUN", timezone: Europe/Rome, startCondition: always}
infrastructure: {driver: local, name: gpu, isolation: vm, keepOnFailure: true, timeoutMinutes: 30, testDisks: [1, 20]}
publish: {driver: ec2, region: eu-west-1, via: import-image}
exports: [{format: vmdk}, {format: ova}]
distribution: [{region: eu-west-1, name: "web-{{ version }}-{{ build }}", launchPermission: {userIds: [012345678901]}}]
amiTags: {team: web}
`

func fullTree() memory {
	return memory{
		"recipes/web/recipe.yaml":     fullRecipe,
		"recipes/web/nginx.yaml":      withParameters(buildComponent("apt-get install nginx")),
		"recipes/web/site/index.html": "<h1>hello</h1>",
		"recipes/web/site/a/deep.txt": "deep",
		"recipes/web/site/link":       "-> a/deep.txt",
		"recipes/web/motd":            "-> ../../shared/motd",
		"shared/motd":                 "welcome",
		"tests/http.yaml":             testComponent("curl localhost"),
		"recipes/base.yaml":           minimal("base", "1.0.0", "debian-12"),
		"notes.yaml":                  "some: {other: yaml}",
		"chart/templates/x.yaml":      "{{ if .Values.x }}\nnot: yaml\n{{ end }}",
	}
}

func minimal(name, version, parent string) string {
	return "apiVersion: ingot/v1\nkind: ImageRecipe\nname: " + name + "\nversion: " + version + "\nparentImage: " + parent + "\n"
}

func TestLoadReadsEveryKey(t *testing.T) {
	s := valid(t, load(t, fullTree()))
	if len(s.Recipes) != 2 {
		t.Fatalf("recipes: %v", s.Recipes)
	}
	r := s.Recipes["web-server"]
	if r.Path != "recipes/web/recipe.yaml" || r.Version != (Version{1, 4, 0}) || r.WorkingDir != "/var/tmp" || r.DiskGiB != 8 || r.AMITags["team"] != "web" {
		t.Errorf("recipe: %+v", r)
	}
	if want := (Parent{Kind: ParentRecipe, Name: "base", Version: "1.x.x", Text: "base/1.x.x"}); r.Parent != want {
		t.Errorf("parent %+v, want %+v", r.Parent, want)
	}
	if c := r.Components; len(c) != 2 || c[0].Path != "gallery:update-linux@1.0.3" || c[0].Ref != "update-linux@1.x.x" ||
		c[1].Name != "nginx" || c[1].Path != "recipes/web/nginx.yaml" || c[1].Parameters["Port"] != "0080" || c[1].Document == nil {
		t.Errorf("components: %+v", c)
	}
	if len(r.Tests) != 2 || r.Tests[1].Path != "tests/http.yaml" {
		t.Errorf("tests: %+v", r.Tests)
	}
	if want := (Schedule{"0 3 * * SUN", "Europe/Rome", Always}); *r.Schedule != want {
		t.Errorf("schedule: %+v", r.Schedule)
	}
	if want := (Infrastructure{"local", "gpu", VM, true, 30, []int{1, 20}}); !reflect.DeepEqual(r.Infrastructure, want) {
		t.Errorf("infrastructure: %+v", r.Infrastructure)
	}
	if r.Publish == nil || *r.Publish != (Publish{"ec2", "eu-west-1", ViaImportImage}) {
		t.Errorf("publish: %+v", r.Publish)
	}
	if !reflect.DeepEqual(r.Exports, []Export{{"vmdk"}, {"ova"}}) || !reflect.DeepEqual(r.Distribution, []Distribution{{"eu-west-1", "web-{{ version }}-{{ build }}", LaunchPermission{[]string{"012345678901"}}}}) {
		t.Errorf("exports %+v, distribution %+v", r.Exports, r.Distribution)
	}
}

func TestLoadListsFiles(t *testing.T) {
	files := valid(t, load(t, fullTree())).Recipes["web-server"].Files
	if len(files) != 2 || files[0].Source != "recipes/web/site" || files[0].Owner != "www-data" || files[0].Permissions != "0644" {
		t.Fatalf("files: %+v", files)
	}
	var targets []string
	for _, f := range slices.Concat(files[0].Entries, files[1].Entries) {
		targets = append(targets, f.Target+" "+f.Mode.String()+" "+f.Link)
	}
	want := []string{
		"/var/www/html dr-xr-xr-x ", "/var/www/html/a dr-xr-xr-x ", "/var/www/html/a/deep.txt -rw-r--r-- ",
		"/var/www/html/index.html -rw-r--r-- ", "/var/www/html/link Lrwxrwxrwx a/deep.txt", "/etc/motd -rw-r--r-- ",
	}
	if !reflect.DeepEqual(targets, want) {
		t.Errorf("entries\n%s\nwant\n%s", strings.Join(targets, "\n"), strings.Join(want, "\n"))
	}
	if f := files[1].Entries[0]; f.Path != "shared/motd" || f.Digest != sha256Hex([]byte("welcome")) || f.Size != 7 {
		t.Errorf("a source through a link: %+v", f)
	}
}

func TestDefaults(t *testing.T) {
	r := valid(t, load(t, memory{"a.yml": minimal("base", "1.0.0", "debian-12")})).Recipes["base"]
	if r.Platform != "Linux" || r.WorkingDir != "/tmp" || r.Schedule != nil || !reflect.DeepEqual(r.Infrastructure, Infrastructure{"local", "", Container, false, 60, nil}) {
		t.Errorf("got %+v", r)
	}
}

func TestFilesAreLimited(t *testing.T) {
	tree := memory{"recipe.yaml": minimal("web", "1.0.0", "debian-12") + "files: [{source: many, destination: /srv}]\n"}
	for i := range MaxFiles {
		tree[fmt.Sprintf("many/%d", i)] = "x"
	}
	want := fmt.Sprintf("files: more than %d files and folders", MaxFiles) // the folder counts
	if problems := load(t, tree).Problems(); len(problems) != 1 || problems[0].Message != want {
		t.Errorf("problems: %v", problems)
	}
	delete(tree, "many/0")
	valid(t, load(t, tree))
}

func TestWindows(t *testing.T) {
	s := valid(t, load(t, memory{
		"r.yaml": minimal("win", "1.0.0", "ami-01234567") + `platform: Windows
infrastructure: {driver: ec2}
files:
  - {source: site, destination: 'C:\web'}
  - {source: site, destination: 'C:\web\'}
  - {source: site/a, destination: 'C:\web\b'}
  - {source: site/a, destination: 'C:\web\'}
  - {source: site/a, destination: 'C:/web/'}
  - {source: site/a, destination: 'C:\'}
`,
		"site/a": "a",
	}))
	r := s.Recipes["win"]
	if r.WorkingDir != `C:\` || r.Infrastructure.Isolation != VM {
		t.Errorf("got %+v", r)
	}
	var targets []string
	for _, f := range r.Files {
		targets = append(targets, f.Entries[len(f.Entries)-1].Target)
	}
	if want := []string{"C:/web/a", "C:/web/a", "C:/web/b", "C:/web/a", "C:/web/a", "C:/a"}; !slices.Equal(targets, want) {
		t.Errorf("targets %q, want %q", targets, want)
	}
}

func TestWarningsOfComponents(t *testing.T) {
	tree := fullTree().with(memory{"recipes/web/nginx.yaml": "author: me\n" + withParameters(buildComponent("x"))})
	s := valid(t, load(t, tree))
	if w := s.Recipes["web-server"].Warnings(); len(w) != 1 || w[0].Line != 1 {
		t.Errorf("warnings: %v", w)
	}
	for _, d := range Plan(nil, s, PlanOptions{}) {
		if d.Name == "web-server" && (len(d.Findings) != 1 || d.Findings[0].Blocking || strings.Contains(d.String(), "author")) {
			t.Errorf("findings %v in %s", d.Findings, d)
		}
	}
}

// One name is another image with another driver, and some come with a word of warning.
func TestAliasesBelongToDrivers(t *testing.T) {
	onEC2 := func(name, alias, more string) string {
		return minimal(name, "1.0.0", alias) + "infrastructure: {driver: ec2}\n" + more
	}
	s := valid(t, load(t, memory{
		"local.yaml":   minimal("on-disk", "1.0.0", "debian-12"),
		"ec2.yaml":     onEC2("on-ec2", "debian-12", ""),
		"windows.yaml": onEC2("windows", "windows-2022", "platform: Windows\n"),
		"old.yaml":     onEC2("old", "centos-7", ""),
	}))
	for _, name := range []string{"on-disk", "on-ec2", "windows"} {
		if r := s.Recipes[name]; r.Parent.Kind != ParentAlias || len(r.Warnings()) > 0 {
			t.Errorf("%s: %+v, %v", name, r.Parent, r.Warnings())
		}
	}
	if w := s.Recipes["old"].Warnings(); len(w) != 1 || w[0].Message != "CentOS 7 has ended" || w[0].File != "old.yaml" || w[0].Line != 5 {
		t.Errorf("warnings of an image that was withdrawn: %v", w)
	}
}

func TestParents(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	options := testOptions()
	options.ParentDirs = []string{"/srv/images"}
	for written, want := range map[string]Parent{
		"debian-13":                             {Kind: ParentAlias, Name: "debian-13"},
		"./disk.qcow2":                          {Kind: ParentFile, Name: "r/disk.qcow2"},
		"../other.OVA":                          {Kind: ParentFile, Name: "other.OVA"},
		"/srv/images/x.img":                     {Kind: ParentFile, Name: "/srv/images/x.img"},
		"https://h.example/d.raw#sha256=" + sum: {Kind: ParentURL, Name: "https://h.example/d.raw", Checksum: "sha256:" + sum},
		"{source: https://h.example/d.raw, checksum: sha256:" + sum + "}":  {Kind: ParentURL, Name: "https://h.example/d.raw", Checksum: "sha256:" + sum, Text: "https://h.example/d.raw"},
		"s3://acme-disks/golden/web 1.VMDK":                                {Kind: ParentObject, Name: "s3://acme-disks/golden/web 1.VMDK"},
		"{source: s3://acme-disks/web.ova, checksum: sha256:" + sum + "}":  {Kind: ParentObject, Name: "s3://acme-disks/web.ova", Checksum: "sha256:" + sum, Text: "s3://acme-disks/web.ova"},
		"ami-0123456789abcdef0":                                            {Kind: ParentAMI, Name: "ami-0123456789abcdef0"},
		"ssm:/aws/service/debian/12/amd64":                                 {Kind: ParentSSM, Name: "ssm:/aws/service/debian/12/amd64"},
		"arn:aws:imagebuilder:eu-west-1:aws:image/amazon-linux-2023/x.x.x": {Kind: ParentARN, Name: "arn:aws:imagebuilder:eu-west-1:aws:image/amazon-linux-2023/x.x.x"},
		"base/1.x.x": {Kind: ParentRecipe, Name: "base", Version: "1.x.x"},
	} {
		if want.Text == "" {
			want.Text = written
		}
		driver := "local"
		if want.Kind == ParentObject || want.Kind == ParentAMI || want.Kind == ParentSSM || want.Kind == ParentARN {
			driver = "ec2"
		}
		s := valid(t, loadWith(t, memory{
			"r/recipe.yaml": minimal("web", "1.0.0", `"`+written+`"`) + "infrastructure: {driver: " + driver + "}\n",
			"r/base.yaml":   minimal("base", "1.0.0", "debian-12"), "r/disk.qcow2": "disk", "other.OVA": "ova",
		}.with(plainMap(written, driver)), options))
		if got := s.Recipes["web"].Parent; got != want {
			t.Errorf("%s: got %+v, want %+v", written, got, want)
		}
	}
}

// plainMap writes a parent that is a map without the quotes of a text.
func plainMap(written, driver string) memory {
	if !strings.HasPrefix(written, "{") {
		return nil
	}
	return memory{"r/recipe.yaml": minimal("web", "1.0.0", written) + "infrastructure: {driver: " + driver + "}\n"}
}

func TestHostFilesAreForBuildsByHand(t *testing.T) {
	folder := t.TempDir()
	tree := openDir(t, folder, memory{"r/recipe.yaml": minimal("web", "1.0.0", "../../outside.qcow2"), "r/abs.yaml": minimal("abs", "1.0.0", "/any/where.raw")})
	options := testOptions()
	s, err := Load(t.Context(), tree, options)
	if err != nil || len(s.Invalid) != 2 {
		t.Fatalf("without HostFiles: %v, %v", s.Problems(), err)
	}
	options.HostFiles = true
	s, err = Load(t.Context(), tree, options)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, s)
	if got, want := s.Recipes["web"].Parent.Name, strings.TrimSuffix(folder, folder[strings.LastIndex(folder, "/"):])+"/outside.qcow2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.Recipes["abs"].Parent.Name; got != "/any/where.raw" {
		t.Errorf("got %s", got)
	}
}

func TestPathsAreLookedAtOnly(t *testing.T) {
	options := testOptions()
	options.Paths = []string{"recipes/", "not-there"}
	s := loadWith(t, memory{"recipes/a.yaml": minimal("aaa", "1.0.0", "debian-12"), "recipes2/b.yaml": minimal("bbb", "1.0.0", "debian-12"), "c.yaml": "apiVersion: ingot/v1\nkind: x"}, options)
	if len(valid(t, s).Recipes) != 1 {
		t.Errorf("recipes: %v", s.Recipes)
	}
}

func TestWithinKeepsWhatIsKnownAboutTheRest(t *testing.T) {
	whole := load(t, fullTree().with(memory{"recipes/broken.yaml": "apiVersion: ingot/v1\n"}))
	part := valid(t, whole.Within("recipes/web/"))
	if len(part.Recipes) != 1 || part.Recipes["web-server"] == nil {
		t.Errorf("recipes: %v", part.Recipes)
	}
	if one := whole.Within("recipes/broken.yaml"); len(one.Recipes) != 0 || len(one.Invalid) != 1 {
		t.Errorf("one document: %+v", one)
	}
	if all := whole.Within("."); len(all.Recipes) != 2 || len(all.Invalid) != 1 {
		t.Errorf("everything: %+v", all)
	}
}

func TestScheduleTranslation(t *testing.T) {
	for written, want := range map[string]string{
		"0 3 * * SUN": "0 3 * * SUN", "@daily": "@daily", "@every 90m": "@every 90m",
		"cron(0 3 ? * 1 *)": "0 3 * * 0", "cron(0 3 ? * 2-6/2,SAT *)": "0 3 * * 1-5/2,SAT", "0 0 1 * ? *": "0 0 1 * *",
		"rate(1 day)": "@every 24h", "rate(12 hours)": "@every 12h", "rate(5 minutes)": "@every 5m",
	} {
		if got, err := normalizeCron(written); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", written, got, err, want)
		}
	}
	for _, written := range []string{
		"", "* * * *", "61 * * * *", "0 3 * * FOO", "0 0 30 2 *", "@every 5s", "@reboot", "@every", "TZ=UTC 0 3 * * *", "TZ=", "CRON_TZ=x",
		"cron(0 3 L * ? *)", "cron(0 3 ? * fri#2 *)", "cron(0 3 ? * 6L *)", "cron(0 3 ? * 0 *)", "cron(0 3 * * ? 2030)", "cron(0 3 * *)", "rate(1 days)", "rate(2 day)", "rate(0 days)", "rate(1 week)",
	} {
		if got, err := normalizeCron(written); err == nil {
			t.Errorf("%s became %q, want an error", written, got)
		}
	}
}

func TestScheduleNextFollowsDaylightSaving(t *testing.T) {
	s := Schedule{Cron: "0 3 * * *", Timezone: "Europe/Rome"}
	for after, want := range map[string]string{"2026-03-28T12:00:00Z": "2026-03-29T01:00:00Z", "2026-10-24T12:00:00Z": "2026-10-25T02:00:00Z"} {
		from, err := time.Parse(time.RFC3339, after)
		if err != nil {
			t.Fatal(err)
		}
		if next, err := s.Next(from); err != nil || next.UTC().Format(time.RFC3339) != want {
			t.Errorf("after %s: %v, %v, want %s", after, next, err, want)
		}
	}
}

// brokenTree cannot be read at one place.
type brokenTree struct{ mapTree }

var errDisk = errors.New("disk error")

func (b brokenTree) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, "nginx.yaml") {
		return nil, errDisk
	}
	return b.mapTree.ReadFile(name)
}

func TestATreeThatCannotBeReadIsNobodysMistake(t *testing.T) {
	if _, err := Load(t.Context(), brokenTree{mapTree{fullTree().fs()}}, testOptions()); !errors.Is(err, errDisk) {
		t.Errorf("Load: %v, want the tree's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, mapTree{fullTree().fs()}, testOptions()); !errors.Is(err, context.Canceled) {
		t.Errorf("Load after the end: %v", err)
	}
}

// TestUpdateIsLoad changes trees at random and holds Update against Load.
func TestUpdateIsLoad(t *testing.T) {
	contents := map[string][]string{
		"recipes/web/recipe.yaml":     {fullRecipe, strings.Replace(fullRecipe, "Port", "Prt", 1), "apiVersion: ingot/v1\nkind: ?", "other: yaml", ""},
		"recipes/web/nginx.yaml":      {withParameters(buildComponent("a")), buildComponent("b"), "-> ../../shared/nginx.yaml", "-> nginx.yaml", ""},
		"recipes/web/site/index.html": {"one", "two", "-> a/deep.txt", "-> /etc/passwd", ""},
		"recipes/web/site/new/file":   {"one", ""},
		"shared/nginx.yaml":           {withParameters(buildComponent("shared")), ""},
		"shared/motd":                 {"welcome", "changed", ""},
		"tests":                       {"-> shared", ""},
		"tests/http.yaml":             {testComponent("x"), ""},
		"shared/http.yaml":            {testComponent("shared"), ""},
		"recipes/base.yaml":           {minimal("base", "1.0.0", "debian-12"), minimal("base", "1.0.0", "web-server/x.x.x"), minimal("web-server", "1.0.0", "debian-12"), ""},
		"recipes/new.yaml":            {minimal("new", "1.0.0", "base/x.x.x"), ""},
	}
	random := rand.New(rand.NewPCG(1, 2))
	tree := fullTree()
	set := load(t, tree)
	before, quick := set, 0
	for round := range 1000 {
		changes, often := memory{}, 5
		if round%10 < 5 { // little changes at a tree without mistakes
			changes, often = difference(tree, fullTree()), 20
		}
		for at, choices := range contents {
			if random.IntN(often) == 0 {
				changes[at] = choices[random.IntN(len(choices))]
			}
		}
		if changes["tests"] != "" { // a link takes the place of the folder
			changes["tests/http.yaml"] = ""
		} else if changes["tests/http.yaml"] != "" {
			changes["tests"] = ""
		}
		next := tree.with(changes)
		if _, link := next["tests"]; link {
			delete(next, "tests/http.yaml")
		}
		updated, err := set.Update(t.Context(), mapTree{next.fs()}, changedPaths(tree, next))
		if err != nil {
			t.Fatal(err)
		}
		loaded := load(t, next)
		if got, want := updated.Problems().Error(), loaded.Problems().Error(); got != want {
			t.Fatalf("after %v:\nupdated\n%s\nloaded\n%s", changes, got, want)
		}
		for name, r := range loaded.Recipes {
			if u := updated.Recipes[name]; u == nil || u.signature != r.signature || u.document != r.document {
				t.Fatalf("after %v: %s differs", changes, name)
			}
		}
		if plan := Plan(updated, loaded, PlanOptions{}); len(plan) != 0 {
			t.Fatalf("after %v: a plan between equal sets: %v", changes, plan)
		}
		for _, options := range []PlanOptions{{}, {All: true, AllInvalid: true}} {
			if got, want := plans(set, updated, options), plans(before, loaded, options); !slices.Equal(got, want) {
				t.Fatalf("after %v: planned\n%q, want\n%q", changes, got, want)
			}
		}
		if updated != set && updated.base.Value() == set {
			quick++
		}
		tree, set, before = next, updated, loaded
	}
	if quick < 50 {
		t.Errorf("only %d times nothing had changed between documents: both ways are to be tried", quick)
	}
}

// plans writes down all that a plan says, without the digests of what it is about.
func plans(old, now *Set, options PlanOptions) []string {
	var lines []string
	for _, d := range Plan(old, now, options) {
		lines = append(lines, fmt.Sprint(d, d.Path, d.After, d.Why, d.Findings, d.Problems))
	}
	return lines
}

// difference is what makes one tree of another.
func difference(old, now memory) memory {
	changes := memory{}
	for _, at := range changedPaths(old, now) {
		changes[at] = now[at]
	}
	return changes
}

func changedPaths(old, now memory) []string {
	var changed []string
	for at := range old {
		if now[at] != old[at] {
			changed = append(changed, at)
		}
	}
	for at := range now {
		if old[at] == "" {
			changed = append(changed, at)
		}
	}
	return changed
}

var _ fs.ReadLinkFS = mapTree{}

func TestReadParentWithoutARecipe(t *testing.T) {
	options := testOptions()
	for name, want := range map[string]Parent{
		"debian-12":        {Kind: ParentAlias, Name: "debian-12", Text: "debian-12"},
		"base/1.x.x":       {Kind: ParentRecipe, Name: "base", Version: "1.x.x", Text: "base/1.x.x"},
		"/srv/disk.qcow2":  {Kind: ParentFile, Name: "/srv/disk.qcow2", Text: "/srv/disk.qcow2"},
		"/srv/../disk.raw": {Kind: ParentFile, Name: "/disk.raw", Text: "/srv/../disk.raw"},
	} {
		if got, err := ReadParent(name, options); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"debian-21": `did you mean "debian-12"?`, "ami-0123456789abcdef0": "the driver local cannot use", "http://x/y.raw": "expected https://", "https://x/y.raw": "no checksum", "": "unknown parent image",
	} {
		if _, err := ReadParent(name, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestInfrastructuresThatRecipesName(t *testing.T) {
	const onEC2, published, here = "infrastructure: {driver: ec2, name: gpu}\n", "infrastructure: {name: gpu}\npublish: {driver: ec2}\n", "infrastructure: {name: gpu}\n"
	for _, c := range []struct {
		of      string // of the recipe
		regions []string
		known   []string
		want    string // empty: it is valid
	}{
		{onEC2, nil, nil, ""},
		{onEC2, []string{"eu-west-1"}, []string{"gpu", "large"}, ""},
		{published, []string{"eu-west-1"}, []string{"gpu"}, ""},
		{onEC2, []string{"eu-west-1"}, []string{"large", "huge"}, `there is no infrastructure "gpu" here; expected large or huge; the operator configures them with aws.infrastructures`},
		{published, []string{"eu-west-1"}, nil, `there is no infrastructure "gpu" here; expected none: the operator has not configured any`},
		{here, nil, nil, "without instances of EC2 there is nothing to choose; expected driver: ec2, or publish: {driver: ec2}"},
	} {
		options := testOptions()
		options.Regions, options.Infrastructures = c.regions, c.known
		parent := "debian-12"
		if c.of == onEC2 {
			parent = "ami-0123456789abcdef0"
		}
		set := loadWith(t, memory{"web.yaml": minimal("web", "1.0.0", parent) + c.of}, options)
		got := set.Problems().Error()
		if c.want == "" && (got != "" || set.Recipes["web"].Infrastructure.Name != "gpu") || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s in %v with %v: %q, want %q", c.of, c.regions, c.known, got, c.want)
		}
	}
}

func TestRegionsInWhichImagesArePublished(t *testing.T) {
	tree := memory{"web.yaml": minimal("web", "1.0.0", "debian-12") + "publish: {driver: ec2, region: us-east-1}\n"}
	for want, regions := range map[string][]string{
		"": {"us-east-1"}, "expected eu-west-1, or no region": {"eu-west-1"}, "expected eu-west-1 or eu-west-2, or no region": {"eu-west-1", "eu-west-2"},
	} {
		options := testOptions()
		options.Regions = regions
		got := loadWith(t, tree, options).Problems().Error()
		if want != "" && !strings.HasPrefix(got, "web.yaml:6:32: no image is published in us-east-1 here; "+want) || want == "" && got != "" {
			t.Errorf("in %v: %s", regions, got)
		}
	}
}

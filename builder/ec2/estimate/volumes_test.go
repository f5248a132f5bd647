package estimate

import (
	"math"
	"slices"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

func ebs(device string, v recipe.Volume) recipe.BlockDevice {
	return recipe.BlockDevice{Name: device, Volume: &v}
}

// golden is a parent with volumes of three types.
func golden() *catalogue.Image {
	return &catalogue.Image{ID: "ami-1", Name: "golden", RootDevice: "/dev/sda1", Volumes: []catalogue.Volume{
		{Device: "/dev/sda1", GiB: 10, Type: "gp2"},
		{Device: "/dev/sdf", GiB: 100, Type: "io1", IOPS: 1000},
		{Device: "/dev/sdg", GiB: 500, Type: "st1"},
	}}
}

// TestVolumes: of each recipe, what its volumes cost in a month in Ireland, how many GiB
// of snapshots its image has at most, and what is said to be missing.
func TestVolumes(t *testing.T) {
	const debian, parent = 8 * 0.088, 10*0.11 + 100*0.138 + 1000*0.072 + 500*0.05
	for name, c := range map[string]struct {
		parent  *catalogue.Image
		diskGiB int
		devices []recipe.BlockDevice
		history int
		month   float64
		gib     int
		missing []string
	}{
		"nothing":        {month: debian, gib: 8},
		"of the last":    {history: 12, month: 12 * 0.088, gib: 12},
		"a larger root":  {diskGiB: 20, month: 20 * 0.088, gib: 20},
		"a named root":   {devices: []recipe.BlockDevice{ebs("/dev/xvda", recipe.Volume{GiB: 20, Type: "io1", IOPS: 200})}, month: 20*0.138 + 200*0.072, gib: 20},
		"root as it was": {devices: []recipe.BlockDevice{ebs("/dev/sda1", recipe.Volume{Encrypted: true})}, history: 20, month: debian, gib: 8},
		"further ones": {devices: []recipe.BlockDevice{
			ebs("/dev/sdf", recipe.Volume{GiB: 100}), ebs("/dev/sdg", recipe.Volume{GiB: 50, Type: "gp2"}), ebs("/dev/sdh", recipe.Volume{GiB: 125, Type: "sc1"}),
			{Name: "/dev/sdi", Virtual: "ephemeral0"},
		}, history: 283, month: debian + 100*0.088 + 50*0.11 + 125*0.0168, gib: 283},
		"as fast as any gp3": {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, IOPS: 3000, Throughput: 125})}, month: debian + 10*0.088, gib: 18},
		"a faster gp3":       {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, IOPS: 4000, Throughput: 250})}, month: debian + 10*0.088 + 1000*0.0055 + 125*0.044, gib: 18},
		"a slow io2":         {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, Type: "io2", IOPS: 100})}, month: debian + 10*0.138 + 100*0.072, gib: 18},
		"a faster io2":       {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, Type: "io2", IOPS: 40_000})}, month: debian + 10*0.138 + 32_000*0.072 + 8000*0.0504, gib: 18},
		"the fastest io2":    {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, Type: "io2", IOPS: 70_000})}, month: debian + 10*0.138 + 32_000*(0.072+0.0504) + 6000*0.03528, gib: 18},
		"a snapshot that grew": {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, Snapshot: "snap-1"})},
			month: debian + 10*0.088, gib: 18},
		"a snapshot": {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{Snapshot: "snap-1"})}, month: debian, gib: 8,
			missing: []string{"the volume /dev/sdf and its snapshot, which are as large as snap-1"}},
		"paid by request": {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 10, Type: "standard"})}, month: debian + 10*0.055, gib: 18,
			missing: []string{"what is read from and written to the standard volume /dev/sdf"}},
		"of a parent that is not known": {devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{Type: "io2", IOPS: 100})}, month: debian, gib: 8,
			missing: []string{"the volume /dev/sdf and its snapshot, which are as large as in the parent image"}},
		"removed from one": {devices: []recipe.BlockDevice{{Name: "/dev/sdf", Removed: true}}, month: debian, gib: 8},

		"the parent's":               {parent: golden(), history: 20, month: parent, gib: 610},
		"with a larger root":         {parent: golden(), diskGiB: 20, month: parent - 10*0.11 + 20*0.088, gib: 620},
		"with another root":          {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sda1", recipe.Volume{Type: "gp3"})}, month: parent - 10*0.11 + 10*0.088, gib: 610},
		"without one":                {parent: golden(), devices: []recipe.BlockDevice{{Name: "/dev/sdg", Removed: true}}, month: parent - 500*0.05, gib: 110},
		"with storage in its place":  {parent: golden(), devices: []recipe.BlockDevice{{Name: "/dev/sdg", Virtual: "ephemeral0"}}, month: parent - 500*0.05, gib: 110},
		"larger, of the same type":   {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{GiB: 150})}, month: parent + 50*0.138, gib: 660},
		"as large, of another type":  {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{Type: "gp3"})}, month: parent - 100*0.138 - 1000*0.072 + 100*0.088, gib: 610},
		"as large, and faster":       {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sdf", recipe.Volume{IOPS: 1500})}, month: parent + 500*0.072, gib: 610},
		"with one more":              {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sdh", recipe.Volume{GiB: 5})}, month: parent + 5*0.088, gib: 615},
		"with a snapshot for one":    {parent: golden(), devices: []recipe.BlockDevice{ebs("/dev/sdg", recipe.Volume{Snapshot: "snap-2", Type: "gp3"})}, month: parent - 500*0.05, gib: 110, missing: []string{"the volume /dev/sdg and its snapshot, which are as large as snap-2"}},
		"of which little is said":    {parent: &catalogue.Image{RootDevice: "/dev/xvda", Volumes: []catalogue.Volume{{Device: "/dev/xvda", GiB: 9}}}, gib: 9, missing: []string{"the root volume, whose type is not known"}},
		"of which nothing is said":   {parent: &catalogue.Image{RootDevice: "/dev/xvda", Volumes: []catalogue.Volume{{Device: "/dev/xvda"}}}, missing: []string{"the root volume and its snapshot, whose size is not known"}},
		"of which no volume is said": {parent: &catalogue.Image{RootDevice: "/dev/xvda"}, month: debian, gib: 8},
	} {
		t.Run(name, func(t *testing.T) {
			r := web()
			r.DiskGiB, r.BlockDevices = c.diskGiB, c.devices
			p := Of(Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large", Parent: c.parent, History: History{DiskGiB: c.history}})
			build, test := p.running()
			if got, want := costOf(p, "volumes"), c.month*hours(build+test)/730; math.Abs(got-want) > 1e-9 {
				t.Errorf("volumes cost $%f, want $%f", got, want)
			}
			if want := float64(c.gib) * 0.05; math.Abs(p.Monthly-want) > 1e-9 {
				t.Errorf("the image costs $%f a month, want $%f", p.Monthly, want)
			}
			if !slices.Equal(p.Missing, c.missing) {
				t.Errorf("without %q, want %q", p.Missing, c.missing)
			}
		})
	}
}

func costOf(p Plan, what string) float64 {
	at := slices.IndexFunc(p.Costs, func(c Cost) bool { return c.What == what })
	if at < 0 {
		return 0
	}
	return p.Costs[at].Dollars
}

// TestDisksForTests are the test instance's alone, and no image has them.
func TestDisksForTests(t *testing.T) {
	r := web()
	r.Infrastructure.TestDisks = []int{1, 100}
	in := Input{Recipe: r, Region: "eu-west-1", InstanceType: "m5.large"}
	p := Of(in)
	build, test := p.running()
	want := (8*hours(build+test) + 101*hours(test)) * 0.088 / 730
	if got := costOf(p, "volumes"); math.Abs(got-want) > 1e-9 || math.Abs(p.Monthly-8*0.05) > 1e-9 || len(p.Missing) > 0 {
		t.Errorf("$%f and $%f a month without %q, want $%f", got, p.Monthly, p.Missing, want)
	}
	r.Infrastructure.Driver, r.Publish = "local", &recipe.Publish{Driver: "ec2", Via: recipe.ViaImportSnapshot}
	p = Of(in)
	_, test = p.running()
	if got, want := costOf(p, "volumes"), (4+101)*0.088*hours(test)/730; math.Abs(got-want) > 1e-9 || len(p.Missing) > 0 {
		t.Errorf("published: $%f without %q, want $%f", got, p.Missing, want)
	}
}

// TestTypeWithoutAPrice: the others are counted.
func TestTypeWithoutAPrice(t *testing.T) {
	r := web()
	r.BlockDevices = []recipe.BlockDevice{ebs("/dev/sda1", recipe.Volume{GiB: 10, Type: "io2", IOPS: 100}), ebs("/dev/sdf", recipe.Volume{GiB: 10, Type: "io2", IOPS: 100}), ebs("/dev/sdg", recipe.Volume{GiB: 10})}
	p := Of(Input{Recipe: r, Region: "eu-south-1", InstanceType: "m5.large"})
	build, test := p.running()
	if got, want := costOf(p, "volumes"), 10*0.0924*hours(build+test)/730; math.Abs(got-want) > 1e-9 {
		t.Errorf("volumes cost $%f, want $%f", got, want)
	}
	if want := []string{
		"the io2 root volume, of which no price in eu-south-1 is known", "the io2 volume /dev/sdf, of which no price in eu-south-1 is known",
		"the snapshots of the image, of which no price in eu-south-1 is known",
	}; !slices.Equal(p.Missing, want) {
		t.Errorf("without %q, want %q", p.Missing, want)
	}
}

package estimate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// gp3 is the type of volumes where nobody says another.
const gp3 = "gp3"

// What a gp3 has each second for the price of its storage; of an io1 or io2, every one of
// the IOPS costs something.
const (
	freeIOPS       = 3000
	freeThroughput = 125 // MiB
)

// iopsSteps are the IOPS up to which the first and the second of an io2's prices count.
var iopsSteps = []int{32_000, 64_000}

// volumePrice is what a type of volume costs in a month: a GiB, one of the IOPS, which
// may get cheaper in steps, and a MiB/s of throughput. What is empty costs nothing.
type volumePrice struct {
	GiB        price   `yaml:"gib,required"`
	IOPS       []price `yaml:"iops"`
	Throughput price   `yaml:"throughput"`
}

// volume is one of EBS that an instance has.
type volume struct {
	device           string // empty: not known, or of no interest
	root             bool
	kind             string // gp3
	gib              int
	unsized          string // where gib is 0: what is known of the size of it and its snapshot
	iops, throughput int
}

func (v volume) name() string {
	switch {
	case v.root:
		return "root volume"
	case v.device == "":
		return "disk for tests"
	}
	return "volume " + v.device
}

// is tells whether a device of the recipe is this one. Of a parent that was not looked
// up only the names are known that its root may have.
func (v volume) is(device string) bool {
	return v.device == device || v.root && v.device == "" && catalogue.IsRootName(device)
}

// volumesOf are the volumes of the image, which both instances have. They are laid out
// as for the launch of the build instance: first those of the parent that the recipe
// does not mention, then the recipe's own.
func volumesOf(in Input, list priceList) []volume {
	if !onEC2(in.Recipe) {
		return []volume{{root: true, kind: gp3, gib: diskGiB(in, list), unsized: "whose size is not known"}}
	}
	parents := parentVolumes(in, list)
	all := slices.DeleteFunc(slices.Clone(parents), func(v volume) bool {
		return slices.ContainsFunc(in.Recipe.BlockDevices, func(d recipe.BlockDevice) bool { return v.is(d.Name) })
	})
	for _, d := range in.Recipe.BlockDevices {
		if d.Volume != nil {
			all = append(all, laidOver(parents, d.Name, *d.Volume))
		}
	}
	return all
}

// parentVolumes are those of the parent image, the root as large as the recipe wants it.
// Where the parent was not looked up, a root is all that is known.
func parentVolumes(in Input, list priceList) []volume {
	var all []volume
	if in.Parent != nil {
		for _, v := range in.Parent.Volumes {
			all = append(all, volume{
				device: v.Device, root: v.Device == in.Parent.RootDevice, kind: v.Type, gib: v.GiB,
				unsized: "whose size is not known", iops: v.IOPS, throughput: v.Throughput,
			})
		}
	}
	at := slices.IndexFunc(all, func(v volume) bool { return v.root })
	if at < 0 {
		return append(all, volume{root: true, kind: gp3, gib: diskGiB(in, list)})
	}
	if gib := in.Recipe.DiskGiB; gib > 0 {
		all[at] = volume{device: all[at].device, root: true, kind: gp3, gib: gib}
	}
	return all
}

// laidOver is a volume of the recipe over the parent's of that device, if it has one:
// what the recipe leaves open is as it was.
func laidOver(parents []volume, device string, want recipe.Volume) volume {
	v := volume{device: device, unsized: "which are as large as in the parent image"}
	if at := slices.IndexFunc(parents, func(p volume) bool { return p.is(device) }); at >= 0 {
		v = parents[at]
	} else if want.GiB > 0 || want.Snapshot != "" {
		v.kind = gp3 // a further one
	}
	if want.Type != "" && want.Type != v.kind {
		v.kind, v.iops, v.throughput = want.Type, 0, 0
	}
	if want.Snapshot != "" {
		v.gib, v.unsized = 0, "which are as large as "+want.Snapshot
	}
	v.gib, v.iops, v.throughput = cmp.Or(want.GiB, v.gib), cmp.Or(want.IOPS, v.iops), cmp.Or(want.Throughput, v.throughput)
	return v
}

// volumes adds what the volumes cost as long as their instances run. The test instance
// has some of its own.
func (p *Plan) volumes(all []volume, tests []int, prices map[string]volumePrice, build, test int) {
	var dollars float64
	for _, v := range all {
		dollars += p.monthly(v, prices) * hours(build+test) / hoursPerMonth
	}
	for _, gib := range tests {
		dollars += p.monthly(volume{kind: gp3, gib: gib}, prices) * hours(test) / hoursPerMonth
	}
	if dollars > 0 {
		p.add("volumes", dollars)
	}
}

// monthly is what a volume costs, as far as that is known.
func (p *Plan) monthly(v volume, prices map[string]volumePrice) float64 {
	month, known := prices[v.kind]
	switch {
	case v.gib == 0:
		p.miss("the %s and its snapshot, %s", v.name(), v.unsized)
		return 0
	case v.kind == "":
		p.miss("the %s, whose type is not known", v.name())
		return 0
	case !known:
		p.miss("the %s %s, of which no price in %s is known", v.kind, v.name(), p.Region)
		return 0
	case v.kind == "standard":
		p.miss("what is read from and written to the %s %s", v.kind, v.name())
	}
	return month.dollars(v)
}

func (m volumePrice) dollars(v volume) float64 {
	iops, throughput := v.iops, v.throughput
	if v.kind == gp3 {
		iops, throughput = max(0, iops-freeIOPS), max(0, throughput-freeThroughput)
	}
	sum := float64(v.gib)*m.GiB.dollars() + float64(throughput)*m.Throughput.dollars()
	from := 0
	for n, price := range m.IOPS {
		to := iops
		if n < len(m.IOPS)-1 {
			to = min(iops, iopsSteps[n])
		}
		sum += float64(max(0, to-from)) * price.dollars()
		from = to
	}
	return sum
}

// snapshots adds what the image costs while it is kept. Volumes of unknown size have
// been told of before.
func (p *Plan) snapshots(all []volume, month price) {
	if month == "" {
		p.miss("the snapshots of the image, of which no price in %s is known", p.Region)
		return
	}
	gib := 0
	for _, v := range all {
		gib += v.gib
	}
	if gib > 0 {
		p.Monthly = float64(gib) * month.dollars()
		p.Costs = append(p.Costs, Cost{What: fmt.Sprintf("snapshots of the image, at most %d GiB", gib), Dollars: p.Monthly, Monthly: true})
	}
}

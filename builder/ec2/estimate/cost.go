package estimate

import (
	_ "embed" // the prices
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const (
	hoursPerMonth = 730 // as AWS counts
	// leastBilled is what a started instance costs at least.
	leastBilled = 60
)

// priceList is the file as it is written.
type priceList struct {
	AsOf    string `yaml:"asOf,required"`
	Regions map[string]struct {
		Snapshot price                  `yaml:"snapshot"`
		Blocks   price                  `yaml:"blocks"`
		Writes   price                  `yaml:"writes,required"`
		Reads    price                  `yaml:"reads,required"`
		Objects  price                  `yaml:"objects"`
		Volumes  map[string]volumePrice `yaml:"volumes,required"`
	} `yaml:"regions,required"`
	Instances map[string]struct {
		Windows price            `yaml:"windows"`
		Linux   map[string]price `yaml:"linux,required"`
	} `yaml:"instances,required"`
	Stages  map[string]map[string]int `yaml:"stages,required"`
	RootGiB map[string]int            `yaml:"rootGiB,required"`
}

// price is a number of dollars as the list writes it; empty: not known.
type price string

func (p price) dollars() float64 {
	value, err := strconv.ParseFloat(string(p), 64)
	if err != nil {
		return 0
	}
	return value
}

//go:embed prices.yaml
var pricesText []byte

// prices is the list.
var prices = sync.OnceValue(func() priceList {
	var list priceList
	d, problems := yamldoc.Parse("prices.yaml", pricesText)
	if len(problems) == 0 {
		problems = d.Decode(d.Root, &list)
	}
	if len(problems) > 0 {
		panic(problems) // the file is part of the program, and a test reads it
	}
	return list
})

// hourly is the price of an instance, or what is not known about it.
func (l priceList) hourly(kind, region, platform string) (dollars float64, missing string) {
	instance, ok := l.Instances[kind]
	if !ok {
		return 0, fmt.Sprintf("no price of %s is known", kind)
	}
	linux, ok := instance.Linux[region]
	switch {
	case !ok:
		return 0, fmt.Sprintf("no price of %s in %s is known", kind, region)
	case platform != component.Windows:
		return linux.dollars(), ""
	case instance.Windows == "":
		return 0, fmt.Sprintf("Windows does not run on %s", kind)
	}
	return linux.dollars() + instance.Windows.dollars(), ""
}

// count adds up what the build costs.
func (p *Plan) count(in Input, list priceList) {
	p.Costs = []Cost{}
	hourly, missing := list.hourly(p.InstanceType, p.Region, p.Platform)
	if missing != "" {
		p.miss("%s", missing)
		return
	}
	region, ok := list.Regions[p.Region]
	if !ok {
		p.miss("no price of storage in %s is known", p.Region)
		return
	}
	build, test := p.running()
	if build > 0 {
		p.add(buildInstance, hours(build)*hourly)
	}
	p.add(testInstance, hours(test)*hourly)
	volumes := volumesOf(in, list)
	p.volumes(volumes, in.Recipe.Infrastructure.TestDisks, region.Volumes, build, test)
	writes, reads := p.requests()
	p.add("requests to S3", float64(writes)/1000*region.Writes.dollars()+float64(reads)/1000*region.Reads.dollars())
	switch {
	case imported(in.Recipe):
		p.staged(diskGiB(in, list), region.Objects)
	case published(in.Recipe):
		p.blocks(diskGiB(in, list), region.Blocks)
	}
	p.snapshots(volumes, region.Snapshot)
	if vendor := paidVendor(in.Recipe.Parent.Name); vendor != "" && onEC2(in.Recipe) {
		p.miss("the hourly fee of %s", vendor)
	}
}

// staged adds what it costs that the disk lies in the bucket: all of it, though it is
// compressed, and as long as it is published, though it is on its way first.
func (p *Plan) staged(gib int, month price) {
	at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Stage == string(builder.StagePublish) })
	dollars := float64(gib) * month.dollars() * hours(p.Steps[at].Seconds) / hoursPerMonth
	p.price(gib, month, "the disk in the bucket", fmt.Sprintf("disk in the bucket, at most %d GiB, as long as it is imported", gib), dollars)
}

// blocks adds what it costs to write the disk: at most all of its blocks.
func (p *Plan) blocks(gib int, thousand price) {
	most := gib * blocksPerGiB
	p.price(gib, thousand, "writing the disk", "writing at most "+thousands(most)+" blocks of the disk", float64(most)/1000*thousand.dollars())
}

// price adds what a disk of that size costs, where both the size and the price are known.
func (p *Plan) price(gib int, known price, missing, what string, dollars float64) {
	switch {
	case known == "":
		p.miss("%s, of which no price in %s is known", missing, p.Region)
	case gib == 0:
		p.miss("%s, whose size is not known", missing)
	default:
		p.add(what, dollars)
	}
}

func (p *Plan) miss(format string, arguments ...any) {
	p.Missing = append(p.Missing, fmt.Sprintf(format, arguments...))
}

func (p *Plan) add(what string, dollars float64) {
	p.Dollars += dollars
	p.Costs = append(p.Costs, Cost{What: what, Dollars: dollars})
}

// running is how many seconds the two instances are billed for; 0: there is none.
// Nothing is billed for an instance that is stopped, but the time for that is short
// and counted.
func (p *Plan) running() (build, test int) {
	on := map[string]int{}
	for _, s := range p.Steps {
		on[s.On] += s.Seconds
	}
	if build = on[buildInstance]; build > 0 {
		build = max(build, leastBilled)
	}
	return build, max(on[testInstance], leastBilled)
}

// requests counts those to S3. What polls does so once a second as long as its stage
// takes, and what is read that way was written by an instance.
func (p *Plan) requests() (writes, reads int) {
	for _, s := range p.Steps {
		polled := map[string]bool{}
		for _, c := range s.Calls {
			times := 1
			if c.Polls {
				if polled[c.Operation] {
					continue
				}
				polled[c.Operation], times = true, s.Seconds
			}
			switch c.Operation {
			case "s3.PutObject", "s3.ListObjectsV2":
				writes += times
			case "s3.GetObject":
				reads += times
				if c.Polls {
					writes += times
				}
			}
		}
	}
	return writes, reads
}

func hours(seconds int) float64 { return float64(seconds) / 3600 }

// diskGiB is the size of the root, as far as it is known without its parent; 0: it is
// not. What earlier images had is the sum of their volumes.
func diskGiB(in Input, list priceList) int {
	switch {
	case in.Recipe.DiskGiB > 0:
		return in.Recipe.DiskGiB
	case in.History.DiskGiB > 0 && len(in.Recipe.BlockDevices) == 0:
		return in.History.DiskGiB
	case onEC2(in.Recipe):
		return list.RootGiB[stagesOf(in.Recipe.Platform)]
	case in.Recipe.Parent.Kind == recipe.ParentAlias:
		return list.RootGiB["host"]
	}
	return 0
}

// thousands writes a number as people read it.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// paidVendor names whose system is billed by the hour on top of the instance.
func paidVendor(alias string) string {
	switch {
	case strings.HasPrefix(alias, "rhel-"):
		return "Red Hat"
	case strings.HasPrefix(alias, "sles-"):
		return "SUSE"
	}
	return ""
}

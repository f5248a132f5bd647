package estimate

import (
	_ "embed" // the prices
	"fmt"
	"strconv"
	"strings"
	"sync"

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
		Volume   price `yaml:"volume,required"`
		Snapshot price `yaml:"snapshot"`
		Blocks   price `yaml:"blocks"`
		Writes   price `yaml:"writes,required"`
		Reads    price `yaml:"reads,required"`
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
func (p *Plan) count(in Input, list priceList, gib int) {
	p.Costs = []Cost{}
	hourly, missing := list.hourly(p.InstanceType, p.Region, p.Platform)
	if missing != "" {
		p.Missing = append(p.Missing, missing)
		return
	}
	region, ok := list.Regions[p.Region]
	if !ok {
		p.Missing = append(p.Missing, "no price of storage in "+p.Region+" is known")
		return
	}
	build, test := p.running()
	if build > 0 {
		p.add(buildInstance, hours(build)*hourly)
	}
	p.add(testInstance, hours(test)*hourly)
	p.price(gib > 0, "volumes", float64(gib)*region.Volume.dollars()*hours(build+test)/hoursPerMonth)
	writes, reads := p.requests()
	p.add("requests to S3", float64(writes)/1000*region.Writes.dollars()+float64(reads)/1000*region.Reads.dollars())
	switch {
	case imported(in.Recipe):
		p.Missing = append(p.Missing, "the disk in the bucket, as long as it is imported")
	case published(in.Recipe):
		p.blocks(gib, region.Blocks)
	}
	p.snapshot(gib, region.Snapshot)
	if vendor := paidVendor(in.Recipe.Parent.Name); vendor != "" && onEC2(in.Recipe) {
		p.Missing = append(p.Missing, "the hourly fee of "+vendor)
	}
	if len(in.Recipe.BlockDevices) > 0 {
		p.Missing = append(p.Missing, "the recipe's block devices")
	}
	if len(in.Recipe.Infrastructure.TestDisks) > 0 {
		p.Missing = append(p.Missing, "the further disks of the test instance")
	}
}

// price adds what a disk of that size costs, where the size is known.
func (p *Plan) price(known bool, what string, dollars float64) {
	if !known {
		p.Missing = append(p.Missing, what+", because the size of the disk is not known")
		return
	}
	p.add(what, dollars)
}

// blocks adds what it costs to write the disk: at most all of its blocks.
func (p *Plan) blocks(gib int, thousand price) {
	if thousand == "" {
		p.Missing = append(p.Missing, "writing the disk, of which no price in "+p.Region+" is known")
		return
	}
	most := gib * blocksPerGiB
	p.price(gib > 0, "writing at most "+thousands(most)+" blocks of the disk", float64(most)/1000*thousand.dollars())
}

// snapshot adds what the image costs while it is kept.
func (p *Plan) snapshot(gib int, month price) {
	switch {
	case month == "":
		p.Missing = append(p.Missing, "the snapshot of the image, of which no price in "+p.Region+" is known")
	case gib == 0:
		p.Missing = append(p.Missing, "the snapshot of the image, because the size of the disk is not known")
	default:
		p.Monthly = float64(gib) * month.dollars()
		p.Costs = append(p.Costs, Cost{What: fmt.Sprintf("snapshot of the image, at most %d GiB", gib), Dollars: p.Monthly, Monthly: true})
	}
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

// rootGiB is the size of the image's disk; 0: it is not known.
func rootGiB(in Input, list priceList) int {
	switch parent := in.Recipe.Parent.Kind; {
	case in.Recipe.DiskGiB > 0:
		return in.Recipe.DiskGiB
	case in.Parent != nil && in.Parent.RootGiB > 0:
		return in.Parent.RootGiB
	case in.History.DiskGiB > 0:
		return in.History.DiskGiB
	case onEC2(in.Recipe):
		return list.RootGiB[stagesOf(in.Recipe.Platform)]
	case parent == recipe.ParentAlias:
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

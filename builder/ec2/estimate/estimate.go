// Package estimate tells what a recipe's build will take on AWS: the calls in their
// order, minutes, and money, before anything is made. It knows builds on EC2, local
// images that are published there, and tests of an image that is there already.
//
// The calls are those of a build that goes well. Tests hold them against the calls
// that builds make, and fail when either changes.
//
// Prices come from a list (prices.yaml) that carries its date. A type or a region
// that is not in it makes the cost unknown, and the plan says so; nothing is guessed.
// Minutes are medians of the recipe's own builds where there are some, and round
// figures otherwise; each line says which.
//
// Everything is worked out from what is handed in: the package asks neither AWS nor
// the ledger.
package estimate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Input is what a plan is made of.
type Input struct {
	Recipe       *recipe.Recipe
	Region       string
	InstanceType string // the first choice
	Spot         bool
	TestsOnly    bool // the image is there already

	// Parent is the resolved parent image; nil: it is told as "newest of …".
	Parent *catalogue.Image
	// History is of the recipe's earlier builds that did the same.
	History History
}

// History is what earlier builds of a recipe tell about the next one.
type History struct {
	Took    []Took
	DiskGiB int // of the newest image, all volumes together; 0: not known
}

// Took is one stage of one earlier build.
type Took struct {
	Stage builder.Stage
	Name  string // component or test
	Time  time.Duration
}

// Plan is what will be done, and what it takes.
type Plan struct {
	Recipe       string   `json:"recipe"`
	Version      string   `json:"version"`
	Platform     string   `json:"platform"`
	Region       string   `json:"region"`
	InstanceType string   `json:"instanceType"`
	Architecture string   `json:"architecture"`
	Spot         bool     `json:"spot,omitempty"`
	Parent       string   `json:"parent"`
	Steps        []Step   `json:"steps"`
	Seconds      int      `json:"seconds"`
	Dollars      float64  `json:"dollars"`           // of one build; without what is missing
	Monthly      float64  `json:"dollarsPerMonth"`   // of the image while it is kept; likewise
	PricesAsOf   string   `json:"pricesAsOf"`        // date of the list
	Missing      []string `json:"missing,omitempty"` // what the sums do not hold
	Costs        []Cost   `json:"costs"`
}

// Step is a stage of the build with the calls that it makes.
type Step struct {
	Stage   string `json:"stage"`
	Name    string `json:"name,omitempty"`
	Calls   []Call `json:"calls"`
	Seconds int    `json:"seconds"`
	From    string `json:"from"`         // where the seconds come from
	On      string `json:"on,omitempty"` // the instance that runs and is billed
}

// Call is an operation of AWS. A call that polls is repeated until what it waits for
// is there; of the others each stands for one, unless Most says how many there may be.
type Call struct {
	Operation string `json:"operation"` // ec2.RunInstances
	Polls     bool   `json:"polls,omitempty"`
	Perhaps   bool   `json:"perhaps,omitempty"` // it depends on what is found
	Most      int    `json:"most,omitempty"`
}

// Cost is one line of the sum.
type Cost struct {
	What    string  `json:"what"`
	Dollars float64 `json:"dollars"`
	Monthly bool    `json:"monthly,omitempty"`
}

// Of makes the plan.
func Of(in Input) Plan {
	list := prices()
	p := Plan{
		Recipe: in.Recipe.Name, Version: in.Recipe.Version.String(), Platform: in.Recipe.Platform,
		Region: in.Region, InstanceType: in.InstanceType, Architecture: catalogue.ArchitectureOf(in.InstanceType), Spot: in.Spot,
		PricesAsOf: list.AsOf,
	}
	p.Parent = parentText(in, p.Architecture)
	clock := clock{defaults: list.Stages[stagesOf(p.Platform)], history: in.History.Took}
	if !onEC2(in.Recipe) {
		clock.host = list.Stages["host"]
	}
	if imported(in.Recipe) {
		clock.defaults = maps.Clone(clock.defaults)
		clock.defaults[string(builder.StagePublish)] = clock.defaults["import"]
	}
	p.Steps = (&stepper{Input: in, clock: clock, gib: diskGiB(in, list)}).steps()
	for _, s := range p.Steps {
		p.Seconds += s.Seconds
	}
	p.count(in, list)
	return p
}

// stagesOf is the column of defaults; macOS is not built here.
func stagesOf(platform string) string {
	if platform == component.Windows {
		return component.Windows
	}
	return component.Linux
}

func parentText(in Input, arch string) string {
	parent := in.Recipe.Parent
	switch {
	case in.Parent != nil:
		return fmt.Sprintf("%s (%s)", in.Parent.ID, in.Parent.Name)
	case parent.Kind == recipe.ParentAlias:
		return "newest of " + parent.Name + " for " + arch
	case parent.Kind == recipe.ParentRecipe:
		return "newest image of " + parent.Name + " " + parent.Version
	case parent.Kind == recipe.ParentObject:
		return "the disk " + parent.Text + ", which is imported first if it never was"
	case parent.Kind == recipe.ParentSSM:
		return "the image that " + parent.Name + " holds"
	}
	return parent.Text
}

// clock tells how long stages take.
type clock struct {
	defaults map[string]int
	host     map[string]int // of stages that happen on the daemon's host
	history  []Took
}

// of is the median of the recipe's own builds, or the default.
func (c clock) of(stage builder.Stage, name string) (seconds int, from string) {
	var took []time.Duration
	for _, t := range c.history {
		if t.Stage == stage && t.Name == name {
			took = append(took, t.Time)
		}
	}
	if len(took) == 0 {
		if seconds, ok := c.host[string(stage)]; ok {
			return seconds, "default"
		}
		return c.defaults[string(stage)], "default"
	}
	slices.Sort(took)
	median := took[len(took)/2]
	if len(took)%2 == 0 {
		median = (took[len(took)/2-1] + median) / 2
	}
	builds := "builds"
	if len(took) == 1 {
		builds = "build"
	}
	return int(math.Ceil(median.Seconds())), fmt.Sprintf("median of %d %s", len(took), builds)
}

// Sentence is the plan in one line of plain text.
func (p Plan) Sentence() string {
	if unknown := p.unknown(); unknown != "" {
		return fmt.Sprintf("about %s; the cost is unknown: %s", minutes(p.Seconds), unknown)
	}
	money, kind := Money(p.Dollars), p.InstanceType
	if p.Spot {
		kind += " on Spot"
		if !strings.HasPrefix(money, lessThan) {
			money = "at most " + money
		}
	}
	text := fmt.Sprintf("about %s and %s (%s in %s, list prices of %s)", minutes(p.Seconds), money, kind, p.Region, p.PricesAsOf)
	if len(p.Missing) > 0 {
		text += ", without " + strings.Join(p.Missing, ", and ")
	}
	return text
}

// unknown tells why there is no sum at all.
func (p Plan) unknown() string {
	if len(p.Costs) > 0 {
		return ""
	}
	return strings.Join(p.Missing, ", ")
}

func minutes(seconds int) string {
	n := max(1, int(math.Round(float64(seconds)/60)))
	if n == 1 {
		return "1 minute"
	}
	return fmt.Sprintf("%d minutes", n)
}

const lessThan = "less than "

// Money writes dollars, with as many digits as a small sum needs.
func Money(dollars float64) string {
	if dollars > 0 && dollars < 0.01 {
		return lessThan + "$0.01"
	}
	return fmt.Sprintf("$%.2f", dollars)
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// awsPlan is `ingot plan --aws`.
type awsPlan struct {
	aws          bool
	region       string
	instanceType string
	spot         bool
	resolve      bool
	testsOnly    bool
	asJSON       bool
}

func planCommand(o *globals) *cobra.Command {
	var p awsPlan
	c := &cobra.Command{
		Use:   "plan --aws [path]",
		Short: "Say which calls of AWS a build will make, how long it will take and what it will cost",
		Long: `Lists, for every recipe at or below a path (default: the current folder) that is built on EC2 or published
there, the calls in their order with the minutes and the money that they will take. Nothing is made, and
no credentials are needed; with --resolve, parents are looked up as a build would, but for disks in S3.

Times are medians of the recipe's last builds on EC2, where the ledger has some. Prices are those of a list
with its date; for a type or region that is not in it, the plan says so.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			at := "."
			if len(args) == 1 {
				at = args[0]
			}
			return p.run(c, o, at)
		},
	}
	c.Flags().BoolVar(&p.aws, "aws", false, "plan builds on AWS; nothing else is planned yet")
	c.Flags().StringVar(&p.region, "region", "", "`region` of the build (default: aws.region of the configuration, $AWS_REGION)")
	c.Flags().StringVar(&p.instanceType, "instance-type", "", "instance `type`, such as m5.large (default: the first of the recipe's infrastructure, or of aws.instanceTypes)")
	c.Flags().BoolVar(&p.spot, "spot", false, "the instances are Spot instances")
	c.Flags().BoolVar(&p.resolve, "resolve", false, "look up parent images, with credentials as the AWS command line finds them")
	c.Flags().BoolVar(&p.testsOnly, "tests-only", false, "the images are there: they are only tested, as after a change of tests alone")
	c.Flags().BoolVar(&p.asJSON, "json", false, "one JSON object per recipe")
	return c
}

func (p *awsPlan) run(c *cobra.Command, o *globals, at string) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	if err := p.check(cfg.AWS); err != nil {
		return err
	}
	set, err := loadByHand(c.Context(), at, recipeOptions())
	if err != nil {
		return err
	}
	if problems := set.Problems(); len(problems) > 0 {
		return showProblems(c.OutOrStdout(), at, set, false)
	}
	var planned int
	for _, r := range sortedRecipes(set) {
		if !estimate.Concerns(r) {
			continue
		}
		planned++
		in, err := p.input(c.Context(), o, cfg.AWS, r)
		if err != nil {
			return err
		}
		if err := showPlan(c.OutOrStdout(), estimate.Of(in), p.asJSON); err != nil {
			return err
		}
	}
	if planned == 0 {
		return fmt.Errorf("no recipe at or below %s is built or published on EC2: that takes infrastructure: {driver: %s} or publish: {driver: %[2]s}", at, ec2.Name)
	}
	return nil
}

func (p *awsPlan) check(c config.AWS) error {
	p.region = cmp.Or(p.region, c.Region, os.Getenv("AWS_REGION"))
	switch {
	case !p.aws:
		return errors.New("say what to plan for: --aws")
	case p.region == "":
		return errors.New("say where: --region eu-west-1, or AWS_REGION")
	case !config.IsRegion(p.region):
		return fmt.Errorf("%q is no region: expected one such as eu-west-1", p.region)
	}
	_, err := p.typeOn(c.Infrastructure)
	return err
}

// typeOn is the type of the instances that a build asks for first.
func (p *awsPlan) typeOn(i config.Infrastructure) (string, error) {
	kind := p.instanceType
	if kind == "" && len(i.InstanceTypes) > 0 {
		kind = i.InstanceTypes[0]
	}
	switch {
	case kind == "":
		return "", errors.New("say on what: --instance-type m5.large")
	case !config.IsInstanceType(kind):
		return "", fmt.Errorf("%q is no instance type: expected one such as m5.large", kind)
	case catalogue.ArchitectureOf(kind) != catalogue.X8664:
		return "", fmt.Errorf("%s has an ARM processor, for which there is no agent: name a type of Intel or AMD, such as m5.large", kind)
	}
	return kind, nil
}

// infrastructureOf is what the instances of a recipe run on. One that names what there
// is not is not built; by hand it may be planned for a daemon that has it.
func infrastructureOf(r *recipe.Recipe, c config.AWS) config.Infrastructure {
	if named, ok := c.Infrastructures[r.Infrastructure.Name]; ok {
		return named
	}
	return c.Infrastructure
}

func (p *awsPlan) input(ctx context.Context, o *globals, c config.AWS, r *recipe.Recipe) (estimate.Input, error) {
	on := infrastructureOf(r, c)
	in := estimate.Input{Recipe: r, Region: p.region, Spot: p.spot || on.Spot, TestsOnly: p.testsOnly}
	var err error
	if in.InstanceType, err = p.typeOn(on); err != nil {
		return in, fmt.Errorf("%s: %w", r.Name, err)
	}
	if in.History, err = o.history(ctx, r); err != nil {
		return in, err
	}
	if p.resolve && r.Infrastructure.Driver == ec2.Name && r.Parent.Kind != recipe.ParentRecipe && r.Parent.Kind != recipe.ParentObject {
		cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(p.region))
		if err != nil {
			return in, fmt.Errorf("credentials: %w", err)
		}
		if in.Parent, err = resolveParent(ctx, cfg, r.Parent, in.InstanceType); err != nil {
			return in, err
		}
	}
	return in, nil
}

// resolveParent looks up a parent as a build on that type of instance would.
func resolveParent(ctx context.Context, cfg aws.Config, parent recipe.Parent, instanceType string) (*catalogue.Image, error) {
	c := catalogue.Catalogue{Images: awsec2.NewFromConfig(cfg), Parameters: ssm.NewFromConfig(cfg)}
	image, err := c.Resolve(ctx, parent.Text, catalogue.ArchitectureOf(instanceType))
	if err != nil {
		var e *builder.Error
		if errors.As(err, &e) && e.Hint != "" {
			return nil, fmt.Errorf("%w; %s", err, e.Hint)
		}
		return nil, err
	}
	return &image, nil
}

// history is that of a recipe, where this host has a ledger.
func (o *globals) history(ctx context.Context, r *recipe.Recipe) (none estimate.History, err error) {
	cfg, err := o.load()
	if err != nil {
		return none, err
	}
	url := cfg.Database.Reveal()
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return none, nil // a plan makes no ledger
		}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	l, err := ledger.Open(ctx, ledger.Options{URL: url, Log: log})
	if err != nil {
		return none, fmt.Errorf("database: %w", err)
	}
	known, err := historyOf(ctx, l, r)
	return known, errors.Join(err, l.Close())
}

// builds is what the times of earlier builds are read from.
type builds interface {
	Builds(ctx context.Context, f ledger.Filter) ([]reporter.Build, error)
	Stages(ctx context.Context, build int64) ([]reporter.Stage, error)
}

// recent is how many builds a median looks at, of at most lookedAt that succeeded.
const (
	recent   = 10
	lookedAt = 50
)

// historyOf is that of the recipe's builds with the driver that it has now.
func historyOf(ctx context.Context, l builds, r *recipe.Recipe) (known estimate.History, err error) {
	found, err := l.Builds(ctx, ledger.Filter{Recipe: r.Name, State: reporter.Succeeded, Limit: lookedAt})
	if err != nil {
		return known, err
	}
	seen := 0
	for _, b := range found {
		if b.Image == nil || b.Image.Driver != r.Infrastructure.Driver || r.Publish != nil && b.Image.Published == "" || seen == recent {
			continue
		}
		if seen == 0 {
			const gib = 1 << 30
			known.DiskGiB = int((b.Image.Virtual + gib - 1) / gib)
		}
		stages, err := l.Stages(ctx, b.ID)
		if err != nil {
			return known, err
		}
		seen++
		for _, s := range stages {
			if s.State == "succeeded" && !s.Finished.IsZero() {
				known.Took = append(known.Took, estimate.Took{Stage: builder.Stage(s.Stage), Name: s.Name, Time: s.Finished.Sub(s.Started)})
			}
		}
	}
	return known, nil
}

// estimator tells what builds will take on AWS, with one account's settings.
type estimator struct {
	on   config.AWS
	past builds
}

// newEstimator is of a daemon's settings; nil where it builds nothing on EC2.
func newEstimator(c config.AWS, past builds) *estimator {
	if c.Region == "" {
		return nil
	}
	return &estimator{on: c, past: past}
}

// tell adds what they take to builds that a decision asks for. A nil estimator knows
// of none.
func (e *estimator) tell(ctx context.Context, decisions []recipe.Decision, asked []ledger.NewBuild) error {
	if e == nil {
		return nil
	}
	for _, d := range decisions {
		if d.Recipe == nil || d.Action != recipe.ActionBuild && d.Action != recipe.ActionTest || !estimate.Concerns(d.Recipe) {
			continue
		}
		i := slices.IndexFunc(asked, func(b ledger.NewBuild) bool { return b.Recipe == d.Name && b.State == "" })
		if i < 0 {
			continue
		}
		history, err := historyOf(ctx, e.past, d.Recipe)
		if err != nil {
			return err
		}
		on := infrastructureOf(d.Recipe, e.on)
		asked[i].Estimate = estimate.Of(estimate.Input{
			Recipe: d.Recipe, Region: e.on.Region, InstanceType: on.InstanceTypes[0], Spot: on.Spot,
			TestsOnly: d.Action == recipe.ActionTest, History: history,
		}).Sentence()
	}
	return nil
}

func showPlan(w io.Writer, p estimate.Plan, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(p)
	}
	fmt.Fprintf(w, "%s %s on %s in %s, from %s\n\n", p.Recipe, p.Version, p.InstanceType, p.Region, p.Parent)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STAGE\tNAME\tTIME\tFROM\tCALLS")
	for _, s := range p.Steps {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", s.Stage, s.Name, time.Duration(s.Seconds)*time.Second, s.From, cmp.Or(strings.Join(s.Asks(), ", "), "none"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\n… repeated until what it waits for is there, ? only where it is needed, ×N at most N times")
	if len(p.Costs) > 0 {
		fmt.Fprintln(w)
		for _, c := range p.Costs {
			per := ""
			if c.Monthly {
				per = " a month, as long as it is kept"
			}
			fmt.Fprintf(table, "%s\t$%.4f%s\n", c.What, c.Dollars, per)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n\n", p.Sentence())
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/reporter/terminal"
)

func buildCommand(o *globals) *cobra.Command {
	var h byHand
	c := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Build and test one recipe of the working tree",
		Long: `Builds the recipe in a file, as it is in the working tree, and tests its image. What an earlier build
made under the same content is reused, also the daemon's. A parent recipe of the same tree is built first.`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			h.out = c.OutOrStdout()
			return h.run(c.Context(), o, args[0])
		},
	}
	c.Flags().BoolVar(&h.asJSON, "json", false, "events as JSON lines, the last one with the result")
	c.Flags().BoolVar(&h.fresh, "fresh", false, "reuse nothing: fetch the parent and the packages anew")
	c.Flags().StringVar(&h.isolation, "isolation", "", "container or vm, instead of what the recipe says")
	return c
}

// byHand is one `ingot build`.
type byHand struct {
	asJSON, fresh bool
	isolation     string
	out           io.Writer

	root  string
	parts *parts
	tree  *recipe.DirTree
	set   *recipe.Set
}

func (h *byHand) run(ctx context.Context, o *globals, path string) error {
	if h.isolation != "" && h.isolation != string(recipe.Container) && h.isolation != string(recipe.VM) {
		return fmt.Errorf("--isolation is container or vm, not %q", h.isolation)
	}
	where, err := placeOf(path)
	if err != nil {
		return err
	}
	h.root = where.root
	if h.tree, err = recipe.OpenDir(h.root); err != nil {
		return err
	}
	defer h.tree.Close()
	cfg, err := o.load()
	if err != nil {
		return err
	}
	options := recipeOptionsOf(cfg)
	options.HostFiles = true
	if h.set, err = recipe.Load(ctx, h.tree, options); err != nil {
		return err
	}
	r, err := h.pick(path, where.path)
	if err != nil {
		return err
	}
	if h.parts, err = o.open(ctx); err != nil {
		return err
	}
	defer h.parts.close()
	if err := asRoot(); err != nil {
		return err
	}
	// There may be no daemon that does this.
	if _, err := h.parts.driver.Sweep(ctx); err != nil {
		return fmt.Errorf("remove what an earlier process left: %w", err)
	}
	_, err = h.build(ctx, r)
	return err
}

// pick finds the recipe of a file. What is wrong with other documents is not
// this build's business. written is the path as the user gave it.
func (h *byHand) pick(written, path string) (*recipe.Recipe, error) {
	if bad, ok := h.set.Invalid[path]; ok {
		fmt.Fprintln(h.out, bad.Problems.Error())
		return nil, errAuthor
	}
	below := sortedRecipes(h.set.Within(path))
	switch {
	case len(below) == 1 && below[0].Path == path:
		return below[0], nil
	case len(below) > 0:
		return nil, fmt.Errorf("%s is a folder; name the file of one recipe, such as %s", written, filepath.Join(h.root, below[0].Path))
	}
	return nil, fmt.Errorf("%s is no recipe: a recipe begins with apiVersion: %s and kind: ImageRecipe", written, recipe.APIVersion)
}

// handPrefix begins the ids of builds that are no daemon's; the rest is the time in
// microseconds.
const handPrefix = "hand-"

// build builds a recipe, and the recipe that it stands on before it.
func (h *byHand) build(ctx context.Context, r *recipe.Recipe) (*builder.Image, error) {
	req := builder.Request{
		Build:     handPrefix + strconv.FormatInt(time.Now().UnixMicro(), 10),
		Recipe:    r,
		Tree:      h.tree,
		Refresh:   h.fresh,
		Isolation: recipe.Isolation(h.isolation),
	}
	if h.fresh {
		req.Epoch = req.Build
	}
	if r.Parent.Kind == recipe.ParentRecipe {
		img, err := h.parent(ctx, r)
		if err != nil {
			return nil, err
		}
		if req.Parent, err = h.parts.parentFor(ctx, r, img); err != nil {
			return nil, err
		}
	}
	driver, err := h.parts.driverOf(r)
	if err != nil {
		return nil, err
	}
	req.Publisher, req.Keep = h.parts.publisherOf(r), keepOf(r, h.parts.keep, filepath.Join(h.root, r.Path))
	show := h.display()
	start := time.Now()
	result, err := builder.New(driver, tests{h.parts.ledger}).Build(ctx, req, show.observe)
	if err == nil && !result.TestsReused {
		if err := h.parts.ledger.SaveTests(ctx, result.Keys.Test, testsOf(result)); err != nil {
			return nil, err
		}
	}
	published, kept := h.keep(context.WithoutCancel(ctx), r, result)
	err = errors.Join(err, kept, tellDisplaced(context.WithoutCancel(ctx), h.parts.ledger, result.Displaced))
	b := summaryOf(r, result, err, show.stages, start)
	if b.Image != nil {
		b.Image.Published = published
	}
	if err != nil && ctx.Err() != nil {
		b.State, b.Failure = reporter.Cancelled, nil // whatever broke off with it
	}
	return result.Image, show.finish(b, err)
}

// keep records what only the ledger can list: images of another driver than this host's,
// and as what the image is published, which it returns. An earlier build may have done
// that, under a recipe that asked for it.
func (h *byHand) keep(ctx context.Context, r *recipe.Recipe, result builder.Result) (published string, err error) {
	switch {
	case result.Image == nil:
		return "", nil
	case result.Image.Driver != h.parts.driver.Name():
		return "", h.parts.ledger.SaveImageByHand(ctx, r.Name, r.Version.String(), *result.Image)
	case result.Published != nil:
		return result.Published.ID, h.parts.ledger.SavePublished(ctx, ledger.ByHand, result.Image.ID, *result.Published)
	default:
		return h.parts.ledger.PublishedAs(ctx, result.Image.ID)
	}
}

// parent is the image of the recipe that r stands on: built from this tree when
// it is here, or else the newest release that the ledger knows.
func (h *byHand) parent(ctx context.Context, r *recipe.Recipe) (*builder.Image, error) {
	if up := h.set.Recipes[r.Parent.Name]; up != nil {
		return h.build(ctx, up)
	}
	releases, err := h.parts.ledger.Releases(ctx, r.Parent.Name, 200)
	if err != nil {
		return nil, err
	}
	if img := newestRelease(releases, r.Parent.Version); img != nil {
		return img, nil
	}
	return nil, fmt.Errorf("%s stands on %s, which is neither a recipe of this tree nor released", r.Name, r.Parent.Text)
}

// summaryOf is a build by hand in the reporter's words.
func summaryOf(r *recipe.Recipe, result builder.Result, err error, stages []reporter.Stage, start time.Time) reporter.Build {
	b := reporter.Build{
		Recipe: r.Name, RecipePath: r.Path, Version: r.Version.String(), Trigger: reporter.Manual, Action: reporter.ActionBuild,
		State: reporter.Succeeded, Stages: stages, Tests: testsOf(result), Created: start, Started: start, Finished: time.Now(),
	}
	if img := result.Image; img != nil {
		b.Image = &reporter.Image{
			ID: img.ID, Recipe: r.Name, Version: b.Version, Driver: img.Driver, Ref: img.Ref,
			Size: img.Size, Virtual: img.Virtual, OS: img.Inventory.OS, Created: img.Created,
		}
	}
	if err != nil {
		outcome, interrupted := failed(b, &result, err)
		b.State, b.Failure = outcome.State, outcome.Failure
		if interrupted != nil {
			b.State = reporter.Errored
		}
		if b.Failure != nil {
			b.Failure.Replay = "" // this was it
		}
	}
	return b
}

// display shows the events of one build, and folds them into stages.
type display struct {
	byHand *byHand
	term   *terminal.Display
	stages []reporter.Stage
	failed error
}

func (h *byHand) display() *display {
	d := &display{byHand: h}
	if !h.asJSON {
		d.term = terminal.New(h.out, terminalOptions(h.out))
	}
	return d
}

func (d *display) observe(e builder.Event) {
	d.fold(e)
	if d.byHand.asJSON {
		if err := json.NewEncoder(d.byHand.out).Encode(e); err != nil && d.failed == nil {
			d.failed = err
		}
		return
	}
	d.term.Update(terminal.Update{
		Kind: terminal.Kind(e.Kind), Stage: string(e.Stage), Name: e.Name, Step: e.Step, Text: e.Text, Elapsed: e.Elapsed,
	})
}

// fold keeps one row per stage, for the summary.
func (d *display) fold(e builder.Event) {
	if e.Step != "" || e.Kind == builder.Output || e.Kind == builder.Warned {
		return
	}
	if e.Kind == builder.Started {
		d.stages = append(d.stages, reporter.Stage{Stage: string(e.Stage), Name: e.Name, State: string(e.Kind), Started: e.Time})
		return
	}
	for i := range d.stages {
		if s := &d.stages[i]; s.Stage == string(e.Stage) && s.Name == e.Name {
			s.State, s.Text, s.Finished = string(e.Kind), e.Text, e.Time
			return
		}
	}
	d.stages = append(d.stages, reporter.Stage{Stage: string(e.Stage), Name: e.Name, State: string(e.Kind), Text: e.Text, Started: e.Time, Finished: e.Time})
}

// finish shows the outcome and returns what the command ends with. Whoever builds by
// hand is the operator too, and is told the cause of what is not the recipe's fault.
func (d *display) finish(b reporter.Build, cause error) error {
	if d.failed != nil {
		return d.failed
	}
	if d.byHand.asJSON {
		err := json.NewEncoder(d.byHand.out).Encode(struct {
			Kind    string            `json:"kind"`
			State   reporter.State    `json:"state"`
			Image   *reporter.Image   `json:"image,omitempty"`
			Tests   []reporter.Test   `json:"tests"`
			Failure *reporter.Failure `json:"failure,omitempty"`
			Elapsed time.Duration     `json:"elapsedNanoseconds"`
		}{"result", b.State, b.Image, b.Tests, b.Failure, b.Finished.Sub(b.Started)})
		if err != nil {
			return err
		}
	} else {
		if err := d.term.Close(); err != nil {
			return err
		}
		fmt.Fprint(d.byHand.out, terminal.Summary(b, terminalOptions(d.byHand.out)))
	}
	switch b.State {
	case reporter.Succeeded:
		return nil
	case reporter.Failed:
		return errAuthor
	default:
		return fmt.Errorf("the build of %s could not be done: %w", b.Recipe, cause)
	}
}

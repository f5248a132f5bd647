package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Memory remembers the outcome of tests by their test key.
type Memory interface {
	// TestsByKey returns the outcome of an earlier, passed run under the same key.
	TestsByKey(ctx context.Context, key string) ([]TestResult, bool, error)
}

// Request asks for the image of one recipe.
type Request struct {
	Build   string // id of the build: letters, digits, dashes; tags everything that is made
	Recipe  *recipe.Recipe
	Tree    recipe.Tree // where the recipe's files are read from
	Parent  *Image      // of recipe.ParentRecipe: the image that stands for it
	Refresh bool        // ask for a newer parent, not only for one that is there

	// Epoch separates builds that must not share results: a build that asks for
	// fresh packages starts a new one, later builds of the recipe go on in it.
	Epoch string

	Isolation recipe.Isolation // overrides the recipe's where it is not empty

	// Release asks for what is only for releases: an image that was there before gets the
	// tags that the recipe has now. A candidate leaves it as others use it.
	Release bool

	Publisher Publisher // to where the recipe wants its image published; nil: there is none

	Keep Keep // of the instance on which the author's documents fail
}

// Result is what a build made. It is also filled, as far as it got, beside an error.
type Result struct {
	Keys        recipe.Keys
	Base        Base
	Image       *Image // nil until there is one
	ImageReused bool
	Published   *Image // the same image as one of another driver, if the recipe asks for it
	Tests       []TestResult
	TestsReused bool
	Tested      bool        // all tests have run, or were reused
	Kept        *Kept       // the instance on which it failed, if that has stayed
	NotKept     string      // why it has not, where the recipe asks for it: the end of a sentence
	Displaced   []Displaced // other instances that went for it
}

// Passed reports whether there is an image and every test of it went well.
func (r Result) Passed() bool {
	if r.Image == nil {
		return false
	}
	for _, t := range r.Tests {
		if !t.Status.OK() {
			return false
		}
	}
	return r.Tested
}

// TestResult is the outcome of one test document.
type TestResult struct {
	Name    string
	Status  component.Status
	Message string // why it failed
	Steps   int
	Elapsed time.Duration
	Scan    *Scan // nil: the test is no scan
}

// Builder runs builds on one driver. It is safe for concurrent use.
type Builder struct {
	driver Driver
	memory Memory
	now    func() time.Time
}

// New returns a Builder on that driver.
func New(driver Driver, memory Memory) *Builder {
	return &Builder{driver: driver, memory: memory, now: time.Now}
}

// closeTimeout bounds how long an instance may take to give everything back
// after its build's context has ended.
const closeTimeout = time.Minute

// testMachines is how many machines the tests of one image may use up: an emulated
// processor that hangs is rare, and three in a row are something else.
const testMachines = 3

// Build makes, or finds, the image of the request and tests it. Every error is
// an *Error or comes from the end of ctx.
func (b *Builder) Build(ctx context.Context, req Request, observe Observer) (Result, error) {
	limit := time.Duration(req.Recipe.Infrastructure.TimeoutMinutes) * time.Minute
	if limit <= 0 {
		limit = time.Hour
	}
	ctx, cancel := withLimit(ctx, limit, &Error{
		Fault:  Author,
		Reason: fmt.Sprintf("the build took longer than %s", limit),
		Hint:   "raise infrastructure.timeoutMinutes, or find the step that hangs in the log",
	})
	defer cancel()

	p := &pipeline{Builder: b, req: req, tell: &narrator{observe: observe, now: b.now}}
	err := p.all(ctx)
	return p.result, explain(ctx, err)
}

// explain prefers the reason for which the context ended over what it broke.
func explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	var limit *Error
	if !errors.As(cause, &limit) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	out := *limit
	var at *Error
	if errors.As(err, &at) {
		out.Stage, out.Name, out.Step, out.Output = at.Stage, at.Name, at.Step, at.Output
	}
	out.Err = err
	return &out
}

// pipeline is one build on its way through the stages.
type pipeline struct {
	*Builder
	req    Request
	tell   *narrator
	result Result
}

// all goes through the stages. Up to the tests, all that is made stays in the account
// and region of builds; what leaves them does so after the tests, when every gate is
// passed.
func (p *pipeline) all(ctx context.Context) error {
	if err := p.publishable(); err != nil {
		return err
	}
	if err := p.resolve(ctx); err != nil {
		return err
	}
	if err := p.image(ctx); err != nil {
		return err
	}
	if err := p.publish(ctx); err != nil {
		return err
	}
	if err := p.test(ctx); err != nil {
		return err
	}
	return p.tag(ctx)
}

// resolve makes the parent usable and derives the keys that stand on it.
func (p *pipeline) resolve(ctx context.Context) error {
	return p.tell.stage(StageResolve, "", func() (EventKind, string, error) {
		source := ParentSource{Parent: p.req.Recipe.Parent, Build: p.req.Build, Image: p.req.Parent, Tree: p.req.Tree, Refresh: p.req.Refresh}
		base, err := p.driver.Resolve(ctx, source, func(line string) { p.tell.output(StageResolve, "", line+"\n", false) })
		if err != nil {
			return Failed, "", inStage(err, StageResolve, "", "the parent image "+p.req.Recipe.Parent.Text+" could not be prepared")
		}
		p.result.Base = base
		p.result.Keys = p.req.Recipe.Keys(base.Digest, component.EngineVersion+p.req.Epoch)
		return Succeeded, p.req.Recipe.Parent.Text, nil
	})
}

// image finds the image under its build key, or makes it.
func (p *pipeline) image(ctx context.Context) error {
	img, found, err := p.driver.Image(ctx, p.result.Keys.Build)
	if err != nil {
		return inStage(err, StageImage, "", "the image store could not be read")
	}
	if found {
		p.result.Image, p.result.ImageReused = &img, true
		p.tell.mark(Reused, StageImage, "", img.ID)
		return nil
	}
	return p.build(ctx)
}

// build runs the components on an instance and makes the image.
func (p *pipeline) build(ctx context.Context) (err error) {
	ahead := p.prepare(ctx)
	defer ahead.end()
	var inst Instance
	err = p.tell.stage(StageLaunch, "", func() (EventKind, string, error) {
		inst, err = p.driver.Launch(ctx, LaunchSpec{
			Build:      p.req.Build,
			Base:       p.result.Base,
			Layers:     p.result.Keys.Layers,
			Isolation:  p.isolation(),
			DiskGiB:    p.req.Recipe.DiskGiB,
			WorkingDir: p.req.Recipe.WorkingDir,
			AWS:        NeedAWS(p.req.Recipe.BuildUses()),
			Tags:       p.req.Recipe.ImageTags(p.now()),

			Infrastructure: p.req.Recipe.Infrastructure.Name,
			BlockDevices:   p.req.Recipe.BlockDevices,
			UserData:       p.req.Recipe.UserData,
		})
		if err != nil {
			return Failed, "", inStage(err, StageLaunch, "", "the build instance did not start")
		}
		return Succeeded, string(p.isolation()), nil
	})
	if err != nil {
		return err
	}
	defer func() { err = p.end(ctx, StageLaunch, p.driver, inst, err) }()

	if inst.Held() > 0 {
		ahead.goOn(inst)
	}
	if err := p.layers(ctx, inst, ahead); err != nil {
		return err
	}
	return p.finish(ctx, inst)
}

func (p *pipeline) isolation() recipe.Isolation {
	if p.req.Isolation != "" {
		return p.req.Isolation
	}
	return p.req.Recipe.Infrastructure.Isolation
}

// NeedAWS reports whether any of the documents can only run where AWS can be reached.
func NeedAWS(uses []recipe.Use) bool {
	return slices.ContainsFunc(uses, func(use recipe.Use) bool {
		return component.Job{Documents: []component.JobDocument{{Path: use.Path, Text: string(use.Text)}}}.NeedsAWS()
	})
}

// layers puts the files on the instance and runs the components, leaving out
// what the layers that it started from hold already.
func (p *pipeline) layers(ctx context.Context, inst Instance, ahead *preparation) error {
	layer := 0
	step := func(stage Stage, name string, work func() error) error {
		key := p.result.Keys.Layers[layer]
		layer++
		if layer <= inst.Held() {
			p.tell.mark(Reused, stage, name, "")
			return nil
		}
		return p.tell.stage(stage, name, func() (EventKind, string, error) {
			if err := work(); err != nil {
				return Failed, "", err
			}
			if err := inst.Keep(ctx, key); err != nil {
				return Failed, "", inStage(err, stage, name, "the layer could not be kept")
			}
			ahead.goOn(inst)
			return Succeeded, "", nil
		})
	}
	if files := p.req.Recipe.Files; len(files) > 0 {
		err := step(StageFiles, "", func() error {
			return inStage(inst.Put(ctx, p.req.Tree, files), StageFiles, "", "the recipe's files could not be put on the instance")
		})
		if err != nil {
			return err
		}
	}
	for _, use := range p.req.Recipe.BuildUses() {
		err := step(StageBuild, use.Name, func() error {
			_, err := p.run(ctx, inst, StageBuild, use, "build", "validate")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish takes inventory, cleans up and makes the image.
func (p *pipeline) finish(ctx context.Context, inst Instance) error {
	var inventory Inventory
	err := p.tell.stage(StageInventory, "", func() (kind EventKind, text string, err error) {
		if inventory, err = inst.Inventory(ctx); err != nil {
			return Failed, "", inStage(err, StageInventory, "", "the list of packages could not be read")
		}
		return Succeeded, fmt.Sprintf("%d packages", len(inventory.Packages)), nil
	})
	if err != nil {
		return err
	}
	err = p.tell.stage(StageClean, "", func() (EventKind, string, error) {
		if err := inst.Clean(ctx); err != nil {
			return Failed, "", inStage(err, StageClean, "", "the instance could not be cleaned up")
		}
		return Succeeded, "", nil
	})
	if err != nil {
		return err
	}
	return p.tell.stage(StageImage, "", func() (EventKind, string, error) {
		img, err := inst.Snapshot(ctx, p.result.Keys.Build, inventory)
		if err != nil {
			return Failed, "", inStage(err, StageImage, "", "the image could not be made")
		}
		img.Revision = p.result.Base.Revision
		p.result.Image = &img
		return Succeeded, img.ID, nil
	})
}

// run runs some phases of one document and turns its failure into the author's.
func (p *pipeline) run(ctx context.Context, on Runner, stage Stage, use recipe.Use, phases ...string) (component.DocumentResult, error) {
	tail := newTail(40, 8<<10)
	job := component.Job{
		ID: jobID(p.req.Build, stage, use.Name),
		Documents: []component.JobDocument{{
			Name: use.Name, Path: use.Path, Text: string(use.Text), Parameters: use.Parameters,
		}},
		Phases:     phases,
		WorkingDir: p.req.Recipe.WorkingDir,
	}
	res, err := on.Run(ctx, job, func(e component.Event) {
		if e.Kind == component.Output {
			tail.write(e.Text)
		}
		p.tell.component(stage, use.Name, e)
	})
	if err != nil {
		return component.DocumentResult{}, inStage(err, stage, use.Name, "the component could not be run to its end")
	}
	var doc component.DocumentResult
	if len(res.Documents) > 0 {
		doc = res.Documents[0]
	}
	if res.Status.OK() {
		return doc, nil
	}
	failure := &Error{Fault: Author, Stage: stage, Name: use.Name, Reason: "the component failed", Output: tail.String()}
	if f := res.Failure; f != nil {
		failure.Step = f.Phase + "/" + f.Step
		failure.Reason = fmt.Sprintf("step %s (%s) failed: %s", f.Step, f.Action, f.Message)
		failure.Hint = "see " + f.Path + ", phase " + f.Phase + ", step " + f.Step
	}
	return doc, failure
}

// jobID names one execution; a document may stand in a recipe more than once,
// but its runs never share an instance state because each one ends first.
func jobID(build string, stage Stage, name string) string {
	return fmt.Sprintf("%s-%s-%s", build, stage, name)
}

// test boots a new instance of the image and runs the test phases in it. When the
// instance fails for a reason that is nobody's, the image has not been tried: it
// gets another one.
func (p *pipeline) test(ctx context.Context) error {
	known, found, err := p.memory.TestsByKey(ctx, p.result.Keys.Test)
	if err != nil {
		return inStage(err, StageTest, "", "earlier test results could not be read")
	}
	if found {
		p.result.Tests, p.result.TestsReused, p.result.Tested = known, true, true
		p.tell.mark(Reused, StageBoot, "", "")
		for _, t := range known {
			p.tell.mark(Reused, StageTest, t.Name, t.Message)
		}
		return nil
	}

	for machine := 1; ; machine++ {
		err := p.testInGuest(ctx)
		if FaultOf(err) != Transient || machine == testMachines || ctx.Err() != nil {
			return err
		}
		p.result.Tests = nil
		p.tell.mark(Warned, StageBoot, "", fmt.Sprintf("%v: another machine is started, %d of %d", err, machine+1, testMachines))
	}
}

func (p *pipeline) testInGuest(ctx context.Context) (err error) {
	guest, err := p.boot(ctx)
	if guest != nil {
		on, _ := p.tested()
		defer func() { err = p.end(ctx, StageBoot, on, guest, err) }()
	}
	if err != nil {
		return err
	}
	return p.tests(ctx, guest)
}

// boot starts the guest and waits for its login prompt. The guest is returned
// also beside an error, to be closed.
func (p *pipeline) boot(ctx context.Context) (guest Guest, err error) {
	err = p.tell.stage(StageBoot, "", func() (EventKind, string, error) {
		on, image := p.tested()
		guest, err = on.Boot(ctx, BootSpec{
			Build: p.req.Build, Image: image, Disks: p.req.Recipe.Infrastructure.TestDisks,
			Infrastructure: p.req.Recipe.Infrastructure.Name,
			Prepare:        p.prepares(), Isolation: p.isolation(),
		})
		if err != nil {
			return Failed, "", inStage(err, StageBoot, "", "the test instance did not start")
		}
		if err := guest.WaitLogin(ctx); err != nil {
			failure := inStage(err, StageBoot, "", "the image does not boot to a login prompt")
			var e *Error
			if errors.As(failure, &e) && e.Output == "" {
				e.Output = lastLines(guest.Console(), 40)
			}
			return Failed, "", failure
		}
		return Succeeded, "login prompt", nil
	})
	return guest, err
}

// PhasePrepare is a phase of ours, which other engines leave alone: it puts onto
// the test instance's disk what a test needs and the image must not have.
const PhasePrepare = "prepare"

// prepares is what the tests do before the instance boots; nil when no test does.
func (p *pipeline) prepares() func(context.Context, Runner) error {
	uses := slices.DeleteFunc(p.req.Recipe.TestUses(), func(u recipe.Use) bool {
		return u.Document == nil || !u.Document.HasPhase(PhasePrepare)
	})
	if len(uses) == 0 {
		return nil
	}
	return func(ctx context.Context, on Runner) error {
		for _, use := range uses {
			err := p.tell.stage(StagePrepare, use.Name, func() (EventKind, string, error) {
				_, err := p.run(ctx, on, StagePrepare, use, PhasePrepare)
				return Succeeded, "", err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// tests runs every test, also after one has failed: their author wants to see all.
func (p *pipeline) tests(ctx context.Context, guest Guest) error {
	var first error
	for _, use := range p.req.Recipe.TestUses() {
		err := p.tell.stage(StageTest, use.Name, func() (EventKind, string, error) {
			start := p.now()
			var scan scanReader
			doc, err := p.run(ctx, scanned{guest, &scan}, StageTest, use, component.PhaseTest)
			if err != nil && FaultOf(err) != Author {
				return Failed, "", err
			}
			t := TestResult{Name: use.Name, Status: doc.Status, Steps: len(doc.Steps), Elapsed: p.now().Sub(start), Scan: scan.result()}
			if scan.wrong != "" {
				p.tell.mark(Warned, StageTest, use.Name, scan.wrong)
			}
			if err != nil {
				var e *Error
				errors.As(err, &e)
				t.Status, t.Message = component.Failed, e.Reason
			}
			p.result.Tests = append(p.result.Tests, t)
			if err != nil {
				return Failed, t.Message, err
			}
			return Succeeded, "", nil
		})
		if err != nil && (FaultOf(err) != Author || ctx.Err() != nil) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	p.result.Tested = true
	return first
}

// close gives an instance back even when the build's own context has ended, unless
// the build goes on with it in another process.
func (p *pipeline) close(ctx context.Context, stage Stage, on interface{ Close(context.Context) error }) error {
	if lasting, ok := on.(Lasting); ok && GoesOn(ctx) {
		lasting.Leave()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := on.Close(ctx); err != nil {
		return inStage(err, stage, "", "the instance could not be taken down completely")
	}
	return nil
}

// inStage puts the stage on an error that has none, and a sentence for people on
// one that is not an *Error yet.
func inStage(err error, stage Stage, name, reason string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Stage: stage, Name: name, Reason: reason, Err: err}
	}
	out := *e
	if out.Stage == "" {
		out.Stage = stage
	}
	if out.Name == "" {
		out.Name = name
	}
	if out.Reason == "" {
		out.Reason = reason
	}
	return &out
}

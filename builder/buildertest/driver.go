// Package buildertest has a driver for the tests of those who use drivers.
//
// It keeps images and layers in maps, takes no time, and refuses what a real
// driver would: calls after Close, layers that were not asked for, a second
// instance of the same build, an image of an instance that was not cleaned. What
// runs in its instances is not executed; a test scripts how it ends. What drivers
// really do is held by package drivertest.
package buildertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Driver is a scripted builder.Driver. Its fields are set before it is used.
type Driver struct {
	Fail   map[string]component.Failure // by document name and first phase: "nginx build"
	Broken map[string]error             // by call: resolve, launch, put, run, keep, inventory, clean, snapshot, retain, displace, boot, login, exec
	Flaky  map[string][]error           // by call, as in Broken: how the next ones end
	Until  map[string]<-chan struct{}   // by call, as in Broken: it ends when this is closed
	Hang   string                       // document whose run ends only with its context
	Busy   map[string]bool              // by build: a command runs on what is kept of it
	Prints map[string]string            // standard output by document name and first phase; else one line

	mu       sync.Mutex
	revision string
	images   map[string]builder.Image
	layers   map[string]bool
	live     map[string]bool
	kept     []builder.Kept
	calls    []string
}

// New returns a driver on which everything goes well.
func New() *Driver {
	return &Driver{
		Fail: map[string]component.Failure{}, Broken: map[string]error{}, Flaky: map[string][]error{},
		revision: "r1", images: map[string]builder.Image{}, layers: map[string]bool{}, live: map[string]bool{},
	}
}

// Calls returns what was called since the last time, in order.
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

// Live names the instances that were not closed.
func (d *Driver) Live() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for name := range d.live {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (d *Driver) call(name string) error {
	what := strings.Fields(name)[0]
	if until := d.Until[what]; until != nil {
		<-until
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, name)
	if next := d.Flaky[what]; len(next) > 0 {
		d.Flaky[what] = next[1:]
		return next[0]
	}
	return d.Broken[what]
}

func (d *Driver) begin(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[name] {
		return fmt.Errorf("%s is alive already", name)
	}
	d.live[name] = true
	return nil
}

func (d *Driver) end(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.live, name)
}

// Name is that of the driver which every recipe asks for unless it says otherwise.
func (d *Driver) Name() string { return "local" }

// SetRevision moves every parent.
func (d *Driver) SetRevision(revision string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revision = revision
}

// Revision is r1 until SetRevision.
func (d *Driver) Revision(context.Context, recipe.Parent) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision, nil
}

// Resolve knows every parent by its text, and an image by its digest.
func (d *Driver) Resolve(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	log("looking at " + p.Text)
	if err := d.call("resolve"); err != nil {
		return builder.Base{}, err
	}
	revision, _ := d.Revision(ctx, p.Parent)
	base := builder.Base{Ref: p.Text, Digest: "digest-of-" + p.Text, Revision: revision, Platform: "Linux"}
	if p.Image != nil {
		base.Ref, base.Digest, base.Revision = p.Image.Ref, p.Image.Digest, p.Image.Digest
	}
	return base, nil
}

// Image finds an image by its build key.
func (d *Driver) Image(_ context.Context, key string) (builder.Image, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	img, ok := d.images[key]
	return img, ok, nil
}

// Images lists all images.
func (d *Driver) Images() ([]builder.Image, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []builder.Image
	for _, img := range d.images {
		out = append(out, img)
	}
	return out, nil
}

// Warm does nothing.
func (d *Driver) Warm(context.Context) error { return nil }

// Prune finds nothing.
func (d *Driver) Prune(context.Context, store.Keep) ([]string, error) { return nil, nil }

// Sweep finds nothing.
func (d *Driver) Sweep(context.Context) ([]string, error) { return nil, nil }

// Launch starts an instance from the deepest layer that was kept.
func (d *Driver) Launch(_ context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	if err := d.call("launch " + string(spec.Isolation)); err != nil {
		return nil, err
	}
	if err := d.begin("instance of " + spec.Build); err != nil {
		return nil, err
	}
	i := &instance{Driver: d, spec: spec}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i.held < len(spec.Layers) && d.layers[spec.Layers[i.held]] {
		i.held++
	}
	return i, nil
}

// Boot starts a guest of an image that exists.
func (d *Driver) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	if _, ok, _ := d.Image(ctx, spec.Image.Key); !ok {
		return nil, fmt.Errorf("no image %s", spec.Image.Key)
	}
	if err := d.call("boot"); err != nil {
		return nil, err
	}
	if err := d.begin("guest of " + spec.Build); err != nil {
		return nil, err
	}
	g := &guest{Driver: d, build: spec.Build}
	if spec.Prepare != nil {
		if err := spec.Prepare(ctx, g); err != nil {
			return nil, errors.Join(err, g.Close(ctx))
		}
	}
	return g, nil
}

// Kept lists what was retained and not removed.
func (d *Driver) Kept(context.Context) ([]builder.Kept, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.kept), nil
}

// Exec prints the command, and fails when it is "false".
func (d *Driver) Exec(ctx context.Context, build string, command []string, emit func(component.Event)) (int, error) {
	kept, _ := d.Kept(ctx)
	if !slices.ContainsFunc(kept, func(k builder.Kept) bool { return k.Build == build }) {
		return 0, builder.ErrNotKept
	}
	if err := d.call("exec " + strings.Join(command, " ")); err != nil {
		return 0, err
	}
	emit(component.Event{Kind: component.Output, Stream: "stdout", Text: strings.Join(command, " ") + "\n"})
	if command[0] == "false" {
		return 1, nil
	}
	return 0, nil
}

// Remove forgets what was retained.
func (d *Driver) Remove(_ context.Context, build string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := len(d.kept)
	d.kept = slices.DeleteFunc(d.kept, func(k builder.Kept) bool { return k.Build == build })
	if len(d.kept) == before {
		return builder.ErrNotKept
	}
	return nil
}

// Displace forgets one that was retained, unless it is busy.
func (d *Driver) Displace(_ context.Context, kept builder.Kept) error {
	if err := d.call("displace " + kept.Build); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.IndexFunc(d.kept, func(k builder.Kept) bool { return k.Ref == kept.Ref })
	switch {
	case at < 0:
		return builder.ErrNotKept
	case d.Busy[kept.Build]:
		return builder.ErrInUse
	}
	d.kept = slices.Delete(d.kept, at, at+1)
	return nil
}

// Hold has an instance kept that another process kept.
func (d *Driver) Hold(kept builder.Kept) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, kept)
}

// retain ends an instance as one that is kept.
func (d *Driver) retain(instance string, kept builder.Kept) (builder.Kept, error) {
	if err := d.call("retain"); err != nil {
		return kept, err
	}
	d.end(instance)
	d.mu.Lock()
	defer d.mu.Unlock()
	kept.Driver, kept.Ref = d.Name(), instance
	d.kept = append(d.kept, kept)
	return kept, nil
}

func (d *Driver) run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	doc := job.Documents[0]
	if err := d.call("run " + doc.Name + " " + strings.Join(job.Phases, ",")); err != nil {
		return component.Result{}, err
	}
	text, ok := d.Prints[doc.Name+" "+job.Phases[0]]
	if !ok {
		text = "output of " + doc.Name + "\n"
	}
	emit(component.Event{Kind: component.Output, Stream: "stdout", Text: text, Phase: job.Phases[0], Step: "S"})
	if d.Hang == doc.Name {
		<-ctx.Done()
		return component.Result{}, ctx.Err()
	}
	res := component.Result{Status: component.Success, Documents: []component.DocumentResult{{Name: doc.Name, Status: component.Success}}}
	if f, bad := d.Fail[doc.Name+" "+job.Phases[0]]; bad {
		res.Status, res.Failure, res.Documents[0].Status = component.Failed, &f, component.Failed
	}
	return res, nil
}

type instance struct {
	*Driver
	spec          builder.LaunchSpec
	held          int
	clean, closed bool
}

func (i *instance) use(call string) error {
	if i.closed {
		return errors.New("the instance is closed")
	}
	return i.call(call)
}

func (i *instance) Held() int { return i.held }

func (i *instance) Put(context.Context, recipe.Tree, []recipe.Files) error { return i.use("put") }

func (i *instance) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if i.closed {
		return component.Result{}, errors.New("the instance is closed")
	}
	return i.run(ctx, job, emit)
}

func (i *instance) Keep(_ context.Context, key string) error {
	if !slices.Contains(i.spec.Layers, key) {
		return fmt.Errorf("layer %s was not asked for", key)
	}
	if err := i.use("keep"); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.layers[key] = true
	return nil
}

func (i *instance) Inventory(context.Context) (builder.Inventory, error) {
	return builder.Inventory{OS: "Scripted 1", Packages: []builder.Package{{Name: "base", Version: "1"}}}, i.use("inventory")
}

func (i *instance) Clean(context.Context) error {
	i.clean = true
	return i.use("clean")
}

func (i *instance) Snapshot(_ context.Context, key string, inventory builder.Inventory) (builder.Image, error) {
	if !i.clean {
		return builder.Image{}, errors.New("the instance is not clean")
	}
	if err := i.use("snapshot"); err != nil {
		return builder.Image{}, err
	}
	img := builder.Image{
		ID: "img-" + key[:12], Key: key, Driver: i.Name(), Ref: key, Digest: key,
		Size: 640 << 20, Virtual: 4 << 30, Inventory: inventory, Created: time.Now(),
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.images[key] = img
	return img, nil
}

func (i *instance) Retain(_ context.Context, kept builder.Kept) (builder.Kept, error) {
	if i.closed {
		return kept, errors.New("the instance is closed")
	}
	return i.retain("instance of "+i.spec.Build, kept)
}

func (i *instance) Close(context.Context) error {
	i.closed = true
	i.end("instance of " + i.spec.Build)
	return nil
}

type guest struct {
	*Driver
	build string
}

func (g *guest) WaitLogin(context.Context) error { return g.call("login") }

func (g *guest) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return g.run(ctx, job, emit)
}

func (g *guest) Console() string { return "line 1\nKernel panic\n" }

func (g *guest) Retain(_ context.Context, kept builder.Kept) (builder.Kept, error) {
	return g.retain("guest of "+g.build, kept)
}

func (g *guest) Close(context.Context) error {
	g.end("guest of " + g.build)
	return nil
}

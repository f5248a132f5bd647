// Package drivertest is the conformance suite that every builder.Driver passes.
//
// A driver's own test calls Run with a driver on an empty state folder (or
// account) and a Linux parent. To add a case, add a function to cases: it gets
// a fixture of its own and may leave nothing behind, which Run checks after it.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Setup is what the suite needs to know of a driver.
type Setup struct {
	Driver    builder.Driver
	Parent    builder.ParentSource
	Isolation recipe.Isolation
	Layers    Layers
	// Leftovers names everything that builds have made and not given back, images
	// and layers aside: instances, mounts, processes, work folders.
	Leftovers func() []string
}

// Layers says which layers of a build a driver keeps.
type Layers int

const (
	NoLayers   Layers = iota // an instance always starts from the parent
	LastLayer                // the last of a build
	EveryLayer               // each, so that a build can start between its components
)

// Run runs every case against the driver.
func Run(t *testing.T, s Setup) {
	base, err := s.Driver.Resolve(t.Context(), s.Parent, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatalf("resolve %s: %v", s.Parent.Text, err)
	}
	for _, c := range cases {
		if c.layers && s.Layers != EveryLayer {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, Setup: s, base: base, jobs: new(int)}
			f.build = f.key("build")
			t.Cleanup(func() { // after the instances of the case were closed
				if left := s.Leftovers(); len(left) > 0 {
					t.Errorf("left behind: %s", strings.Join(left, ", "))
				}
			})
			c.run(f)
		})
	}
}

// Every boot of a machine takes long where guests are emulated, so that a case asks
// its instance, its image and its guests for all that they can tell.
var cases = []struct {
	name   string
	run    func(*fixture)
	layers bool // only for drivers that keep each layer
}{
	{"a resolved parent resolves again to the same content", resolvesAgain, false},
	{"components become an image that is found by its key", makesImage, false},
	{"a kept layer is where the next instance starts", startsFromLayer, true},
	{"an instance runs one component after the other", runsComponents, false},
	{"an instance on which a component failed is kept, entered and removed", keepsInstance, false},
	{"what happens in a guest does not reach the image", guestIsThrowAway, false},
	{"close may come twice and at any time", closesTwice, false},
}

// fixture is one case's view of the driver.
type fixture struct {
	*testing.T
	Setup
	base  builder.Base
	build string // for which instances are launched
	jobs  *int   // how many the case has made
}

// key makes a layer or image key that no other case uses.
func (f *fixture) key(name string) string {
	return strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(strings.ToLower(f.Name())) + "-" + name
}

// step runs a part of the case, after which the next one goes on where it ended.
func (f *fixture) step(name string, run func(*fixture)) {
	f.Helper()
	f.Run(name, func(t *testing.T) {
		part := *f
		part.T = t
		run(&part)
	})
}

func (f *fixture) launch(layers ...string) builder.Instance {
	f.Helper()
	inst, err := f.Driver.Launch(f.Context(), builder.LaunchSpec{
		Build: f.build, Base: f.base, Layers: layers, Isolation: f.Isolation,
	})
	if err != nil {
		f.Fatalf("launch: %v", err)
	}
	f.Cleanup(func() { f.close(inst.Close) })
	return inst
}

func (f *fixture) close(giveBack func(context.Context) error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := giveBack(ctx); err != nil {
		f.Errorf("close: %v", err)
	}
}

func (f *fixture) must(what string, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}

// job wraps bash commands of one step into a document's job.
func (f *fixture) job(phase string, commands ...string) component.Job {
	var b strings.Builder
	fmt.Fprintf(&b, "schemaVersion: 1.0\nphases:\n  - name: %s\n    steps:\n      - name: Step\n        action: ExecuteBash\n        inputs:\n          commands:\n", phase)
	for _, c := range commands {
		fmt.Fprintf(&b, "            - |\n              %s\n", strings.ReplaceAll(c, "\n", "\n              "))
	}
	*f.jobs++
	return component.Job{
		ID:        fmt.Sprint(f.build, "-", *f.jobs),
		Documents: []component.JobDocument{{Name: "case", Path: "case.yaml", Text: b.String()}},
		Phases:    []string{phase},
	}
}

// output runs a job that must succeed and returns what its step printed.
func (f *fixture) output(on interface {
	Run(context.Context, component.Job, func(component.Event)) (component.Result, error)
}, job component.Job) string {
	f.Helper()
	var out strings.Builder
	res, err := on.Run(f.Context(), job, func(e component.Event) {
		if e.Kind == component.Output {
			out.WriteString(e.Text)
		}
	})
	f.must("run", err)
	if !res.Status.OK() {
		f.Fatalf("run ended %q: %+v\n%s", res.Status, res.Failure, out.String())
	}
	return out.String()
}

func (f *fixture) snapshot(inst builder.Instance, key string) builder.Image {
	f.Helper()
	inventory, err := inst.Inventory(f.Context())
	f.must("inventory", err)
	f.must("clean", inst.Clean(f.Context()))
	img, err := inst.Snapshot(f.Context(), key, inventory)
	f.must("snapshot", err)
	return img
}

func resolvesAgain(f *fixture) {
	again, err := f.Driver.Resolve(f.Context(), f.Parent, func(string) {})
	f.must("resolve", err)
	if again != f.base || again.Digest == "" {
		f.Errorf("resolved again to %+v, first to %+v", again, f.base)
	}
}

func makesImage(f *fixture) {
	key := f.key("image")
	if _, found, err := f.Driver.Image(f.Context(), key); err != nil || found {
		f.Fatalf("before the build: found %v, %v", found, err)
	}
	inst := f.launch(f.key("layer"))
	f.output(inst, f.job("build", "echo made > /etc/made"))
	f.must("keep", inst.Keep(f.Context(), f.key("layer")))
	img := f.snapshot(inst, key)
	if img.ID == "" || img.Key != key || img.Size <= 0 || img.Digest == "" || img.Driver != f.Driver.Name() {
		f.Errorf("image is incomplete: %+v", img)
	}
	if len(img.Inventory.Packages) < 20 || img.Inventory.OS == "" {
		f.Errorf("inventory is incomplete: %q, %d packages", img.Inventory.OS, len(img.Inventory.Packages))
	}
	f.close(inst.Close)
	f.sweep() // which leaves images and layers alone
	found, ok, err := f.Driver.Image(f.Context(), key)
	f.must("look up", err)
	if !ok || found.ID != img.ID || found.Digest != img.Digest {
		f.Errorf("looked up %v %+v, made %+v", ok, found, img)
	}
	want := min(1, int(f.Layers))
	if held := f.launch(f.key("layer")).Held(); held != want {
		f.Errorf("the next instance of the same layer holds %d, want %d", held, want)
	}
}

func startsFromLayer(f *fixture) {
	one, two := f.key("one"), f.key("two")
	inst := f.launch(one, two)
	if inst.Held() != 0 {
		f.Fatalf("%d layers held before the first build", inst.Held())
	}
	f.output(inst, f.job("build", "echo one > /etc/one"))
	f.must("keep", inst.Keep(f.Context(), one))
	f.output(inst, f.job("build", "echo lost > /etc/lost"))
	f.close(inst.Close)

	inst = f.launch(one, two)
	if inst.Held() != 1 {
		f.Fatalf("%d layers held after one was kept", inst.Held())
	}
	got := f.output(inst, f.job("build", "cat /etc/one; test ! -e /etc/lost && echo clean"))
	if got != "one\nclean\n" {
		f.Errorf("the layer holds %q", got)
	}
}

// runsComponents has the files put first, which a machine has on its disk when it boots,
// and cancels at last.
func runsComponents(f *fixture) {
	inst := f.launch(f.key("layer"))
	for _, s := range []struct {
		name string
		run  func(*fixture, builder.Instance)
	}{
		{"files keep their content, mode and links", putsFiles},
		{"a failing component says which step, and the next one runs", fails},
		{"a reboot inside a component resumes it", resumesAfterReboot},
		{"sweep leaves it alone", survivesSweep},
		{"a cancelled component ends with its whole process tree", cancels},
	} {
		f.step(s.name, func(f *fixture) { s.run(f, inst) })
	}
	f.close(inst.Close)
}

func putsFiles(f *fixture, inst builder.Instance) {
	tree := treeFS{fstest.MapFS{
		"site/index.html": {Data: []byte("hello\n"), Mode: 0o644},
		"site/run.sh":     {Data: []byte("#!/bin/sh\necho ran\n"), Mode: 0o755},
	}}
	f.must("put", inst.Put(f.Context(), tree, []recipe.Files{{
		Source: "site", Destination: "/srv/site",
		Entries: []recipe.File{
			{Path: "site", Target: "/srv/site", Mode: fs.ModeDir | 0o755},
			{Path: "site/index.html", Target: "/srv/site/index.html", Mode: 0o644, Size: 6},
			{Path: "site/link", Target: "/srv/site/link", Mode: fs.ModeSymlink | 0o777, Link: "index.html"},
			{Path: "site/run.sh", Target: "/srv/site/run.sh", Mode: 0o755, Size: 19},
		},
	}}))
	got := f.output(inst, f.job("build", "cat /srv/site/link; /srv/site/run.sh; stat -c '%a %U' /srv/site/index.html"))
	if want := "hello\nran\n644 root\n"; got != want {
		f.Errorf("got %q, want %q", got, want)
	}
}

func fails(f *fixture, inst builder.Instance) {
	res, err := inst.Run(f.Context(), f.job("build", "echo to stderr >&2; exit 3"), func(component.Event) {})
	f.must("run", err)
	if res.Status != component.Failed || res.Failure == nil || res.Failure.Step != "Step" || !strings.Contains(res.Failure.Stderr, "to stderr") {
		f.Errorf("result %q, failure %+v", res.Status, res.Failure)
	}
}

func resumesAfterReboot(f *fixture, inst builder.Instance) {
	got := f.output(inst, f.job("build", "if test -e /var/lib/rebooted; then echo back; else touch /var/lib/rebooted; echo going; exit 194; fi"))
	if !strings.Contains(got, "going\n") || !strings.HasSuffix(got, "back\n") {
		f.Errorf("got %q", got)
	}
}

func survivesSweep(f *fixture, inst builder.Instance) {
	f.sweep()
	if got := f.output(inst, f.job("build", "echo alive")); got != "alive\n" {
		f.Errorf("a running instance answered %q after sweep", got)
	}
}

func cancels(f *fixture, inst builder.Instance) {
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	_, err := inst.Run(ctx, f.job("build", "echo up; (setsid sleep 3600 &) ; sleep 3600"), func(e component.Event) {
		if e.Kind == component.Output {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		f.Errorf("cancelled run returned %v", err)
	}
}

func (f *fixture) sweep() {
	f.Helper()
	_, err := f.Driver.Sweep(f.Context())
	f.must("sweep", err)
}

func guestIsThrowAway(f *fixture) {
	inst := f.launch()
	img := f.snapshot(inst, f.key("image"))
	f.close(inst.Close)

	prepare := func(_ context.Context, on builder.Runner) error {
		f.output(on, f.job("build", "echo x > /etc/prepared"))
		return nil
	}
	guest := f.boot(builder.BootSpec{Build: f.key("boot-first"), Image: img, Prepare: prepare, Isolation: f.Isolation})
	// A machine that was booted only to prepare the disk must not be seen by a test.
	got := f.output(guest, f.job("test", "[ /etc/machine-id -nt /etc/prepared ] || echo old; test -e /etc/prepared && echo prepared; "+leaveTrace))
	if got != "prepared\nclean\n" {
		f.Errorf("the first guest says %q", got)
	}
	f.close(guest.Close)

	if f.Isolation == recipe.VM {
		// How a guest came to be prepared is all that differs in this isolation, and
		// what it left is seen without a further boot.
		f.step("the image is as it was made", func(f *fixture) { readsImage(f, img) })
		return
	}
	guest = f.boot(builder.BootSpec{Build: f.build, Image: img, Isolation: f.Isolation})
	if got := f.output(guest, f.job("test", noTrace+leaveTrace)); got != "clean\n" {
		f.Errorf("the second guest says %q", got)
	}
	f.step("a guest in which a test failed is kept, entered and removed", func(f *fixture) { keepsGuest(f, guest) })
}

const (
	noTrace    = "test -e /etc/prepared && echo prepared; "
	leaveTrace = "test ! -e /etc/written && echo clean; echo x > /etc/written"
)

// readsImage looks into a container over an image.
func readsImage(f *fixture, img builder.Image) {
	parent := builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentRecipe, Name: "image"}, Image: &img}
	base, err := f.Driver.Resolve(f.Context(), parent, func(line string) { f.Log(line) })
	f.must("resolve the image", err)
	f.base, f.Isolation = base, recipe.Container
	if got := f.output(f.launch(), f.job("build", noTrace+"test ! -e /etc/written && echo clean")); got != "clean\n" {
		f.Errorf("the image has %q", got)
	}
}

// boot waits for a login prompt. A machine that fails for nobody's reason is
// replaced, as the pipeline does it.
func (f *fixture) boot(spec builder.BootSpec) builder.Guest {
	f.Helper()
	for machine := 1; ; machine++ {
		guest, err := f.Driver.Boot(f.Context(), spec)
		f.must("boot", err)
		err = guest.WaitLogin(f.Context())
		if err == nil {
			return guest
		}
		f.close(guest.Close)
		if builder.FaultOf(err) != builder.Transient || machine == 3 {
			f.Fatalf("wait for login of machine %d: %v", machine, err)
		}
		f.Logf("machine %d: %v", machine, err)
	}
}

func closesTwice(f *fixture) {
	inst := f.launch(f.key("layer"))
	f.close(inst.Close)
	f.close(inst.Close)
}

// treeFS makes a recipe.Tree of an in-memory file system.
type treeFS struct{ fstest.MapFS }

func (t treeFS) Hash(path string) (string, error) { return path, nil }

// Package builder turns one recipe at one commit into a tested image.
//
// Builder.Build runs the pipeline: resolve the parent, launch an instance, run
// the components, take inventory, clean up, make the image, boot a new instance
// from it, run the tests. What it needs from the world is behind Driver and
// Memory; what happens is told to an Observer, event by event.
//
// It never decides whether to build (package recipe plans), where results are
// kept (the ledger) or who is told (the reporter).
package builder

import (
	"context"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Driver is where instances and images live. Every call may be repeated after a
// crash: what a driver makes carries the build's id and is recorded before it is
// made, so that Sweep finds it. All errors are *Error where somebody has to act.
type Driver interface {
	Name() string

	// Revision names what a parent stands for right now, cheaply: nothing is fetched.
	// Two equal revisions mean that nothing moved.
	Revision(ctx context.Context, p recipe.Parent) (string, error)

	// Resolve makes the parent usable, fetching or making it where necessary.
	// log receives lines for the build's log.
	Resolve(ctx context.Context, p ParentSource, log func(string)) (Base, error)

	// Launch starts an instance from the deepest of spec.Layers that the driver
	// holds, or else from spec.Base.
	Launch(ctx context.Context, spec LaunchSpec) (Instance, error)

	// Boot starts a new instance from a finished image, for tests. Nothing that
	// happens in it reaches the image.
	Boot(ctx context.Context, spec BootSpec) (Guest, error)

	// Image returns a finished image by its build key.
	Image(ctx context.Context, key string) (Image, bool, error)

	// Sweep removes what builds that no live process owns have left behind. What is
	// kept stays for its time.
	Sweep(ctx context.Context) (removed []string, err error)

	Keeper
}

// ParentSource is a parent with what the driver needs to get at its bytes.
type ParentSource struct {
	recipe.Parent
	Build string      // the build's id; tags what is made for it alone
	Image *Image      // of ParentRecipe: the image that the version pattern picked
	Tree  recipe.Tree // of ParentFile with a relative path: the repository

	// Refresh asks for the parent as it is at its source now; otherwise one that
	// is there already will do.
	Refresh bool
}

// Base is a parent image that is ready to be launched.
type Base struct {
	Ref      string // the driver's own name for it: a file, an AMI id
	Digest   string // of its content; part of every key built on it
	Revision string // as Driver.Revision gave it
	Platform string
}

// LaunchSpec asks for a build instance.
type LaunchSpec struct {
	Build     string // the build's id; tags everything that is made
	Base      Base
	Layers    []string // keys of the layers that the build goes through, in order
	Isolation recipe.Isolation
	DiskGiB   int
	// WorkingDir is that of the jobs, in which Clean looks for files that ask it to
	// leave something alone; /tmp when empty.
	WorkingDir string
	// AWS asks for an agent that reaches AWS, if the driver has one: documents need it.
	AWS bool
	// Infrastructure is the one that the recipe names, for the driver ec2.
	Infrastructure string
	// BlockDevices are those of the instance and of the image, for the driver ec2.
	BlockDevices []recipe.BlockDevice
	// UserData is what the instance does at its first boot, for the driver ec2.
	UserData string
	// Tags are those of the image, for a driver whose images have tags.
	Tags map[string]string
}

// Instance is a running build instance. One goroutine uses it at a time.
type Instance interface {
	// Held is how many of the first LaunchSpec.Layers the instance started from.
	Held() int
	// Put writes files of the repository onto the instance.
	Put(ctx context.Context, tree recipe.Tree, files []recipe.Files) error
	// Run runs a job; reboots that its documents ask for happen inside.
	Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error)
	// Keep makes the instance's present state the layer of that key. A driver
	// without layers does nothing.
	Keep(ctx context.Context, key string) error
	// Inventory lists what is installed.
	Inventory(ctx context.Context) (Inventory, error)
	// Clean removes what must not be in an image: keys, logs, histories, machine id.
	Clean(ctx context.Context) error
	// Snapshot makes the image of that build key, with its inventory. The instance
	// is of no use afterwards.
	Snapshot(ctx context.Context, key string, inventory Inventory) (Image, error)
	// Retain ends the use of the instance in the place of Close, and has it kept as it
	// is. What it returns has the driver's own part filled in. After an error the
	// instance has to be closed.
	Retain(ctx context.Context, kept Kept) (Kept, error)
	// Close gives everything back. It is safe to call twice, and after any error.
	Close(ctx context.Context) error
}

// Lasting is an Instance or a Guest that outlives its process: Launch or Boot for the
// same build, in the next one, finds it and goes on with it. It is not closed when the
// build goes on there. All others end with their process.
type Lasting interface {
	// Leave lets go of it as it is; Close does nothing any more.
	Leave()
}

// BootSpec asks for an instance of a finished image.
type BootSpec struct {
	Build string
	Image Image
	Disks []int // sizes in GiB of further, empty disks, for tests that want some

	Infrastructure string // that the recipe names, for the driver ec2

	// Prepare runs jobs over the instance's own disk before it boots, with the
	// network that components have; nil: there are none. An error of it is returned
	// by Boot as it is.
	Prepare   func(ctx context.Context, on Runner) error
	Isolation recipe.Isolation // of Prepare
}

// Runner runs jobs.
type Runner interface {
	Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error)
}

// Guest is a running instance of a finished image.
type Guest interface {
	// WaitLogin returns when the console shows a login prompt.
	WaitLogin(ctx context.Context) error
	// Run runs a job; it may be called as soon as Boot returned and waits for the agent.
	Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error)
	// Console is the serial console's text so far, capped at its end.
	Console() string
	// Retain is that of an Instance.
	Retain(ctx context.Context, kept Kept) (Kept, error)
	Close(ctx context.Context) error
}

// Publisher makes finished images of one driver images of another, on whose machines
// they are then tested. It may be called again after a crash, and then returns the
// image that it has made already. What it makes stays in the account and region
// of builds: it is not released by that.
type Publisher interface {
	// Publish adds an image. log receives lines for the build's log.
	Publish(ctx context.Context, spec PublishSpec, log func(string)) (Image, error)
	// Boot is that of a Driver, for images that were published.
	Boot(ctx context.Context, spec BootSpec) (Guest, error)

	Keeper // of what Boot starts
}

// Preparer is a Publisher that can do some of its work while an image is made.
type Preparer interface {
	// Prepare gets to know what an image will be made of that is going to be published,
	// until ctx ends: its parent, and then each Layered that it has gone through. It
	// only saves time: what goes wrong does so again in Publish, which tells of it.
	Prepare(ctx context.Context, spec PrepareSpec)
}

// PrepareSpec says what an image is being made of.
type PrepareSpec struct {
	Ref string // as that of a Base
	Via recipe.Via
}

// Layered is an Instance whose layers can be read like a Base while it goes on.
type Layered interface {
	// Layer is the Ref of the last one that was kept; empty: there is none.
	Layer() string
}

// Tagger is a Driver or a Publisher whose images have tags.
type Tagger interface {
	// Tag gives an image tags, besides those that it has, and reports whether that
	// changed anything.
	Tag(ctx context.Context, img Image, tags map[string]string) (changed bool, err error)
}

// PublishSpec says what is published.
type PublishSpec struct {
	Build   string // the build's id; tags everything that is made
	Image   Image  // as its driver made it
	Parent  *Image // that it stands on, when that is an image, too
	Recipe  string
	Version string
	Tags    map[string]string // of an image that is not there yet
	Via     recipe.Via
}

// Image is a finished image.
type Image struct {
	ID        string // img-… or ami-…
	Key       string // the build key
	Driver    string
	Ref       string // the driver's own name: a file, an AMI id
	Digest    string // names its content: part of the keys of recipes whose parent it is
	Size      int64  // bytes that it occupies, with what it shares with its parent
	Virtual   int64  // bytes of the disk that a machine sees
	Revision  string // of the parent it was made from
	Inventory Inventory
	Created   time.Time
}

// Inventory is what is installed in an image.
type Inventory struct {
	OS       string    `json:"os"` // PRETTY_NAME of os-release
	Kernel   string    `json:"kernel,omitempty"`
	Packages []Package `json:"packages"` // sorted by name, then architecture
}

// Package is one installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
}

// Stage is a part of the pipeline.
type Stage string

const (
	StageResolve    Stage = "resolve"
	StageLaunch     Stage = "launch"
	StageFiles      Stage = "files"
	StageBuild      Stage = "build" // once per component
	StageInventory  Stage = "inventory"
	StageClean      Stage = "clean"
	StageImage      Stage = "image"
	StageBoot       Stage = "boot"
	StagePrepare    Stage = "prepare" // once per test that has to, inside of boot
	StageTest       Stage = "test"    // once per test
	StagePublish    Stage = "publish" // of a local image as one of another driver
	StageDistribute Stage = "distribute"
)

// EventKind says what an Event reports.
type EventKind string

const (
	Started   EventKind = "started"
	Succeeded EventKind = "succeeded"
	Failed    EventKind = "failed"
	Reused    EventKind = "reused"  // done before, under the same key
	Output    EventKind = "output"  // Text is a piece of log
	Warned    EventKind = "warned"  // Text is worth reading, but fails nothing
	Skipped   EventKind = "skipped" // Text says why
)

// Event is something that happened in a build. Stage and Name together are one
// row of a progress display; Step is filled for the steps inside a document.
type Event struct {
	Time    time.Time     `json:"time"`
	Kind    EventKind     `json:"kind"`
	Stage   Stage         `json:"stage"`
	Name    string        `json:"name,omitempty"` // component or test; empty for a stage that runs once
	Step    string        `json:"step,omitempty"` // phase/step
	Text    string        `json:"text,omitempty"`
	Stderr  bool          `json:"stderr,omitempty"` // of Output
	Elapsed time.Duration `json:"elapsedNanoseconds,omitempty"`
}

// Observer hears every event of a build, in order, from one goroutine at a time.
// It must not block for long: the build waits.
type Observer func(Event)

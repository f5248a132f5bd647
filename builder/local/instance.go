package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/container"
	"github.com/seed-6db18919/ingot/builder/local/guest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

const gib = 1 << 30

// instance is a build in the making: a stack of layers with an overlay on top that
// is either mounted, or (isolation vm) the disk of a running guest.
type instance struct {
	d    *Driver
	work *workspace
	spec builder.LaunchSpec

	held int // layers that it started from
	next int // the layer of spec.Layers that is made next

	below   store.Below  // what the overlay is on
	virtual int64        // bytes of that disk
	lease   *store.Lease // on below, where it is a layer
	claim   *store.Lock  // the right to make spec.Layers[next]

	overlay  string // empty: none is made yet
	overlays int    // how many were made, for their names
	mounts   int    // how many mount points were made, for their names
	grown    bool   // the overlay's filesystem fills it
	mount    *mount.Mount
	machine  *machine        // isolation vm
	injected *guest.Injected // set while the agent is in the overlay

	closed bool
}

// Held implements builder.Instance.
func (i *instance) Held() int { return i.held }

// Run implements builder.Instance.
func (i *instance) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if i.spec.Isolation == recipe.VM {
		return i.runInGuest(ctx, job, emit)
	}
	if err := i.mounted(ctx); err != nil {
		return component.Result{}, err
	}
	return containerOver{mount: i.mount, work: i.work, agent: i.d.agent(i.spec.AWS)}.Run(ctx, job, emit)
}

// containerOver runs jobs in a container over a mounted disk.
type containerOver struct {
	mount *mount.Mount
	work  *workspace
	agent string
}

// Run implements builder.Runner.
func (c containerOver) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	spec := container.Spec{Root: c.mount.Root(), Agent: c.agent, Env: c.work.env()}
	var err error
	if spec.State, err = c.work.folder("state"); err != nil {
		return component.Result{}, err
	}
	if spec.Logs, err = c.work.folder("log"); err != nil {
		return component.Result{}, err
	}
	result, err := container.Run(ctx, spec, job, emit)
	return result, atStage(builder.StageBuild, "the container could not be run", err)
}

// mounted makes the overlay's root filesystem a folder of the host, whatever it was
// before.
func (i *instance) mounted(ctx context.Context) error {
	if i.mount != nil {
		return nil
	}
	if err := i.powerOff(ctx); err != nil {
		return err
	}
	if err := i.makeOverlay(ctx); err != nil {
		return atStage(builder.StageLaunch, "no layer could be begun", err)
	}
	i.mounts++
	dir, err := i.work.folder(fmt.Sprintf("mount-%d", i.mounts))
	if err != nil {
		return atStage(builder.StageLaunch, "no mount point could be made", err)
	}
	i.mount, err = mount.Attach(ctx, mount.Spec{
		Disk: i.overlay, Dir: dir, Env: i.work.env(), Grow: i.grows() && !i.grown,
		Check: i.injected != nil, // a machine has written to the disk as it liked
	})
	if err != nil {
		return atStage(builder.StageLaunch, "the disk could not be mounted", err)
	}
	i.grown = true
	return atStage(builder.StageBuild, "the build machine's disk could not be taken over", i.takeOver())
}

func (i *instance) wanted() int64 { return int64(i.spec.DiskGiB) * gib }

// grows reports whether the recipe asks for a larger disk than what is below.
func (i *instance) grows() bool { return i.wanted() > i.virtual }

func (i *instance) makeOverlay(ctx context.Context) error {
	if i.overlay != "" {
		return nil
	}
	i.overlays++
	n := store.NewOverlay{
		Path:  filepath.Join(i.work.dir, fmt.Sprintf("disk-%d.qcow2", i.overlays)),
		Below: i.below, Env: i.work.env(),
	}
	if i.grows() {
		n.Size = i.wanted()
	}
	if err := i.d.store.Overlay(ctx, n); err != nil {
		return err
	}
	i.overlay = n.Path
	return nil
}

// unmounted has the overlay complete in its file, with nobody using it.
func (i *instance) unmounted(ctx context.Context) error {
	if err := i.mounted(ctx); err != nil { // also what a guest wrote, less the agent
		return err
	}
	if err := i.mount.Detach(ctx); err != nil {
		return err
	}
	i.mount = nil
	return context.Cause(ctx)
}

// Keep implements builder.Instance. With isolation vm a layer costs a power-off and
// another boot, so that only the last of a build's layers is kept there.
func (i *instance) Keep(ctx context.Context, key string) error {
	if i.next >= len(i.spec.Layers) || i.spec.Layers[i.next] != key {
		return fmt.Errorf("layer %s is not the next one of the build", key)
	}
	if i.spec.Isolation == recipe.VM && i.next < len(i.spec.Layers)-1 {
		i.next++
		return nil
	}
	if err := i.keep(ctx, key); err != nil {
		return atStage(builder.StageBuild, "the layer could not be kept", err)
	}
	return nil
}

var _ builder.Layered = (*instance)(nil)

// Layer implements builder.Layered.
func (i *instance) Layer() string {
	if i.below.Layer == "" {
		return ""
	}
	return i.d.store.Disk(i.below.Layer)
}

func (i *instance) keep(ctx context.Context, key string) error {
	if err := i.unmounted(ctx); err != nil {
		return err
	}
	layer, err := i.d.store.Publish(ctx, i.overlay, key, i.below, i.spec.Build)
	if err != nil {
		return err
	}
	lease, err := i.d.store.Lease(key)
	if err != nil {
		return err
	}
	err = i.lease.Release()
	i.lease, i.below, i.virtual, i.overlay = lease, store.Below{Layer: key}, layer.Virtual, ""
	i.next++
	return errors.Join(err, i.claimAhead())
}

// claimAhead takes the right to the next layer before it gives up that to the one
// just made: builds that wait for us then go on waiting until they can start from
// the last layer they share with us.
func (i *instance) claimAhead() error {
	made := i.claim
	i.claim = nil
	var err error
	if i.next < len(i.spec.Layers) {
		i.claim, _, err = i.d.store.TryClaim(i.spec.Layers[i.next])
	}
	return errors.Join(err, made.Release())
}

// Snapshot implements builder.Instance.
func (i *instance) Snapshot(ctx context.Context, key string, inventory builder.Inventory) (builder.Image, error) {
	if err := i.unmounted(ctx); err != nil {
		return builder.Image{}, atStage(builder.StageImage, "the image could not be completed", err)
	}
	img, err := i.d.store.PublishImage(ctx, i.overlay, i.below, store.NewImage{
		Key: key, Build: i.spec.Build, Driver: Name, Revision: i.spec.Base.Revision, Inventory: inventory,
	})
	if err != nil {
		return builder.Image{}, atStage(builder.StageImage, "the image could not be stored", err)
	}
	i.overlay = ""
	return img, nil
}

// Close implements builder.Instance. What it can't remove is left to Sweep.
func (i *instance) Close(ctx context.Context) error {
	if i.closed {
		return nil
	}
	i.closed = true
	var errs []error
	if i.machine != nil {
		errs = append(errs, i.machine.close(ctx))
	}
	if i.mount != nil {
		errs = append(errs, i.mount.Detach(ctx))
	}
	return i.work.finish(errors.Join(append(errs, i.claim.Release(), i.lease.Release())...))
}

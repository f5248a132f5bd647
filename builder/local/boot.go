package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/guest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// testGuest is a machine booted from an overlay of a finished image.
type testGuest struct {
	*machine
	d       *Driver
	work    *workspace
	lease   *store.Lease
	mount   *mount.Mount // while the agent is put in
	further []string     // names of the empty disks
	closed  bool
}

// testDisk is the name of a test machine's disk in its workspace.
const testDisk = "disk.qcow2"

// Boot implements builder.Driver. The machine reaches no network: a test is of the
// image, and whoever made that has not shown yet what it is. What tests need beside
// it is put onto its disk before.
func (d *Driver) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	w, err := d.newWorkspace(ctx, spec.Build)
	if err != nil {
		return nil, atStage(builder.StageBoot, "no workspace could be made", err)
	}
	g := &testGuest{d: d, work: w}
	if err := g.start(ctx, d, spec); err != nil {
		return nil, errors.Join(atStage(builder.StageBoot, "the test machine did not start", err), g.Close(ctx))
	}
	return g, nil
}

func (g *testGuest) start(ctx context.Context, d *Driver, spec builder.BootSpec) error {
	key, ok := d.store.LayerOf(spec.Image.Ref)
	if !ok {
		return fmt.Errorf("%s is no image of this store", spec.Image.Ref)
	}
	var err error
	if g.lease, err = d.store.Lease(key); err != nil {
		return fmt.Errorf("image %s: %w", spec.Image.ID, err)
	}
	disk := filepath.Join(g.work.dir, testDisk)
	if err := d.store.Overlay(ctx, store.NewOverlay{Path: disk, Below: store.Below{Layer: key}, Env: g.work.env()}); err != nil {
		return err
	}
	dir, err := g.work.folder("mount-1")
	if err != nil {
		return err
	}
	if g.mount, err = mount.Attach(ctx, mount.Spec{Disk: disk, Dir: dir, Env: g.work.env()}); err != nil {
		return err
	}
	if spec.Prepare != nil && spec.Isolation != recipe.VM {
		if err := spec.Prepare(ctx, containerOver{mount: g.mount, work: g.work, agent: d.agent(false)}); err != nil {
			return err
		}
	}
	if _, err := d.inject(g.mount, false); err != nil {
		return err
	}
	if err := spare(g.mount); err != nil {
		return err
	}
	if err := g.mount.Detach(ctx); err != nil {
		return err
	}
	g.mount = nil
	if spec.Prepare != nil && spec.Isolation == recipe.VM {
		if err := g.prepareInMachine(ctx, d, disk, spec.Prepare); err != nil {
			return err
		}
	}
	more, err := g.disks(spec.Disks)
	if err != nil {
		return err
	}
	g.machine, err = d.startMachine(ctx, g.work, guest.Spec{Disk: disk, ExtraDisks: more, Network: guest.Isolated})
	return err
}

// disks makes the empty disks that a test asked for. They take the room that the
// test writes to.
func (g *testGuest) disks(sizes []int) ([]guest.Disk, error) {
	var disks []guest.Disk
	for n, size := range sizes {
		name := fmt.Sprintf("test-disk-%d.raw", n+1)
		d := guest.Disk{Path: filepath.Join(g.work.dir, name), Format: "raw"}
		f, err := os.OpenFile(d.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Truncate(int64(size)*gib), f.Close()); err != nil {
			return nil, err
		}
		disks, g.further = append(disks, d), append(g.further, name)
	}
	return disks, nil
}

// prepareInMachine boots the disk for Prepare alone, in a machine with the network
// that building ones have, and makes it that of a new instance again.
func (g *testGuest) prepareInMachine(ctx context.Context, d *Driver, disk string, prepare func(context.Context, builder.Runner) error) error {
	var err error
	if g.machine, err = d.startMachine(ctx, g.work, guest.Spec{Disk: disk, Network: guest.Outbound}); err != nil {
		return err
	}
	if err := prepare(ctx, g); err != nil {
		return err
	}
	if err := g.machine.powerOff(ctx); err != nil {
		return err
	}
	g.machine = nil
	dir, err := g.work.folder("mount-2")
	if err != nil {
		return err
	}
	// A machine has written to the disk as it liked.
	if g.mount, err = mount.Attach(ctx, mount.Spec{Disk: disk, Dir: dir, Env: g.work.env(), Check: true}); err != nil {
		return err
	}
	if err := cleanUp(g.mount, ""); err != nil {
		return err
	}
	if err := g.mount.Detach(ctx); err != nil {
		return err
	}
	g.mount = nil
	return nil
}

// WaitLogin implements builder.Guest.
func (g *testGuest) WaitLogin(ctx context.Context) error { return g.guest.WaitLogin(ctx) }

// Run implements builder.Guest.
func (g *testGuest) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	result, err := g.run(ctx, job, emit)
	return result, atStage(builder.StageTest, "the test could not be run in the machine", err)
}

// Console implements builder.Guest.
func (g *testGuest) Console() string { return g.guest.Console() }

// Close implements builder.Guest. What it can't remove is left to Sweep.
func (g *testGuest) Close(ctx context.Context) error {
	if g.closed {
		return nil
	}
	g.closed = true
	var errs []error
	if g.machine != nil {
		errs = append(errs, g.machine.close(ctx))
	}
	if g.mount != nil {
		errs = append(errs, g.mount.Detach(ctx))
	}
	return g.work.finish(errors.Join(append(errs, g.lease.Release())...))
}

// spare keeps the guest from doing what no test is about.
func spare(m *mount.Mount) error {
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		return err
	}
	return errors.Join(guest.Spare(root), root.Close())
}

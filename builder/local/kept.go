package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/guest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// What is kept of an instance is its disk, in its workspace: processes would die with
// this one. Exec makes of it what it was, a container over the disk or a machine
// that boots from it, for as long as the command runs.

// keptFile is the name of a record in its workspace, which has no owner and is kept
// as long as it is there and says so.
const keptFile = "kept.json"

// kept is the record.
type kept struct {
	builder.Kept
	Disk  string   `json:"disk"`            // a qcow2 file of the workspace
	Disks []string `json:"disks,omitempty"` // raw files, further disks of a machine
	Boots bool     `json:"boots"`           // a machine with the agent on its disk; else a container
}

// readKept reads the record of a workspace.
func readKept(dir string) (k kept, found bool, err error) {
	err = store.ReadJSON(filepath.Join(dir, keptFile), &k)
	if errors.Is(err, fs.ErrNotExist) {
		return k, false, nil
	}
	return k, err == nil, err
}

// keep makes a workspace one that is kept. Its disks stand on a layer, if key is not
// empty, and nobody has them open.
func (d *Driver) keep(w *workspace, k kept, key string) (builder.Kept, error) {
	k.Driver, k.Ref = Name, filepath.Base(w.dir)
	for _, disk := range append([]string{k.Disk}, k.Disks...) {
		if err := syncFile(filepath.Join(w.dir, disk)); err != nil {
			return k.Kept, err
		}
	}
	if key != "" {
		if err := d.store.Hold(k.Ref, key); err != nil {
			return k.Kept, err
		}
	}
	return k.Kept, store.WriteJSON(filepath.Join(w.dir, keptFile), k)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Retain implements builder.Instance.
func (i *instance) Retain(ctx context.Context, k builder.Kept) (builder.Kept, error) {
	if i.closed {
		return k, errors.New("the instance was given back")
	}
	if err := i.rest(ctx); err != nil {
		return k, atStage(k.Stage, "the instance could not be kept", err)
	}
	k, err := i.d.keep(i.work, kept{Kept: k, Disk: filepath.Base(i.overlay), Boots: i.injected != nil}, i.below.Layer)
	if err != nil {
		return k, atStage(k.Stage, "the instance could not be kept", err)
	}
	i.closed = true
	return k, errors.Join(i.claim.Release(), i.lease.Release(), i.work.lock.Release())
}

// rest has the overlay as its next user needs it, and nobody using it.
func (i *instance) rest(ctx context.Context) error {
	switch {
	case i.machine != nil:
		err := i.machine.rest(ctx)
		i.machine = nil
		return err
	case i.spec.Isolation == recipe.VM && i.injected == nil:
		return i.bootable(ctx)
	case i.spec.Isolation == recipe.VM:
		return nil // the machine did not come up, or was lost
	}
	if err := i.mounted(ctx); err != nil {
		return err
	}
	if err := i.mount.Detach(ctx); err != nil {
		return err
	}
	i.mount = nil
	return nil
}

// offPatience is how long a machine may take to power off.
const offPatience = time.Minute

// rest ends a machine so that its disk is complete, if it can do that; the disk of one
// that hangs is that of a machine whose power failed, which the next boot mends.
func (m *machine) rest(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, offPatience)
	defer cancel()
	if m.powerOff(limited) == nil {
		return nil
	}
	return m.close(ctx)
}

// Retain implements builder.Guest.
func (g *testGuest) Retain(ctx context.Context, k builder.Kept) (builder.Kept, error) {
	if g.closed || g.machine == nil {
		return k, errors.New("there is no machine any more")
	}
	err := g.machine.rest(ctx)
	g.machine = nil
	if err == nil {
		k, err = g.d.keep(g.work, kept{Kept: k, Disk: testDisk, Disks: g.further, Boots: true}, g.lease.Layer.Key)
	}
	if err != nil {
		return k, atStage(builder.StageTest, "the test machine could not be kept", err)
	}
	g.closed = true
	return k, errors.Join(g.lease.Release(), g.work.lock.Release())
}

// Kept implements builder.Keeper.
func (d *Driver) Kept(context.Context) ([]builder.Kept, error) {
	all, err := d.kept()
	var out []builder.Kept
	for _, k := range all {
		out = append(out, k.Kept)
	}
	return out, err
}

// kept reads all records, the oldest first.
func (d *Driver) kept() ([]kept, error) {
	names, err := d.workspaces()
	if err != nil {
		return nil, err
	}
	var all []kept
	for _, name := range names {
		k, found, err := readKept(filepath.Join(d.store.Work(), name))
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(a, b kept) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// keptOf are the records of a build.
func (d *Driver) keptOf(build string) ([]kept, error) {
	all, err := d.kept()
	all = slices.DeleteFunc(all, func(k kept) bool { return k.Build != build })
	if err == nil && len(all) == 0 {
		err = builder.ErrNotKept
	}
	return all, err
}

// Exec implements builder.Keeper. One command runs on an instance at a time.
func (d *Driver) Exec(ctx context.Context, build string, command []string, emit func(component.Event)) (status int, err error) {
	all, err := d.keptOf(build)
	if err != nil {
		return 0, err
	}
	k := all[len(all)-1]
	w, err := d.enter(ctx, k)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.lock.Release()) }()
	if k.Boots {
		return d.execInMachine(ctx, w, k, command, emit)
	}
	return d.execInContainer(ctx, w, k, command, emit)
}

// enterPatience is how long the use of a kept instance is waited for: a sweep looks
// at it for a moment.
const enterPatience = 5 * time.Second

// enter takes possession of a kept workspace, without anything that an earlier
// command left when it was killed.
func (d *Driver) enter(ctx context.Context, k kept) (*workspace, error) {
	w := &workspace{dir: filepath.Join(d.store.Work(), k.Ref)}
	limited, cancel := context.WithTimeoutCause(ctx, enterPatience, &builder.Error{
		Stage: k.Stage, Reason: builder.ErrInUse.Error(), Hint: "wait for its end", Err: builder.ErrInUse,
	})
	defer cancel()
	var err error
	if w.lock, err = store.Acquire(limited, w.dir+lockSuffix); err != nil {
		return nil, err
	}
	_, found, err := readKept(w.dir)
	if err == nil && !found {
		err = builder.ErrNotKept // removed in between
	}
	if err == nil {
		_, err = dismantle(ctx, w.dir)
	}
	if err != nil {
		return nil, errors.Join(err, w.lock.Release())
	}
	return w, nil
}

// execInContainer enters the disk as the components did.
func (d *Driver) execInContainer(ctx context.Context, w *workspace, k kept, command []string, emit func(component.Event)) (status int, err error) {
	dir, err := w.folder("mount-exec")
	if err != nil {
		return 0, err
	}
	// A command that was killed may have left it in disorder.
	m, err := mount.Attach(ctx, mount.Spec{Disk: filepath.Join(w.dir, k.Disk), Dir: dir, Env: w.env(), Check: true})
	if err != nil {
		return 0, atStage(k.Stage, "the disk of the kept instance could not be mounted", err)
	}
	defer func() { err = errors.Join(err, m.Detach(ctx)) }()
	return builder.RunCommand(ctx, containerOver{mount: m, work: w, agent: d.agent(false)}, "/", command, emit)
}

// execInMachine boots the disk, with the network that the machine had.
func (d *Driver) execInMachine(ctx context.Context, w *workspace, k kept, command []string, emit func(component.Event)) (status int, err error) {
	spec := guest.Spec{Disk: filepath.Join(w.dir, k.Disk), Network: guest.Isolated}
	if k.Stage != builder.StageTest {
		spec.Network = guest.Outbound
	}
	for _, name := range k.Disks {
		spec.ExtraDisks = append(spec.ExtraDisks, guest.Disk{Path: filepath.Join(w.dir, name), Format: "raw"})
	}
	m, err := d.usefulMachine(ctx, w, spec)
	if err != nil {
		return 0, atStage(k.Stage, "the kept machine did not start", err)
	}
	defer func() { err = errors.Join(err, m.rest(context.WithoutCancel(ctx))) }()
	return builder.RunCommand(ctx, machineRunner{m}, "/", command, emit)
}

// machineRunner runs jobs in a machine.
type machineRunner struct{ *machine }

// Run implements builder.Runner.
func (m machineRunner) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return m.run(ctx, job, emit)
}

// Remove implements builder.Keeper.
func (d *Driver) Remove(ctx context.Context, build string) error {
	all, err := d.keptOf(build)
	if err != nil {
		return err
	}
	for _, k := range all {
		// Somebody else may be faster.
		if gone := d.Displace(ctx, k.Kept); !errors.Is(gone, builder.ErrNotKept) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// Displace implements builder.Keeper. Without its record, which goes first, a workspace
// is one that nobody owns: what a process leaves that dies here is swept away.
func (d *Driver) Displace(ctx context.Context, k builder.Kept) error {
	w, err := d.enter(ctx, kept{Kept: k})
	if err != nil {
		return err
	}
	return w.finish(os.Remove(filepath.Join(w.dir, keptFile)))
}

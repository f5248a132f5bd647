package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/guest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
)

// machine is a guest that was booted from a disk with the agent in it.
type machine struct {
	guest  *guest.Machine
	client *agent.Client
}

// buildMachines is how many machines may be used up before one of them answers.
const buildMachines = 3

// startMachine boots a machine in its workspace, without waiting for anything inside.
// spec has its disks and its network; the rest is the driver's.
func (d *Driver) startMachine(ctx context.Context, w *workspace, spec guest.Spec) (*machine, error) {
	accel, err := d.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := w.folder("guest")
	if err != nil {
		return nil, err
	}
	spec.Dir, spec.Env, spec.Log = dir, w.env(), d.log
	spec.Accel, spec.CPUs, spec.MemoryMiB = accel, d.cfg.CPUs, d.cfg.MemoryMiB
	m, err := guest.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	open := func(ctx context.Context) (io.ReadWriteCloser, error) { return m.Dial(ctx) }
	return &machine{guest: m, client: agent.NewClient(open)}, nil
}

// run runs a job. A machine that fails ends it.
func (m *machine) run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	ctx, stop := m.guest.Watch(ctx)
	defer stop()
	return m.client.Run(ctx, job, emit)
}

// powerOff returns when the guest has stopped by itself and its disk is complete.
func (m *machine) powerOff(ctx context.Context) error {
	watched, stop := m.guest.Watch(ctx)
	defer stop()
	asked := m.client.Poweroff(watched)
	if err := m.guest.WaitOff(ctx); err != nil {
		return errors.Join(asked, err)
	}
	return m.close(ctx)
}

// close ends the machine, however it is.
func (m *machine) close(ctx context.Context) error {
	return errors.Join(m.guest.Close(ctx), m.client.Close())
}

// inject puts the agent into a mounted disk.
func (d *Driver) inject(m *mount.Mount, aws bool) (*guest.Injected, error) {
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return guest.Inject(root, d.agent(aws))
}

// runInGuest is Run for isolation vm.
func (i *instance) runInGuest(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if err := i.booted(ctx); err != nil {
		return component.Result{}, restage(builder.StageLaunch, atStage(builder.StageLaunch, "the build machine did not start", err))
	}
	result, err := i.machine.run(ctx, job, emit)
	return result, restage(builder.StageBuild, atStage(builder.StageBuild, "the component could not be run in the build machine", err))
}

// restage moves what package guest says of a test machine to the stage of a build.
func restage(stage builder.Stage, err error) error {
	var e *builder.Error
	if !errors.As(err, &e) || e.Stage != builder.StageBoot {
		return err
	}
	moved := *e
	moved.Stage = stage
	return &moved
}

// booted makes the overlay the disk of a running machine, whatever it was before.
func (i *instance) booted(ctx context.Context) error {
	if i.machine != nil {
		return nil
	}
	err := i.bootable(ctx)
	if err != nil {
		return err
	}
	i.machine, err = i.d.usefulMachine(ctx, i.work, guest.Spec{Disk: i.overlay, Network: guest.Outbound})
	return err
}

// bootable puts the agent into the overlay.
func (i *instance) bootable(ctx context.Context) error {
	if err := i.mounted(ctx); err != nil {
		return err
	}
	var err error
	if i.injected, err = i.d.inject(i.mount, i.spec.AWS); err != nil {
		return err
	}
	if err := i.mount.Detach(ctx); err != nil {
		return err
	}
	i.mount = nil
	return nil
}

// usefulMachine starts one machine after the other until the agent of one answers.
func (d *Driver) usefulMachine(ctx context.Context, w *workspace, spec guest.Spec) (*machine, error) {
	for attempt := 1; ; attempt++ {
		m, err := d.answeringMachine(ctx, w, spec)
		if err == nil {
			return m, nil
		}
		if builder.FaultOf(err) != builder.Transient || attempt == buildMachines || ctx.Err() != nil {
			return nil, err
		}
		d.log.WithError(err).Warn("a machine failed before it was of use; another one is started")
	}
}

// answeringMachine starts a machine and waits for its agent. Nothing is left of one
// that fails before that.
func (d *Driver) answeringMachine(ctx context.Context, w *workspace, spec guest.Spec) (*machine, error) {
	m, err := d.startMachine(ctx, w, spec)
	if err != nil {
		return nil, err
	}
	watched, stop := m.guest.Watch(ctx)
	defer stop()
	if _, err := m.client.Hello(watched); err != nil {
		return nil, errors.Join(err, m.close(ctx))
	}
	return m, nil
}

// powerOff ends the machine cleanly, if there is one.
func (i *instance) powerOff(ctx context.Context) error {
	if i.machine == nil {
		return nil
	}
	if err := i.machine.powerOff(ctx); err != nil {
		return atStage(builder.StageBuild, "the build machine could not be powered off", err)
	}
	i.machine = nil
	return nil
}

// takeOver makes a disk that a machine has written to what a layer is: without the
// agent, and without what the machine deleted.
func (i *instance) takeOver() error {
	if i.injected == nil {
		return nil
	}
	root, err := os.OpenRoot(i.mount.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := i.injected.Eject(root); err != nil {
		return fmt.Errorf("take the agent out of the disk: %w", err)
	}
	i.injected = nil
	return i.mount.Trim()
}

package ec2

import (
	"context"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
)

// guest is a test instance.
type guest struct {
	*machine
	closed bool
}

var (
	_ builder.Guest   = (*guest)(nil)
	_ builder.Lasting = (*guest)(nil)
)

// Boot implements builder.Driver. An instance that was not reached is of no further
// use: a new try gets a new one.
func (d *Driver) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	m, err := d.bring(ctx, start{ami: spec.Image.Ref, build: spec.Build, role: roleTest, on: spec.Infrastructure, disks: spec.Disks, agent: d.cfg.Agent})
	if err != nil {
		return nil, failed(builder.StageBoot, "the test instance did not start", err)
	}
	g := &guest{machine: m}
	if spec.Prepare != nil {
		if err := g.prepare(ctx, spec.Prepare); err != nil {
			if builder.GoesOn(ctx) {
				return nil, err
			}
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
			defer cancel()
			if closeErr := g.Close(closing); closeErr != nil {
				d.cfg.Log.WithError(closeErr).Warn("a test instance could not be ended; the next sweep does it")
			}
			return nil, err
		}
	}
	return g, nil
}

// restart is the job that restarts an instance.
const restart = `name: restart
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Restart
        action: Reboot
`

// prepare runs jobs before the tests, on the same instance, and makes it a new one
// again. Here they run in the booted system: there is no other way to its disk.
func (g *guest) prepare(ctx context.Context, prepare func(context.Context, builder.Runner) error) error {
	if err := prepare(ctx, g); err != nil {
		return err
	}
	if g.windows {
		return nil
	}
	if err := g.clean(ctx, ""); err != nil {
		return err
	}
	job := component.Job{ID: "restart", Phases: []string{"build"},
		Documents: []component.JobDocument{{Name: "restart", Path: "restart.yaml", Text: restart}}}
	_, err := g.run(ctx, builder.StageBoot, job, func(component.Event) {})
	return err
}

// WaitLogin implements builder.Guest: an instance that Systems Manager reaches has
// booted, has its network and runs its services. The console of EC2 comes minutes late.
func (g *guest) WaitLogin(ctx context.Context) error {
	return failed(builder.StageBoot, "the image does not boot", g.waitOnline(ctx))
}

// Run implements builder.Guest.
func (g *guest) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return g.run(ctx, builder.StageTest, job, emit)
}

// Console implements builder.Guest.
func (g *guest) Console() string {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	return g.console(ctx)
}

// Close implements builder.Guest.
func (g *guest) Close(ctx context.Context) error {
	if g.closed {
		return nil
	}
	g.closed = true
	return g.terminate(ctx)
}

// Leave implements builder.Lasting.
func (g *guest) Leave() { g.closed = true }

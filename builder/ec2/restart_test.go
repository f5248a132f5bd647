package ec2

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/relay"
)

func TestOperationHasTheSameNameInEachLife(t *testing.T) {
	name := func(content string) string {
		r := relay.Request{Op: relay.Put, Archive: &relay.Source{SHA256: content}}
		if err := (&machine{}).next(&r); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	if a, b := name("x"), name("x"); a != b {
		t.Errorf("%s and %s are the same operation", a, b)
	}
	if a, b := name("x"), name("y"); a == b {
		t.Errorf("%s stands for two operations", a)
	}
}

// process stands for one life of the daemon. Its end is that of a kill -9 as AWS sees
// it: nothing is given back, calls break off, and the instance goes on.
type process struct {
	*Driver
	ctx  context.Context
	kill context.CancelFunc
}

func newProcess(t *testing.T, cfg Config) *process {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		d.Close()
	})
	return &process{d, ctx, cancel}
}

// life goes through a build and is killed at a point, if the point is one of its.
func (p *process) life(build, ami, point string) (img builder.Image, output string, err error) {
	at := func(here string) error {
		if here == point {
			p.kill()
		}
		return p.ctx.Err()
	}
	inst, err := p.Launch(p.ctx, builder.LaunchSpec{Build: build, Base: builder.Base{Ref: ami}})
	if err = errors.Join(err, at("launched")); err != nil {
		return img, "", err
	}
	var out strings.Builder
	for _, job := range []component.Job{
		jobOf("one", "echo ran >> /etc/ran"),
		jobOf("two", "echo begun; sleep 3; echo ran >> /etc/ran; echo ended"),
	} {
		result, err := inst.Run(p.ctx, job, func(e component.Event) {
			if e.Kind == component.Output {
				out.WriteString(e.Text)
				_ = at("in " + job.ID)
			}
		})
		if err == nil && !result.Status.OK() {
			err = errors.New("the job failed")
		}
		if err = errors.Join(err, at("after "+job.ID)); err != nil {
			return img, "", err
		}
	}
	found, err := inst.Inventory(p.ctx)
	if err != nil {
		return img, "", err
	}
	if err := errors.Join(inst.Clean(p.ctx), at("cleaned")); err != nil {
		return img, "", err
	}
	i := inst.(*instance)
	if point == "left" {
		if err := errors.Join(i.leave(p.ctx), at("left")); err != nil {
			return img, "", err
		}
	}
	if point == "image" {
		err := errors.Join(i.leave(p.ctx), i.stop(p.ctx), p.putObject(p.ctx, p.factsOf(i.imageName("key-of-"+build)), []byte("{}")))
		if err == nil {
			_, err = i.createImage(p.ctx, "key-of-"+build)
		}
		return img, "", errors.Join(err, at("image"))
	}
	if img, err = inst.Snapshot(p.ctx, "key-of-"+build, found); err != nil {
		return img, "", err
	}
	return img, out.String(), inst.Close(p.ctx)
}

// TestKilledAnywhereABuildGoesOn cuts a life off at each stage. The next one ends the
// build with the same instance, no component runs twice, and there is one image.
func TestKilledAnywhereABuildGoesOn(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	ami := ec2test.Parents[0].ID
	for _, point := range []string{"launched", "after one", "in two", "after two", "cleaned", "left", "image"} {
		t.Run(point, func(t *testing.T) {
			build := "killed-" + strings.ReplaceAll(point, " ", "-")
			before := len(c.Instances())
			// As a process is gone, nothing of it may tell AWS to stop: the context of
			// a canceled run does that, as an orderly stop should, and is cut off here.
			first := newProcess(t, cfg)
			first.aws.Commands = deaf{first.aws.Commands, first.ctx}
			if _, _, err := first.life(build, ami, point); err == nil {
				t.Fatal("the first life ended well")
			}
			first.kill()
			second := newProcess(t, cfg)
			ctx, cancel := context.WithTimeout(second.ctx, 2*time.Minute)
			defer cancel()
			second.ctx = ctx
			img, output, err := second.life(build, ami, "")
			if err != nil {
				t.Fatal(err)
			}
			if point == "in two" && output != "begun\nended\n" {
				t.Errorf("of the component that went on, %q was heard", output)
			}
			if n := len(c.Instances()) - before; n > 1 {
				t.Errorf("%d instances more than before", n)
			}
			if images := c.Leftovers(t.Context()).With(tagBuild, build).Images; len(images) != 1 {
				t.Errorf("images %v", images)
			}
			g, err := second.Boot(ctx, builder.BootSpec{Build: build, Image: img})
			if err != nil {
				t.Fatal(err)
			}
			var ran strings.Builder
			_, err = g.Run(ctx, jobOf("count", "cat /etc/ran"), func(e component.Event) {
				if e.Kind == component.Output {
					ran.WriteString(e.Text)
				}
			})
			if err != nil || ran.String() != "ran\nran\n" {
				t.Errorf("the image holds %q, %v", ran.String(), err)
			}
			if err := g.Close(ctx); err != nil {
				t.Error(err)
			}
			if left := running(t, c); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

// deaf is the way to Systems Manager of a process that can be killed.
type deaf struct {
	Commands
	alive context.Context
}

func (d deaf) CancelCommand(ctx context.Context, in *ssm.CancelCommandInput, o ...func(*ssm.Options)) (*ssm.CancelCommandOutput, error) {
	if err := d.alive.Err(); err != nil {
		return nil, err
	}
	return d.Commands.CancelCommand(ctx, in, o...)
}

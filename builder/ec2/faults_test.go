package ec2

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// makeImage is what the pipeline does on a build instance; the job adds a line to a
// file, so that the image shows how often it ran.
func makeImage(ctx context.Context, d *Driver, build, ami string) (img builder.Image, err error) {
	inst, err := d.Launch(ctx, builder.LaunchSpec{Build: build, Base: builder.Base{Ref: ami}})
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, inst.Close(context.WithoutCancel(ctx))) }()
	result, err := inst.Run(ctx, jobOf("one", "echo ran >> /etc/ran"), func(component.Event) {})
	if err != nil {
		return img, err
	}
	if !result.Status.OK() {
		return img, errors.New("the job failed")
	}
	found, err := inst.Inventory(ctx)
	if err != nil {
		return img, err
	}
	if err := inst.Clean(ctx); err != nil {
		return img, err
	}
	return inst.Snapshot(ctx, "key-of-"+build, found)
}

// ranOnce boots the image and counts the lines.
func ranOnce(t *testing.T, d *Driver, build string, img builder.Image) {
	t.Helper()
	g, err := d.Boot(t.Context(), builder.BootSpec{Build: build, Image: img})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	_, err = g.Run(t.Context(), jobOf("count", "cat /etc/ran; ls -d /.ingot/ops/*one 2>/dev/null || true"), func(e component.Event) {
		if e.Kind == component.Output {
			out.WriteString(e.Text)
		}
	})
	if err != nil || out.String() != "ran\n" {
		t.Errorf("the image holds %q, %v", out.String(), err)
	}
}

// TestFaultsLeaveOneImageOrNone breaks every kind of call in every way, one after the
// other. In the end there is one image, or a clean failure, and nothing that runs.
func TestFaultsLeaveOneImageOrNone(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	cfg.Services = Connect(lastingConfig(c.Config(), 300*time.Millisecond, 2*time.Second)) // for calls that hang
	d := newDriver(t, cfg)
	ami := ec2test.Parents[0].ID

	lost := func(service, operation string) []*ec2test.Fault {
		return []*ec2test.Fault{{Service: service, Operation: operation, Times: 1, Effect: ec2test.LoseAnswer()}}
	}
	hanging := func(service, operation, where string) []*ec2test.Fault {
		return []*ec2test.Fault{{Service: service, Operation: operation, Times: 1, Effect: ec2test.Hang(), Where: func(r *ec2test.Request) bool {
			return strings.Contains(r.Path, where)
		}}}
	}
	for _, k := range []struct {
		name   string
		faults []*ec2test.Fault
		want   string // of the error; empty: there is an image
		fault  builder.Fault
	}{
		{"throttling", []*ec2test.Fault{{Chance: 0.15, Seed: 1, Effect: ec2test.Throttle()}}, "", 0},
		{"server errors", []*ec2test.Fault{{Chance: 0.15, Seed: 2, Effect: ec2test.ServerError()}}, "", 0},
		{"broken connections", []*ec2test.Fault{{Chance: 0.15, Seed: 3, Effect: ec2test.Disconnect()}}, "", 0},
		{"lost answer RunInstances", lost("ec2", "RunInstances"), "", 0},
		{"lost answer CreateImage", lost("ec2", "CreateImage"), "", 0},
		{"lost answer StopInstances", lost("ec2", "StopInstances"), "", 0},
		{"lost answer CreateTags", lost("ec2", "CreateTags"), "", 0},
		{"lost answer SendCommand", lost("ssm", "SendCommand"), "", 0},
		{"lost answer PutObject", lost("s3", "PutObject"), "", 0},
		{"lost answer DeleteObjects", lost("s3", "DeleteObjects"), "", 0},
		{"hanging RunInstances", hanging("ec2", "RunInstances", ""), "", 0},
		{"hanging CreateImage", hanging("ec2", "CreateImage", ""), "", 0},
		{"hanging SendCommand", hanging("ssm", "SendCommand", ""), "", 0},
		{"hanging GetCommandInvocation", append(hanging("ssm", "GetCommandInvocation", ""), &ec2test.Fault{ // it is asked after a command failed
			Service: "s3", Operation: "GetObject", Where: func(r *ec2test.Request) bool { return strings.Contains(r.Path, "/agents/") },
			Times: 1, Effect: ec2test.Refuse(http.StatusForbidden, "AccessDenied"),
		}), "", 0},
		{"hanging PutObject", hanging("s3", "PutObject", "/builds/"), "", 0},
		{"hanging GetObject", hanging("s3", "GetObject", "/inbox/"), "", 0},
		{"hanging ListObjectsV2", hanging("s3", "ListObjectsV2", ""), "", 0},
		{"no capacity of the first type", []*ec2test.Fault{{Service: "ec2", Operation: "RunInstances", Times: 1, Effect: ec2test.NoCapacity()}}, "", 0},
		{"no capacity at all", []*ec2test.Fault{{Service: "ec2", Operation: "RunInstances", Effect: ec2test.NoCapacity()}}, "no capacity", builder.Transient},
		{"not allowed", []*ec2test.Fault{{Service: "ec2", Operation: "CreateImage", Effect: ec2test.Refuse(http.StatusForbidden, "UnauthorizedOperation")}}, "the image could not be made", builder.Internal},
	} {
		t.Run(k.name, func(t *testing.T) {
			defer c.Faults.Clear()
			for _, f := range k.faults {
				c.Faults.Add(f)
			}
			build := strings.ReplaceAll(k.name, " ", "-")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			img, err := makeImage(ctx, d, build, ami)
			for _, f := range k.faults {
				if f.Hits() == 0 {
					t.Error("the fault was never met")
				}
			}
			c.Faults.Clear()
			images := c.Leftovers(t.Context()).With(tagBuild, build).Images
			if k.want == "" {
				if err != nil || len(images) != 1 {
					t.Fatalf("%v; images %v", err, images)
				}
				ranOnce(t, d, build, img)
			} else if err == nil || !strings.Contains(err.Error(), k.want) || builder.FaultOf(err) != k.fault || len(images) != 0 {
				t.Errorf("got %v (fault %v), images %v; want %q", err, builder.FaultOf(err), images, k.want)
			}
			if left := c.Leftovers(t.Context()).With(tagBuild, build); len(left.Volumes)+len(left.Snapshots) > 0 {
				t.Errorf("volumes %v and snapshots %v are nobody's", left.Volumes, left.Snapshots)
			}
			if left := running(t, c); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

// TestInstanceThatDiesIsNobodysFault takes the instance away while a job runs.
func TestInstanceThatDiesIsNobodysFault(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	d := newDriver(t, configOf(t, c, realAgent(t)))
	ami := ec2test.Parents[0].ID
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "dies", Base: builder.Base{Ref: ami}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = inst.Run(t.Context(), jobOf("long", "echo up; sleep 600"), func(e component.Event) {
		if e.Kind == component.Output {
			c.Kill(inst.(*instance).id)
		}
	})
	if builder.FaultOf(err) != builder.Transient || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("got %v, fault %v", err, builder.FaultOf(err))
	}
	if err := inst.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestAgentThatNeverAnswers: what the operator has to look at is said, and the
// instance is gone.
func TestAgentThatNeverAnswers(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })})
	cfg := configOf(t, c, "unused")
	cfg.pace.online = 2 * time.Second
	d := newDriver(t, cfg)
	f := c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.NoAgent()})
	_, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "silent", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
	e, ok := errors.AsType[*builder.Error](err)
	if !ok || e.Fault != builder.Internal || !strings.Contains(e.Reason, "has not reached Systems Manager") || !strings.Contains(e.Hint, "AmazonSSMManagedInstanceCore") {
		t.Errorf("got %+v", err)
	}
	if f.Hits() != 1 {
		t.Errorf("launched %d times", f.Hits())
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestNewThingsMayNotBeKnownYet has AWS not find for a while what it has just made: an
// image is made and booted all the same, and an instance that nobody wants any more, as
// soon as it is launched, is ended.
func TestNewThingsMayNotBeKnownYet(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines, Unseen: 3})
	d := newDriver(t, configOf(t, c, realAgent(t)))
	ami := ec2test.Parents[0].ID
	img, err := makeImage(t.Context(), d, "unseen", ami)
	if err != nil {
		t.Fatal(err)
	}
	ranOnce(t, d, "unseen", img)

	unwanted := errors.New("nobody wants it any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "DescribeInstances", From: 2, // the first looks for one to take up
		Effect: ec2test.Before(func(*ec2test.Request) { cancel(unwanted) })})
	if _, err := d.Launch(ctx, builder.LaunchSpec{Build: "unwanted", Base: builder.Base{Ref: ami}}); !errors.Is(err, unwanted) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

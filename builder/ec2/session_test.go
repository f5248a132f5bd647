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

// TestComponentOutlivesTheSession ends the daemon's credentials, and with them all that
// it has signed, while a component runs, and again before it restarts its instance: all
// of its output arrives, once, and so does its result.
func TestComponentOutlivesTheSession(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	cfg.pace.quiet = 3 * time.Second
	d := newDriver(t, cfg)
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "session", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := inst.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out strings.Builder
	// It says nothing for longer than the agent is waited for in silence, so that what it
	// says afterwards has to come by other signatures than the first.
	job := jobOf("long",
		"if [ -e /etc/restarted ]; then echo back; sleep 6; echo ended; exit 0; fi",
		"echo ran >>/etc/ran; echo begun; sleep 6; echo going; sleep 6; touch /etc/restarted; exit 194")
	result, err := inst.Run(ctx, job, func(e component.Event) {
		if e.Kind == component.Output {
			out.WriteString(e.Text)
			c.EndSession()
		}
	})
	if err != nil || result.Status != component.Success || out.String() != "begun\ngoing\nback\nended\n" {
		t.Fatalf("%+v, %v: heard %q", result, err, out.String())
	}
	out.Reset()
	_, err = inst.Run(ctx, jobOf("count", "cat /etc/ran"), func(e component.Event) {
		if e.Kind == component.Output {
			out.WriteString(e.Text)
		}
	})
	if err != nil || out.String() != "ran\n" {
		t.Errorf("the component has left %q, %v", out.String(), err)
	}
}

// TestRefusedInstanceSaysWhoseFaultItIs: what the bucket refuses the instance, or the
// daemon itself, is the operator's to mend, and the error names it.
func TestRefusedInstanceSaysWhoseFaultItIs(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	cfg.pace.quiet = 2 * time.Second
	for _, k := range []struct {
		name         string
		fault        *ec2test.Fault
		reason, hint string
	}{
		{"what it fetches", &ec2test.Fault{Operation: "GetObject", Where: func(r *ec2test.Request) bool { return strings.Contains(r.Path, "/agents/") },
			Effect: ec2test.Refuse(http.StatusForbidden, "AccessDenied")}, "refuses what was signed", "s3:GetObject"},
		{"what it tells", &ec2test.Fault{Operation: "PostBucket", Effect: ec2test.Refuse(http.StatusForbidden, "AccessDenied")}, "refuses what was signed", "s3:PutObject"},
		{"a session that ends at once", &ec2test.Fault{Operation: "PostBucket", Effect: ec2test.Refuse(http.StatusBadRequest, "ExpiredToken")}, "ended before", "credentials"},
		{"what the daemon reads", &ec2test.Fault{Operation: "ListObjectsV2", Effect: ec2test.Refuse(http.StatusForbidden, "AccessDenied")}, "could not be read from the bucket", "s3:ListObjectsV2"},
	} {
		t.Run(k.name, func(t *testing.T) {
			d := newDriver(t, cfg)
			inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: strings.ReplaceAll(k.name, " ", "-"), Base: builder.Base{Ref: ec2test.Parents[0].ID}})
			if err != nil {
				t.Fatal(err)
			}
			k.fault.Service = "s3"
			c.Faults.Add(k.fault)
			defer c.Faults.Clear()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = inst.Run(ctx, jobOf("any", "true"), func(component.Event) {})
			e, ok := errors.AsType[*builder.Error](err)
			if !ok || e.Fault != builder.Internal || !strings.Contains(e.Reason, k.reason) || !strings.Contains(e.Hint, k.hint) {
				t.Errorf("%+v", err)
			}
			if k.fault.Hits() == 0 {
				t.Error("the fault was never met")
			}
			if err := inst.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

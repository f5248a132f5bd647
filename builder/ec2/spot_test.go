package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// TestSpotInstanceBecomesAnImage builds and tests on Spot instances, of which EC2 stops
// none, also when the process is killed around the image.
func TestSpotInstanceBecomesAnImage(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.ContainerMachines(t)})
	cfg := configOf(t, c, realAgent(t))
	cfg.Spot = true
	for _, killed := range []string{"", "PutObject", "CreateImage"} {
		t.Run("killed at "+killed, func(t *testing.T) {
			asked, before := listenForWishes(c), len(c.Calls())
			defer c.Faults.Clear()
			build := "spot-" + killed
			if killed != "" {
				first := newProcess(t, cfg)
				first.aws.Commands = deaf{first.aws.Commands, first.ctx}
				c.Faults.Add(&ec2test.Fault{Operation: killed, Times: 1, Effect: ec2test.After(func(*ec2test.Request) { first.kill() }), Where: func(r *ec2test.Request) bool {
					return killed == "CreateImage" || strings.HasSuffix(r.Path, "/remove.json") // the agent is gone
				}})
				if _, _, err := first.life(build, ec2test.Parents[0].ID, ""); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			p := newProcess(t, cfg)
			img, _, err := p.life(build, ec2test.Parents[0].ID, "")
			if err != nil {
				t.Fatal(err)
			}
			g, err := p.Boot(t.Context(), builder.BootSpec{Build: build, Image: img})
			if err != nil {
				t.Fatal(err)
			}
			var ran strings.Builder
			_, err = g.Run(t.Context(), jobOf("count", "cat /etc/ran; ls -d /.ingot/ops/*one 2>/dev/null || true"), func(e component.Event) {
				if e.Kind == component.Output {
					ran.WriteString(e.Text)
				}
			})
			if err != nil || ran.String() != "ran\nran\n" {
				t.Errorf("the image holds %q, %v", ran.String(), err)
			}
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
			calls := c.Calls()[before:]
			if forms := asked.all(); len(forms) != 2 || !strings.HasPrefix(place(forms[0]), "spot ") || !strings.HasPrefix(place(forms[1]), "spot ") {
				t.Errorf("launched %v", forms)
			}
			if n := len(calls.Of("ec2", "StopInstances")); n > 0 {
				t.Errorf("StopInstances was called %d times", n)
			}
			left := c.Leftovers(t.Context()).With(tagBuild, build)
			if len(left.Images) != 1 || len(left.Instances)+len(left.Volumes)+len(left.Snapshots) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestSpotInstanceTakenBackIsNobodysFault has EC2 take it while a component runs, and
// when the image is to be made of it.
func TestSpotInstanceTakenBackIsNobodysFault(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.ContainerMachines(t)})
	cfg := configOf(t, c, realAgent(t))
	cfg.Spot = true
	d := newDriver(t, cfg)
	take := ec2test.Before(func(*ec2test.Request) {
		for _, id := range c.Instances() {
			c.Kill(id)
		}
	})
	for _, call := range []string{"CreateTags", "CreateImage"} {
		c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, Times: 1, Effect: take})
		_, err := makeImage(t.Context(), d, "taken-at-"+call, ec2test.Parents[0].ID)
		if builder.FaultOf(err) != builder.Transient || !strings.Contains(err.Error(), "Server.SpotInstanceTermination") {
			t.Errorf("taken at %s: %v, fault %v", call, err, builder.FaultOf(err))
		}
		c.Faults.Clear()
		if left := c.Leftovers(t.Context()); left.String() != "" {
			t.Errorf("taken at %s: left %v", call, left)
		}
	}
}

// TestWindowsIsBuiltOnDemand: Sysprep ends by shutting down, which would end a Spot
// instance. The instance for the tests can be one.
func TestWindowsIsBuiltOnDemand(t *testing.T) {
	_, c, cfg := newWindowsAccount(t)
	cfg.Spot = true
	asked := listenForWishes(c)
	p := newProcess(t, cfg)
	img, _, err := p.life("windows", windowsParent, "")
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Boot(t.Context(), builder.BootSpec{Build: "windows", Image: img})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
	var places []string
	for _, form := range asked.all() {
		places = append(places, strings.TrimSpace(place(form)))
	}
	if !slices.Equal(places, []string{"on-demand t3.small", "spot t3.small"}) {
		t.Errorf("launched %q", places)
	}
}

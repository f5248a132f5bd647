package builder_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// outlet is where images leave to: a publisher, and what changes an image that others
// use. It notes what was done, in order.
type outlet struct {
	*cloud
	left []string
}

func (o *outlet) Publish(ctx context.Context, spec builder.PublishSpec, log func(string)) (builder.Image, error) {
	o.left = append(o.left, "published")
	return o.cloud.Publish(ctx, spec, log)
}

func (o *outlet) Tag(context.Context, builder.Image, map[string]string) (bool, error) {
	o.left = append(o.left, "distributed")
	return true, nil
}

// gated is a driver whose images leave through an outlet.
type gated struct {
	*buildertest.Driver
	*outlet
}

func (g gated) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	return g.Driver.Boot(ctx, spec)
}

// TestNothingLeavesBeforeEveryGate closes one gate after the other on a release: the
// image is distributed in no case, and is not even published, within the account, as
// long as it is not made. With all of them open it is.
func TestNothingLeavesBeforeEveryGate(t *testing.T) {
	failure := component.Failure{Phase: "test", Step: "S", Action: "ExecuteBash", Message: "exit status 1"}
	broken := func(call string, err error) func(*buildertest.Driver) {
		return func(d *buildertest.Driver) { d.Broken = map[string]error{call: err} }
	}
	fails := func(what string) func(*buildertest.Driver) {
		return func(d *buildertest.Driver) { d.Fail[what] = failure }
	}
	odd := errors.New("something odd")
	again := &builder.Error{Fault: builder.Transient, Reason: "the machine was taken away"}
	for _, gate := range []struct {
		name      string
		closed    func(*buildertest.Driver)
		cancelled bool // while a test runs
		made      bool // the image, before
	}{
		{"resolve", broken("resolve", odd), false, false},
		{"launch", broken("launch", odd), false, false},
		{"a component fails", fails("site build"), false, false},
		{"inventory", broken("inventory", odd), false, false},
		{"clean-up", broken("clean", odd), false, false},
		{"image", broken("snapshot", odd), false, false},
		{"the test instance does not start", broken("boot", odd), false, true},
		{"no test instance lasts", broken("boot", again), false, true},
		{"the image does not boot", broken("login", odd), false, true},
		{"a test cannot prepare", fails("scan prepare"), false, true},
		{"a component's test fails", fails("site test"), false, true},
		{"the first test fails", fails("http test"), false, true},
		{"the scan finds too much", func(d *buildertest.Driver) {
			d.Prints, d.Fail["scan test"] = map[string]string{"scan test": "ingot:scan score 61\ningot:scan failed high root-login Root logs in\n"}, failure
		}, false, true},
		{"a test is cancelled", func(d *buildertest.Driver) { d.Hang = "http" }, true, true},
		{"none", func(*buildertest.Driver) {}, false, true},
	} {
		for _, publish := range []bool{false, true} {
			name := gate.name
			if publish {
				name += ", published"
			}
			t.Run(name, func(t *testing.T) {
				driver := buildertest.New()
				gate.closed(driver)
				out := &outlet{cloud: &cloud{Driver: driver}}
				r := sample(t)
				r.AMITags = map[string]string{"team": "web"}
				r.Tests = append(r.Tests, document(t, "scan", "prepare", "test"))
				if publish {
					r.Publish = &recipe.Publish{Driver: "ec2"}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var heard []string
				note := events(&heard)
				res, err := builder.New(gated{driver, out}, remembered{}).Build(ctx, builder.Request{Build: "1", Recipe: r, Release: true, Publisher: out}, func(e builder.Event) {
					note(e)
					if gate.cancelled && e.Stage == builder.StageTest && e.Name == "http" {
						cancel()
					}
				})
				var want []string
				if publish && gate.made {
					want = []string{"published"} // to be tested there; it stays in the account of builds
				}
				open := gate.name == "none"
				if open {
					want = append(want, "distributed")
				}
				if !slices.Equal(out.left, want) || slices.Contains(heard, "distribute  succeeded") != open {
					t.Errorf("%v, want %v; heard %q", out.left, want, heard)
				}
				if (err == nil) != open || res.Passed() != open || (res.Image != nil) != gate.made {
					t.Errorf("result %+v, %v", res, err)
				}
			})
		}
	}
}

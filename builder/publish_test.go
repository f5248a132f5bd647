package builder_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// cloud publishes images by giving them another name, and boots those alone.
type cloud struct {
	*buildertest.Driver
	asked []builder.PublishSpec
	err   error
}

func (c *cloud) Publish(_ context.Context, spec builder.PublishSpec, log func(string)) (builder.Image, error) {
	c.asked = append(c.asked, spec)
	log("half of it is there")
	img := spec.Image
	img.ID, img.Ref, img.Driver = "ami-1", "ami-1", "ec2"
	return img, c.err
}

func (c *cloud) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	if spec.Image.Driver != "ec2" {
		return nil, errors.New("there is no such image here")
	}
	return c.Driver.Boot(ctx, spec)
}

// bootless is a driver that boots nothing.
type bootless struct{ *buildertest.Driver }

func (bootless) Boot(context.Context, builder.BootSpec) (builder.Guest, error) {
	return nil, errors.New("the local image was booted")
}

func published(t *testing.T) *recipe.Recipe {
	r := sample(t)
	r.Publish = &recipe.Publish{Driver: "ec2"}
	return r
}

func TestThePublishedImageIsTested(t *testing.T) {
	driver, heard := buildertest.New(), []string{}
	there := &cloud{Driver: driver}
	b := builder.New(bootless{driver}, remembered{})
	res, err := b.Build(t.Context(), builder.Request{Build: "1", Recipe: published(t), Publisher: there}, events(&heard))
	if err != nil {
		t.Fatal(err)
	}
	if end := []string{"image  succeeded", "publish  succeeded", "boot  succeeded", "test site succeeded", "test http succeeded"}; !slices.Equal(heard[len(heard)-len(end):], end) {
		t.Errorf("heard %q", heard)
	}
	if res.Published == nil || res.Published.ID != "ami-1" || res.Image.Driver != "local" || !res.Passed() {
		t.Errorf("result %+v", res)
	}

	// Built once, and published again, which costs the publisher a look.
	again, err := b.Build(t.Context(), builder.Request{Build: "2", Recipe: published(t), Publisher: there}, events(&heard))
	if err != nil || !again.ImageReused || again.Published == nil || again.Keys.Build != res.Keys.Build {
		t.Errorf("again: %+v, %v", again, err)
	}
	if first, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "3", Recipe: sample(t), Publisher: there}, events(&heard)); err != nil || first.Published != nil || !first.ImageReused || first.Keys.Test == res.Keys.Test {
		t.Errorf("without publish: %+v, %v", first, err)
	}
	if len(there.asked) != 2 || there.asked[0].Recipe != "web" || there.asked[0].Build != "1" {
		t.Errorf("it was asked for %+v", there.asked)
	}
}

// early is a cloud that gets to know parents until it is told to stop.
type early struct {
	cloud
	begun   chan builder.PrepareSpec
	running atomic.Bool
}

func (e *early) Prepare(ctx context.Context, spec builder.PrepareSpec) {
	e.running.Store(true)
	e.begun <- spec
	<-ctx.Done()
	e.running.Store(false)
}

func (e *early) Publish(ctx context.Context, spec builder.PublishSpec, log func(string)) (builder.Image, error) {
	if e.running.Load() {
		return builder.Image{}, errors.New("it is still being prepared")
	}
	return e.cloud.Publish(ctx, spec, log)
}

// TestPublishingIsPreparedWhileTheImageIsMade, and only then.
func TestPublishingIsPreparedWhileTheImageIsMade(t *testing.T) {
	begun := make(chan builder.PrepareSpec, 3)
	driver := &layered{Driver: buildertest.New(), seen: begun, all: 1}
	there := &early{cloud: cloud{Driver: driver.Driver}, begun: begun}
	b := builder.New(driver, remembered{})
	build := func(id string, r *recipe.Recipe) (builder.Result, error) {
		return b.Build(t.Context(), builder.Request{Build: id, Recipe: r, Publisher: there}, func(builder.Event) {})
	}
	r := published(t)
	r.Publish.Via = recipe.ViaImportImage
	res, err := build("1", r)
	if err != nil || res.Published == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if got, want := <-there.begun, (builder.PrepareSpec{Ref: res.Base.Ref, Via: recipe.ViaImportImage}); got != want {
		t.Errorf("prepared for %+v, want %+v", got, want)
	}
	if res, err := build("2", r); err != nil || !res.ImageReused {
		t.Errorf("again: %+v, %v", res, err)
	}
	driver.Fail["site build"] = component.Failure{Phase: "build", Step: "Install"}
	other := published(t)
	other.Components = other.Components[1:]
	if res, err := build("3", other); err == nil {
		t.Errorf("a component that fails: %+v", res)
	}
	if len(begun) > 1 || there.running.Load() {
		t.Errorf("prepared %d times more, want once at most, for the build that failed; running: %v", len(begun), there.running.Load())
	}
}

// layered is a driver whose instances tell of their layers, and wait at the clean-up
// until the publisher has seen all.
type layered struct {
	*buildertest.Driver
	seen chan builder.PrepareSpec
	all  int
}

type layeredInstance struct {
	builder.Instance
	d    *layered
	last string
}

func (d *layered) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	inst, err := d.Driver.Launch(ctx, spec)
	l := &layeredInstance{Instance: inst, d: d}
	if err == nil && inst.Held() > 0 {
		l.last = "disk of " + spec.Layers[inst.Held()-1]
	}
	return l, err
}

func (i *layeredInstance) Layer() string { return i.last }

func (i *layeredInstance) Keep(ctx context.Context, key string) error {
	i.last = "disk of " + key
	return i.Instance.Keep(ctx, key)
}

func (i *layeredInstance) Clean(ctx context.Context) error {
	for len(i.d.seen) < i.d.all {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return i.Instance.Clean(ctx)
}

// attentive is a cloud that gets to know a disk at once.
type attentive struct {
	cloud
	seen chan builder.PrepareSpec
}

func (a *attentive) Prepare(_ context.Context, spec builder.PrepareSpec) { a.seen <- spec }

func TestLayersArePreparedAsTheyAreKept(t *testing.T) {
	seen := make(chan builder.PrepareSpec, 9)
	d := &layered{Driver: buildertest.New(), seen: seen, all: 3}
	b := builder.New(d, remembered{})
	there := &attentive{cloud{Driver: d.Driver}, seen}
	build := func(id string, r *recipe.Recipe) builder.Result {
		res, err := b.Build(t.Context(), builder.Request{Build: id, Recipe: r, Publisher: there}, func(builder.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := build("1", published(t))
	for _, want := range []string{res.Base.Ref, "disk of " + res.Keys.Layers[0], "disk of " + res.Keys.Layers[1]} {
		if got := <-seen; got.Ref != want {
			t.Errorf("prepared for %q, want %q", got.Ref, want)
		}
	}
	// The first layer is held by the instance from its start.
	longer := published(t)
	longer.Components[1] = document(t, "another", "build")
	again := build("2", longer)
	for _, want := range []string{again.Base.Ref, "disk of " + res.Keys.Layers[0], "disk of " + again.Keys.Layers[1]} {
		if got := <-seen; got.Ref != want {
			t.Errorf("then prepared for %q, want %q", got.Ref, want)
		}
	}
}

// told is a driver that remembers on what its instances were to run.
type told struct {
	*buildertest.Driver
	launched, booted string
}

func (d *told) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	d.launched = spec.Infrastructure
	return d.Driver.Launch(ctx, spec)
}

func (d *told) Boot(ctx context.Context, spec builder.BootSpec) (builder.Guest, error) {
	d.booted = spec.Infrastructure
	return d.Driver.Boot(ctx, spec)
}

func TestInfrastructureIsForBuildAndTests(t *testing.T) {
	d := &told{Driver: buildertest.New()}
	r := sample(t)
	r.Infrastructure.Name = "gpu"
	if res, err := builder.New(d, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r}, func(builder.Event) {}); err != nil || !res.Passed() || d.launched != "gpu" || d.booted != "gpu" {
		t.Errorf("built on %q and tested on %q: %+v, %v", d.launched, d.booted, res, err)
	}
}

func TestPublishingThatGoesWrong(t *testing.T) {
	for name, c := range map[string]struct {
		publisher builder.Publisher
		fault     builder.Fault
		says      string
		built     bool
	}{
		"nothing configured": {nil, builder.Author, "nothing is configured", false},
		"refused":            {&cloud{Driver: buildertest.New(), err: errors.New("no")}, builder.Internal, "could not be published to ec2", true},
	} {
		t.Run(name, func(t *testing.T) {
			driver := buildertest.New()
			res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: published(t), Publisher: c.publisher}, func(builder.Event) {})
			var e *builder.Error
			if !errors.As(err, &e) || e.Fault != c.fault || e.Stage != builder.StagePublish || !strings.Contains(e.Reason, c.says) {
				t.Fatalf("%+v, %v", res, err)
			}
			if (res.Image != nil) != c.built || res.Published != nil || res.Passed() {
				t.Errorf("result %+v", res)
			}
			if c.fault == builder.Author && (e.Hint == "" || len(driver.Calls()) > 0) {
				t.Errorf("it built before it said so, or gave no hint: %#v", e)
			}
		})
	}
}

// tagging is a driver whose images have tags.
type tagging struct {
	*buildertest.Driver
	launched map[string]string
	given    []string
	already  bool
}

func (d *tagging) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	d.launched = spec.Tags
	return d.Driver.Launch(ctx, spec)
}

func (d *tagging) Tag(_ context.Context, img builder.Image, tags map[string]string) (bool, error) {
	d.given = append(d.given, fmt.Sprint(img.ID, tags))
	return !d.already, nil
}

func TestTagsOfAnImage(t *testing.T) {
	driver := &tagging{Driver: buildertest.New()}
	r := sample(t)
	r.Version, r.AMITags = recipe.Version{Major: 2}, map[string]string{"team": "web", "version": "{{ version }}", "made": "{{ buildDate }}"}
	var heard []string
	build := func(release bool) builder.Result {
		t.Helper()
		heard = nil
		res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r, Release: release}, events(&heard))
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	build(false)
	if driver.launched["team"] != "web" || driver.launched["version"] != "2.0.0" || !strings.HasSuffix(driver.launched["made"], "Z") || len(driver.given) > 0 {
		t.Errorf("a new image gets %v, and then %v", driver.launched, driver.given)
	}

	t.Log("a change of tags alone: the image is there, and gets them with the release")
	r.AMITags["team"] = "shop"
	if res := build(false); !res.ImageReused || len(driver.given) > 0 {
		t.Errorf("a candidate changed an image that others use: %v", driver.given)
	}
	res := build(true)
	if want := res.Image.ID + "map[team:shop version:2.0.0]"; !res.ImageReused || !slices.Equal(driver.given, []string{want}) || heard[len(heard)-1] != "distribute  succeeded" {
		t.Errorf("given %q, want %q; heard %q", driver.given, want, heard)
	}
	driver.already = true
	if build(true); heard[len(heard)-1] != "test http succeeded" {
		t.Errorf("with nothing to change it was heard %q", heard)
	}

	t.Log("what fails its tests is not released")
	driver.Fail["http test"], driver.given = component.Failure{Phase: "test", Step: "S"}, nil
	if _, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r, Release: true}, func(builder.Event) {}); err == nil || len(driver.given) > 0 {
		t.Errorf("%v, and given %v", err, driver.given)
	}
}

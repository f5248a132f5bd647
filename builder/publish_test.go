package builder_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
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

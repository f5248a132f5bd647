package builder_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
)

func TestInstanceOfTheAuthorsFailureIsKept(t *testing.T) {
	boom := errors.New("boom")
	failure := component.Failure{Step: "S", Phase: "build", Message: "exit status 3"}
	for name, c := range map[string]struct {
		arrange func(*buildertest.Driver)
		cause   error // with which the build is ended while it hangs
		ref     string
		stage   builder.Stage
	}{
		"nothing fails":  {func(*buildertest.Driver) {}, nil, "", ""},
		"a component":    {func(d *buildertest.Driver) { d.Fail["nginx build"] = failure }, nil, "instance of 1", builder.StageBuild},
		"a test":         {func(d *buildertest.Driver) { d.Fail["site test"] = failure }, nil, "guest of 1", builder.StageTest},
		"the time limit": {func(d *buildertest.Driver) { d.Hang = "site" }, nil, "instance of 1", builder.StageBuild},
		"the operator's": {func(d *buildertest.Driver) { d.Broken["run"] = boom }, nil, "", ""},
		"the image's": {func(d *buildertest.Driver) {
			d.Broken["login"] = &builder.Error{Fault: builder.Author, Reason: "panic"}
		}, nil, "", ""},
		"somebody cancels":    {func(d *buildertest.Driver) { d.Hang = "nginx" }, errors.New("cancelled"), "", ""},
		"the operator's time": {func(d *buildertest.Driver) { d.Hang = "nginx" }, &builder.Error{Reason: "too long"}, "", ""},
		"it can't be kept": {func(d *buildertest.Driver) {
			d.Fail["nginx build"], d.Broken["retain"] = failure, boom
		}, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver, warned := buildertest.New(), ""
				c.arrange(driver)
				ctx, end := context.WithCancelCause(t.Context())
				defer end(nil)
				res, err := builder.New(driver, remembered{}).Build(ctx, builder.Request{Build: "1", Recipe: sample(t), KeepFor: time.Hour}, func(e builder.Event) {
					switch {
					case e.Kind == builder.Warned:
						warned = e.Text
					case e.Kind == builder.Output && c.cause != nil:
						end(c.cause)
					}
				})
				if live := driver.Live(); len(live) > 0 {
					t.Errorf("left alive: %v", live)
				}
				kept, _ := driver.Kept(t.Context())
				if c.ref == "" {
					if len(kept) > 0 || res.Kept != nil {
						t.Errorf("kept %+v, %+v after %v", kept, res.Kept, err)
					}
					return
				}
				if len(kept) != 1 || res.Kept == nil || kept[0] != *res.Kept || kept[0].Ref != c.ref || kept[0].Stage != c.stage || kept[0].Until.Sub(kept[0].Since) != time.Hour {
					t.Errorf("kept %+v, result %+v", kept, res.Kept)
				}
				if builder.FaultOf(err) != builder.Author || !strings.Contains(warned, "ingot exec 1 -- COMMAND") {
					t.Errorf("error %v, warned of %q", err, warned)
				}
			})
		})
	}
}

func TestNothingIsKeptUnlessAskedFor(t *testing.T) {
	driver := buildertest.New()
	driver.Fail["nginx build"] = component.Failure{Step: "S", Phase: "build"}
	res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
	if kept, _ := driver.Kept(t.Context()); err == nil || res.Kept != nil || len(kept) > 0 || len(driver.Live()) > 0 {
		t.Errorf("kept %v, left alive %v, error %v", kept, driver.Live(), err)
	}
}

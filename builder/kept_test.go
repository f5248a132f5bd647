package builder_test

import (
	"context"
	"errors"
	"slices"
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
				res, err := builder.New(driver, remembered{}).Build(ctx, builder.Request{Build: "1", Recipe: sample(t), Keep: builder.Keep{For: time.Hour, Most: 1}}, func(e builder.Event) {
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

// failing is one build that fails, in a world in which others are kept.
type failing struct {
	build, recipe string
	never         string
	displaced     []string
	notKept       string // part of why
	kept          []string
	says          string // part of what else is said
}

func TestOnlyTheNewestAreKept(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		arrange func(*buildertest.Driver)
		builds  []failing
	}{
		"of each recipe": {func(*buildertest.Driver) {}, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "db", kept: []string{"1", "2"}},
			{build: "3", recipe: "web", displaced: []string{"1"}, kept: []string{"2", "3"}},
		}},
		"of all": {func(*buildertest.Driver) {}, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "db", kept: []string{"1", "2"}},
			{build: "3", recipe: "mail", displaced: []string{"1"}, kept: []string{"2", "3"}},
		}},
		"without a name": {func(*buildertest.Driver) {}, []failing{
			{build: "1", kept: []string{"1"}}, {build: "2", kept: []string{"1", "2"}}, {build: "3", displaced: []string{"1"}, kept: []string{"2", "3"}},
		}},
		"one is in use": {func(d *buildertest.Driver) { d.Busy = map[string]bool{"1": true} }, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "web", kept: []string{"1", "2"}},
			{build: "3", recipe: "db", displaced: []string{"2"}, kept: []string{"1", "3"}},
		}},
		"all are in use": {func(d *buildertest.Driver) { d.Busy = map[string]bool{"1": true, "2": true} }, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "db", kept: []string{"1", "2"}},
			{build: "3", recipe: "mail", notKept: "builds.keepMost", kept: []string{"1", "2"}},
		}},
		"somebody holds one": {func(d *buildertest.Driver) {
			d.Hold(builder.Kept{Build: "0", Recipe: "web", Ref: "held"})
		}, []failing{
			{build: "1", recipe: "web", kept: []string{"0", "1"}},
			{build: "2", recipe: "db", displaced: []string{"1"}, kept: []string{"0", "2"}},
		}},
		"of a later process": {func(d *buildertest.Driver) {
			later := time.Now().Add(time.Hour)
			d.Hold(builder.Kept{Build: "9", Recipe: "web", Ref: "later", Since: later, Until: later.Add(time.Hour)})
		}, []failing{
			{build: "1", recipe: "web", notKept: "build 9 of the same recipe failed after it", kept: []string{"9"}},
		}},
		"one cannot be removed": {func(d *buildertest.Driver) { d.Flaky["displace"] = []error{boom} }, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "web", kept: []string{"1", "2"}, says: "the kept instance of build 1 could not be removed: boom"},
			{build: "3", recipe: "web", displaced: []string{"1", "2"}, kept: []string{"3"}},
		}},
		"another process is faster": {func(d *buildertest.Driver) {
			d.Flaky["displace"] = []error{builder.ErrNotKept}
		}, []failing{
			{build: "1", recipe: "web", kept: []string{"1"}},
			{build: "2", recipe: "web", kept: []string{"1", "2"}}, // the driver forgot nothing, but nobody is told twice
		}},
		"the operator wants none": {func(*buildertest.Driver) {}, []failing{
			{build: "1", recipe: "web", never: "switched off", notKept: "switched off"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := buildertest.New()
				driver.Fail["nginx build"] = component.Failure{Step: "S", Phase: "build"}
				c.arrange(driver)
				for _, b := range c.builds {
					time.Sleep(time.Minute)
					b.check(t, driver)
				}
			})
		})
	}
}

// check lets the build fail, and sees what is kept then and what is told of it.
func (b failing) check(t *testing.T, driver *buildertest.Driver) {
	t.Helper()
	var told strings.Builder
	keep := builder.Keep{For: 24 * time.Hour, Most: 2, Recipe: b.recipe}
	if b.never != "" {
		keep = builder.Keep{Never: b.never}
	}
	req := builder.Request{Build: b.build, Recipe: sample(t), Keep: keep}
	res, err := builder.New(driver, remembered{}).Build(t.Context(), req, func(e builder.Event) {
		if e.Kind == builder.Warned {
			told.WriteString(e.Text + "\n")
		}
	})
	if builder.FaultOf(err) != builder.Author || len(driver.Live()) > 0 {
		t.Errorf("build %s: %v; left alive: %v", b.build, err, driver.Live())
	}
	if (res.Kept == nil) != (b.notKept != "") || !strings.Contains(res.NotKept, b.notKept) || (res.NotKept == "") != (b.notKept == "") {
		t.Errorf("build %s is kept as %+v, or not because %q", b.build, res.Kept, res.NotKept)
	}
	var displaced, kept []string
	for _, d := range res.Displaced {
		displaced = append(displaced, d.Build)
		if !strings.Contains(told.String(), "the kept instance of build "+d.Build+" is removed before its time: "+d.Why+"\n") {
			t.Errorf("nothing is said of what was removed: %s", told.String())
		}
	}
	if b.notKept != "" && !strings.Contains(told.String(), "the instance is not kept: "+res.NotKept+"\n") {
		t.Errorf("nothing is said of what is not kept: %s", told.String())
	}
	if !strings.Contains(told.String(), b.says) {
		t.Errorf("%q is not said: %s", b.says, told.String())
	}
	there, _ := driver.Kept(t.Context())
	for _, k := range there {
		kept = append(kept, k.Build)
	}
	if !slices.Equal(displaced, b.displaced) || !slices.Equal(kept, b.kept) {
		t.Errorf("after build %s %q are kept and %q went, want %q and %q; told:\n%s", b.build, kept, displaced, b.kept, b.displaced, told.String())
	}
}

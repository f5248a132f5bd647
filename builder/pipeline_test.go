package builder_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// remembered is a Memory of a map.
type remembered map[string][]builder.TestResult

func (m remembered) TestsByKey(_ context.Context, key string) ([]builder.TestResult, bool, error) {
	t, ok := m[key]
	return t, ok, nil
}

// document returns a use of a parsed document with the given phases.
func document(t *testing.T, name string, phases ...string) recipe.Use {
	t.Helper()
	text := "schemaVersion: 1.0\nphases:\n"
	for _, p := range phases {
		text += "  - name: " + p + "\n    steps:\n      - name: S\n        action: ExecuteBash\n        inputs: {commands: [\"true\"]}\n"
	}
	doc, problems := component.Parse(name+".yaml", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return recipe.Use{Name: name, Path: name + ".yaml", Text: []byte(text), Digest: name, Document: doc}
}

// sample is a recipe of two components, the second with a test phase, and a test.
func sample(t *testing.T) *recipe.Recipe {
	return &recipe.Recipe{
		Name: "web", Parent: recipe.Parent{Kind: recipe.ParentAlias, Name: "debian-12", Text: "debian-12"},
		Components:     []recipe.Use{document(t, "nginx", "build", "validate"), document(t, "site", "build", "test")},
		Tests:          []recipe.Use{document(t, "http", "test")},
		Infrastructure: recipe.Infrastructure{Isolation: recipe.Container, TimeoutMinutes: 60},
	}
}

// events renders what an observer hears, without times and output.
func events(into *[]string) builder.Observer {
	return func(e builder.Event) {
		if e.Kind != builder.Output && e.Step == "" && e.Kind != builder.Started {
			*into = append(*into, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Stage, e.Name, e.Kind)))
		}
	}
}

func TestBuildGoesThroughAllStages(t *testing.T) {
	driver, heard := buildertest.New(), []string{}
	res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, events(&heard))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"resolve  succeeded", "launch  succeeded", "build nginx succeeded", "build site succeeded", "inventory  succeeded",
		"clean  succeeded", "image  succeeded", "boot  succeeded", "test site succeeded", "test http succeeded",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
	if res.Image == nil || res.ImageReused || len(res.Tests) != 2 || res.Image.Revision != "r1" {
		t.Errorf("result %+v", res)
	}
	if len(driver.Live()) > 0 {
		t.Errorf("left alive: %v", driver.Live())
	}
}

// asked remembers what the driver was asked to launch.
type asked struct {
	*buildertest.Driver
	spec builder.LaunchSpec
}

func (a *asked) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	a.spec = spec
	return a.Driver.Launch(ctx, spec)
}

// An instance reaches AWS when a document that runs on it needs that, wherever in
// the recipe it stands; tests run in another instance.
func TestLaunchHasVolumesAndUserDataOfTheRecipe(t *testing.T) {
	driver, r := &asked{Driver: buildertest.New()}, sample(t)
	r.UserData, r.BlockDevices = "#!/bin/sh", []recipe.BlockDevice{{Name: "/dev/sdf", Virtual: "ephemeral0"}}
	if _, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r}, func(builder.Event) {}); err != nil {
		t.Fatal(err)
	}
	if driver.spec.UserData != r.UserData || !slices.Equal(driver.spec.BlockDevices, r.BlockDevices) {
		t.Errorf("asked for %+v", driver.spec)
	}
}

func TestInstancesReachAWSWhereADocumentNeedsIt(t *testing.T) {
	needy := document(t, "needy", "build")
	needy.Text = []byte(strings.Replace(string(needy.Text), `"true"`, `"echo {{ aws:ssm:/x }}"`, 1))
	for want, change := range map[bool]func(*recipe.Recipe){
		true:  func(r *recipe.Recipe) { r.Components = append(r.Components, needy) },
		false: func(r *recipe.Recipe) { r.Tests = append(r.Tests, needy) },
	} {
		driver, r := &asked{Driver: buildertest.New()}, sample(t)
		change(r)
		if _, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r}, func(builder.Event) {}); err != nil {
			t.Fatal(err)
		}
		if driver.spec.AWS != want {
			t.Errorf("asked for AWS: %v, want %v", driver.spec.AWS, want)
		}
	}
}

func TestNothingIsDoneTwice(t *testing.T) {
	driver, memory := buildertest.New(), remembered{}
	b := builder.New(driver, memory)
	first, err := b.Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	memory[first.Keys.Test] = first.Tests

	tests := []struct {
		name   string
		change func(*recipe.Recipe, *builder.Request)
		calls  string
	}{
		{"nothing changed", func(*recipe.Recipe, *builder.Request) {}, "resolve"},
		{"name and version raised", func(r *recipe.Recipe, _ *builder.Request) { r.Version.Major++; r.Name = "web2" }, "resolve"},
		{"test changed", func(r *recipe.Recipe, _ *builder.Request) { r.Tests[0].Digest = "other" }, "resolve boot login run site test run http test"},
		{"last component changed", func(r *recipe.Recipe, _ *builder.Request) { r.Components[1].Digest = "other" },
			"resolve launch container run site build,validate keep inventory clean snapshot boot login run site test run http test"},
		{"a new epoch", func(_ *recipe.Recipe, q *builder.Request) { q.Epoch = "2" },
			"resolve launch container run nginx build,validate keep run site build,validate keep inventory clean snapshot boot login run site test run http test"},
	}
	for i, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			req := builder.Request{Build: fmt.Sprint(i), Recipe: sample(t)}
			c.change(req.Recipe, &req)
			driver.Calls()
			if _, err := b.Build(t.Context(), req, func(builder.Event) {}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(driver.Calls(), " "); got != c.calls {
				t.Errorf("calls\n got %s\nwant %s", got, c.calls)
			}
		})
	}
}

func TestFailuresNameWhoHasToAct(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name    string
		arrange func(*buildertest.Driver)
		want    builder.Error
		image   bool
	}{
		{"component", func(s *buildertest.Driver) {
			s.Fail["nginx build"] = component.Failure{Path: "nginx.yaml", Phase: "build", Step: "S", Action: "ExecuteBash", Message: "exit status 3"}
		}, builder.Error{Fault: builder.Author, Stage: builder.StageBuild, Name: "nginx", Step: "build/S", Output: "output of nginx"}, false},
		{"test", func(s *buildertest.Driver) {
			s.Fail["site test"] = component.Failure{Phase: "test", Step: "S", Message: "no"}
		}, builder.Error{Fault: builder.Author, Stage: builder.StageTest, Name: "site", Step: "test/S", Output: "output of site"}, true},
		{"parent", func(s *buildertest.Driver) { s.Broken["resolve"] = boom }, builder.Error{Fault: builder.Internal, Stage: builder.StageResolve}, false},
		{"parent of the driver's own words", func(s *buildertest.Driver) {
			s.Broken["resolve"] = &builder.Error{Fault: builder.Transient, Reason: "the mirror is away"}
		}, builder.Error{Fault: builder.Transient, Stage: builder.StageResolve, Reason: "the mirror is away"}, false},
		{"launch", func(s *buildertest.Driver) { s.Broken["launch"] = boom }, builder.Error{Fault: builder.Internal, Stage: builder.StageLaunch}, false},
		{"clean", func(s *buildertest.Driver) { s.Broken["clean"] = boom }, builder.Error{Fault: builder.Internal, Stage: builder.StageClean}, false},
		{"login", func(s *buildertest.Driver) { s.Broken["login"] = boom }, builder.Error{Fault: builder.Internal, Stage: builder.StageBoot, Output: "line 1\nKernel panic"}, true},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			driver := buildertest.New()
			c.arrange(driver)
			res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
			var got *builder.Error
			if !errors.As(err, &got) {
				t.Fatalf("error %v is not an *Error", err)
			}
			if got.Fault != c.want.Fault || got.Stage != c.want.Stage || got.Name != c.want.Name || got.Step != c.want.Step || got.Output != c.want.Output || got.Reason == "" {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
			if c.want.Reason != "" && got.Reason != c.want.Reason {
				t.Errorf("reason %q, want %q", got.Reason, c.want.Reason)
			}
			if (res.Image != nil) != c.image {
				t.Errorf("image %v", res.Image)
			}
			if len(driver.Live()) > 0 {
				t.Errorf("left alive: %v", driver.Live())
			}
		})
	}
}

func TestMachineThatFailsIsReplaced(t *testing.T) {
	hangs := &builder.Error{Fault: builder.Transient, Reason: "the machine's processor hangs"}
	for name, c := range map[string]struct {
		login, run []error // how the calls end
		boots      int
		want       error
	}{
		"at login":            {login: []error{hangs}, boots: 2},
		"in the second test":  {run: []error{nil, nil, nil, hangs}, boots: 2}, // two components and a test come first
		"the image's fault":   {login: []error{&builder.Error{Fault: builder.Author, Reason: "panic"}}, boots: 1, want: &builder.Error{Fault: builder.Author}},
		"every machine hangs": {login: []error{hangs, hangs, hangs, hangs}, boots: 3, want: hangs},
	} {
		t.Run(name, func(t *testing.T) {
			driver := buildertest.New()
			driver.Flaky["login"], driver.Flaky["run"] = c.login, c.run
			var warned []string
			res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(e builder.Event) {
				if e.Kind == builder.Warned {
					warned = append(warned, e.Text)
				}
			})
			if (err == nil) != (c.want == nil) || (err != nil && builder.FaultOf(err) != builder.FaultOf(c.want)) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err == nil && len(res.Tests) != 2 {
				t.Errorf("tests %+v", res.Tests)
			}
			boots := 0
			for _, call := range driver.Calls() {
				if strings.HasPrefix(call, "boot") {
					boots++
				}
			}
			if boots != c.boots || len(warned) != c.boots-1 {
				t.Errorf("%d machines, want %d; warned of %q", boots, c.boots, warned)
			}
			if len(driver.Live()) > 0 {
				t.Errorf("left alive: %v", driver.Live())
			}
		})
	}
}

func TestAllTestsRunAfterOneFailed(t *testing.T) {
	driver := buildertest.New()
	driver.Fail["site test"] = component.Failure{Phase: "test", Step: "S", Message: "no"}
	res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
	if builder.FaultOf(err) != builder.Author || len(res.Tests) != 2 || res.Tests[0].Status != component.Failed || !res.Tests[1].Status.OK() {
		t.Errorf("tests %+v, error %v", res.Tests, err)
	}
}

func TestTimeoutIsTheAuthors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := buildertest.New()
		driver.Hang = "site"
		_, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
		var e *builder.Error
		if !errors.As(err, &e) || e.Fault != builder.Author || e.Name != "site" || !strings.Contains(e.Reason, "longer than 1h0m0s") {
			t.Errorf("error %v", err)
		}
		if len(driver.Live()) > 0 {
			t.Errorf("left alive: %v", driver.Live())
		}
	})
}

// patient is a driver whose images take a service longer than any recipe allows.
type patient struct {
	*buildertest.Driver
	takes time.Duration
	hold  bool
}

func (p patient) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	inst, err := p.Driver.Launch(ctx, spec)
	return patientInstance{inst, p}, err
}

type patientInstance struct {
	builder.Instance
	patient
}

func (i patientInstance) Snapshot(ctx context.Context, key string, inventory builder.Inventory) (builder.Image, error) {
	if i.hold {
		release := builder.Hold(ctx)
		defer release()
		defer release() // once is enough, twice does no harm
		defer builder.Hold(ctx)()
	}
	select {
	case <-time.After(i.takes):
	case <-ctx.Done():
		return builder.Image{}, context.Cause(ctx)
	}
	return i.Instance.Snapshot(ctx, key, inventory)
}

// TestTheClockStandsStillWhileAServiceWorks: the time in which a service makes an image
// is not the recipe's; what the recipe does before and after it is.
func TestTheClockStandsStillWhileAServiceWorks(t *testing.T) {
	for name, k := range map[string]struct {
		hold bool
		hang string
		want string // of the error
	}{
		"it is held":                {hold: true},
		"it is not":                 {want: "longer than 1h0m0s"},
		"it is held, and goes on":   {hold: true, hang: "http", want: "longer than 1h0m0s"},
		"what comes before is slow": {hold: true, hang: "site", want: "longer than 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				driver := buildertest.New()
				driver.Hang = k.hang
				begin := time.Now()
				_, err := builder.New(patient{driver, 3 * time.Hour, k.hold}, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: sample(t)}, func(builder.Event) {})
				if (err == nil) != (k.want == "") || err != nil && (builder.FaultOf(err) != builder.Author || !strings.Contains(err.Error(), k.want)) {
					t.Errorf("after %s: %v, want %q", time.Since(begin), err, k.want)
				}
				if took := time.Since(begin); took > 4*time.Hour {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestStopKeepsItsCause(t *testing.T) {
	driver := buildertest.New()
	driver.Hang = "nginx"
	stopping := errors.New("stopping")
	ctx, stop := context.WithCancelCause(t.Context())
	_, err := builder.New(driver, remembered{}).Build(ctx, builder.Request{Build: "1", Recipe: sample(t)}, func(e builder.Event) {
		if e.Kind == builder.Output && e.Name == "nginx" {
			stop(stopping)
		}
	})
	if !errors.Is(err, stopping) {
		t.Errorf("error %v does not carry the cause", err)
	}
}

// What a test needs beside the image is put on before the boot, and what it found
// is in its result, also when it failed.
func TestScanIsPreparedAndReported(t *testing.T) {
	r := sample(t)
	r.Components, r.Tests = nil, []recipe.Use{document(t, "scan", "prepare", "test"), document(t, "http", "test")}
	for _, fails := range []bool{false, true} {
		driver, heard := buildertest.New(), []string{}
		driver.Prints = map[string]string{"scan test": "ingot:scan score 61\ningot:scan failed high root-login Root logs in\ningot:scan what\n"}
		want := component.Success
		if fails {
			driver.Fail["scan test"] = component.Failure{Step: "S", Phase: "test"}
			want = component.Failed
		}
		res, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r}, events(&heard))
		if (err != nil) != fails {
			t.Fatalf("build: %v", err)
		}
		if calls := strings.Join(driver.Calls(), " "); !strings.HasSuffix(calls, "boot run scan prepare login run scan test run http test") {
			t.Errorf("calls %s", calls)
		}
		if !slices.Contains(heard, "prepare scan succeeded") || !slices.Contains(heard, "test scan warned") {
			t.Errorf("heard %q", heard)
		}
		scan := res.Tests[0].Scan
		if res.Tests[0].Status != want || scan == nil || scan.Score != 61 || len(scan.Failed) != 1 || res.Tests[1].Scan != nil {
			t.Errorf("tests %+v, scan %+v", res.Tests, scan)
		}
	}
}

func TestFailedPreparationIsTheAuthors(t *testing.T) {
	r := sample(t)
	r.Tests = []recipe.Use{document(t, "scan", "prepare", "test")}
	driver := buildertest.New()
	driver.Fail["scan prepare"] = component.Failure{Step: "S", Phase: "prepare", Action: "ExecuteBash", Message: "exit status 1"}
	_, err := builder.New(driver, remembered{}).Build(t.Context(), builder.Request{Build: "1", Recipe: r}, func(builder.Event) {})
	var e *builder.Error
	if !errors.As(err, &e) || e.Fault != builder.Author || e.Stage != builder.StagePrepare || e.Name != "scan" {
		t.Errorf("error %v", err)
	}
	if live := driver.Live(); len(live) > 0 {
		t.Errorf("left alive: %v", live)
	}
}

// lasting is a driver whose instances outlive their process.
type lasting struct{ *buildertest.Driver }

type lastingInstance struct{ builder.Instance }

func (lastingInstance) Leave() {}

func (d lasting) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	i, err := d.Driver.Launch(ctx, spec)
	return lastingInstance{i}, err
}

// An instance that outlives its process is left when the build goes on in another one,
// and only then.
func TestLastingInstancesAreLeft(t *testing.T) {
	for _, k := range []struct {
		cause  error
		lasts  bool
		closed bool
	}{
		{fmt.Errorf("an upgrade: %w", builder.ErrGoesOn), true, false},
		{fmt.Errorf("an upgrade: %w", builder.ErrGoesOn), false, true},
		{errors.New("cancelled"), true, true},
	} {
		fake := buildertest.New()
		fake.Hang = "nginx"
		var driver builder.Driver = fake
		if k.lasts {
			driver = lasting{fake}
		}
		ctx, stop := context.WithCancelCause(t.Context())
		_, err := builder.New(driver, remembered{}).Build(ctx, builder.Request{Build: "1", Recipe: sample(t)}, func(e builder.Event) {
			if e.Stage == builder.StageBuild {
				stop(k.cause)
			}
		})
		if !errors.Is(err, k.cause) || (len(fake.Live()) == 0) != k.closed {
			t.Errorf("%+v: %v, alive %v", k, err, fake.Live())
		}
	}
}

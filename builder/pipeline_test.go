package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// scripted is a driver that keeps its images and layers in maps and refuses what
// a real one would: calls after Close, layers that were not asked for, a second
// instance of the same build, an image of an instance that was not cleaned.
type scripted struct {
	images map[string]Image
	layers map[string]bool
	live   map[string]bool
	fail   map[string]component.Failure // by document name and first phase
	broken map[string]error             // by call: resolve, launch, boot, login, …
	calls  []string
	hang   string // document whose run ends only with its context
}

func newScripted() *scripted {
	return &scripted{
		images: map[string]Image{}, layers: map[string]bool{}, live: map[string]bool{},
		fail: map[string]component.Failure{}, broken: map[string]error{},
	}
}

func (s *scripted) call(name string) error {
	s.calls = append(s.calls, name)
	return s.broken[strings.Fields(name)[0]]
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Revision(context.Context, recipe.Parent) (string, error) { return "r1", nil }

func (s *scripted) Resolve(_ context.Context, p ParentSource, log func(string)) (Base, error) {
	log("looking at " + p.Text)
	if err := s.call("resolve"); err != nil {
		return Base{}, err
	}
	return Base{Ref: "base", Digest: "digest-of-" + p.Text, Revision: "r1", Platform: "Linux"}, nil
}

func (s *scripted) Image(_ context.Context, key string) (Image, bool, error) {
	img, ok := s.images[key]
	return img, ok, nil
}

func (s *scripted) Sweep(context.Context) ([]string, error) { return nil, nil }

func (s *scripted) Launch(_ context.Context, spec LaunchSpec) (Instance, error) {
	if s.live[spec.Build] {
		return nil, fmt.Errorf("build %s has an instance already", spec.Build)
	}
	if err := s.call("launch"); err != nil {
		return nil, err
	}
	inst := &scriptedInstance{scripted: s, spec: spec}
	for inst.held < len(spec.Layers) && s.layers[spec.Layers[inst.held]] {
		inst.held++
	}
	s.live[spec.Build] = true
	return inst, nil
}

func (s *scripted) Boot(_ context.Context, spec BootSpec) (Guest, error) {
	if _, ok := s.images[spec.Image.Key]; !ok {
		return nil, fmt.Errorf("no image %s", spec.Image.Key)
	}
	if err := s.call("boot"); err != nil {
		return nil, err
	}
	s.live["guest-"+spec.Build] = true
	return &scriptedGuest{scripted: s, build: spec.Build}, nil
}

func (s *scripted) run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	doc := job.Documents[0]
	if err := s.call("run " + doc.Name + " " + strings.Join(job.Phases, ",")); err != nil {
		return component.Result{}, err
	}
	emit(component.Event{Kind: component.Output, Text: "output of " + doc.Name + "\n", Phase: job.Phases[0], Step: "S"})
	if s.hang == doc.Name {
		<-ctx.Done()
		return component.Result{}, ctx.Err()
	}
	res := component.Result{Status: component.Success, Documents: []component.DocumentResult{{Name: doc.Name, Status: component.Success}}}
	if f, bad := s.fail[doc.Name+" "+job.Phases[0]]; bad {
		res.Status, res.Failure, res.Documents[0].Status = component.Failed, &f, component.Failed
	}
	return res, nil
}

type scriptedInstance struct {
	*scripted
	spec          LaunchSpec
	held          int
	clean, closed bool
}

func (i *scriptedInstance) use() error {
	if i.closed {
		return errors.New("the instance is closed")
	}
	return nil
}

func (i *scriptedInstance) Held() int { return i.held }

func (i *scriptedInstance) Put(context.Context, recipe.Tree, []recipe.Files) error {
	return errors.Join(i.use(), i.call("put"))
}

func (i *scriptedInstance) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if err := i.use(); err != nil {
		return component.Result{}, err
	}
	return i.run(ctx, job, emit)
}

func (i *scriptedInstance) Keep(_ context.Context, key string) error {
	if !slices.Contains(i.spec.Layers, key) {
		return fmt.Errorf("layer %s was not asked for", key)
	}
	i.layers[key] = true
	return errors.Join(i.use(), i.call("keep"))
}

func (i *scriptedInstance) Inventory(context.Context) (Inventory, error) {
	return Inventory{OS: "Scripted 1"}, errors.Join(i.use(), i.call("inventory"))
}

func (i *scriptedInstance) Clean(context.Context) error {
	i.clean = true
	return errors.Join(i.use(), i.call("clean"))
}

func (i *scriptedInstance) Snapshot(_ context.Context, key string, inv Inventory) (Image, error) {
	if !i.clean {
		return Image{}, errors.New("the instance is not clean")
	}
	img := Image{ID: "img-" + key[:12], Key: key, Driver: "scripted", Inventory: inv}
	i.images[key] = img
	return img, errors.Join(i.use(), i.call("snapshot"))
}

func (i *scriptedInstance) Close(context.Context) error {
	i.closed = true
	delete(i.live, i.spec.Build)
	return nil
}

type scriptedGuest struct {
	*scripted
	build string
}

func (g *scriptedGuest) WaitLogin(context.Context) error { return g.call("login") }
func (g *scriptedGuest) Console() string                 { return "line 1\nKernel panic\n" }
func (g *scriptedGuest) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return g.run(ctx, job, emit)
}
func (g *scriptedGuest) Close(context.Context) error {
	delete(g.live, "guest-"+g.build)
	return nil
}

// remembered is a Memory of a map.
type remembered map[string][]TestResult

func (m remembered) TestsByKey(_ context.Context, key string) ([]TestResult, bool, error) {
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
func events(into *[]string) Observer {
	return func(e Event) {
		if e.Kind != Output && e.Step == "" && e.Kind != Started {
			*into = append(*into, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Stage, e.Name, e.Kind)))
		}
	}
}

func TestBuildGoesThroughAllStages(t *testing.T) {
	driver, heard := newScripted(), []string{}
	res, err := New(driver, remembered{}).Build(t.Context(), Request{Build: "1", Recipe: sample(t)}, events(&heard))
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
	if len(driver.live) > 0 {
		t.Errorf("left alive: %v", driver.live)
	}
}

func TestNothingIsDoneTwice(t *testing.T) {
	driver, memory := newScripted(), remembered{}
	b := New(driver, memory)
	first, err := b.Build(t.Context(), Request{Build: "1", Recipe: sample(t)}, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	memory[first.Keys.Test] = first.Tests

	tests := []struct {
		name   string
		change func(*recipe.Recipe, *Request)
		calls  string
	}{
		{"nothing changed", func(*recipe.Recipe, *Request) {}, "resolve"},
		{"name and version raised", func(r *recipe.Recipe, _ *Request) { r.Version.Major++; r.Name = "web2" }, "resolve"},
		{"test changed", func(r *recipe.Recipe, _ *Request) { r.Tests[0].Digest = "other" }, "resolve boot login run site test run http test"},
		{"last component changed", func(r *recipe.Recipe, _ *Request) { r.Components[1].Digest = "other" },
			"resolve launch run site build,validate keep inventory clean snapshot boot login run site test run http test"},
		{"a new epoch", func(_ *recipe.Recipe, q *Request) { q.Epoch = "2" },
			"resolve launch run nginx build,validate keep run site build,validate keep inventory clean snapshot boot login run site test run http test"},
	}
	for i, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			req := Request{Build: fmt.Sprint(i), Recipe: sample(t)}
			c.change(req.Recipe, &req)
			driver.calls = nil
			if _, err := b.Build(t.Context(), req, func(Event) {}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(driver.calls, " "); got != c.calls {
				t.Errorf("calls\n got %s\nwant %s", got, c.calls)
			}
		})
	}
}

func TestFailuresNameWhoHasToAct(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name    string
		arrange func(*scripted)
		want    Error
		image   bool
	}{
		{"component", func(s *scripted) {
			s.fail["nginx build"] = component.Failure{Path: "nginx.yaml", Phase: "build", Step: "S", Action: "ExecuteBash", Message: "exit status 3"}
		}, Error{Fault: Author, Stage: StageBuild, Name: "nginx", Step: "build/S", Output: "output of nginx"}, false},
		{"test", func(s *scripted) {
			s.fail["site test"] = component.Failure{Phase: "test", Step: "S", Message: "no"}
		}, Error{Fault: Author, Stage: StageTest, Name: "site", Step: "test/S", Output: "output of site"}, true},
		{"parent", func(s *scripted) { s.broken["resolve"] = boom }, Error{Fault: Internal, Stage: StageResolve}, false},
		{"parent of the driver's own words", func(s *scripted) {
			s.broken["resolve"] = &Error{Fault: Transient, Reason: "the mirror is away"}
		}, Error{Fault: Transient, Stage: StageResolve, Reason: "the mirror is away"}, false},
		{"launch", func(s *scripted) { s.broken["launch"] = boom }, Error{Fault: Internal, Stage: StageLaunch}, false},
		{"clean", func(s *scripted) { s.broken["clean"] = boom }, Error{Fault: Internal, Stage: StageClean}, false},
		{"login", func(s *scripted) { s.broken["login"] = boom }, Error{Fault: Internal, Stage: StageBoot, Output: "line 1\nKernel panic"}, true},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			driver := newScripted()
			c.arrange(driver)
			res, err := New(driver, remembered{}).Build(t.Context(), Request{Build: "1", Recipe: sample(t)}, func(Event) {})
			var got *Error
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
			if len(driver.live) > 0 {
				t.Errorf("left alive: %v", driver.live)
			}
		})
	}
}

func TestAllTestsRunAfterOneFailed(t *testing.T) {
	driver := newScripted()
	driver.fail["site test"] = component.Failure{Phase: "test", Step: "S", Message: "no"}
	res, err := New(driver, remembered{}).Build(t.Context(), Request{Build: "1", Recipe: sample(t)}, func(Event) {})
	if FaultOf(err) != Author || len(res.Tests) != 2 || res.Tests[0].Status != component.Failed || !res.Tests[1].Status.OK() {
		t.Errorf("tests %+v, error %v", res.Tests, err)
	}
}

func TestTimeoutIsTheAuthors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := newScripted()
		driver.hang = "site"
		_, err := New(driver, remembered{}).Build(t.Context(), Request{Build: "1", Recipe: sample(t)}, func(Event) {})
		var e *Error
		if !errors.As(err, &e) || e.Fault != Author || e.Name != "site" || !strings.Contains(e.Reason, "longer than 1h0m0s") {
			t.Errorf("error %v", err)
		}
		if len(driver.live) > 0 {
			t.Errorf("left alive: %v", driver.live)
		}
	})
}

func TestStopKeepsItsCause(t *testing.T) {
	driver := newScripted()
	driver.hang = "nginx"
	stopping := errors.New("stopping")
	ctx, stop := context.WithCancelCause(t.Context())
	_, err := New(driver, remembered{}).Build(ctx, Request{Build: "1", Recipe: sample(t)}, func(e Event) {
		if e.Kind == Output && e.Name == "nginx" {
			stop(stopping)
		}
	})
	if !errors.Is(err, stopping) {
		t.Errorf("error %v does not carry the cause", err)
	}
}

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"a", 3, "a"}, {"a\nb\nc\n", 2, "b\nc"}, {"a\nb\nc", 3, "a\nb\nc"}, {"\n\n", 1, ""}, {"a\n\nb", 2, "\nb"},
	} {
		if got := lastLines(c.text, c.n); got != c.want {
			t.Errorf("lastLines(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

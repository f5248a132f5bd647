package gallerytest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/agent/agenttest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/gallery"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

type parameters map[string]string

func TestMain(m *testing.M) { os.Exit(agenttest.Main(m)) }

// newDriver makes a local driver on empty folders, with the real agent and parents
// from the folder of a disk.
func newDriver(t *testing.T, disk string) *local.Driver {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	d, err := local.New(local.Config{
		Dir: t.TempDir(), CacheDir: filepath.Join(agenttest.Dir(t), "cache"), AgentPath: agenttest.Program(t),
		ParentDirs: []string{filepath.Dir(disk)}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// launch starts a container over a disk.
func launch(t *testing.T, d *local.Driver, disk, build string, gib int) builder.Instance {
	t.Helper()
	source := builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentFile, Name: disk, Text: disk}}
	base, err := d.Resolve(t.Context(), source, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	i, err := d.Launch(t.Context(), builder.LaunchSpec{Build: build, Base: base, Isolation: recipe.Container, DiskGiB: gib})
	if err != nil {
		t.Fatal(err)
	}
	giveBack(t, i.Close)
	return i
}

func giveBack(t *testing.T, close func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// machine is where documents of the gallery are tried, one after another.
type machine struct {
	t  *testing.T
	on interface {
		Run(context.Context, component.Job, func(component.Event)) (component.Result, error)
	}
	tests bool // it is a test instance, on which test phases run
	jobs  int
	hung  error // why nothing more is tried on it, which says nothing of the documents
}

// run runs one document as a build, or a test stage, would. An emulated processor
// hangs now and then: then, and from then on, it does nothing.
func (m *machine) run(name string, document component.JobDocument) (component.Result, string) {
	m.t.Helper()
	phases := []string{component.PhaseBuild, component.PhaseValidate}
	if m.tests {
		phases = []string{component.PhaseTest}
	}
	if m.hung != nil {
		return component.Result{}, ""
	}
	m.jobs++
	var printed strings.Builder
	began := time.Now()
	result, err := m.on.Run(m.t.Context(), component.Job{
		ID: fmt.Sprintf("job-%d", m.jobs), Phases: phases, WorkingDir: "/tmp", Documents: []component.JobDocument{document},
	}, func(e component.Event) {
		if e.Kind == component.Output {
			printed.WriteString(e.Text)
		}
	})
	if m.tests && builder.FaultOf(err) == builder.Transient {
		m.hung = err
		return component.Result{}, ""
	}
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", name, err, printed.String())
	}
	m.t.Logf("%s %v: %s in %.1f s", name, document.Parameters, result.Status, time.Since(began).Seconds())
	return result, printed.String()
}

func (m *machine) component(name string, given parameters) (component.Result, string) {
	m.t.Helper()
	_, version, text, err := gallery.New().Component(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.run(name, component.JobDocument{Name: name, Path: "gallery:" + name + "@" + version, Text: string(text), Parameters: given})
}

// updates runs the action UpdateOS with these inputs.
func (m *machine) updates(inputs string) {
	m.t.Helper()
	text := "schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n  - name: update\n    action: UpdateOS\n    inputs: {" + inputs + "}\n"
	result, printed := m.run("UpdateOS", component.JobDocument{Name: "update", Path: "update.yaml", Text: text})
	if m.hung == nil && !result.Status.OK() {
		m.t.Errorf("UpdateOS %s: %+v\n%s", inputs, result.Failure, last(printed))
	}
}

// passes runs a component that has to succeed and to print some texts.
func (m *machine) passes(name string, given parameters, prints ...string) {
	m.t.Helper()
	result, printed := m.component(name, given)
	if m.hung != nil {
		return
	}
	if !result.Status.OK() {
		m.t.Errorf("%s %v: %+v\n%s", name, given, result.Failure, last(printed))
		return
	}
	for _, want := range prints {
		if !strings.Contains(printed, want) {
			m.t.Errorf("%s %v does not print %q:\n%s", name, given, want, last(printed))
		}
	}
}

// fails runs a component that has to fail and to give these reasons.
func (m *machine) fails(name string, given parameters, reasons ...string) (component.Result, string) {
	m.t.Helper()
	result, printed := m.component(name, given)
	if m.hung != nil {
		return result, printed
	}
	if result.Status != component.Failed {
		m.t.Errorf("%s %v: %s, want it to fail\n%s", name, given, result.Status, last(printed))
		return result, printed
	}
	if result.Failure != nil {
		printed += result.Failure.Message
	}
	for _, want := range reasons {
		if !strings.Contains(printed, want) {
			m.t.Errorf("%s %v does not say %q:\n%s", name, given, want, last(printed))
		}
	}
	return result, printed
}

// bash runs a script that has to succeed and returns what it printed.
func (m *machine) bash(script string) string {
	m.t.Helper()
	phase := component.PhaseBuild
	if m.tests {
		phase = component.PhaseTest
	}
	var text strings.Builder
	fmt.Fprintf(&text, "schemaVersion: 1.0\nphases:\n  - name: %s\n    steps:\n      - name: Script\n        action: ExecuteBash\n        inputs:\n          commands:\n            - |\n              set -eu\n", phase)
	for line := range strings.Lines(script) {
		text.WriteString("              " + line)
	}
	result, printed := m.run("script", component.JobDocument{Name: "script", Path: "script.yaml", Text: text.String()})
	if m.hung == nil && !result.Status.OK() {
		m.t.Fatalf("%+v\n%s", result.Failure, last(printed))
	}
	return printed
}

// last is the end of a long text.
func last(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(slices.Clone(lines[max(0, len(lines)-30):]), "\n")
}

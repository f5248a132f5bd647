package gallery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-6db18919/ingot/builder/component"
)

type parameters map[string]string

// given are values for the parameters that have no default.
func given(d *component.Document) map[string]string {
	values := map[string]string{}
	for _, p := range d.Parameters {
		if p.Required {
			values[p.Name] = "example"
		}
	}
	return values
}

func TestDescribe(t *testing.T) {
	d, err := New().Describe("listening-ports-test")
	if err != nil {
		t.Fatal(err)
	}
	if !d.Test || d.Platform != component.Linux || d.Text == "" || !slices.Equal(d.Phases, []string{"test"}) ||
		!slices.Contains(d.Versions, "1.0.0") || len(d.Parameters) != 1 || d.Parameters[0].Name != "AllowedPorts" {
		t.Errorf("%+v", d)
	}
	if d, err := New().Describe("hello-world-windows"); err != nil || d.Platform != component.Windows || d.Test {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := New().Describe("hello-wrld-linux"); err == nil || !strings.Contains(err.Error(), `did you mean "hello-world-linux"?`) {
		t.Error(err)
	}
}

func TestEveryDocumentIsSound(t *testing.T) {
	g := New()
	if len(g.Names()) == 0 {
		t.Fatal("the gallery is empty")
	}
	for _, name := range g.Names() {
		for _, version := range g.Versions(name) {
			_, _, text, err := g.Component(name + "@" + version)
			if err != nil {
				t.Fatal(err)
			}
			d, problems := component.Parse(path.Join(name, version+".yaml"), text)
			if err := problems.Err(); err != nil {
				t.Error(err)
				continue
			}
			if err := d.Check(platformOf(name), given(d)).Err(); err != nil {
				t.Error(err)
			}
			if len(d.Warnings) > 0 {
				t.Error(d.Warnings)
			}
			if d.Name != name || d.Description == "" {
				t.Errorf("%s@%s calls itself %q and says %q", name, version, d.Name, d.Description)
			}
		}
		if len(g.Versions(name)) == 0 {
			t.Errorf("%s has no version", name)
		}
	}
}

// Every script is one that bash can read.
func TestScriptsHaveNoSyntaxErrors(t *testing.T) {
	g := New()
	for _, name := range g.Names() {
		_, _, text, err := g.Component(name)
		if err != nil {
			t.Fatal(err)
		}
		d, problems := component.Parse(name, text)
		if problems.Err() != nil {
			t.Fatal(problems)
		}
		if platformOf(name) != component.Linux {
			continue
		}
		for _, p := range d.Phases {
			for i := range p.Steps {
				script := strings.Join(p.Steps[i].Commands(), "\n")
				cmd := exec.Command("bash", "-n")
				cmd.Stdin = strings.NewReader(script)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s %s/%s: %v\n%s", name, p.Name, p.Steps[i].Name, err, out)
				}
			}
		}
	}
}

// run runs phases of a document on this machine.
func run(t *testing.T, name, phase string, given parameters) (component.Result, string) {
	t.Helper()
	return runIn(t, component.Env{}, name, phase, given)
}

func runIn(t *testing.T, env component.Env, name, phase string, given parameters) (component.Result, string) {
	t.Helper()
	_, _, text, err := New().Component(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env.Root = dir
	var printed strings.Builder
	result, err := component.Run(t.Context(), component.Job{
		ID: "gallery", Phases: []string{phase}, WorkingDir: dir,
		Documents: []component.JobDocument{{Name: name, Path: name, Text: string(text), Parameters: given}},
	}, env, func(e component.Event) {
		if e.Kind == component.Output {
			printed.WriteString(e.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return result, printed.String()
}

func TestHelloWorldRuns(t *testing.T) {
	result, printed := run(t, "hello-world-linux", "build", nil)
	if result.Status != component.Success || !strings.Contains(printed, "Hello from the build phase on Linux") {
		t.Errorf("%+v, %q", result, printed)
	}
}

func TestRebootAsksForOne(t *testing.T) {
	if result, _ := run(t, "reboot-linux", "build", nil); !result.Reboot {
		t.Errorf("%+v", result)
	}
}

// The same boot before and after is what the test must not accept.
func TestRebootTestNoticesThatNothingHappened(t *testing.T) {
	_, _, text, err := New().Component("reboot-test-linux")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	job := component.Job{ID: "gallery", WorkingDir: dir, Documents: []component.JobDocument{{Name: "r", Path: "r", Text: string(text)}}}
	for range 2 {
		result, err := component.Run(t.Context(), job, component.Env{Root: dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if result.Reboot {
			continue
		}
		if result.Status != component.Failed || !strings.Contains(result.Failure.Stderr, "did not restart") {
			t.Errorf("%+v", result.Failure)
		}
		return
	}
	t.Error("it never ended")
}

func TestComponentFindsVersions(t *testing.T) {
	g := Gallery{fstest.MapFS{
		"tool/1.0.0.yaml": {Data: []byte("100")}, "tool/1.2.0.yaml": {Data: []byte("120")},
		"tool/1.10.0.yaml": {Data: []byte("1100")}, "tool/2.0.0.yaml": {Data: []byte("200")}, "tool/notes.txt": {},
	}}
	for ref, want := range map[string]string{
		"tool": "2.0.0", "tool@x.x.x": "2.0.0", "tool@1.x.x": "1.10.0", "tool@1.2.x": "1.2.0", "tool@1.0.0": "1.0.0",
	} {
		name, version, text, err := g.Component(ref)
		if err != nil || name != "tool" || version != want || string(text) != strings.ReplaceAll(want, ".", "") {
			t.Errorf("%s: %s %s %s %v", ref, name, version, text, err)
		}
	}
	for ref, want := range map[string]string{
		"tol":        `did you mean "tool"?`,
		"other":      "it has tool",
		"tool@3.x.x": "there is 1.0.0, 1.2.0, 1.10.0, 2.0.0",
		"tool@1":     "expected x.y.z",
		"tool@x.1.x": "expected numbers, or x from some node on",
		"tool@":      "expected x.y.z",
		"../tool":    "the gallery has no component",
		"":           "the gallery has no component",
	} {
		if _, _, _, err := g.Component(ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
}

// Ports that are open on this machine decide nothing: what is opened here does.
func TestListeningPortsTest(t *testing.T) {
	port, close := listen(t)
	defer close()
	result, printed := run(t, "listening-ports-test", "test", parameters{"AllowedPorts": "1"})
	if result.Status != component.Failed || !strings.Contains(printed, "tcp/"+port+" is open and was not declared") {
		t.Errorf("%+v\n%s", result.Failure, printed)
	}
	_, printed = run(t, "listening-ports-test", "test", parameters{"AllowedPorts": "22," + port})
	if !strings.Contains(printed, "tcp/"+port+" is open, as declared.") {
		t.Error(printed)
	}
}

// bucket is an object store in memory: what a component makes of an object does not
// depend on where that was kept.
type bucket map[component.Object]string

func (b bucket) Open(_ context.Context, o component.Object) (io.ReadCloser, error) {
	content, ok := b[o]
	if !ok {
		return nil, fmt.Errorf("%s of account %q: access denied", o, o.Owner)
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

func (b bucket) List(context.Context, component.Object, int) ([]string, error) {
	return nil, errors.New("nobody lists")
}

func (b bucket) Put(context.Context, component.Object, *os.File) error {
	return errors.New("nobody writes")
}

func TestDownloadS3File(t *testing.T) {
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of the five letters
	objects := bucket{{Bucket: "artifacts", Key: "a/tool", Owner: ""}: "hello", {Bucket: "artifacts", Key: "a/tool", Owner: "123456789012"}: "hello"}
	for name, test := range map[string]struct {
		change parameters
		reason string // empty: it succeeds
	}{
		"any owner":     {},
		"one owner":     {change: parameters{"BucketOwner": "123456789012", "Checksum": strings.ToUpper(hello)}},
		"another owner": {change: parameters{"BucketOwner": "999999999999"}, reason: "access denied"},
		"no checksum":   {change: parameters{"Checksum": ""}, reason: "give the 64 digits that sha256sum prints"},
		"another file":  {change: parameters{"Checksum": strings.Repeat("0", 64)}, reason: "the object has changed, or Checksum is of another one"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "new folder", "tool")
			given := parameters{"SourceUri": "s3://artifacts/a/tool", "Destination": file, "Checksum": hello, "FileMode": "0755"}
			maps.Copy(given, test.change)
			result, printed := runIn(t, component.Env{Objects: objects}, "download-s3-file-linux", "build", given)
			info, err := os.Stat(file)
			if test.reason == "" {
				if result.Status != component.Success || err != nil || info.Mode() != 0o755 {
					t.Errorf("%+v, %v, %v\n%s", result.Failure, info, err, printed)
				}
				return
			}
			if result.Status != component.Failed || !strings.Contains(printed+result.Failure.Message, test.reason) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %+v, %v\n%s", result.Status, result.Failure, err, printed)
			}
		})
	}
}

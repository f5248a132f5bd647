package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
)

// buildAgent builds the stand-in for the agent, static as the real one is.
func buildAgent(t testing.TB) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "agent:with,odd\\name")
	cmd := exec.Command("go", "build", "-o", out, "./testdata/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the test agent: %v\n%s", err, text)
	}
	return out
}

// newSpec makes a root filesystem that holds next to nothing.
func newSpec(t testing.TB) Spec {
	t.Helper()
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Fatalf("%v: install the Debian package systemd-container", err)
	}
	dir := t.TempDir()
	spec := Spec{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Logs: filepath.Join(dir, "log"),
		Agent: buildAgent(t), Env: []string{"INGOT_BUILD=" + filepath.Base(dir)},
	}
	for _, d := range []string{"usr/sbin", "etc", "tmp", "run", "proc", "sys", "dev", "root", "var", "../state", "../log"} {
		if err := os.MkdirAll(filepath.Join(spec.Root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/sbin", filepath.Join(spec.Root, "sbin")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(spec.Root, "etc/os-release"), []byte("ID=test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return spec
}

func job(commands ...string) component.Job {
	return component.Job{ID: "test", Documents: []component.JobDocument{{Name: "test", Text: strings.Join(commands, "\n")}}}
}

// outcome is what a run said and how it ended.
type outcome struct {
	said   []string
	result component.Result
	err    error
}

func run(ctx context.Context, spec Spec, j component.Job) outcome {
	var o outcome
	o.result, o.err = Run(ctx, spec, j, func(e component.Event) {
		if e.Kind == component.Output {
			o.said = append(o.said, e.Text)
		}
	})
	return o
}

// tree lists everything in a root, with the targets of links and sizes of files.
func tree(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.Command("find", root, "-printf", "%P %y %m %s %l\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestRunLeavesNothingButWhatTheComponentDid(t *testing.T) {
	spec := newSpec(t)
	if err := os.Symlink("../run/resolve/stub.conf", filepath.Join(spec.Root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, spec.Root)
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}

	o := run(t.Context(), spec, job("say hello", "cat /etc/resolv.conf", "cat /usr/sbin/policy-rc.d", "env"))

	if o.err != nil || o.result.Status != component.Success || len(o.said) != 4 {
		t.Fatalf("said %q, result %+v, %v", o.said, o.result, o.err)
	}
	if o.said[0] != "hello" || o.said[1] != string(host) || !strings.Contains(o.said[2], "exit 101") {
		t.Errorf("said %q", o.said[:3])
	}
	for _, want := range []string{"SYSTEMD_OFFLINE=1", "DEBIAN_FRONTEND=noninteractive"} {
		if !strings.Contains(o.said[3], want) {
			t.Errorf("%s is missing from the environment:\n%s", want, o.said[3])
		}
	}
	if strings.Contains(o.said[3], "INGOT_BUILD") {
		t.Error("the supervisor's environment reached the agent")
	}
	if after := tree(t, spec.Root); after != before {
		t.Errorf("the root changed from\n%s\nto\n%s", before, after)
	}
	if left, _ := filepath.Glob("/run/systemd/nspawn/*/" + "*" + Name(spec.Root)); len(left) > 0 {
		t.Errorf("left on the host: %v", left)
	}
}

func TestHostSecretsStayOutside(t *testing.T) {
	t.Setenv("INGOT_TEST_SECRET", "hunter2")
	spec := newSpec(t)
	o := run(t.Context(), spec, job("cat /proc/1/environ", "env"))
	if o.err != nil || strings.Contains(strings.Join(o.said, "\n"), "hunter2") {
		t.Errorf("said %q, %v", o.said, o.err)
	}
}

func TestWhatAComponentPutsInPlaceStays(t *testing.T) {
	spec := newSpec(t)
	if err := os.WriteFile(filepath.Join(spec.Root, "etc/resolv.conf"), []byte("of the image\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := run(t.Context(), spec, job("write /etc/resolv.conf of the component", "write /usr/sbin/policy-rc.d mine", "write /tmp/left for the next"))
	if o.err != nil {
		t.Fatal(o.err)
	}
	for name, want := range map[string]string{"etc/resolv.conf": "of the component", "usr/sbin/policy-rc.d": "mine", "tmp/left": "for the next"} {
		if got, err := os.ReadFile(filepath.Join(spec.Root, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(spec.Root, "*/*"+asideSuffix)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestReboots(t *testing.T) {
	spec := newSpec(t)
	o := run(t.Context(), spec, job("say up", "reboot", "say done"))
	if o.err != nil || strings.Join(o.said, " ") != "up up done" || o.result.Reboot {
		t.Errorf("said %q, result %+v, %v", o.said, o.result, o.err)
	}
}

func TestRebootingForeverIsTheAuthorsFault(t *testing.T) {
	spec := newSpec(t)
	o := run(t.Context(), spec, job("reboot always"))
	if builder.FaultOf(o.err) != builder.Author || !strings.Contains(o.err.Error(), "reboot") {
		t.Errorf("got %v", o.err)
	}
}

func TestHostileOutput(t *testing.T) {
	spec := newSpec(t)
	o := run(t.Context(), spec, job(
		"raw not json", `raw {"kind":"nonsense","text":"dropped"}`, `raw {"kind":"finished"}`, "raw null", "raw [1,2]", `raw {"kind":5}`,
		"flood", "say alive"))
	if o.err != nil || strings.Join(o.said, " ") != "alive" {
		t.Errorf("said %d events, %v", len(o.said), o.err)
	}
}

func TestAgentThatDiesSaysSo(t *testing.T) {
	o := run(t.Context(), newSpec(t), job("die"))
	var failed *builder.Error
	if !errors.As(o.err, &failed) || failed.Reason != "the container ended before its agent began" {
		t.Errorf("got %v", o.err)
	}
}

func TestEndWithoutResultNamesItsCause(t *testing.T) {
	for name, c := range map[string]struct{ output, stderr, want string }{
		"nothing was said":      {"", "", "the container ended before its agent began"},
		"nspawn could not":      {"", "Failed to chown() cgroup\nAttempted to remove disk file system\n", "the container ended before its agent began: Failed to chown() cgroup"},
		"nspawn cleans up":      {"", "Attempted to remove disk file system under x", "the container ended before its agent began"},
		"the agent began":       {`{"kind":"started"}` + "\n", "Killed", "the container ended before the components did"},
		"a component's garbage": {"half a line", "", "the container ended before the components did"},
	} {
		t.Run(name, func(t *testing.T) {
			out, said := newEventReader(func(component.Event) {}), &tail{limit: 4 << 10}
			fmt.Fprint(out, c.output)
			fmt.Fprint(said, c.stderr)
			_, err := judge(nil, out, said)
			var failed *builder.Error
			if !errors.As(err, &failed) || failed.Reason != c.want || failed.Hint == "" {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCancelKillsEverything(t *testing.T) {
	spec := newSpec(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("not wanted any more")
	_, err := Run(ctx, spec, job("hang"), func(e component.Event) { cancel(why) })
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if left := processesIn(t, spec.Root); left != "" {
		t.Errorf("still running:\n%s", left)
	}
}

// processesIn finds processes that see the state folder bound into the container.
func processesIn(t *testing.T, root string) string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(text), filepath.Base(filepath.Dir(root))+"/state") {
			found = append(found, f)
		}
	}
	return strings.Join(found, "\n")
}

func BenchmarkRun(b *testing.B) {
	spec := newSpec(b)
	for b.Loop() {
		if o := run(b.Context(), spec, job("say hello")); o.err != nil {
			b.Fatal(o.err)
		}
	}
}

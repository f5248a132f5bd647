package local

import (
	"context"
	"errors"
	"fmt"

	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/agent/agenttest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/drivertest"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

func TestMain(m *testing.M) {
	if victim := os.Getenv(victimVariable); victim != "" {
		os.Exit(runVictim(victim))
	}
	os.Exit(agenttest.Main(m))
}

// newDriver makes a driver on empty folders, which finds its parents among the
// base disks that tests share.
func newDriver(t testing.TB) *Driver {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	d, err := New(Config{
		Dir: t.TempDir(), CacheDir: filepath.Join(agenttest.Dir(t), "cache"), AgentPath: agenttest.Program(t),
		ParentDirs: []string{filepath.Dir(disktest.Debian12(t))}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func debian(t testing.TB) builder.ParentSource {
	path := disktest.Debian12(t)
	return builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentFile, Name: path, Text: path}}
}

// base resolves the Debian disk.
func base(t testing.TB, d *Driver) builder.Base {
	t.Helper()
	b, err := d.Resolve(t.Context(), debian(t), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leftovers names what builds have made and not given back.
func leftovers(dir string) []string {
	var left []string
	entries, err := os.ReadDir(filepath.Join(dir, "work"))
	if err != nil {
		left = append(left, err.Error())
	}
	for _, e := range entries {
		left = append(left, "work/"+e.Name())
	}
	mounts, err := mount.Beneath(dir)
	if err != nil {
		left = append(left, err.Error())
	}
	left = append(left, mounts...)
	left = append(left, found("/sys/block/loop*/loop/backing_file", dir)...)
	left = append(left, found("/proc/[0-9]*/cmdline", dir)...)
	left = append(left, inOtherNamespaces(found("/proc/[0-9]*/mountinfo", dir))...)
	return left
}

// found lists the files of that pattern that mention the folder.
func found(pattern, dir string) []string {
	files, _ := filepath.Glob(pattern)
	return slices.DeleteFunc(files, func(f string) bool {
		text, err := os.ReadFile(f)
		return err != nil || !strings.Contains(string(text), dir)
	})
}

// inOtherNamespaces leaves those that don't see the host's own mounts: containers.
func inOtherNamespaces(files []string) []string {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	return slices.DeleteFunc(files, func(f string) bool {
		ns, err := os.Readlink(filepath.Join(filepath.Dir(f), "ns/mnt"))
		return err != nil || ns == own
	})
}

func TestConformanceInContainers(t *testing.T) {
	conformance(t, recipe.Container)
}

func TestConformanceInMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("boots many machines")
	}
	conformance(t, recipe.VM)
}

func conformance(t *testing.T, isolation recipe.Isolation) {
	d := newDriver(t)
	layers := drivertest.LastLayer
	if isolation == recipe.Container {
		layers = drivertest.EveryLayer
	}
	drivertest.Run(t, drivertest.Setup{
		Driver: d, Parent: debian(t), Isolation: isolation, Layers: layers,
		Leftovers: func() []string { return leftovers(d.cfg.Dir) },
	})
}

// bash wraps commands into a job of one step.
func bash(commands ...string) component.Job {
	var b strings.Builder
	b.WriteString("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: Step\n        action: ExecuteBash\n        inputs:\n          commands:\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "            - |\n              %s\n", strings.ReplaceAll(c, "\n", "\n              "))
	}
	return component.Job{ID: "test", Documents: []component.JobDocument{{Name: "test", Path: "test.yaml", Text: b.String()}}, Phases: []string{"build"}}
}

// execute runs commands that must succeed and returns what they printed.
func execute(t testing.TB, on builder.Instance, commands ...string) string {
	t.Helper()
	var out strings.Builder
	result, err := on.Run(t.Context(), bash(commands...), func(e component.Event) {
		if e.Kind == component.Output {
			out.WriteString(e.Text)
		}
	})
	if err != nil || !result.Status.OK() {
		t.Fatalf("run: %v, %+v\n%s", err, result.Failure, out.String())
	}
	return out.String()
}

func launch(t testing.TB, d *Driver, spec builder.LaunchSpec) builder.Instance {
	t.Helper()
	i, err := d.Launch(t.Context(), spec)
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	t.Cleanup(func() { closeIt(t, i) })
	return i
}

func closeIt(t testing.TB, i builder.Instance) {
	t.Helper()
	if err := i.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTwoBuildsOfOneLayer lets several builds want the same layers at the same time:
// each layer is made once, and the others start from it.
func TestTwoBuildsOfOneLayer(t *testing.T) {
	d := newDriver(t)
	b := base(t, d)
	counter := filepath.Join(t.TempDir(), "made")
	layers := []string{"one", "two", "three"}
	build := func(id int) error {
		i, err := d.Launch(t.Context(), builder.LaunchSpec{Build: fmt.Sprint("build-", id), Base: b, Layers: layers})
		if err != nil {
			return err
		}
		for n := i.Held(); n < len(layers); n++ {
			if err = appendTo(counter, layers[n]); err != nil {
				break
			}
			if _, err = i.Run(t.Context(), bash("echo made >> /etc/"+layers[n]), func(component.Event) {}); err != nil {
				break
			}
			if err = i.Keep(t.Context(), layers[n]); err != nil {
				break
			}
		}
		return errors.Join(err, i.Close(t.Context()))
	}
	var wg sync.WaitGroup
	for id := range 4 {
		wg.Go(func() {
			if err := build(id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made, err := os.ReadFile(counter); err != nil || string(made) != "one\ntwo\nthree\n" {
		t.Errorf("made %q, %v", made, err)
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func appendTo(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// TestBuildMachineThatFailsEarlyIsReplaced kills a build's machine while it boots.
func TestBuildMachineThatFailsEarlyIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	d := newDriver(t)
	i := launch(t, d, builder.LaunchSpec{Build: "early", Base: base(t, d), Isolation: recipe.VM})
	killed := make(chan error, 1)
	go func() { killed <- killMachine(t.Context(), d.cfg.Dir) }()
	if got := execute(t, i, "echo alive"); got != "alive\n" {
		t.Errorf("the machine says %q", got)
	}
	must(t, <-killed)
}

// killMachine kills the QEMU that has a disk in dir, as soon as there is one.
func killMachine(ctx context.Context, dir string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, file := range found("/proc/[0-9]*/cmdline", dir) {
			line, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(line), "qemu-system") {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return err
			}
			return syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func TestLaunchWaitsNoLongerThanItsContext(t *testing.T) {
	d := newDriver(t)
	b := base(t, d)
	launch(t, d, builder.LaunchSpec{Build: "first", Base: b, Layers: []string{"layer"}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := d.Launch(ctx, builder.LaunchSpec{Build: "second", Base: b, Layers: []string{"layer"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestImageOfImage(t *testing.T) {
	d := newDriver(t)
	i := launch(t, d, builder.LaunchSpec{Build: "parent", Base: base(t, d)})
	execute(t, i, "echo parent > /etc/parent")
	img := snapshot(t, i, "parent-key")
	closeIt(t, i)

	child, err := d.Resolve(t.Context(), builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentRecipe, Name: "parent"}, Image: &img}, func(string) {})
	must(t, err)
	if child.Digest != img.Digest {
		t.Errorf("the digest is %s, of the image %s", child.Digest, img.Digest)
	}
	i = launch(t, d, builder.LaunchSpec{Build: "child", Base: child})
	if got := execute(t, i, "cat /etc/parent"); got != "parent\n" {
		t.Errorf("got %q", got)
	}
	if grown := snapshot(t, i, "child-key"); grown.Size <= img.Size {
		t.Errorf("the child occupies %d bytes with its parent, the parent alone %d", grown.Size, img.Size)
	}
}

func snapshot(t testing.TB, i builder.Instance, key string) builder.Image {
	t.Helper()
	inventory, err := i.Inventory(t.Context())
	must(t, err)
	must(t, i.Clean(t.Context()))
	img, err := i.Snapshot(t.Context(), key, inventory)
	must(t, err)
	return img
}

// TestNoTrace compares an image with its parent: what the build needed is not in it.
func TestNoTrace(t *testing.T) {
	d := newDriver(t)
	i := launch(t, d, builder.LaunchSpec{Build: "traces", Base: base(t, d)}).(*instance)
	before := listing(t, i.mount.Root())
	execute(t, i, "true", "touch /tmp/left")
	execute(t, i, "systemctl enable systemd-networkd; systemctl start systemd-networkd")
	snapshotless(t, i)
	after := listing(t, i.mount.Root())
	for name := range after {
		if !before[name] {
			t.Errorf("the build left %s", name)
		}
	}
}

func snapshotless(t *testing.T, i *instance) {
	t.Helper()
	must(t, i.Clean(t.Context()))
	must(t, i.mounted(t.Context()))
}

func listing(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		names[strings.TrimPrefix(path, root)] = true
		return err
	}))
	return names
}

func TestDiskGrows(t *testing.T) {
	d := newDriver(t)
	i := launch(t, d, builder.LaunchSpec{Build: "large", Base: base(t, d), DiskGiB: 9, Layers: []string{"large-one"}})
	if got := execute(t, i, "df --output=size -BG / | tail -1"); strings.TrimSpace(got) < "8G" {
		t.Errorf("the root filesystem has %s", got)
	}
	must(t, i.Keep(t.Context(), "large-one"))
	if img := snapshot(t, i, "large-key"); img.Virtual != 9*gib {
		t.Errorf("the image has %d bytes", img.Virtual)
	}
}

func TestHostileParentsAreRefused(t *testing.T) {
	d := newDriver(t)
	secret := filepath.Join(t.TempDir(), "secret.raw")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	link := filepath.Join(t.TempDir(), "link.raw")
	must(t, os.Symlink(secret, link))
	for _, name := range []string{secret, link, "/etc/shadow", "/nonexistent"} {
		p := recipe.Parent{Kind: recipe.ParentFile, Name: name, Text: name}
		_, err := d.Resolve(t.Context(), builder.ParentSource{Parent: p}, func(string) {})
		if builder.FaultOf(err) != builder.Author || !strings.Contains(err.Error(), "may take parents from") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.Revision(t.Context(), p); builder.FaultOf(err) != builder.Author {
			t.Errorf("revision of %s: %v", name, err)
		}
	}
	for _, kind := range []recipe.ParentKind{recipe.ParentObject, recipe.ParentAMI, recipe.ParentSSM, recipe.ParentARN} {
		if _, err := d.Resolve(t.Context(), builder.ParentSource{Parent: recipe.Parent{Kind: kind, Text: "x"}}, func(string) {}); builder.FaultOf(err) != builder.Author {
			t.Errorf("%s: %v", kind, err)
		}
	}
	ami := builder.ParentSource{
		Parent: recipe.Parent{Kind: recipe.ParentRecipe, Text: "base/1.x.x", Name: "base"},
		Image:  &builder.Image{ID: "ami-1", Driver: "ec2", Ref: "ami-1"},
	}
	if _, err := d.Resolve(t.Context(), ami, func(string) {}); builder.FaultOf(err) != builder.Author || !strings.Contains(err.Error(), "made by driver ec2") {
		t.Errorf("an AMI as parent: %v", err)
	}
}

// treeFS makes a repository of files in memory.
type treeFS struct{ fstest.MapFS }

func (t treeFS) Hash(path string) (string, error) { return "hash of " + path, nil }

func TestPutStaysInsideTheImage(t *testing.T) {
	d := newDriver(t)
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o755))
	i := launch(t, d, builder.LaunchSpec{Build: "put", Base: base(t, d)})
	execute(t, i,
		"mkdir -p /srv/real && ln -s /srv/real /srv/absolute && ln -s ../srv/real /srv/relative",
		"ln -s "+outside+" /srv/escape && ln -s /etc/target /srv/real/name && ln -s /srv/loop /srv/loop")
	tree := treeFS{fstest.MapFS{"f": {Data: []byte("content")}}}
	put := func(target string, more recipe.Files) error {
		more.Source, more.Destination = "f", target
		more.Entries = []recipe.File{{Path: "f", Target: target, Mode: 0o640, Digest: more.Source}}
		more.Entries[0].Digest = ""
		return i.Put(t.Context(), tree, []recipe.Files{more})
	}
	must(t, put("/srv/absolute/a", recipe.Files{}))
	must(t, put("/srv/relative/b", recipe.Files{Owner: "www-data", Group: "adm", Permissions: "4750"}))
	must(t, put("/srv/escape/c", recipe.Files{}))
	must(t, put("/srv/real/name", recipe.Files{}))
	if err := put("/srv/loop/d", recipe.Files{}); builder.FaultOf(err) != builder.Author {
		t.Errorf("through a loop of links: %v", err)
	}
	if err := put("/srv/real/e", recipe.Files{Owner: "nobody-knows"}); builder.FaultOf(err) != builder.Author || !strings.Contains(err.Error(), "nobody-knows") {
		t.Errorf("with an unknown owner: %v", err)
	}
	if err := put("/srv/real/f", recipe.Files{Permissions: "rwx"}); builder.FaultOf(err) != builder.Author {
		t.Errorf("with odd permissions: %v", err)
	}
	got := execute(t, i, "cd /srv/real; stat -c '%n %a %U %G %F' a b name; cat "+outside+"/c; test ! -e /etc/target && echo untouched")
	want := "a 640 root root regular file\nb 4750 www-data adm regular file\nname 640 root root regular file\ncontentuntouched\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if files, err := os.ReadDir(outside); err != nil || len(files) > 0 {
		t.Errorf("written outside of the image: %v, %v", files, err)
	}
}

func BenchmarkLastComponent(b *testing.B) {
	d := newDriver(b)
	start := base(b, d)
	one := launch(b, d, builder.LaunchSpec{Build: "bench", Base: start, Layers: []string{"bench-one"}})
	execute(b, one, "echo one > /etc/one")
	must(b, one.Keep(b.Context(), "bench-one"))
	closeIt(b, one)
	for n := 0; b.Loop(); n++ {
		last := fmt.Sprint("bench-two-", n)
		i, err := d.Launch(b.Context(), builder.LaunchSpec{Build: "bench", Base: start, Layers: []string{"bench-one", last}})
		must(b, err)
		execute(b, i, "echo two > /etc/two")
		must(b, i.Keep(b.Context(), last))
		snapshot(b, i, fmt.Sprint("bench-image-", n))
		closeIt(b, i)
	}
}

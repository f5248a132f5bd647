package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/container"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
)

// TestUnit boots a Debian whose systemd runs the daemon as examples/deploy says: with
// the unit and the configuration that are there. What the unit closes must leave all
// that builds need, so the daemon makes an image before it is told to stop.
func TestUnit(t *testing.T) {
	skipIfShort(t)
	m := bootDebian(t)
	if state := m.run("systemctl", "is-system-running", "--wait"); state != "running" {
		t.Fatalf("the system is %s:\n%s", state, m.run("systemctl", "--failed"))
	}
	if said := m.run("systemd-analyze", "verify", "/etc/systemd/system/ingot.service"); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	m.doctor()

	m.run("systemctl", "enable", "--now", "ingot")
	eventually(t, "the dashboard answers", func() bool { return strings.Contains(m.get("/"), "<title>Repositories") })
	if healthy := m.get("/healthz"); !strings.HasPrefix(healthy, "HTTP/1.0 200 ") {
		t.Errorf("/healthz: %s", healthy)
	}
	eventually(t, "an image is made", func() bool {
		state := m.run("systemctl", "show", "--value", "--property=ActiveState", "ingot")
		if state != "active" {
			t.Fatalf("the unit is %s:\n%s", state, m.journal())
		}
		if builds := m.run("ingot", "builds", "-c", "/etc/ingot/ingot.yaml"); strings.Contains(builds, "errored") || strings.Contains(builds, "failed") {
			t.Fatalf("the build ended:\n%s\n%s", builds, m.journal())
		}
		log, err := m.try("ingot", "logs", "1", "-c", "/etc/ingot/ingot.yaml")
		return err == nil && strings.Contains(log, "== image\n")
	})
	// The image is being booted now, or will be in a moment: the build goes back.
	m.run("systemctl", "stop", "ingot")
	got := m.run("systemctl", "show", "--property=ActiveState,Result,ExecMainCode,ExecMainStatus,NRestarts", "ingot")
	for _, want := range []string{"ActiveState=inactive", "Result=success", "ExecMainStatus=0", "NRestarts=0"} {
		if !slices.Contains(strings.Fields(got), want) {
			t.Errorf("after the stop: %s, want %s", strings.Fields(got), want)
		}
	}
	if builds := m.run("ingot", "builds", "-c", "/etc/ingot/ingot.yaml"); !strings.Contains(builds, "queued") {
		t.Errorf("builds after the stop:\n%s", builds)
	}
	if journal := m.journal(); t.Failed() || strings.Contains(journal, "level=error") || strings.Contains(journal, "level=warn") {
		t.Errorf("the unit has logged\n%s", journal)
	}
}

// debian is a booted Debian: its own /etc and /var, over the programs of this machine,
// so that it has the packages that the tests have installed anyway.
type debian struct {
	*testing.T
	leader string // its first process, as this machine counts
}

// baseInside is where that system sees the base disk of the tests. It is not below
// /tmp, of which the unit has one of its own.
const baseInside = "/srv/debian-12.qcow2"

// bootDebian boots a system on which the daemon is installed, but not started.
func bootDebian(t *testing.T) *debian {
	t.Helper()
	dir := t.TempDir()
	base, disk := disktest.Debian12(t), filepath.Join(dir, "disk.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, disk, "20G").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	attached, err := mount.Attach(t.Context(), mount.Spec{Disk: disk, Dir: filepath.Join(dir, "attached"), Grow: true})
	must(t, err)
	t.Cleanup(func() { must(t, attached.Detach(context.Background())) })
	root := attached.Root()
	installDaemon(t, root)

	programs := filepath.Dir(program(t))
	nspawn := []string{
		"systemd-nspawn", "--quiet", "--settings=no", "--register=no", "--keep-unit", "--boot", "--console=pipe",
		"--machine=" + container.Name(root), "--directory=" + root, "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--private-network", // the daemon listens where examples/deploy/ingot.yaml says
		"--capability=all",  // as on a machine; what the daemon may is the unit's to say
		"--bind-ro=/usr", "--bind-ro=" + programs + ":/usr/local/bin", "--bind-ro=" + base + ":" + baseInside,
		"--bind=/dev/fuse", "--bind=/dev/loop-control",
	}
	groups := ownGroups(t)
	script := `for group in ` + strings.Join(groups, " ") + `; do echo $$ > "$group/cgroup.procs"; done; exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, nspawn...)...)
	said := &text{}
	cmd.Stdout, cmd.Stderr = said, said
	must(t, cmd.Start())
	t.Cleanup(func() {
		halt(t, cmd)
		must(t, container.Forget(root))
	})

	m := &debian{T: t}
	eventually(t, "the system boots", func() bool {
		children, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "task", strconv.Itoa(cmd.Process.Pid), "children"))
		if errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("systemd-nspawn has ended: %s", said)
		}
		m.leader = strings.TrimSpace(string(children))
		if m.leader == "" {
			return false
		}
		_, err = m.try("systemctl", "list-jobs")
		return err == nil
	})
	// The kernel numbers loop devices for all systems alike, and udev is not here to
	// make a node for those that others of this machine do not use.
	m.run("sh", "-c", `for i in $(seq 0 255); do [ -e /dev/loop$i ] || mknod -m 0660 /dev/loop$i b 7 $i; done`)
	return m
}

// installDaemon does what the comment in the unit says, with a repository of its own.
func installDaemon(t *testing.T, root string) {
	t.Helper()
	in := func(path string) string { return filepath.Join(root, path) }
	configuration, err := os.ReadFile("../../examples/deploy/ingot.yaml")
	must(t, err)
	const example = "https://github.com/acme/golden-images.git"
	if !strings.Contains(string(configuration), example) {
		t.Fatalf("the example configuration names no repository %s", example)
	}
	must(t, os.Mkdir(in("etc/ingot"), 0o700))
	must(t, os.WriteFile(in("etc/ingot/ingot.yaml"), []byte(strings.ReplaceAll(string(configuration), example, "/srv/golden-images")), 0o600))
	unit, err := os.ReadFile("../../examples/deploy/ingot.service")
	must(t, err)
	must(t, os.WriteFile(in("etc/systemd/system/ingot.service"), unit, 0o644))
	// There is no network to wait for, and the root is mounted already.
	for _, name := range []string{"systemd-networkd-wait-online.service", "systemd-remount-fs.service"} {
		must(t, os.Symlink("/dev/null", in(filepath.Join("etc/systemd/system", name))))
	}
	lendParentAt(t, in("var/lib/ingot/cache"), baseInside)
	repo, err := newSampleRepository(in("srv/golden-images"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(repo.dir, "recipe.yaml"), []byte("apiVersion: ingot/v1\nkind: ImageRecipe\nname: tiny\nversion: 1.0.0\nparentImage: debian-12\ncomponents: [{component: ./made.yaml}]\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(repo.dir, "made.yaml"), []byte(largeComponent("made > /srv/made")), 0o644))
	_, err = repo.commit("Add a recipe")
	must(t, err)
}

// doctor asks `ingot doctor` in a unit that differs from the daemon's in nothing else.
func (m *debian) doctor() {
	m.Helper()
	m.run("sh", "-c", `sed -e '/^Restart/d; /^ExecStop/d; s|^ExecStart=.*|ExecStart=/usr/local/bin/ingot doctor -c /etc/ingot/ingot.yaml|; s|^\[Service\]|&\nType=oneshot|' \
		/etc/systemd/system/ingot.service > /run/systemd/system/doctor.service && systemctl daemon-reload && systemctl start doctor`)
	eventually(m.T, "the doctor has spoken", func() bool {
		return strings.Contains(m.run("journalctl", "-o", "cat", "-u", "doctor"), "Finished")
	})
	report := m.run("journalctl", "-o", "cat", "-u", "doctor")
	for _, want := range []string{"ok    root", "ok    FUSE", "ok    loop devices", "ok    systemd-nspawn"} {
		if !strings.Contains(report, want) {
			m.Errorf("the doctor does not say %q", want)
		}
	}
	if m.Failed() || strings.Contains(report, "FAIL") {
		m.Fatalf("the doctor under the unit:\n%s", report)
	}
}

func (m *debian) journal() string { return m.run("journalctl", "-o", "cat", "-u", "ingot") }

// get asks the dashboard from inside; empty: it does not answer.
func (m *debian) get(path string) string {
	answer, _ := m.try("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3 && cat <&3`, "bash", path) // it may not be up yet
	return answer
}

// run runs a program inside and returns what it prints, without the last newline. Its
// status is for those who care: systemctl tells much in it.
func (m *debian) run(args ...string) string {
	m.Helper()
	out, err := m.try(args...)
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		m.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

func (m *debian) try(args ...string) (string, error) {
	out, err := exec.CommandContext(m.Context(), "nsenter", append([]string{"--target=" + m.leader, "--all", "--"}, args...)...).CombinedOutput()
	return string(out), err
}

// ownGroups makes a control group in every hierarchy that systemd uses: two systems in
// one would fight for it.
func ownGroups(t *testing.T) []string {
	t.Helper()
	var groups []string
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(top, "cgroup.procs")); err != nil {
			continue
		}
		group := filepath.Join(top, "ingot-"+strconv.Itoa(os.Getpid()))
		must(t, os.Mkdir(group, 0o755))
		t.Cleanup(func() { removeGroup(t, group) })
		groups = append(groups, group)
	}
	return groups
}

// removeGroup removes a group and those below it, innermost first.
func removeGroup(t *testing.T, group string) {
	var folders []string
	must(t, filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	}))
	for _, folder := range slices.Backward(folders) {
		must(t, os.Remove(folder))
	}
}

// halt ends the system, by force if it does not end by itself: nspawn takes the first
// signal as a wish, the second one as an order.
func halt(t *testing.T, cmd *exec.Cmd) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for _, patience := range []time.Duration{30 * time.Second, 10 * time.Second} {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		select {
		case <-ended: // the status of a system that is halted says nothing
			return
		case <-time.After(patience):
			t.Errorf("the system did not end within %s", patience)
		}
	}
	must(t, cmd.Process.Kill())
	<-ended
}

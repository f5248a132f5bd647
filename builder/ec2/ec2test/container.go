package ec2test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/container"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// ContainerMachines are real systems: each a container over a disk of its own, which
// begins as Debian 12 with curl, as the AMIs of all vendors have a program that fetches,
// or as the image that was made of another. Commands run in it as root, with a boot ID
// that is another after each restart (nspawn sees to that). It shares the host's
// network, so that an address of the loopback is the same inside; services do not run.
// One whose disk was uploaded has what was uploaded, byte by byte, and answers Systems
// Manager only if the agent is started at boot there. It is called before Start, so that
// its disks outlast the Cloud.
func ContainerMachines(t testing.TB) func(Launch) Machine {
	t.Helper()
	disks := &diskSet{t: t, dir: t.TempDir(), base: fetching(t), images: map[string]string{}}
	return func(l Launch) Machine {
		dir := filepath.Join(disks.dir, l.Instance)
		return &containerMachine{
			disks: disks, launch: l, dir: dir, disk: filepath.Join(dir, "disk.qcow2"),
			agent: filepath.Join(dir, "agent"), waiting: map[string]chan<- int{},
		}
	}
}

// diskSet has the disks of all AMIs.
type diskSet struct {
	t         testing.TB
	dir, base string

	mu     sync.Mutex
	images map[string]string // by AMI
}

// fetching is Debian 12 with curl.
func fetching(t testing.TB) string {
	t.Helper()
	base := disktest.Debian12(t)
	name := strings.TrimSuffix(filepath.Base(base), ".qcow2") + "-curl"
	return disktest.Once(t, name, func(ctx context.Context, path string) (err error) {
		dir := t.TempDir()
		m := &containerMachine{launch: Launch{Instance: name}, dir: dir, disk: path + ".new", agent: filepath.Join(dir, "agent"), waiting: map[string]chan<- int{}}
		if err := overlay(ctx, filepath.Base(base), m.disk, 0); err != nil { // beside it, wherever the folder lies
			return err
		}
		defer func() {
			if err = errors.Join(err, m.Stop(context.WithoutCancel(ctx))); err != nil {
				err = errors.Join(err, os.Remove(m.disk))
			}
		}()
		if err := m.Start(ctx); err != nil {
			return err
		}
		out, err := m.Run(ctx, Script{Commands: []string{"set -e", "apt-get -q update", "apt-get -qy install --no-install-recommends curl", "apt-get clean", "rm -rf /var/lib/apt/lists/*"}})
		if err == nil && out.Exit != 0 {
			err = fmt.Errorf("install curl: exit status %d\n%s%s", out.Exit, out.Stdout, out.Stderr)
		}
		if err = errors.Join(err, m.Stop(ctx)); err != nil {
			return err
		}
		return os.Rename(m.disk, path)
	})
}

// of is the disk of the AMI that an instance is launched from.
func (s *diskSet) of(ctx context.Context, l Launch) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if path, ours := s.images[l.Image]; ours {
		return path, nil
	}
	if l.Root == nil {
		return s.base, nil
	}
	raw, path := filepath.Join(s.dir, l.Image+".raw"), filepath.Join(s.dir, l.Image+".qcow2")
	if err := l.Root(ctx, raw); err != nil {
		return "", errors.Join(err, os.RemoveAll(raw))
	}
	text, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("disk of %s: %w: %s", l.Image, err, text)
	}
	if err := errors.Join(err, os.Remove(raw)); err != nil {
		return "", err
	}
	s.images[l.Image] = path
	return path, nil
}

// overlay makes a disk that begins as another one.
func overlay(ctx context.Context, base, path string, size int64) error {
	arguments := []string{"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path}
	if size > 0 {
		arguments = append(arguments, strconv.FormatInt(size, 10))
	}
	if text, err := exec.CommandContext(ctx, "qemu-img", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("overlay of %s: %w: %s", base, err, text)
	}
	return nil
}

// containerMachine is one container. Its agent, a shell, is told on its standard
// input what to run, and says on its output what has ended.
type containerMachine struct {
	disks  *diskSet
	launch Launch
	dir    string
	disk   string
	agent  string // folder that is /run/ec2test inside

	mounted *mount.Mount
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the container is gone and everything is read

	mu      sync.Mutex
	input   io.Writer // nil while it does not run
	waiting map[string]chan<- int
	scripts int
	console bytes.Buffer
}

// insideAgent is where the container sees the agent's folder.
const insideAgent = "/run/ec2test"

// agentProgram waits for "run ID" and "kill ID". Each script has a session of its own,
// so that it can be killed with all that it started.
const agentProgram = `#!/bin/sh
mkdir -p /run/systemd/resolve && cp ` + insideAgent + `/resolv.conf /run/systemd/resolve/stub-resolv.conf
echo up
while read -r verb id; do
	d=` + insideAgent + `/$id
	case $verb in
	run)
		(
			setsid -w sh -c 'echo $$ >"$0/pid"; [ -e "$0/killed" ] && exit 137
				cd "$(cat "$0/directory")" && exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_OFFLINE=1 AWS_SSM_INSTANCE_ID="$(cat "$0/instance")" sh -c "$0/script"' "$d" </dev/null >"$d/stdout" 2>"$d/stderr"
			echo "ended $id $?"
		) &
		;;
	kill)
		touch "$d/killed"
		[ -s "$d/pid" ] && kill -KILL -"$(cat "$d/pid")"
		;;
	esac
done
`

// Start attaches the disk and starts the container.
func (m *containerMachine) Start(ctx context.Context) error {
	if err := m.attach(ctx); err != nil {
		return err
	}
	if err := m.prepare(); err != nil {
		return err
	}
	if m.launch.Root != nil {
		if _, err := os.Lstat(filepath.Join(m.mounted.Root(), "etc/systemd/system/multi-user.target.wants/amazon-ssm-agent.service")); err != nil {
			return ErrNoAgent
		}
	}
	cmd := exec.Command("systemd-nspawn",
		"--quiet", "--settings=no", "--register=no", "--keep-unit", "--as-pid2", "--console=pipe", "--kill-signal=SIGKILL",
		"--machine="+container.Name(m.mounted.Root()), "--hostname="+m.launch.Instance,
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--drop-capability=CAP_SYS_BOOT", "--suppress-sync=yes", "--oom-score-adjust=500",
		"--directory="+m.mounted.Root(), "--bind="+m.agent+":"+insideAgent, insideAgent+"/agent")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_TMPFS_TMP=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = 10 * time.Second
	output, lines := io.Pipe()
	cmd.Stdout = lines
	cmd.Stderr = (*consoleWriter)(m)
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("systemd-nspawn: %w", err)
	}
	m.cmd, m.ended = cmd, make(chan struct{})
	up := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { m.listen(output, up) })
	go func() { // ends with the container, which Stop waits for
		defer close(m.ended)
		err := cmd.Wait()
		_ = lines.Close()
		reading.Wait()
		m.gone(err)
	}()
	select {
	case <-up:
	case <-m.ended:
		return fmt.Errorf("the container ended: %s", m.Console())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m.mu.Lock()
	m.input = input
	m.mu.Unlock()
	return nil
}

// attach mounts the disk, which is made when there is none yet.
func (m *containerMachine) attach(ctx context.Context) error {
	if m.mounted != nil {
		return nil
	}
	if err := os.MkdirAll(m.agent, 0o755); err != nil {
		return err
	}
	grow := false
	if _, err := os.Stat(m.disk); errors.Is(err, os.ErrNotExist) {
		base, err := m.disks.of(ctx, m.launch)
		if err != nil {
			return err
		}
		size, err := store.VirtualSize(base)
		if err != nil {
			return err
		}
		wanted := m.launch.RootGiB << 30
		grow = wanted > size
		if err := overlay(ctx, base, m.disk, max(size, wanted)); err != nil {
			return err
		}
	}
	var err error
	m.mounted, err = mount.Attach(ctx, mount.Spec{Disk: m.disk, Dir: filepath.Join(m.dir, "mount"), Grow: grow})
	return err
}

// prepare writes what the agent reads.
func (m *containerMachine) prepare() error {
	names, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(m.agent, "agent"), []byte(agentProgram), 0o755),
		os.WriteFile(filepath.Join(m.agent, "resolv.conf"), names, 0o644),
	)
}

// listen reads what the agent says.
func (m *containerMachine) listen(output io.Reader, up chan<- struct{}) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		switch fields := strings.Fields(lines.Text()); {
		case slices.Equal(fields, []string{"up"}):
			close(up)
		case len(fields) == 3 && fields[0] == "ended":
			status, err := strconv.Atoi(fields[2])
			if err != nil {
				status = -1
			}
			m.end(fields[1], status)
		}
	}
}

// end tells who waits for a script how it ended.
func (m *containerMachine) end(id string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if waits := m.waiting[id]; waits != nil {
		waits <- status // has room
		delete(m.waiting, id)
	}
}

// gone is the end of the container: nothing that ran in it will be heard of.
func (m *containerMachine) gone(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.input = nil
	for id, waits := range m.waiting {
		close(waits)
		delete(m.waiting, id)
	}
	fmt.Fprintf(&m.console, "the container ended: %v\n", err)
}

var errGone = errors.New("the container has ended")

// Run has the agent run a script, and kills it when ctx ends.
func (m *containerMachine) Run(ctx context.Context, script Script) (Outcome, error) {
	if script.PowerShell {
		return Outcome{}, errors.New("the container has no PowerShell")
	}
	id, ended, err := m.submit(script)
	if err != nil {
		return Outcome{}, err
	}
	var status int
	ok := false
	select {
	case status, ok = <-ended:
	case <-ctx.Done():
		_ = m.tell("kill", id) // it may have ended with the container
		<-ended
		return Outcome{}, context.Cause(ctx)
	}
	if !ok {
		return Outcome{}, errGone
	}
	stdout, err := readPart(filepath.Join(m.agent, id, "stdout"))
	if err != nil {
		return Outcome{}, err
	}
	stderr, err := readPart(filepath.Join(m.agent, id, "stderr"))
	return Outcome{Exit: status, Stdout: stdout, Stderr: stderr}, err
}

// submit hands a script to the agent.
func (m *containerMachine) submit(script Script) (string, <-chan int, error) {
	m.mu.Lock()
	m.scripts++
	id := strconv.Itoa(m.scripts)
	ended := make(chan int, 1)
	m.waiting[id] = ended
	m.mu.Unlock()
	dir := filepath.Join(m.agent, id)
	where := script.WorkingDirectory
	if where == "" {
		where = "/usr/bin" // as on instances
	}
	err := errors.Join(
		os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "script"), []byte(strings.Join(script.Commands, "\n")+"\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "directory"), []byte(where), 0o644),
		os.WriteFile(filepath.Join(dir, "instance"), []byte(m.launch.Instance), 0o644),
	)
	if err == nil {
		err = m.tell("run", id)
	}
	return id, ended, err
}

func (m *containerMachine) tell(verb, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.input == nil {
		return errGone
	}
	_, err := fmt.Fprintf(m.input, "%s %s\n", verb, id)
	return err
}

// readPart reads as much of an output as Systems Manager could ever give, and a bit.
func readPart(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 2*maxOutput))
	return string(text), err
}

// Stop ends the container and takes the disk off.
func (m *containerMachine) Stop(ctx context.Context) error {
	if m.cmd != nil {
		// It kills its first process, and with that all others: see --kill-signal.
		if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-m.ended
		m.cmd = nil
	}
	if m.mounted == nil {
		return nil
	}
	err := container.Forget(m.mounted.Root())
	if err := errors.Join(err, m.mounted.Detach(ctx)); err != nil {
		return err
	}
	m.mounted = nil
	return nil
}

// Image makes the disk that of an AMI, and goes on with an overlay of it.
func (m *containerMachine) Image(ctx context.Context, image string) error {
	path := filepath.Join(m.disks.dir, image+".qcow2")
	if err := os.Rename(m.disk, path); err != nil {
		return err
	}
	m.disks.mu.Lock()
	m.disks.images[image] = path
	m.disks.mu.Unlock()
	return overlay(ctx, path, m.disk, 0)
}

// Console is what the container said on its standard error.
func (m *containerMachine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.console.String()
}

// Close removes the disk.
func (m *containerMachine) Close() error { return os.RemoveAll(m.dir) }

// consoleWriter keeps the beginning of what is written.
type consoleWriter containerMachine

func (w *consoleWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.console.Len() < 64<<10 {
		w.console.Write(p)
	}
	return len(p), nil
}

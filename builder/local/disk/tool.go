package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

// packages names the Debian package of every program that this package starts.
var packages = map[string]string{
	"boot.img":     "grub-pc-bin",
	"grub-mkimage": "grub-common",
	"mcopy":        "mtools",
	"mkfs.ext4":    "e2fsprogs",
	"mkfs.vfat":    "dosfstools",
	"mmd":          "mtools",
	"mmdebstrap":   "mmdebstrap",
	"qemu-img":     "qemu-utils",
	"sgdisk":       "gdisk",
}

const (
	maxLine   = 4 << 10 // bytes of one line of a tool's output
	tailLines = 12      // last lines that an error brings along
	killDelay = 10 * time.Second
)

// command is a program to be run.
type command struct {
	name  string
	args  []string
	files []*os.File // inherited: /dev/fd/3 and on
	// ownMounts keeps what the program mounts away from everybody else: when it is
	// killed, a folder that it worked in can be removed without entering a mount.
	ownMounts bool
}

// tool runs a program to its end and hands its output to log, line by line.
func tool(ctx context.Context, log func(string), name string, args ...string) error {
	return command{name: name, args: args}.run(ctx, log)
}

// run is tool. When ctx ends, the whole process group is killed: mmdebstrap has
// children of its own.
func (c command) run(ctx context.Context, log func(string)) error {
	path, err := exec.LookPath(c.name)
	if err != nil {
		return missing(c.name, err)
	}
	cmd := exec.CommandContext(ctx, path, c.args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.ownMounts {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	cmd.ExtraFiles = c.files
	lines := &lineWriter{log: log}
	cmd.Stdout, cmd.Stderr = lines, lines
	err = cmd.Run()
	lines.flush()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", c.name, cause)
	}
	return &builder.Error{
		Fault:  builder.Internal,
		Stage:  builder.StageResolve,
		Reason: fmt.Sprintf("%s ended with %v", c.name, err),
		Output: strings.Join(lines.tail, "\n"),
		Err:    fmt.Errorf("%s: %w: %s", c.name, err, strings.Join(lines.tail, "; ")),
	}
}

func missing(name string, err error) error {
	return fail(builder.Internal, builder.StageResolve, err, "Install the Debian package "+packages[name]+".", "the program %s is not installed on the build host", name)
}

// lineWriter cuts output into lines and keeps the last ones for an error.
type lineWriter struct {
	mu   sync.Mutex
	log  func(string)
	part []byte
	tail []string
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := p
	for {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line[:min(len(line), maxLine-min(maxLine, len(l.part)))]...)
		if !found {
			return len(p), nil
		}
		l.emit()
		rest = after
	}
}

func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		l.emit()
	}
}

func (l *lineWriter) emit() {
	line := strings.TrimRight(strings.ToValidUTF8(string(l.part), "\uFFFD"), "\r")
	l.part = l.part[:0]
	l.tail = append(l.tail, line)
	if len(l.tail) > tailLines {
		l.tail = l.tail[1:]
	}
	if l.log != nil {
		l.log(line)
	}
}

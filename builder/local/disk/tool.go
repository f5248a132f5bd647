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

// tool runs a program to its end and hands its output to log, line by line. When
// ctx ends, the whole process group is killed: mmdebstrap has children of its own.
func tool(ctx context.Context, log func(string), name string, args ...string) error {
	return toolWithFiles(ctx, log, nil, name, args...)
}

// toolWithFiles is tool with open files for the program, which are /dev/fd/3 and on.
func toolWithFiles(ctx context.Context, log func(string), files []*os.File, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return missing(name, err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	cmd.ExtraFiles = files
	lines := &lineWriter{log: log}
	cmd.Stdout, cmd.Stderr = lines, lines
	err = cmd.Run()
	lines.flush()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", name, cause)
	}
	return &builder.Error{
		Fault:  builder.Internal,
		Stage:  builder.StageResolve,
		Reason: fmt.Sprintf("%s ended with %v", name, err),
		Output: strings.Join(lines.tail, "\n"),
		Err:    fmt.Errorf("%s: %w: %s", name, err, strings.Join(lines.tail, "; ")),
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

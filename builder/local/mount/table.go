package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Beneath lists what is mounted on a folder and beneath it, in the order in which
// it has to be unmounted.
func Beneath(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	points, err := mountPoints(f)
	if err != nil {
		return nil, err
	}
	points = slices.DeleteFunc(points, func(p string) bool {
		return p != dir && !strings.HasPrefix(p, dir+string(filepath.Separator))
	})
	slices.Reverse(points) // later ones are on top of earlier ones
	return points, nil
}

// mountPoints reads a mountinfo table.
func mountPoints(table io.Reader) ([]string, error) {
	var points []string
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo: unexpected line %q", lines.Text())
		}
		points = append(points, unescape(fields[4]))
	}
	return points, lines.Err()
}

// unescape undoes the kernel's octal spelling of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// UnmountBeneath takes apart what a process that died left attached under a folder:
// mounts, and loop devices over files in it. It returns what it removed.
func UnmountBeneath(ctx context.Context, dir string) (removed []string, err error) {
	points, err := Beneath(dir)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		if err := unmount(ctx, p); err != nil {
			return removed, err
		}
		removed = append(removed, "mount "+p)
	}
	loops, err := detachLoops(dir)
	return append(removed, loops...), err
}

// detachLoops frees the loop devices whose files lie under a folder. Those of a mount
// went with it.
func detachLoops(dir string) (removed []string, err error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue // freed since
		}
		if err != nil {
			return removed, err
		}
		if !strings.HasPrefix(string(backing), dir+string(filepath.Separator)) {
			continue
		}
		device := "/dev/" + strings.Split(file, "/")[3]
		if err := clearLoop(device); err != nil {
			return removed, fmt.Errorf("free %s: %w", device, err)
		}
		removed = append(removed, "loop device "+device)
	}
	return removed, nil
}

func clearLoop(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	if errors.Is(err, unix.ENXIO) { // was free
		err = nil
	}
	return errors.Join(err, f.Close())
}

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-6db18919/ingot/builder/local/container"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// Sweep implements builder.Driver: it removes every workspace whose owner is gone,
// with the processes, mounts and loop devices that belong to it, and names each
// thing that it removed. Of a workspace that is kept the folder stays for its time.
// It may run at any time.
func (d *Driver) Sweep(ctx context.Context) ([]string, error) {
	names, err := d.workspaces()
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, name := range names {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		gone, err := sweepOne(ctx, filepath.Join(d.store.Work(), name))
		removed = append(removed, gone...)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", name, err))
		}
	}
	return removed, errors.Join(errs...)
}

// workspaces lists the names of all, owned or not. A lock alone counts: its
// owner may have died before it made the folder.
func (d *Driver) workspaces() ([]string, error) {
	entries, err := os.ReadDir(d.store.Work())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), lockSuffix))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// sweepOne removes one workspace if nobody owns it.
func sweepOne(ctx context.Context, dir string) (removed []string, err error) {
	lock, ok, err := store.AcquireOrphan(ctx, dir+lockSuffix)
	if err != nil || !ok {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil // its owner has just finished, or died before it began
	}
	if removed, err = dismantle(ctx, dir); err != nil {
		return removed, err
	}
	kept, found, err := readKept(dir)
	if err != nil || found && time.Now().Before(kept.Until) {
		return removed, err
	}
	if err := removeTree(dir); err != nil {
		return removed, err
	}
	return append(removed, "workspace "+filepath.Base(dir)), nil
}

// dismantle ends all that works for a workspace and leaves its files. The storage daemon
// goes last, so that what is mounted through it can be unmounted without input and
// output errors.
func dismantle(ctx context.Context, dir string) (removed []string, err error) {
	killed, err := killMarked(ctx, filepath.Base(dir), func(comm string) bool { return !strings.HasPrefix(comm, "qemu-storage") })
	removed = append(removed, killed...)
	if err != nil {
		return removed, err
	}
	unmounted, err := mount.UnmountBeneath(ctx, dir)
	removed = append(removed, unmounted...)
	if err != nil {
		return removed, err
	}
	killed, err = killMarked(ctx, filepath.Base(dir), func(string) bool { return true })
	removed = append(removed, killed...)
	if err != nil {
		return removed, err
	}
	unmounted, err = mount.UnmountBeneath(ctx, dir) // the raw disk files of daemons that were killed
	removed = append(removed, unmounted...)
	if err != nil {
		return removed, err
	}
	return removed, forgetContainers(dir)
}

// forgetContainers removes what containers over the workspace's roots left on the host.
func forgetContainers(dir string) error {
	roots, err := filepath.Glob(filepath.Join(dir, "mount-*", "root"))
	for _, root := range roots {
		err = errors.Join(err, container.Forget(root))
	}
	return err
}

// killMarked kills every process that carries the marker of the workspace and whose
// name is chosen, and waits until they are gone.
func killMarked(ctx context.Context, workspace string, chosen func(comm string) bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var killed []string
	for {
		// Again until nobody is found: the killed may have started others.
		pids, err := marked(workspace, chosen)
		if err != nil || len(pids) == 0 {
			return killed, err
		}
		for _, pid := range pids {
			name, err := killOne(ctx, pid, workspace)
			if err != nil {
				return killed, err
			}
			if name != "" {
				killed = append(killed, name)
			}
		}
	}
}

// marked lists the processes whose environment holds the marker.
func marked(workspace string, chosen func(comm string) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && isMarked(pid, workspace) && chosen(comm(pid)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isMarked is false for a process that has ended: its environment is empty.
func isMarked(pid int, workspace string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool {
		return string(v) == marker+"="+workspace
	})
}

func comm(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// killOne kills a process and waits for its end. It holds on to the process before it looks
// again, so that a number that was given to another one since does no harm.
func killOne(ctx context.Context, pid int, workspace string) (string, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	name := comm(pid)
	if !isMarked(pid, workspace) {
		return "", nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return "", fmt.Errorf("kill %s (%d): %w", name, pid, err)
	}
	for ctx.Err() == nil {
		events, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return "", err
		}
		if events > 0 {
			return fmt.Sprintf("process %s (%d)", name, pid), nil
		}
	}
	return "", fmt.Errorf("%s (%d) does not end: %w", name, pid, context.Cause(ctx))
}

// removeTree removes a folder, but never through a mount: what is mounted there may
// be an image.
func removeTree(dir string) error {
	mounts, err := mount.Beneath(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted", strings.Join(mounts, ", "))
	}
	return os.RemoveAll(dir)
}

// Package host finds out what this machine can do for local builds: virtualisation
// that really runs guests, FUSE, loop devices, programs and their versions.
//
// Probe looks at everything, for people; Accelerator answers the one question that
// starting a guest depends on. What they find is told, never repaired, and nothing
// of it is kept: a caller that asks often keeps the answer.
package host

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// State says how well something is.
type State string

const (
	OK      State = "ok"
	Limited State = "limited" // works, but slower or with less than could be
	Missing State = "missing" // something does not work without it
)

// Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Detail  string `json:"detail"`            // what was found: a version, a number, a reason
	Needed  bool   `json:"needed"`            // local builds do not work without it
	Without string `json:"without,omitempty"` // what its lack means; empty when it is there
	Package string `json:"package,omitempty"` // the Debian package that brings it
}

// Report is all that was found, in the order in which it is shown.
type Report struct {
	Checks []Check `json:"checks"`
}

// Ready reports whether local builds can work here.
func (r Report) Ready() bool {
	for _, c := range r.Checks {
		if c.Needed && c.State == Missing {
			return false
		}
	}
	return true
}

// Probe looks at this machine. dataDir is where images will be kept. It takes a
// few seconds at most, the longest for a guest that hangs.
func Probe(ctx context.Context, dataDir string) Report {
	probes := []func(context.Context) Check{
		checkUser, checkKVM, checkFUSE, checkLoop, checkContainer,
		func(context.Context) Check { return checkDisk(dataDir) },
		func(context.Context) Check { return checkMemory("/proc/meminfo") },
	}
	for _, p := range programs {
		probes = append(probes, p.check)
	}
	checks := make([]Check, len(probes))
	var wg sync.WaitGroup
	for i, probe := range probes {
		wg.Go(func() { checks[i] = probe(ctx) })
	}
	wg.Wait()
	return Report{Checks: checks}
}

func checkUser(context.Context) Check {
	c := Check{Name: "root", State: OK, Detail: "running as root", Needed: true}
	if os.Geteuid() != 0 {
		c.State, c.Detail = Missing, "not running as root"
		c.Without = "disks cannot be mounted and no container can be started"
	}
	return c
}

func checkFUSE(context.Context) Check {
	c := Check{Name: "FUSE", State: OK, Detail: "/dev/fuse can be opened", Needed: true}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		c.State, c.Detail = Missing, err.Error()
		c.Without = "qcow2 layers cannot be mounted, so container builds do not work (in a container: --device /dev/fuse)"
		return c
	}
	f.Close() // only opened to see whether it can be
	return c
}

// checkLoop asks the kernel for a free loop device, and opens it: in a container
// the number may be free while its node is not there.
func checkLoop(context.Context) Check {
	c := Check{Name: "loop devices", Needed: true}
	path, err := freeLoop()
	if err == nil {
		c.State, c.Detail = OK, path+" is free"
		return c
	}
	c.State, c.Detail = Missing, err.Error()
	c.Without = "a partition of a disk cannot be mounted, so container builds do not work (in a container: --privileged)"
	return c
}

func checkDisk(dir string) Check {
	c := Check{Name: "disk space", State: OK, Needed: true}
	free, err := freeBytes(dir)
	switch {
	case err != nil:
		c.State, c.Detail, c.Without = Missing, err.Error(), "there is no place to keep images"
	default:
		c.Detail = amount(free) + " free for " + dir
		const comfortable, least = 20 << 30, 5 << 30
		if free < least {
			c.State, c.Without = Missing, "a parent image, its layers and an image need about 5 GiB"
		} else if free < comfortable {
			c.State, c.Without = Limited, "few images can be kept"
		}
	}
	return c
}

// freeBytes looks at the nearest folder above dir that exists.
func freeBytes(dir string) (int64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * s.Bsize, nil
		}
		if dir == "/" || err != syscall.ENOENT {
			return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		dir = filepath.Dir(dir)
	}
}

// Package container runs the agent over a mounted root filesystem, natively, in a
// systemd-nspawn container that lives only as long as the job.
//
// The container has its own processes, mounts, devices and host name, shares the
// host's network, and has nspawn's usual capabilities less that of rebooting. It
// keeps what recipes do from meeting the host by accident; it does not hold back
// somebody who wants out, which is what virtual machines are for.
//
// Everything that the container needs and an image must not hold, such as the agent, is bound
// beneath /run, which is in memory, or put in place for the run and taken away
// after it (see placed). Services are not started: policy-rc.d forbids it and
// SYSTEMD_OFFLINE makes systemctl behave as in a chroot, so that "enable" works
// and "start" is passed over. Files are not synced while the container runs, because a
// disk whose build did not end cleanly is thrown away.
//
// The package neither mounts the root nor keeps what was made of it.
package container

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
)

// Where the agent finds things inside.
const (
	insideAgent = "/run/ingot/agent"
	insideState = "/run/ingot/state"
	insideLogs  = "/run/ingot/log"
)

// maxReboots is how often one job may ask for a reboot before it is taken for a loop.
const maxReboots = 20

// rebootStatus is the exit status with which the agent asks for a reboot.
const rebootStatus = 194

// Spec says where and with what jobs run.
type Spec struct {
	Root  string   // the mounted root filesystem
	Agent string   // the agent on the host, statically linked
	State string   // folder of the host in which a job's state survives its reboots
	Logs  string   // folder of the host for the agent's logs
	Env   []string // of the container's supervisor; visible inside to the first process only
}

// Name is the machine name of the container over a root. It is the same every time,
// so that what nspawn leaves under /run can be found after a crash: see Forget.
func Name(root string) string {
	sum := sha256.Sum256([]byte(root))
	return "ingot-" + hex.EncodeToString(sum[:8])
}

// Run runs the job to its end, through the reboots that it asks for. The error is
// about the container or the agent; that a step failed is in the result. When ctx
// ends, every process of the container is killed and ctx's cause returned.
func Run(ctx context.Context, spec Spec, job component.Job, emit func(component.Event)) (_ component.Result, err error) {
	root, err := os.OpenRoot(spec.Root)
	if err != nil {
		return component.Result{}, err
	}
	defer root.Close()
	files, err := placeAll(root)
	defer func() { err = errors.Join(err, takeAway(root, files)) }()
	if err != nil {
		return component.Result{}, err
	}
	if job.StateDir == "" {
		job.StateDir = insideState
	}
	if job.LogDir == "" {
		job.LogDir = insideLogs
	}
	for range maxReboots + 1 {
		result, err := runOnce(ctx, spec, job, emit)
		if err != nil || !result.Reboot {
			return result, err
		}
	}
	return component.Result{}, &builder.Error{
		Fault: builder.Author, Stage: builder.StageBuild,
		Reason: fmt.Sprintf("asked for a reboot more than %d times", maxReboots),
		Hint:   "let the step end without a reboot once its work is done",
	}
}

// runOnce is one life of the container.
func runOnce(ctx context.Context, spec Spec, job component.Job, emit func(component.Event)) (component.Result, error) {
	input, err := json.Marshal(job)
	if err != nil {
		return component.Result{}, err
	}
	out := newEventReader(emit)
	said := &tail{limit: 4 << 10}
	cmd := exec.Command("systemd-nspawn", arguments(spec)...)
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SYSTEMD_NSPAWN_TMPFS_TMP=0", // what one component leaves in /tmp is there for the next
	}, spec.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, said
	cmd.WaitDelay = 10 * time.Second
	// Should this program be killed, nspawn kills the container: see --kill-signal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return component.Result{}, fmt.Errorf("%w: install the package systemd-container", err)
		}
		return component.Result{}, err
	}
	err = wait(ctx, cmd)
	forgotten := Forget(spec.Root)
	if ctx.Err() != nil {
		return component.Result{}, errors.Join(context.Cause(ctx), forgotten)
	}
	result, err := judge(err, out, said)
	return result, errors.Join(err, forgotten)
}

// judge makes sense of how the agent ended and what it said.
func judge(ended error, out *eventReader, stderr *tail) (component.Result, error) {
	status := 0
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit):
		status = exit.ExitCode()
	case ended != nil:
		return component.Result{}, fmt.Errorf("systemd-nspawn: %w", ended)
	}
	said := out.result
	if said == nil && !out.heard {
		return component.Result{}, &builder.Error{
			Stage: builder.StageBuild, Reason: "the container ended before its agent began" + stderr.cause(),
			Hint:   "`ingot doctor` on the machine that builds starts a container too, and says what it takes",
			Output: stderr.text(), Err: fmt.Errorf("exit status %d", status),
		}
	}
	if said == nil {
		return component.Result{}, &builder.Error{
			Stage: builder.StageBuild, Reason: "the container ended before the components did",
			Hint:   "a component may have killed every process, or the host ran out of memory",
			Output: stderr.text(), Err: fmt.Errorf("exit status %d: %s", status, stderr.text()),
		}
	}
	if said.Reboot && status != rebootStatus {
		return component.Result{}, fmt.Errorf("the agent asked for a reboot, but ended with status %d: %s", status, stderr.text())
	}
	return *said, nil
}

// arguments are those of systemd-nspawn.
func arguments(spec Spec) []string {
	return []string{
		"--quiet", "--settings=no", "--register=no", "--keep-unit", "--as-pid2",
		"--console=pipe", "--kill-signal=SIGKILL",
		"--machine=" + Name(spec.Root), "--hostname=localhost",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--drop-capability=CAP_SYS_BOOT", "--suppress-sync=yes", "--oom-score-adjust=500",
		"--directory=" + spec.Root,
		"--bind-ro=" + escape(spec.Agent) + ":" + insideAgent,
		"--bind=" + escape(spec.State) + ":" + insideState,
		"--bind=" + escape(spec.Logs) + ":" + insideLogs,
		"--setenv=SYSTEMD_OFFLINE=1", "--setenv=DEBIAN_FRONTEND=noninteractive",
		insideAgent, "run",
	}
}

// escape writes a path as nspawn wants it between colons.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(path)
}

// wait returns when nspawn has ended by itself, or was made to because ctx ended.
func wait(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	return end(cmd, ended)
}

// end kills the container. nspawn answers SIGTERM by killing its first process, and
// with it all others; one that does not answer is killed after its first process.
func end(cmd *exec.Cmd, ended <-chan error) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
	}
	for _, pid := range children(cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return <-ended
}

// children are the direct children of a process.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil // it has ended
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		var child int
		if _, err := fmt.Sscan(field, &child); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// Forget removes what nspawn leaves on the host of a container that has ended.
func Forget(root string) error {
	name := Name(root)
	for _, path := range []string{
		filepath.Join("/run/systemd/nspawn/propagate", name),
		filepath.Join("/run/systemd/nspawn/unix-export", name),
		filepath.Join("/run/systemd/nspawn/locks", "inode-"+name),
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

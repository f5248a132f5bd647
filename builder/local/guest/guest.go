// Package guest runs one virtual machine under QEMU: it starts it from a disk,
// listens to its serial console, reaches the agent inside, and gets rid of it.
//
//	m, err := guest.Start(ctx, guest.Spec{Disk: overlay, Dir: dir, Accel: guest.TCG})
//	...
//	defer m.Close(context.WithoutCancel(ctx))
//	conn, err := m.Dial(ctx)  // as soon as the agent has opened its port
//	err = m.WaitLogin(ctx)    // a login prompt, or why there will be none
//
// A machine that cannot come up says so on its console long before anybody's
// patience ends: a kernel panic, a GRUB or initramfs shell, an emergency mode, a
// disk that no firmware boots. Every wait ends at once with that as its error. So it
// does when QEMU exits.
//
// QEMU is a child of this process, runs in a seccomp sandbox, and is killed by the
// kernel when this process dies, however that happens. What it writes is treated
// as hostile text: capped, and never matched against anything but boot failures.
//
// The package does not make disks, does not decide what runs in the guest, and
// does not speak the agent's language: Dial gives a connection. Inject and Eject put
// the agent into a mounted disk and take it out again without a trace.
package guest

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Names of what a machine makes in its Dir.
const (
	ConsoleFile = "console.log" // the raw bytes of the serial console, the first 4 MiB

	agentSocket = "agent.sock"
	varsFile    = "uefi-vars.fd"
)

// quitGrace is how long QEMU may take to leave by itself before it is killed.
const quitGrace = 5 * time.Second

// Machine is a running virtual machine. Its methods may be called by any number of
// goroutines. It lives until Close or Shutdown, or until it powers itself off.
type Machine struct {
	log      logrus.FieldLogger
	cmd      *exec.Cmd
	wires    *wires
	qmp      *qmp
	tlb      *tlbGrower
	console  *console
	emulated bool // by QEMU, instruction for instruction
	stderr   *tailBuffer
	state    *state
	exited   chan struct{} // closed when nothing of the machine is left
	closing  sync.Once
	life     context.Context // ends when the machine fails or exits, with the reason as its cause
}

// Start starts a machine and returns when QEMU runs; the guest has only begun to
// boot by then. ctx bounds the start alone: the machine lives until it is closed.
// Errors are *builder.Error, except for a cancelled ctx.
func Start(ctx context.Context, spec Spec) (*Machine, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := spec.setDefaults(); err != nil {
		return nil, hostError(err, "", "the machine's files cannot be found")
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	m := &Machine{
		log:      spec.Log,
		emulated: spec.Accel == TCG,
		stderr:   newTailBuffer(8 << 10),
		state:    newState(end),
		exited:   make(chan struct{}),
		life:     life,
	}
	if err := m.launch(spec); err != nil {
		return nil, err
	}
	if err := m.greet(ctx); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	m.log.WithField("pid", m.cmd.Process.Pid).Debug("machine started")
	return m, nil
}

// WaitLogin returns when the console has shown a login prompt since the machine
// last started or restarted. It fails as soon as the console shows that there will
// be none, or when the machine ends; when ctx ends, the error carries the
// console's last lines. Errors are *builder.Error, except for a cancelled ctx.
func (m *Machine) WaitLogin(ctx context.Context) error {
	err := m.state.await(ctx, func(s status) bool { return s.login })
	return m.explain(ctx, err, "a login prompt on the serial console",
		"Have a getty on the serial console: the kernel argument console=ttyS0 starts one under systemd.")
}

// Dial waits until the agent in the guest has opened its port, and connects to it.
// There is one connection at a time: a new one waits for the last to be closed.
// When the machine fails or ends, reads and writes return the reason.
func (m *Machine) Dial(ctx context.Context) (net.Conn, error) {
	err := m.state.await(ctx, func(s status) bool { return s.agent })
	if err != nil {
		return nil, m.explain(ctx, err, "the agent in the guest",
			"The image must come up under systemd far enough to start a service.")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socketPath(m.wires.dir))
	if err != nil {
		if cause := context.Cause(m.life); cause != nil {
			return nil, cause
		}
		return nil, hostError(err, "", "the agent's port cannot be reached")
	}
	return newAgentConn(m.life, conn), nil
}

// Watch returns a context that ends when ctx does or when the machine fails or
// exits, with the reason as its cause. It is for waits that happen elsewhere.
func (m *Machine) Watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.life, func() { cancel(context.Cause(m.life)) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Console returns the end of the console's text, at most 64 KiB of valid UTF-8
// without escape sequences and control characters other than newline and tab. What
// it says is the guest's own claim.
func (m *Machine) Console() string { return m.console.string() }

// Err is why the machine failed or exited; nil while it is well.
func (m *Machine) Err() error { return m.state.get().failure }

// Shutdown presses the power button and waits until the guest has powered off.
// The guest must have come far enough to react: ctx bounds the wait, and Close is
// still needed when it fails.
func (m *Machine) Shutdown(ctx context.Context) error {
	if err := m.qmp.execute(ctx, "system_powerdown"); err != nil && !m.state.get().off {
		return m.lost(err)
	}
	return m.WaitOff(ctx)
}

// WaitOff waits until the guest has powered itself off, for a caller who has asked
// it to. The disks are complete and nothing of the machine is left then.
func (m *Machine) WaitOff(ctx context.Context) error {
	select {
	case <-m.exited:
	case <-ctx.Done():
		return m.explain(ctx, context.Cause(ctx), "the guest to power off", "")
	}
	if !m.state.get().off {
		return m.Err()
	}
	return nil
}

// Close ends the machine without asking the guest and returns when nothing of it is
// left. It is safe to call more than once and after any error; an ended ctx only
// shortens it. What an unclean end means for the disk is the caller's knowledge.
func (m *Machine) Close(ctx context.Context) error {
	m.closing.Do(func() { m.stop(ctx) })
	<-m.exited // SIGKILL leaves no choice
	return nil
}

func (m *Machine) stop(ctx context.Context) {
	m.state.update(func(s *status) { s.stopping = true })
	ctx, cancel := context.WithTimeout(ctx, quitGrace)
	defer cancel()
	if m.qmp.execute(ctx, "quit") == nil {
		select {
		case <-m.exited:
			return
		case <-ctx.Done():
		}
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.log.WithError(err).Error("guest: QEMU cannot be killed")
	}
}

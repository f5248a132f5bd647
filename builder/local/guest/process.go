package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// guestPowerOff is QEMU's reason to end after the guest has powered off.
const guestPowerOff = "guest-shutdown"

// launch makes everything that QEMU is given, and starts it.
func (m *Machine) launch(spec Spec) error {
	fw, err := spec.Firmware.prepare(spec.Dir)
	if err != nil {
		return err
	}
	args, err := spec.args(fw)
	if err != nil {
		return hostError(err, "", "QEMU's command line cannot be made")
	}
	if m.wires, err = newWires(spec.Dir); err != nil {
		return hostError(err, "", "the channels to QEMU cannot be made")
	}
	log, err := os.Create(filepath.Join(spec.Dir, ConsoleFile))
	if err != nil {
		return hostError(errors.Join(err, m.wires.closeFar(), m.wires.closeNear()), "", "the console's log cannot be made")
	}
	m.console = newConsole(m.wires.serial, log, m.state)
	m.qmp = newQMP(m.wires.qmp, m.event)
	m.tlb = newTLBGrower(m.wires.debug)
	m.cmd = exec.Command(program, args...)
	m.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, spec.Env...)
	m.cmd.Dir = spec.Dir
	m.cmd.Stderr = m.stderr
	m.cmd.ExtraFiles = m.wires.far
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C in a terminal is for us to act on, not for QEMU
		Pdeathsig: syscall.SIGKILL, // no machine outlives us
	}
	started := make(chan error)
	go m.own(started)
	if err := <-started; err != nil {
		<-m.exited
		return hostError(err, "Install the Debian package qemu-system-x86.", "QEMU cannot be started")
	}
	return nil
}

// own starts the process, waits for its end and clears up after it. It keeps its
// thread, because the kernel kills the child when the thread that started it ends.
func (m *Machine) own(started chan<- error) {
	defer close(m.exited)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	err := m.cmd.Start()
	cleanup := m.wires.closeFar()
	started <- err
	if err == nil {
		var readers sync.WaitGroup // they end with QEMU's side of their sockets
		readers.Go(m.console.run)
		readers.Go(m.qmp.run)
		running, ended := context.WithCancel(m.life)
		if m.emulated {
			readers.Go(func() { m.growTLB(running) })
		}
		err = m.cmd.Wait()
		ended()
		readers.Wait()
	}
	cleanup = errors.Join(cleanup, m.console.close(), m.wires.closeNear())
	if cleanup != nil {
		m.log.WithError(cleanup).Warn("what belonged to a machine cannot be put away")
	}
	m.state.update(func(s *status) { s.off = err == nil && s.offReason == guestPowerOff })
	m.state.fail(m.exitError(err))
}

// greet waits until QEMU has accepted its command line, which it shows by
// answering on its control channel.
func (m *Machine) greet(ctx context.Context) error {
	err := m.qmp.execute(ctx, "qmp_capabilities")
	if err == nil || ctx.Err() != nil {
		return err
	}
	// It hung up: how it ended says more than that it did.
	select {
	case <-m.exited:
		return m.Err()
	case <-ctx.Done():
		return errors.Join(err, context.Cause(ctx))
	}
}

// event hears what QEMU tells by itself.
func (m *Machine) event(e qmpEvent) {
	switch e.Event {
	case "RESET":
		m.state.restarted()
		m.tlb.restarted()
	case "SHUTDOWN":
		m.state.update(func(s *status) { s.offReason = e.Data.Reason })
	case "VSERPORT_CHANGE":
		if e.Data.ID == agentPortID {
			m.state.update(func(s *status) { s.agent = e.Data.Open })
		}
	}
}

// growTLB makes the first seconds of an emulated machine shorter.
func (m *Machine) growTLB(ctx context.Context) {
	err := m.tlb.run(ctx)
	if err == nil {
		return
	}
	m.log.WithError(err).Info("guest: the machine starts more slowly than it could")
	if err := m.qmp.execute(ctx, "cont"); err != nil && !errors.Is(err, errHungUp) && ctx.Err() == nil {
		m.log.WithError(err).Error("guest: the machine may stand still")
	}
}

// exitError says how QEMU ended. The console is complete by now.
func (m *Machine) exitError(wait error) error {
	now := m.state.get()
	said := strings.TrimSpace(printable(m.stderr.String()))
	var exit *exec.ExitError
	switch {
	case now.stopping:
		return ErrStopped
	case errors.As(wait, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
		return transientError(wait, m.console.lastLines(), "QEMU was ended by a signal: %v", exit.Sys().(syscall.WaitStatus).Signal())
	case wait != nil:
		return hostError(errors.Join(wait, textError(said)), "", "QEMU gave up")
	case now.off:
		return bootError(nil, "", m.console.lastLines(), "the machine powered itself off")
	default:
		return hostError(textError(said), "", "QEMU ended by itself")
	}
}

// textError is what a program said, as an error; nil when it said nothing.
func textError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

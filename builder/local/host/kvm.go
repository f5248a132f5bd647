package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The accelerators that a guest can be started with.
const (
	KVM  = "kvm"
	TCG  = "tcg"  // software emulation
	Auto = "auto" // KVM where it works
)

// Accelerator picks the accelerator for guests: want is KVM, TCG, or Auto (also
// empty). why says in words what was found, for a log. With Auto, KVM that does not
// work is no error; with KVM it is.
func Accelerator(ctx context.Context, want string) (accel, why string, err error) {
	switch want {
	case TCG:
		return TCG, "software emulation, as configured", nil
	case "", Auto, KVM:
	default:
		return "", "", fmt.Errorf("accelerator %q: use %s, %s or %s", want, Auto, KVM, TCG)
	}
	problem := probeKVM(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return "", "", cause
	}
	if problem == nil {
		return KVM, "hardware virtualisation: a guest ran", nil
	}
	if want == KVM {
		return "", "", fmt.Errorf("hardware virtualisation was asked for: %w", problem)
	}
	return TCG, problem.Error() + ": software emulation is used", nil
}

func checkKVM(ctx context.Context) Check {
	c := Check{Name: "KVM", State: OK}
	accel, why, err := Accelerator(ctx, Auto)
	switch {
	case err != nil:
		c.State, c.Detail = Limited, err.Error()
	case accel == KVM:
		c.Detail = why
	default:
		c.State, c.Detail = Limited, why
	}
	if c.State != OK {
		c.Without = "test guests start in 10 to 40 s instead of 2 to 5 s"
	}
	return c
}

// probeTime is enough for QEMU and its firmware on a slow host where guests run:
// with KVM, that takes some 300 ms.
const probeTime = 3 * time.Second

// guestStatus is QEMU's exit status when bootSector ran: the debug device ends QEMU
// with twice the written byte plus one.
const guestStatus = 0x2a<<1 | 1

// bootSector is a program of three instructions for a machine's first sector:
//
//	mov al, 0x2a
//	out 0xf4, al    ; the debug device: ends QEMU
//	jmp $           ; where there is none
var bootSector = append(append([]byte{0xb0, 0x2a, 0xe6, 0xf4, 0xeb, 0xfe}, make([]byte, 504)...), 0x55, 0xaa)

// probeKVM returns nil when a guest runs under KVM, or what is in the way. That the
// device is there, and even that QEMU starts, says little: inside some virtual
// machines, guests hang at their first instructions.
func probeKVM(ctx context.Context) error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("/dev/kvm is not there")
	}
	if err != nil {
		return fmt.Errorf("/dev/kvm cannot be used (%w)", errors.Unwrap(err))
	}
	f.Close() // only opened to see whether it can be
	return runBootSector(ctx, KVM, probeTime)
}

func runBootSector(ctx context.Context, accel string, limit time.Duration) (err error) {
	disk, err := inMemory(bootSector)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var problem bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", accel, "-machine", "pc", "-m", "16", "-smp", "1",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=0x01",
		"-drive", "file=/proc/self/fd/3,format=raw,if=ide")
	cmd.ExtraFiles = []*os.File{disk} // number 3
	cmd.Stderr = &problem
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = probeTime
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return errors.New("/dev/kvm is present, but guests hang")
	case errors.As(err, &exit) && exit.ExitCode() == guestStatus:
		return nil
	case errors.As(err, &exit):
		return fmt.Errorf("QEMU cannot use %s (%s)", accel, firstLine(problem.String()))
	default:
		return err
	}
}

// inMemory is a file that has no name, so that nothing is left of it when this
// process is killed.
func inMemory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("ingot-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "ingot-probe")
	if _, err := f.Write(content); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimPrefix(line, "qemu-system-x86_64: ")
}

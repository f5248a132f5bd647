package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-6db18919/ingot/builder"
)

func TestEmptyDiskIsReportedByTheFirmware(t *testing.T) {
	for name, firmware := range map[string]Firmware{"BIOS": BIOS, "UEFI": UEFI} {
		t.Run(name, func(t *testing.T) {
			m := start(t, Spec{Disk: emptyDisk(t), Firmware: firmware})
			err := m.WaitLogin(patient(t))
			e := wantError(t, err, builder.Author, "no bootable device")
			if e.Hint == "" || e.Output == "" {
				t.Errorf("hint %q, output %q", e.Hint, e.Output)
			}
			if _, dialErr := m.Dial(patient(t)); !errors.Is(dialErr, err) {
				t.Errorf("Dial on a machine that failed: %v, want %v", dialErr, err)
			}
			watched, stop := m.Watch(t.Context())
			defer stop()
			<-watched.Done()
			if !errors.Is(context.Cause(watched), err) {
				t.Errorf("Watch of a machine that failed: %v, want %v", context.Cause(watched), err)
			}
		})
	}
}

func TestQEMUIsKilledUnderUs(t *testing.T) {
	m := start(t, Spec{Disk: emptyDisk(t)})
	waiting := make(chan error, 1)
	go func() {
		// The agent never comes, so that only the end of QEMU ends the wait. The
		// firmware's complaint is not one: the disk is looked at too late.
		_, err := m.Dial(patient(t))
		waiting <- err
	}()
	if err := m.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-waiting, builder.Transient, "QEMU was ended by a signal: killed")
}

func TestQEMURefusesItsCommandLine(t *testing.T) {
	spec := Spec{Disk: filepath.Join(t.TempDir(), "missing.qcow2"), Dir: t.TempDir()}
	_, err := Start(t.Context(), spec)
	e := wantError(t, err, builder.Internal, "QEMU gave up")
	if !strings.Contains(e.Error(), "missing.qcow2") {
		t.Errorf("%v does not name the disk", e)
	}
	left, err := filepath.Glob(filepath.Join(spec.Dir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != ConsoleFile {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestLongFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long,", 30), strings.Repeat("long ", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m := start(t, Spec{Disk: emptyDisk(t), Dir: dir})
	wantError(t, m.WaitLogin(patient(t)), builder.Author, "no bootable device")
	text, err := os.ReadFile(filepath.Join(dir, ConsoleFile))
	if err != nil || !strings.Contains(string(text), "No bootable device") {
		t.Errorf("the console's file: %q, %v", text, err)
	}
}

// inner makes this test program start a machine and wait, as a daemon would.
const inner = "INGOT_TEST_GUEST_DISK"

func TestMain(m *testing.M) {
	if disk := os.Getenv(inner); disk != "" {
		runInner(disk)
	}
	os.Exit(m.Run())
}

func runInner(disk string) {
	m, err := Start(context.Background(), Spec{Disk: disk, Dir: filepath.Dir(disk)})
	if err != nil {
		panic(err)
	}
	fmt.Println(m.cmd.Process.Pid)
	_ = m.WaitLogin(context.Background())
	select {}
}

func TestKill9OfTheDaemonTakesTheMachineAlong(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inner+"="+emptyDisk(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscanln(out, &pid)
	qemu, err := unix.PidfdOpen(pid, 0)
	killErr := cmd.Process.Kill()
	waitErr := cmd.Wait()
	if err := errors.Join(scanErr, err, killErr); err != nil {
		t.Fatalf("%v (%v)", err, waitErr)
	}
	defer unix.Close(qemu)
	// The descriptor becomes readable when the process is gone.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	if n != 1 || err != nil {
		t.Errorf("QEMU (%d) is still there: %v", pid, err)
	}
}

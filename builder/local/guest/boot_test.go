package guest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/builder/local/mount"
)

// overlay makes a disk on top of the Debian 12 base that may be written to.
func overlay(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disktest.Debian12(t), path)
	return path
}

// edit changes the root file system of a disk.
func edit(t *testing.T, disk string, change func(*os.Root) error) {
	t.Helper()
	m, err := mount.Attach(t.Context(), mount.Spec{Disk: disk, Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("Attach: %v", err)
	}
	root, err := os.OpenRoot(m.Root())
	if err == nil {
		err = errors.Join(change(root), root.Close())
	}
	if err = errors.Join(err, m.Detach(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatalf("edit %s: %v", disk, err)
	}
}

// boots skips, where time is short, a test that waits for a whole boot.
func boots(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine in software emulation")
	}
}

func TestConsoleNamesWhoHasToAct(t *testing.T) {
	for name, c := range map[string]struct {
		console string
		login   bool // a prompt was seen before
		want    builder.Fault
		fails   bool
	}{
		"panic":                      {"[    2.0] x\n[    2.000000] Kernel panic - not syncing: Fatal exception\n", false, builder.Author, true},
		"panic later":                {"[    2.000000] Kernel panic - not syncing: Fatal exception\n", true, builder.Author, true},
		"processor hangs":            {"[  178.492454] watchdog: BUG: soft lockup - CPU#1 stuck for 74s! [systemd:1]\n", false, builder.Transient, true},
		"processor hangs later":      {"[  178.492454] watchdog: BUG: soft lockup - CPU#1 stuck for 74s! [systemd:1]\n", true, builder.Transient, true},
		"first tick too late":        {"[    0.000000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot\n", false, builder.Transient, true},
		"a program's word of a tick": {"[    0.000000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot\n", true, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState(func(error) {})
			s.update(func(st *status) { st.login = c.login })
			_, found := newScanner().write([]byte(c.console))
			for _, f := range found {
				s.heard(f, func() string { return "" })
			}
			if err := s.get().failure; (err != nil) != c.fails || (c.fails && builder.FaultOf(err) != c.want) {
				t.Errorf("%v, of fault %v", err, builder.FaultOf(err))
			}
		})
	}
}

// TestBootToLoginUEFI is about the other firmware: by BIOS, machines with the agent come
// to their login prompt.
func TestBootToLoginUEFI(t *testing.T) {
	boots(t)
	begin := time.Now()
	m := start(t, Spec{Disk: overlay(t), Firmware: UEFI})
	for machine := 1; ; machine++ {
		err := m.WaitLogin(patient(t))
		if err == nil {
			break
		}
		if builder.FaultOf(err) != builder.Transient || machine == 3 {
			t.Fatalf("WaitLogin of machine %d: %v", machine, err)
		}
		t.Logf("machine %d failed as only emulated ones do: %v", machine, err)
		m = start(t, Spec{Disk: overlay(t), Firmware: UEFI})
	}
	t.Logf("login after %v", time.Since(begin).Round(100*time.Millisecond))
	if !strings.Contains(m.Console(), "login:") {
		t.Error("the console's text has no login prompt")
	}
	if err := m.Shutdown(patient(t)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	gone(t, m)
}

func TestKernelPanicIsReported(t *testing.T) {
	boots(t)
	disk := overlay(t)
	edit(t, disk, func(root *os.Root) error {
		grub, err := root.ReadFile("boot/grub/grub.cfg")
		if err != nil {
			return err
		}
		broken := strings.ReplaceAll(string(grub), "console=ttyS0", "console=ttyS0 rdinit=/nowhere")
		return root.WriteFile("boot/grub/grub.cfg", []byte(broken), 0o644)
	})
	m := start(t, Spec{Disk: disk})
	wantError(t, m.WaitLogin(patient(t)), builder.Author, "the kernel panicked")
}

func TestMissingRootFileSystemIsReported(t *testing.T) {
	disk := overlay(t)
	edit(t, disk, func(root *os.Root) error { return root.Remove("boot/grub/grub.cfg") })
	m := start(t, Spec{Disk: disk})
	wantError(t, m.WaitLogin(patient(t)), builder.Author, "GRUB cannot start the system")
}

func TestEmergencyModeIsReported(t *testing.T) {
	boots(t)
	disk := overlay(t)
	edit(t, disk, func(root *os.Root) error {
		fstab, err := root.ReadFile("etc/fstab")
		if err != nil {
			return err
		}
		fstab = append(fstab, "/dev/vdz /data ext4 defaults,x-systemd.device-timeout=1 0 2\n"...)
		return root.WriteFile("etc/fstab", fstab, 0o644)
	})
	m := start(t, Spec{Disk: disk})
	wantError(t, m.WaitLogin(patient(t)), builder.Author, "emergency mode")
}

func TestDeadlineCarriesTheConsole(t *testing.T) {
	m := start(t, Spec{Disk: overlay(t)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	e := wantError(t, m.WaitLogin(ctx), builder.Author, "waited in vain for a login prompt")
	if !errors.Is(e, context.DeadlineExceeded) || !strings.Contains(e.Output, "SeaBIOS") {
		t.Errorf("%v, output %q", e, e.Output)
	}
}

func TestCancelDuringBoot(t *testing.T) {
	m := start(t, Spec{Disk: overlay(t)})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody asked for it")
	cancel(why)
	if err := m.WaitLogin(ctx); !errors.Is(err, why) {
		t.Errorf("WaitLogin: %v, want %v", err, why)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := m.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	gone(t, m)
	if err := m.WaitLogin(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("WaitLogin of a closed machine: %v, want %v", err, ErrStopped)
	}
}

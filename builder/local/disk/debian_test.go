package disk_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
)

// TestDebian12Boots starts the base disk by both firmwares, on the disk controllers
// that images meet on other machines; that of ours starts in package guest's tests.
func TestDebian12Boots(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three machines")
	}
	base := disktest.Debian12(t)
	for name, c := range map[string]struct {
		firmware disktest.Firmware
		devices  []string
	}{
		"UEFI, NVMe":   {disktest.UEFI, []string{"-device", "nvme,drive=DISK,serial=1"}},
		"BIOS, SATA":   {disktest.BIOS, []string{"-device", "ide-hd,drive=DISK"}},
		"BIOS, pvscsi": {disktest.BIOS, []string{"-device", "pvscsi", "-device", "scsi-hd,drive=DISK"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantLogin(t, disktest.BootToLogin(t, base, "qcow2", c.firmware, c.devices...), "Debian GNU/Linux 12")
		})
	}
}

func TestDebian13Boots(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a disk and starts a machine")
	}
	wantLogin(t, disktest.BootToLogin(t, disktest.Debian13(t), "qcow2", disktest.BIOS), "Debian GNU/Linux 13")
}

func wantLogin(t *testing.T, console, system string) {
	t.Helper()
	if !strings.Contains(console, system) {
		t.Errorf("the login prompt is not that of %s:\n%s", system, console)
	}
}

func TestDebian12Layout(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a disk")
	}
	root, err := disk.Layout(t.Context(), disktest.Debian12(t))
	if err != nil || root.Offset != disk.RootOffset || root.Filesystem != "ext4" || root.Offset+root.Size > disk.DefaultVirtual {
		t.Errorf("got %+v, %v", root, err)
	}
}

func TestDebianWithoutMirror(t *testing.T) {
	spec := disk.DebianSpec{Suite: "debian-12", Mirrors: []string{"http://127.0.0.1:1/debian"}}
	_, err := disk.Revision(t.Context(), spec)
	wantTransient(t, err)
	err = disk.Debian(t.Context(), spec, filepath.Join(t.TempDir(), "out.qcow2"), func(string) {})
	wantTransient(t, err)
	_, err = disk.Revision(t.Context(), disk.DebianSpec{Suite: "potato"})
	if builder.FaultOf(err) != builder.Author {
		t.Errorf("an unknown suite: %v", err)
	}
}

func wantTransient(t *testing.T, err error) {
	t.Helper()
	if err == nil || builder.FaultOf(err) != builder.Transient {
		t.Errorf("got %v, want a transient error", err)
	}
}

func TestRevisionIsStableAndDiffersBySuite(t *testing.T) {
	seen := map[string]string{}
	for _, suite := range []string{"debian-12", "bookworm", "debian-13"} {
		revision, err := disk.Revision(t.Context(), disk.DebianSpec{Suite: suite})
		if err != nil {
			t.Fatal(err)
		}
		seen[suite] = revision
	}
	if seen["debian-12"] != seen["bookworm"] || seen["debian-12"] == seen["debian-13"] {
		t.Errorf("got %v", seen)
	}
}

package host

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBootSectorRuns runs the probe's guest in software emulation, which works
// everywhere: under KVM, an answer other than this one is the host's.
func TestBootSectorRuns(t *testing.T) {
	if err := runBootSector(t.Context(), TCG, 2*time.Minute); err != nil {
		t.Fatalf("%v (Debian package qemu-system-x86)", err)
	}
}

func TestHangingGuestIsNoticed(t *testing.T) {
	err := runBootSector(t.Context(), TCG, time.Nanosecond)
	if err == nil || !strings.Contains(err.Error(), "guests hang") {
		t.Errorf("got %v", err)
	}
}

func TestAccelerator(t *testing.T) {
	for want, accel := range map[string][]string{Auto: {KVM, TCG}, "": {KVM, TCG}, TCG: {TCG}} {
		got, why, err := Accelerator(t.Context(), want)
		if err != nil || why == "" || !slices.Contains(accel, got) {
			t.Errorf("%q: got %q (%s), %v", want, got, why, err)
		}
	}
	if _, _, err := Accelerator(t.Context(), "xen"); err == nil {
		t.Error("an unknown accelerator is an error")
	}
	auto, _, err := Accelerator(t.Context(), Auto)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := Accelerator(t.Context(), KVM); (auto == KVM) != (err == nil && got == KVM) {
		t.Errorf("Auto found %s, but KVM gave %q, %v", auto, got, err)
	}
}

func TestProbe(t *testing.T) {
	report := Probe(t.Context(), t.TempDir()+"/not/there/yet")
	names := map[string]Check{}
	for _, c := range report.Checks {
		if c.Name == "" || c.State == "" || c.Detail == "" || c.State == OK && c.Without != "" || c.State != OK && c.Without == "" {
			t.Errorf("incomplete: %+v", c)
		}
		names[c.Name] = c
	}
	for _, name := range []string{"qemu-img", "qemu-storage-daemon", "qemu-system-x86_64", "mkfs.ext4", "disk space", "memory"} {
		if c := names[name]; c.State == Missing {
			t.Errorf("%s: %s (Debian package %s)", name, c.Detail, c.Package)
		}
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	report := Report{Checks: []Check{
		{Name: "KVM", State: Limited, Detail: "guests hang", Without: "slow"},
		{Name: "qemu-img", State: Missing, Detail: "not installed", Needed: true, Without: "no disks", Package: "qemu-utils"},
		{Name: "git", State: OK, Detail: "2.39.5"},
	}}
	want := `warn  KVM       guests hang
                -> slow
FAIL  qemu-img  not installed
                -> no disks
                -> apt-get install qemu-utils
ok    git       2.39.5
Local builds do not work here yet: see FAIL above.`
	if got := strings.Join(report.Lines(), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestVersion(t *testing.T) {
	for out, want := range map[string]string{
		"QEMU emulator version 7.2.22 (Debian 1:7.2)": "7.2.22",
		"systemd 252 (252.39-1~deb12u2)\n+PAM":        "252",
		"mke2fs 1.47.0 (5-Feb-2023)":                  "1.47.0",
		"OpenSSH_9.2p1 Debian":                        "9.2",
		"no number":                                   "no number",
	} {
		if got := version(out); got != want {
			t.Errorf("version(%q) = %q, want %q", out, got, want)
		}
	}
}

func TestMemAvailable(t *testing.T) {
	if got := memAvailable("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"); got != 2<<20 {
		t.Errorf("got %d", got)
	}
	if got := memAvailable("nonsense"); got != 0 {
		t.Errorf("got %d", got)
	}
}

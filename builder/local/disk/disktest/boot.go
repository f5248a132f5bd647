package disktest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Firmware is what starts a machine.
type Firmware string

// The firmwares that a base disk starts with.
const (
	BIOS Firmware = "bios" // SeaBIOS
	UEFI Firmware = "uefi" // OVMF
)

const booting = 10 * time.Minute

// machines is how many machines one boot may use up, as in the pipeline: emulated
// ones fail now and then, whatever the disk is.
const machines = 3

const prompt = " login: "

// emulation is what the kernel says when a processor has not moved for a minute, or
// when a busy host gave it no timer tick in time.
var emulation = regexp.MustCompile(`soft lockup - CPU#\d+ stuck for (?:[6-9]\d|\d{3,})s|IO-APIC \+ timer doesn't work!`)

// BootToLogin starts a machine from a disk, without writing to it, and returns the
// text of its serial console when that shows a login prompt. devices adds QEMU
// options; with none, the disk is a virtio one. In options, DISK stands for the
// drive's id. A machine that fails as only emulated ones do is replaced by another.
func BootToLogin(t testing.TB, path, format string, firmware Firmware, devices ...string) string {
	t.Helper()
	if len(devices) == 0 {
		devices = []string{"-device", "virtio-blk-pci,drive=DISK"}
	}
	for machine := 1; ; machine++ {
		text := boot(t, path, format, firmware, devices)
		if strings.Contains(text, prompt) {
			return text
		}
		if end := text[max(0, len(text)-4000):]; machine == machines || !emulation.MatchString(text) {
			t.Fatalf("no login prompt by %s on machine %d; the console's end:\n%s", firmware, machine, end)
		}
		t.Logf("machine %d failed in a way that emulation has, not the disk: trying another", machine)
	}
}

// boot returns what the console said until a login prompt, a hang, or the machine's end.
func boot(t testing.TB, path, format string, firmware Firmware, devices []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), booting)
	defer cancel()
	// One processor: that emulated ones now and then wait for each other for ever is no
	// property of a disk.
	args := []string{
		"-accel", "tcg", "-machine", "q35", "-m", "1024", "-smp", "1", "-no-reboot",
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "std", "-serial", "stdio",
		"-drive", "id=DISK,if=none,snapshot=on,format=" + format + ",file=" + escaped(path),
	}
	if firmware == UEFI {
		args = append(args, uefi(t)...)
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(args, devices...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var problem bytes.Buffer
	cmd.Stderr = &problem
	console, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a machine (Debian package qemu-system-x86): %v", err)
	}
	text := readUntil(console, func(text []byte) bool { return bytes.Contains(text, []byte(prompt)) || emulation.Match(text) })
	cancel()
	cmd.Wait() // killed: its status says nothing
	return text + problem.String()
}

// uefi gives the machine firmware with variables of its own: used ones remember
// the slots of another machine's disks.
func uefi(t testing.TB) []string {
	t.Helper()
	const code, variables = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
	fresh, err := os.ReadFile(variables)
	if err != nil {
		t.Fatalf("the UEFI firmware is not installed (Debian package ovmf): %v", err)
	}
	own := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(own, fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + code,
		"-drive", "if=pflash,format=raw,file=" + escaped(own),
	}
}

// readUntil reads until that is enough, or all that there is.
func readUntil(r io.Reader, enough func(text []byte) bool) string {
	var all []byte
	part := make([]byte, 4096)
	for {
		n, err := r.Read(part)
		all = append(all, part[:n]...)
		if err != nil || enough(all) {
			return string(all)
		}
	}
}

// escaped is a path as QEMU's options want it: a comma would begin the next option.
func escaped(path string) string { return strings.ReplaceAll(path, ",", ",,") }

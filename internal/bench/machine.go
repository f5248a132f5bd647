package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// machine says on what and when the figures were taken.
func (b *bench) machine(ctx context.Context) string {
	var kib float64
	memory := "unknown memory"
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal", ":"), "%f kB", &kib); err == nil {
		memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
	}
	guests := "software emulation (tcg)"
	if b.accelerator == "kvm" {
		guests = "hardware virtualisation (kvm)"
	}
	system := strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)
	lines := [][]string{
		{time.Now().UTC().Format("2006-01-02 15:04 UTC"), system, "load " + load()},
		{fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name", ":")), memory, "Linux " + strings.TrimSpace(read("/proc/sys/kernel/osrelease"))},
		{firstLine(ctx, "qemu-system-x86_64", "--version"), guests, firstLine(ctx, "git", "--version"), runtime.Version()},
	}
	var text []string
	for _, line := range lines {
		text = append(text, strings.Join(line, ", "))
	}
	return strings.Join(text, "\n")
}

// load is the average of the last minute: how busy the machine was with other things
// before a part began, and with the part before.
func load() string {
	first, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return first
}

// read returns a file of the kernel or the system, or nothing where there is none.
func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

// field returns the value of the first line "key SEPARATOR value" of a file.
func field(path, key, separator string) string {
	for s := bufio.NewScanner(strings.NewReader(read(path))); s.Scan(); {
		k, v, ok := strings.Cut(s.Text(), separator)
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// firstLine is the first line that a program prints, or that it is missing.
func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return name + " is missing"
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(line)
}

// probe finds out how guests run: by kvm where ingot uses it too.
func (b *bench) probe(ctx context.Context) (string, error) {
	config := filepath.Join(b.dir, "doctor.yaml")
	if err := os.WriteFile(config, []byte("dataDir: "+b.dir+"\nrepositories: []\n"), 0o600); err != nil {
		return "", err
	}
	text, err := command{name: b.ingot(), args: []string{"-c", config, "doctor", "--json"}}.output(ctx)
	if err != nil {
		return "", err
	}
	var report struct {
		Checks []struct{ Name, State string } `json:"checks"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return "", fmt.Errorf("ingot doctor: %w", err)
	}
	for _, c := range report.Checks {
		if c.Name == "KVM" {
			if c.State == "ok" {
				return "kvm", nil
			}
			return "tcg", nil
		}
	}
	return "", errors.New("ingot doctor says nothing about KVM")
}

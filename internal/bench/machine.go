package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine says on what and when the figures were taken.
func machine(ctx context.Context) string {
	memory := field("/proc/meminfo", "MemTotal", ":")
	var gib float64
	if _, err := fmt.Sscanf(memory, "%f kB", &gib); err == nil {
		memory = fmt.Sprintf("%.0f GiB", gib/(1<<20))
	}
	return strings.Join([]string{
		fmt.Sprintf("%s, %s, load %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`), load()),
		fmt.Sprintf("%d × %s, %s, Linux %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name", ":"), memory, strings.TrimSpace(read("/proc/sys/kernel/osrelease"))),
		fmt.Sprintf("%s; %s; %s", firstLine(ctx, "qemu-system-x86_64", "--version"), firstLine(ctx, "git", "--version"), runtime.Version()),
	}, "\n")
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

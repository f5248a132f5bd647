package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// limits compares what ingot adds with what no tool can leave out.
func (b *bench) limits(ctx context.Context) ([]table, error) {
	t := table{head: []string{"", "ingot", "the limit", "ratio"}}
	if err := b.attaching(ctx, &t); err != nil {
		return nil, err
	}
	if b.image == "" {
		t.note("Builds were left out, and with them what they are compared with.")
		return []table{t}, nil
	}
	install := b.ours[installing]
	t.add("everything new to the image / its apt-get step alone", took(b.ours[toImage]), took(install), ratio(b.ours[toImage].Seconds(), install.Seconds()))
	plain, err := b.plainBoot(ctx)
	if err != nil {
		return []table{t}, err
	}
	t.add("boot to login, as tests do it / through the boot loader by plain QEMU", took(b.ours[booting]), took(plain), ratio(b.ours[booting].Seconds(), plain.Seconds()))
	return []table{t}, nil
}

// attaching compares a qcow2 layer with a raw file on a loop device.
func (b *bench) attaching(ctx context.Context, t *table) error {
	m, err := goBench(ctx, "./builder/local/mount", "^BenchmarkAttach$", "20x")
	if err != nil {
		return err
	}
	ours, err := m.perOperation("Attach")
	if err != nil {
		return err
	}
	disk, dir := filepath.Join(b.dir, "loop.ext4"), filepath.Join(b.dir, "loop")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := (command{name: "truncate", args: []string{"--size=256M", disk}}.run(ctx)); err != nil {
		return err
	}
	if err := (command{name: "mkfs.ext4", args: []string{"-q", disk}}.run(ctx)); err != nil {
		return err
	}
	var rounds []time.Duration
	for range 20 {
		d, err := mountOnce(ctx, disk, dir)
		if err != nil {
			return err
		}
		rounds = append(rounds, d)
	}
	loop := median(rounds, func(d time.Duration) time.Duration { return d })
	t.add("attach and detach a qcow2 layer / a raw file by mount -o loop", took(ours), took(loop), ratio(ours.Seconds(), loop.Seconds()))
	return nil
}

// mountOnce mounts and unmounts; it never leaves a mount behind.
func mountOnce(ctx context.Context, disk, dir string) (time.Duration, error) {
	start := time.Now()
	if err := (command{name: "mount", args: []string{"-o", "loop", disk, dir}}.run(ctx)); err != nil {
		return 0, err
	}
	err := command{name: "umount", args: []string{dir}}.run(context.WithoutCancel(ctx))
	return time.Since(start), err
}

// plainBoot starts the image as somebody would by hand, and waits for the login prompt.
func (b *bench) plainBoot(ctx context.Context) (time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", b.accelerator, "-m", "1024", "-smp", "2", "-snapshot",
		"-drive", "if=virtio,format=qcow2,file="+b.image, "-display", "none", "-nic", "none", "-serial", "stdio", "-monitor", "none")
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir)
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = waitFor(console, "login:")
	elapsed := time.Since(start)
	stop()
	_ = cmd.Wait() // it was killed, which is no error here
	return elapsed, err
}

// waitFor reads until a text appears.
func waitFor(r io.Reader, text string) error {
	var seen []byte
	piece := make([]byte, 4096)
	for {
		n, err := r.Read(piece)
		seen = append(seen, piece[:n]...)
		if bytes.Contains(seen, []byte(text)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the machine has ended before its console said %q: %w", text, err)
		}
		seen = seen[max(0, len(seen)-len(text)):]
	}
}

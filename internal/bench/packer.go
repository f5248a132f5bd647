package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed testdata/ssh
var testdata embed.FS

// packer builds the sample's image with packer's qemu builder, on a disk that ingot
// has made for it once: Debian 12 with an SSH server that takes a throw-away key.
func (b *bench) packer(ctx context.Context) ([]table, error) {
	t := table{head: peerHead}
	if _, err := exec.LookPath("packer"); err != nil {
		t.note("packer is not installed, left out: scripts/install-packages.sh bench")
		return []table{t}, nil
	}
	dir := filepath.Join(b.dir, "packer")
	parent, key, err := b.sshParent(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("the parent image for packer: %w", err)
	}
	if err := writeTemplate(dir, parent, key, b.accelerator); err != nil {
		return nil, err
	}
	theirs, err := command{
		dir: dir, name: "packer", args: []string{"build", "-color=false", "template.json"},
		env: []string{"CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1", "PACKER_CACHE_DIR=" + filepath.Join(dir, "cache"), "TMPDIR=" + dir},
	}.timed(ctx)
	if err != nil {
		return nil, err
	}
	addPeer(&t, "Debian 12 → nginx, page, service", b.ours[toImage], theirs)
	addPeer(&t, "only the page changed (packer: the same again)", b.ours[lastToImage], theirs)
	t.note("%s, qemu builder, accelerator %s, 2 CPUs, overlay on the parent, no boot wait, no compaction; one run.", firstLine(ctx, "packer", "version"), b.accelerator)
	return []table{t}, nil
}

var peerHead = []string{"to an image that nobody has tested", "ingot", "theirs", "ratio"}

func addPeer(t *table, text string, ours, theirs time.Duration) {
	t.add(text, took(ours), took(theirs), ratio(ours.Seconds(), theirs.Seconds()))
}

// sshParent makes the disk, and returns its file and that of the private key.
func (b *bench) sshParent(ctx context.Context, dir string) (disk, key string, err error) {
	source, err := fs.Sub(testdata, "testdata/ssh")
	if err != nil {
		return "", "", err
	}
	s, err := b.newSample(ctx, "packer-parent", noRepositories)
	if err != nil {
		return "", "", err
	}
	if err := os.CopyFS(filepath.Join(s.dir, "ssh"), source); err != nil {
		return "", "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	key = filepath.Join(dir, "key")
	if err := (command{name: "ssh-keygen", args: []string{"-q", "-t", "ed25519", "-N", "", "-f", key}}.run(ctx)); err != nil {
		return "", "", err
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "ssh", "throw-away.pub"), public, 0o644); err != nil {
		return "", "", err
	}
	o, err := b.build(ctx, s, "ssh/recipe.yaml")
	return o.imageRef, key, err
}

// writeTemplate asks packer for what the sample's components do.
func writeTemplate(dir, parent, key, accelerator string) error {
	site, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return err
	}
	if _, err := site.WriteString("<!DOCTYPE html>\n<title>ingot sample</title>\n<h1>Hello from packer</h1>\n"); err != nil {
		return errors.Join(err, site.Close())
	}
	if err := site.Close(); err != nil {
		return err
	}
	type object = map[string]any
	text, err := json.MarshalIndent(object{
		"builders": []object{{
			"type": "qemu", "accelerator": accelerator, "cpus": 2, "memory": 1024, "headless": true,
			"iso_url": parent, "iso_checksum": "none", "disk_image": true, "use_backing_file": true,
			"qemu_img_args": object{"create": []string{"-F", "qcow2"}},
			"format":        "qcow2", "disk_interface": "virtio", "net_device": "virtio-net", "skip_compaction": true,
			"output_directory": filepath.Join(dir, "out"), "boot_wait": "-1s",
			"ssh_username": "root", "ssh_private_key_file": key, "ssh_timeout": "10m",
			"shutdown_command": "systemctl poweroff",
		}},
		"provisioners": []object{
			{"type": "shell", "inline": []string{
				"export DEBIAN_FRONTEND=noninteractive",
				"apt-get update -q", "apt-get install -q -y --no-install-recommends nginx-light",
			}},
			{"type": "file", "source": site.Name(), "destination": "/var/www/html/index.html"},
			{"type": "shell", "inline": []string{"systemctl enable nginx", "nginx -t"}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "template.json"), text, 0o600)
}

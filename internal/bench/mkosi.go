package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// mkosi builds a disk with the sample's content from nothing, which is how it works,
// with its packages in its cache; then in its incremental mode, where it keeps the
// installed system and repeats only what follows.
func (b *bench) mkosi(ctx context.Context) ([]table, error) {
	t := table{head: peerHead}
	if _, err := exec.LookPath("mkosi"); err != nil {
		t.note("mkosi is not installed, left out: scripts/install-packages.sh bench")
		return []table{t}, nil
	}
	dir := filepath.Join(b.dir, "mkosi")
	page := filepath.Join(dir, "extra/var/www/html/index.html")
	for _, folder := range []string{filepath.Dir(page), filepath.Join(dir, "cache")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
	}
	build := func(text string, more ...string) (command, error) {
		err := os.WriteFile(page, []byte("<!DOCTYPE html>\n<title>ingot sample</title>\n<h1>"+text+"</h1>\n"), 0o644)
		return command{dir: dir, name: "mkosi", args: slices.Concat([]string{
			"--distribution=debian", "--release=bookworm", "--format=gpt_ext4", "--bootable=no",
			"--package=nginx-light,systemd-sysv,linux-image-cloud-amd64",
			"--extra-tree=" + filepath.Join(dir, "extra"), "--cache=" + filepath.Join(dir, "cache"),
			"--nspawn-keep-unit", "--with-network=yes", "--force", "--output=" + filepath.Join(dir, "image.raw"),
		}, more, []string{"build"})}, err
	}

	// The first run fills the cache of packages and keeps the installed system.
	first, err := build("one", "--incremental")
	if err != nil {
		return nil, err
	}
	if err := first.run(ctx); err != nil {
		return nil, err
	}
	again, err := build("two", "--incremental")
	if err != nil {
		return nil, err
	}
	changed, err := again.timed(ctx)
	if err != nil {
		return nil, err
	}
	addPeer(&t, "only the page changed (mkosi: --incremental, second run)", b.ours[lastToImage], changed)
	nothing, err := build("three")
	if err != nil {
		return []table{t}, err
	}
	whole, err := nothing.timed(ctx)
	if err != nil {
		return []table{t}, err
	}
	addPeer(&t, "nginx, page, service (ingot: on its parent; mkosi: from nothing)", b.ours[toImage], whole)
	t.note("%s, packages in its cache, no boot loader; one run each.", firstLine(ctx, "mkosi", "--version"))
	return []table{t}, nil
}

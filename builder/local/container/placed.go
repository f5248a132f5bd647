package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// placed is a file that is in the root only while the container runs.
type placed struct {
	path    string
	content []byte
	mode    fs.FileMode
	replace bool // also when the image has one, which comes back afterwards
	aside   bool // the image had one
	info    fs.FileInfo
}

// asideSuffix is where the image's own file waits.
const asideSuffix = ".before-ingot"

// placeAll puts the files in place. What it returns must be taken away, also when
// it fails.
func placeAll(root *os.Root) ([]*placed, error) {
	resolv, err := hostResolvConf()
	if err != nil {
		return nil, err
	}
	wanted := []*placed{
		// Package scripts ask it before they start a service; 101 forbids every action.
		{path: "usr/sbin/policy-rc.d", content: []byte("#!/bin/sh\nexit 101\n"), mode: 0o755},
	}
	if resolv != nil {
		wanted = append(wanted, &placed{path: "etc/resolv.conf", content: resolv, mode: 0o644, replace: true})
	}
	var done []*placed
	for _, p := range wanted {
		ok, err := p.put(root)
		if ok {
			done = append(done, p)
		}
		if err != nil {
			return done, fmt.Errorf("put /%s in place: %w", p.path, err)
		}
	}
	return done, nil
}

// hostResolvConf is how the host finds names. The container shares its network, so
// what works there works inside.
func hostResolvConf() ([]byte, error) {
	f, err := os.Open("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// put reports whether there is something to take away afterwards.
func (p *placed) put(root *os.Root) (bool, error) {
	if _, err := root.Stat(path.Dir(p.path)); errors.Is(err, fs.ErrNotExist) {
		return false, nil // not a system of that kind
	}
	_, err := root.Lstat(p.path)
	switch {
	case err == nil && !p.replace:
		return false, nil
	case err == nil:
		if err := root.Rename(p.path, p.path+asideSuffix); err != nil {
			return false, err
		}
		p.aside = true
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	f, err := root.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, p.mode)
	if err != nil {
		return true, err
	}
	_, err = f.Write(p.content)
	if err = errors.Join(err, f.Chmod(p.mode)); err != nil {
		return true, errors.Join(err, f.Close())
	}
	p.info, err = f.Stat()
	return true, errors.Join(err, f.Close())
}

// takeAway restores what was there before, unless a component has put something
// of its own in the place: then that is what the image gets.
func takeAway(root *os.Root, files []*placed) error {
	var errs []error
	for _, p := range files {
		if err := p.remove(root); err != nil {
			errs = append(errs, fmt.Errorf("take /%s away: %w", p.path, err))
		}
	}
	return errors.Join(errs...)
}

func (p *placed) remove(root *os.Root) error {
	ours, err := p.untouched(root)
	if err != nil {
		return err
	}
	switch {
	case ours && p.aside:
		return root.Rename(p.path+asideSuffix, p.path)
	case ours:
		return root.Remove(p.path)
	case p.aside:
		if err := root.Remove(p.path + asideSuffix); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// untouched reports whether the file is still the one that was put there.
func (p *placed) untouched(root *os.Root) (bool, error) {
	info, err := root.Lstat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || p.info == nil {
		return p.info == nil, err
	}
	if !os.SameFile(info, p.info) || info.Size() != int64(len(p.content)) {
		return false, nil
	}
	content, err := root.ReadFile(p.path)
	return bytes.Equal(content, p.content), err
}

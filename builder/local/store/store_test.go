package store

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

// fixture is a store with an empty base and one workspace.
type fixture struct {
	*testing.T
	*Store
	dir, workspace string
	base           Below
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, dir: filepath.Join(t.TempDir(), "here:1")}
	f.open(filepath.Join(f.dir, "data"))
	disk := filepath.Join(f.dir, "base.qcow2")
	f.qemuImg("create", "-q", "-f", "qcow2", disk, "64M")
	base, err := f.AddBase("base.qcow2", disk)
	f.must(err)
	f.base = base
	return f
}

func (f *fixture) open(dir string) {
	f.Helper()
	s, err := Open(dir)
	f.must(err)
	f.Store, f.workspace = s, filepath.Join(s.Work(), "one")
	f.must(os.MkdirAll(f.workspace, 0o700))
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) qemuImg(args ...string) string {
	f.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		f.Fatalf("%v: install the Debian package qemu-utils", err)
	}
	if err != nil {
		f.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (f *fixture) overlay(below Below) string {
	f.Helper()
	path := filepath.Join(f.workspace, rand.Text())
	f.must(f.Overlay(f.Context(), NewOverlay{Path: path, Below: below}))
	return path
}

func (f *fixture) layer(key string, below Below) Below {
	f.Helper()
	_, err := f.Publish(f.Context(), f.overlay(below), key, below, "build")
	f.must(err)
	return Below{Layer: key}
}

func (f *fixture) image(key string, below Below) builder.Image {
	f.Helper()
	img, err := f.PublishImage(f.Context(), f.overlay(below), below, NewImage{Key: key, Driver: "local", Revision: "r1"})
	f.must(err)
	return img
}

func TestLayersChainAndSurviveAMove(t *testing.T) {
	f := newFixture(t)
	top := f.layer("two", f.layer("one", f.base))
	img := f.image("0123456789abcdef", top)
	if img.ID != "img-0123456789ab" || img.Virtual != 64<<20 || img.Size <= 0 || img.Ref == "" {
		t.Errorf("image %+v", img)
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	f.must(os.Rename(f.dir, moved))
	f.open(filepath.Join(moved, "data"))
	again, err := f.Image("0123456789abcdef")
	f.must(err)
	if !strings.HasPrefix(again.Ref, moved) || again.Digest != img.Digest {
		t.Errorf("after the move: %+v", again)
	}
	f.qemuImg("check", "-q", again.Ref)
	if info := f.qemuImg("info", "--backing-chain", again.Ref); strings.Count(info, "image: ") != 4 {
		t.Errorf("the chain is broken:\n%s", info)
	}
}

func TestPublishTwiceKeepsTheFirst(t *testing.T) {
	f := newFixture(t)
	f.layer("one", f.base)
	first, err := f.Layer("one")
	f.must(err)
	second, err := f.Publish(f.Context(), f.overlay(f.base), "one", f.base, "other build")
	f.must(err)
	if second != first {
		t.Errorf("got %+v, want %+v", second, first)
	}
	if left, err := os.ReadDir(f.workspace); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestImageOfAKnownKeyIsTheOldOne(t *testing.T) {
	f := newFixture(t)
	first := f.image("key", f.base)
	if second := f.image("key", f.base); second.Digest != first.Digest {
		t.Error("the image was made a second time")
	}
	f.must(f.RemoveImage("key"))
	if _, err := f.Image("key"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after removal: %v", err)
	}
	if third := f.image("key", f.base); third.Digest == first.Digest || third.ID != first.ID {
		t.Error("another making of the image has the same digest")
	}
	if all, err := f.Images(); err != nil || len(all) != 1 {
		t.Errorf("images: %v, %v", all, err)
	}
}

func TestUnknownThings(t *testing.T) {
	f := newFixture(t)
	if _, err := f.Layer("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("layer: %v", err)
	}
	if _, err := f.Lease("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("lease: %v", err)
	}
	if err := f.RemoveImage("none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove: %v", err)
	}
	for _, key := range []string{"", ".", "..", "a/b", "../x", ".hidden", "a\x00b", strings.Repeat("x", 201)} {
		if _, err := f.Layer(key); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("key %q is taken: %v", key, err)
		}
	}
}

func TestClaimsExclude(t *testing.T) {
	f := newFixture(t)
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			claim, err := f.Claim(t.Context(), "key")
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			inside.Add(-1)
			if err := claim.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the claim at the same time", most.Load())
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "data/locks")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestClaimWaitsNoLongerThanItsContext(t *testing.T) {
	f := newFixture(t)
	claim, err := f.Claim(t.Context(), "key")
	f.must(err)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("given up")
	cancel(why)
	if _, err := f.Claim(ctx, "key"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if _, ok, err := f.TryClaim("key"); ok || err != nil {
		t.Errorf("taken twice: %v, %v", ok, err)
	}
	f.must(claim.Release())
	again, ok, err := f.TryClaim("key")
	if !ok || err != nil {
		t.Errorf("not free after its release: %v, %v", ok, err)
	}
	f.must(again.Release())
}

func TestPrune(t *testing.T) {
	f := newFixture(t)
	shared := f.layer("shared", f.base)
	f.image("image", f.layer("of-image", shared))
	spare := f.layer("spare", shared)
	f.layer("spare-top", spare)
	f.layer("in-use", f.base)
	lease, err := f.Lease("in-use")
	f.must(err)
	long := time.Now().Add(-time.Hour)
	for _, key := range []string{"shared", "of-image", "spare", "spare-top", "in-use"} {
		f.must(os.Chtimes(f.layerFile(key), long, long))
	}
	f.layer("fresh", f.base)

	if got := f.prune(Keep{}); len(got) > 0 {
		t.Errorf("with no limit it removed %v", got)
	}
	if got := f.prune(Keep{Age: time.Minute}); !slices.Equal(got, []string{"spare-top", "spare"}) {
		t.Errorf("by age it removed %v", got)
	}
	f.must(lease.Release())
	if got := f.prune(Keep{Bytes: 1}); !slices.Equal(got, []string{"in-use", "fresh"}) {
		t.Errorf("by size it removed %v", got)
	}
	f.must(f.RemoveImage("image"))
	if got := f.prune(Keep{Bytes: 1}); len(got) != 3 {
		t.Errorf("without the image it removed %v", got)
	}
	if left, err := os.ReadDir(f.layers()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func (f *fixture) prune(keep Keep) []string {
	f.Helper()
	removed, err := f.Prune(f.Context(), keep)
	f.must(err)
	return removed
}

func TestPruneEndsWhatAKilledOneBegan(t *testing.T) {
	f := newFixture(t)
	f.layer("whole", f.base)
	f.must(os.Rename(f.overlay(f.base), f.Disk("half")))
	f.must(os.WriteFile(filepath.Join(f.layers(), ".new-x"), nil, 0o600))
	f.prune(Keep{})
	left, err := os.ReadDir(f.layers())
	if f.must(err); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// TestLongChains would fail if the layers' names added up: their paths would be too
// long to be opened.
func TestLongChains(t *testing.T) {
	f := newFixture(t)
	top := f.base
	for range 25 {
		top = f.layer(strings.Repeat("k", 170)+rand.Text(), top)
	}
	f.qemuImg("check", "-q", f.Disk(top.Layer))
}

package publish_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// watched is a disk that tells which blocks were read.
type watched struct {
	*chain.Disk
	mu   sync.Mutex
	read map[int]bool
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	w.mu.Lock()
	w.read[int(off/publish.BlockSize)] = true
	w.mu.Unlock()
	return w.Disk.ReadAt(p, off)
}

// uploadWatched returns which blocks were read for an upload.
func (w *world) uploadWatched(t *testing.T, path string, o publish.Options) ([]int, publish.Snapshot, error) {
	t.Helper()
	disk, err := chain.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	seen := &watched{Disk: disk, read: map[int]bool{}}
	o.Snapshots = w.snapshots()
	s, err := publish.Upload(t.Context(), publish.NewBlocks(w.config, o.Workers), seen, o)
	return slices.Sorted(maps.Keys(seen.read)), s, err
}

func TestWhatWasReadIsKnown(t *testing.T) {
	w := newWorld(t, nil)
	dir := t.TempDir()
	base := someDisk(t)
	if read, _, err := w.uploadWatched(t, base, publish.Options{Key: "base", Dir: dir}); err != nil || len(read) != 22 {
		t.Fatalf("of a disk that nobody knows the blocks %v were read, want 22 (%v)", read, err)
	}
	// Block 2 changes, 4 is emptied, 7 is new; 40 is not a whole one.
	next := disk(t, "20504k", base, "write -P 77 1028k 4k", "write -z 2048k 512k", "write -P 78 3600k 4k")
	o := publish.Options{Key: "next", Dir: dir, Parents: []string{"base"}}
	read, s, err := w.uploadWatched(t, next, o)
	if err != nil || !slices.Equal(read, []int{2, 4, 7, 40}) || s.Written != 3 {
		t.Errorf("the blocks %v were read and %d written, want 2, 4, 7 and 40, three of them written (%v)", read, s.Written, err)
	}
	w.same(t, s.ID, next)

	// Without a snapshot to differ from, all are sent, and nothing else is read for that.
	whole, s, err := w.uploadWatched(t, next, publish.Options{Key: "the same", Dir: dir})
	if err != nil || s.Written != len(whole) {
		t.Errorf("the blocks %v were read to write %d (%v)", whole, s.Written, err)
	}
	w.same(t, s.ID, next)
}

// spoil makes the remembered checksum of the first block begin with other text.
func spoil(t *testing.T, dir, with string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "sums", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("there are %v (%v), want checksums of one origin", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), `"0":"`)
	if !found {
		t.Fatalf("%s knows nothing of block 0", text)
	}
	if err := os.WriteFile(files[0], []byte(before+`"0":"`+with+after[len(with):]), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADiskThatIsNotWhatItWasIsNotPublished(t *testing.T) {
	w := newWorld(t, nil)
	dir := t.TempDir()
	path := someDisk(t)
	if _, err := w.upload(t, path, publish.Options{Key: "first", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	spoil(t, dir, "----")
	if _, err := w.upload(t, path, publish.Options{Key: "unreadable", Dir: dir}); err != nil {
		t.Fatalf("checksums that cannot be read are not computed: %v", err)
	}
	spoil(t, dir, "AAAA") // as if the storage had lost some bits of the block since
	_, err := w.upload(t, path, publish.Options{Key: "wrong", Dir: dir})
	said, ok := errors.AsType[*builder.Error](err)
	if !ok || said.Fault == builder.Author || !strings.Contains(said.Reason, "not what it was") || said.Hint == "" {
		t.Fatalf("a disk that changed was published or refused with %v", err)
	}
	s, err := w.upload(t, path, publish.Options{Key: "wrong", Dir: dir})
	if err != nil {
		t.Fatalf("after that, the checksums are not computed anew: %v", err)
	}
	w.same(t, s.ID, path)
}

// damaged is a disk of which some bytes cannot be read.
type damaged struct {
	*chain.Disk
	at    int64
	tried atomic.Int64
}

var errDamaged = errors.New("input/output error")

func (d *damaged) ReadAt(p []byte, off int64) (int, error) {
	if off <= d.at && d.at < off+int64(len(p)) {
		d.tried.Add(1)
		return 0, errDamaged
	}
	return d.Disk.ReadAt(p, off)
}

// TestADiskThatCannotBeReadIsNotTriedAgain, where its checksums are known and it is read
// on its way to the service.
func TestADiskThatCannotBeReadIsNotTriedAgain(t *testing.T) {
	w := newWorld(t, nil)
	dir, path := t.TempDir(), someDisk(t)
	if _, err := w.upload(t, path, publish.Options{Key: "first", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	disk, err := chain.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	broken := &damaged{Disk: disk, at: 2*publish.BlockSize + 300_000}
	_, err = publish.Upload(t.Context(), publish.NewBlocks(w.config, 0), broken, publish.Options{Key: "second", Dir: dir, Snapshots: w.snapshots()})
	if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "block 2 could not be read") || broken.tried.Load() != 1 {
		t.Fatalf("%v, after the block was read %d times", err, broken.tried.Load())
	}
	s, err := w.upload(t, path, publish.Options{Key: "second", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w.same(t, s.ID, path)
}

// TestAParentIsReadBeforehand: what an image has of its parent is hashed while that is
// made. That it is not hashed again shows in what becomes of a checksum that is wrong.
func TestAParentIsReadBeforehand(t *testing.T) {
	w := newWorld(t, nil)
	base := someDisk(t)
	p := &publish.Publisher{Dir: filepath.Join(t.TempDir(), "not there yet")}
	known := func() []string {
		all, err := filepath.Glob(filepath.Join(p.Dir, "sums", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	over, end := context.WithCancel(t.Context())
	end()
	p.Prepare(over, builder.PrepareSpec{Ref: base})
	p.Prepare(t.Context(), builder.PrepareSpec{Ref: base, Via: recipe.ViaImportImage})
	p.Prepare(t.Context(), builder.PrepareSpec{Ref: base + " is not there"})
	if all := known(); len(all) != 0 {
		t.Fatalf("there are %v, want no checksums", all)
	}
	p.Prepare(t.Context(), builder.PrepareSpec{Ref: base})
	next := disk(t, "20504k", base, "write -P 77 1028k 4k")
	o := publish.Options{Key: "next", Dir: p.Dir}
	if _, s, err := w.uploadWatched(t, next, o); err != nil || s.Parent != "" {
		t.Fatalf("%+v, %v", s, err)
	} else {
		w.same(t, s.ID, next)
	}
	p.Dir = filepath.Join(t.TempDir(), "another")
	p.Prepare(t.Context(), builder.PrepareSpec{Ref: base})
	spoil(t, p.Dir, "AAAA")
	o.Dir = p.Dir
	if _, _, err := w.uploadWatched(t, next, o); err == nil || !strings.Contains(err.Error(), "not what it was") {
		t.Errorf("%v: the checksums of the parent were not asked for", err)
	}
}

func TestChecksumsThatNobodyAsksForAreForgotten(t *testing.T) {
	w := newWorld(t, nil)
	dir := t.TempDir()
	old, used := someDisk(t), someDisk(t)
	for _, path := range []string{old, used} {
		if _, err := w.upload(t, path, publish.Options{Key: path, Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := filepath.Glob(filepath.Join(dir, "sums", "*"))
	if err != nil || len(all) != 2 {
		t.Fatalf("there are %v (%v), want checksums of two files", all, err)
	}
	long := time.Now().Add(-100 * 24 * time.Hour)
	for _, path := range all {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if read, _, err := w.uploadWatched(t, used, publish.Options{Key: "again", Dir: dir}); err != nil || len(read) != 21 {
		t.Fatalf("%v were read, want the 21 with data (%v)", read, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "sums", "*")); err != nil || len(left) != 1 {
		t.Errorf("left are %v (%v), want those that were used", left, err)
	}
}

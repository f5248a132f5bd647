package publish_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	driver "github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// With the driver's Boot it is what the pipeline wants.
var _ builder.Publisher = struct {
	*publish.Publisher
	*driver.Driver
}{}

// account is EC2 with the snapshots of a service.
type account struct {
	ec2Fake
	publish.Snapshots
}

func (a *account) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, o ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return a.Snapshots.DescribeSnapshots(ctx, in, o...)
}

func TestPublisher(t *testing.T) {
	w := newWorld(t, nil)
	images := &account{Snapshots: w.snapshots()}
	p := &publish.Publisher{Blocks: publish.NewBlocks(w.config, 0), Images: images, Dir: t.TempDir(), Tags: map[string]string{"ingot:owner": "me"}}
	var said []string
	do := func(build, digest, path string) builder.Image {
		t.Helper()
		said = nil
		img, err := p.Publish(t.Context(), builder.PublishSpec{
			Build: build, Recipe: "web", Version: "1.2.3", Tags: map[string]string{"team": "web", "ingot:owner": "somebody", "ingot:build": "b-0"},
			Image: builder.Image{ID: "img-1", Key: "key of " + digest, Driver: "local", Ref: path, Digest: digest},
		}, func(line string) { said = append(said, line) })
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	base := someDisk(t)
	first := do("b-1", "sha256:0123456789abcdef0", base)
	if first.ID != "ami-00000000" || first.Ref != first.ID || first.Driver != "ec2" || first.Key != "key of sha256:0123456789abcdef0" || first.Digest != "sha256:0123456789abcdef0" {
		t.Errorf("published as %+v", first)
	}
	s := w.service.Snapshots()[0]
	w.same(t, s.ID, base)
	for key, want := range map[string]string{"team": "web", "ingot:owner": "me", "ingot:build": "b-1", "ingot:recipe": "web", "ingot:version": "1.2.3", "ingot:key": first.Key} {
		if s.Tags[key] != want {
			t.Errorf("the snapshot's tag %s is %q, want %q", key, s.Tags[key], want)
		}
	}
	if again := do("b-2", first.Digest, base); again.ID != first.ID || len(images.images) != 1 || len(said) != 2 {
		t.Errorf("again: %+v, saying %q", again, said)
	}

	top := disk(t, "64M", base, "write -P 77 2M 4k")
	second := do("b-3", "sha256:fedcba98765432100", top)
	if second.ID == first.ID || !strings.Contains(strings.Join(said, "\n"), "1 of 21 blocks differ from "+s.ID) {
		t.Errorf("the next version: %+v, saying %q", second, said)
	}
}

// TestPublishedDiskIsNotPruned forgets an image and prunes its store while the image is
// uploaded.
func TestPublishedDiskIsNotPruned(t *testing.T) {
	s, err := store.Open(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(err)
	below, err := s.AddBase("base.qcow2", someDisk(t))
	must(err)
	overlay := filepath.Join(s.Work(), "one", "disk.qcow2")
	must(os.Mkdir(filepath.Dir(overlay), 0o700))
	must(s.Overlay(t.Context(), store.NewOverlay{Path: overlay, Below: below}))
	img, err := s.PublishImage(t.Context(), overlay, below, store.NewImage{Key: "key", Driver: "local"})
	must(err)

	prune := func() []string {
		removed, err := s.Prune(t.Context(), store.Keep{Age: time.Nanosecond})
		must(err)
		return removed
	}
	var begin sync.Once
	w := newWorld(t, func(*http.Request) publishtest.Fault {
		begin.Do(func() {
			must(s.RemoveImage("key"))
			if removed := prune(); len(removed) > 0 {
				t.Errorf("removed while it was read: %v", removed)
			}
		})
		return publishtest.None
	})
	p := &publish.Publisher{Blocks: publish.NewBlocks(w.config, 0), Images: &account{Snapshots: w.snapshots()}, Dir: t.TempDir()}
	_, err = p.Publish(t.Context(), builder.PublishSpec{Build: "1", Recipe: "web", Image: img}, func(string) {})
	must(err)
	if removed := prune(); len(removed) != 1 {
		t.Errorf("removed afterwards: %v", removed)
	}
	if _, err := p.Publish(t.Context(), builder.PublishSpec{Build: "2", Recipe: "web", Image: img}, func(string) {}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("published without a disk: %v", err)
	}
}

package publish_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder"
	driver "github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// With the driver's Boot it is what the pipeline wants.
var _ builder.Publisher = struct {
	*publish.Publisher
	*driver.Driver
}{}

var _ builder.Preparer = (*publish.Publisher)(nil)

// account is EC2 with the snapshots of a service.
type account struct {
	ec2Fake
	publish.Snapshots
}

func (a *account) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, o ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return a.Snapshots.DescribeSnapshots(ctx, in, o...)
}

func (a *account) CreateTags(ctx context.Context, in *ec2.CreateTagsInput, o ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	return a.Snapshots.CreateTags(ctx, in, o...)
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
	var progress []string
	for _, line := range said {
		if strings.Contains(line, "looked at") {
			progress = append(progress, line)
		}
	}
	// Of 22 blocks the last of each tenth, and at the end what was sent of 21.
	if len(progress) != 10 || !strings.HasPrefix(progress[0], "3 of 22 blocks looked at, ") || progress[9] != "22 of 22 blocks looked at, 10 MiB sent" {
		t.Errorf("progress is told by %q", progress)
	}
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

// shelf is a bucket: what was put there last, and what was taken away.
type shelf struct {
	path, key string
	puts      int
	removed   []string
	refuse    error
}

func (s *shelf) UploadObject(_ context.Context, in *transfermanager.UploadObjectInput, _ ...func(*transfermanager.Options)) (*transfermanager.UploadObjectOutput, error) {
	content, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	s.key = aws.ToString(in.Bucket) + "/" + aws.ToString(in.Key)
	s.puts++
	return &transfermanager.UploadObjectOutput{}, os.WriteFile(s.path, content, 0o600)
}

func (s *shelf) DeleteObject(_ context.Context, in *s3.DeleteObjectInput, _ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	s.removed = append(s.removed, aws.ToString(in.Bucket)+"/"+aws.ToString(in.Key))
	return &s3.DeleteObjectOutput{}, s.refuse
}

// TestPublishByImport goes the other way: the disk lies in the bucket, whole, when VM
// Import is asked for it, and does not when the AMI is there.
func TestPublishByImport(t *testing.T) {
	const digest = "0123456789abcdef0"
	for via, want := range map[recipe.Via][]string{
		recipe.ViaImportImage:    {"ImportImage"},
		recipe.ViaImportSnapshot: {"ImportSnapshot", "RegisterImage"},
	} {
		t.Run(string(via), func(t *testing.T) {
			i := newImporting(t, "completed|100|")
			s := &shelf{path: filepath.Join(t.TempDir(), "disk.vmdk")}
			client := i.client()
			p := &publish.Publisher{
				Images: client, Dir: t.TempDir(), Tags: map[string]string{"ingot:managed": "true", "ingot:owner": "me"},
				Bucket: publish.Bucket{Imports: client, Uploads: s, Objects: s, Name: "disks", Prefix: "ingot/", Role: "vmimport-of-ours"},
			}
			left, busy := filepath.Join(p.Dir, "stage-left"), filepath.Join(p.Dir, "stage-busy")
			lock, free, err := store.TryAcquire(busy + ".lock")
			if err := errors.Join(err, os.Mkdir(left, 0o700), os.WriteFile(left+".lock", nil, 0o600), os.Mkdir(busy, 0o700)); err != nil || !free {
				t.Fatal(free, err)
			}
			path := someDisk(t)
			do := func(build string) (builder.Image, error) {
				return p.Publish(t.Context(), builder.PublishSpec{
					Build: build, Recipe: "web", Version: "1.2.3", Via: via, Tags: map[string]string{"team": "web"},
					Image: builder.Image{ID: "img-1", Key: "the key", Driver: "local", Ref: path, Digest: "sha256:" + digest},
				}, func(line string) { t.Log(line) })
			}
			img, err := do("b-1")
			if err != nil || img.ID != "ami-1" || img.Driver != "ec2" || img.Digest != "sha256:"+digest {
				t.Fatalf("published as %+v, %v", img, err)
			}
			planned(t, i.forms, via)
			key := "disks/ingot/publish/" + digest + ".vmdk"
			if s.key != key || s.puts != 1 || len(s.removed) != 1 || s.removed[0] != key {
				t.Errorf("%d times put to %s, removed %v", s.puts, s.key, s.removed)
			}
			qemu(t, "qemu-img", "compare", "-f", "qcow2", "-F", "vmdk", path, s.path)

			if again, err := do("b-2"); err != nil || again.ID != img.ID || s.puts != 1 || i.imported != 1 {
				t.Errorf("again: %+v, %v, after %d uploads and %d imports", again, err, s.puts, i.imported)
			}
			calls := map[string]url.Values{}
			for _, form := range i.forms {
				calls[form.Get("Action")] = form
			}
			for _, call := range want {
				if calls[call] == nil {
					t.Errorf("%s was not called", call)
				}
			}
			begun := calls[want[0]]
			for field, value := range map[string]string{"RoleName": "vmimport-of-ours", "TagSpecification.1.Tag.4.Key": "ingot:managed", "TagSpecification.1.Tag.1.Value": "b-1"} {
				if begun.Get(field) != value {
					t.Errorf("%s of the import is %q, want %q in %v", field, begun.Get(field), value, begun)
				}
			}
			if text := begun.Encode(); strings.Contains(text, "team") {
				t.Errorf("the import has the tags of its image: %s", text)
			}
			if text := calls["CreateTags"].Encode(); !strings.Contains(text, "b-1") || !strings.Contains(text, "team") {
				t.Errorf("what came of it is tagged with %s", text)
			}
			if left, err := filepath.Glob(filepath.Join(p.Dir, "stage-*")); err != nil || !slices.Equal(left, []string{busy, busy + ".lock"}) {
				t.Errorf("left behind: %v, %v; want what another process has", left, err)
			}
			if err := lock.Release(); err != nil {
				t.Error(err)
			}
			if err := errors.Join(i.wrong...); err != nil {
				t.Errorf("on the wire: %v", err)
			}
		})
	}
}

// TestAnImportIsCancelledByTheLastThatWaits: two builds may publish the same image.
func TestAnImportIsCancelledByTheLastThatWaits(t *testing.T) {
	path := someDisk(t)
	synctest.Test(t, func(t *testing.T) {
		i := newImporting(t, "active|1|pending")
		s := &shelf{path: filepath.Join(t.TempDir(), "disk.vmdk")}
		p := &publish.Publisher{
			Images: i.client(), Dir: t.TempDir(), Bucket: publish.Bucket{Imports: i.client(), Uploads: s, Objects: s, Name: "disks"},
		}
		begin := func(build string) (end func() (cancels int)) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := p.Publish(ctx, builder.PublishSpec{
					Build: build, Recipe: "web", Via: recipe.ViaImportImage, Image: builder.Image{Key: "key", Ref: path, Digest: "sha256:0123456789abcdef0"},
				}, func(string) {})
				done <- err
			}()
			time.Sleep(time.Minute) // of the bubble
			return func() (cancels int) {
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", build, err)
				}
				i.mu.Lock() // another build may still ask
				defer i.mu.Unlock()
				for _, form := range i.forms {
					if form.Get("Action") == "CancelImportTask" && form.Get("ImportTaskId") == "import-1" {
						cancels++
					}
				}
				return cancels
			}
		}
		first, second := begin("b-1"), begin("b-2")
		if n := first(); n != 0 || len(s.removed) != 0 {
			t.Errorf("%d tasks cancelled and %v removed for which a build still waits", n, s.removed)
		}
		time.Sleep(time.Minute)
		if got := i.tagOf("ingot:build"); got != "b-2" {
			t.Errorf("the import is that of %q, want the build that waits", got)
		}
		if n := second(); n != 1 || len(s.removed) != 1 || i.imported != 1 {
			t.Errorf("%d of %d cancelled, removed %v", n, i.imported, s.removed)
		}
		if err := errors.Join(i.wrong...); err != nil {
			t.Errorf("on the wire: %v", err)
		}
	})
}

// planned holds the calls of EC2 against those that the plan of such a recipe tells.
func planned(t *testing.T, forms []url.Values, via recipe.Via) {
	t.Helper()
	plan := estimate.Of(estimate.Input{Region: "eu-west-1", InstanceType: "m5.large", Recipe: &recipe.Recipe{Publish: &recipe.Publish{Driver: "ec2", Via: via}}})
	at := slices.IndexFunc(plan.Steps, func(s estimate.Step) bool { return s.Stage == string(builder.StagePublish) })
	want, asked := map[string]bool{}, map[string]bool{}
	for _, c := range plan.Steps[at].Calls {
		if operation, ok := strings.CutPrefix(c.Operation, "ec2."); ok && !c.Perhaps {
			want[operation] = true
		}
	}
	for _, form := range forms {
		asked[form.Get("Action")] = true
	}
	if !maps.Equal(asked, want) {
		t.Errorf("asked for %v, planned is %v", asked, want)
	}
}

func TestPublishByImportWithoutABucket(t *testing.T) {
	i := newImporting(t, "completed|100|")
	p := &publish.Publisher{Images: i.client(), Dir: t.TempDir()}
	_, err := p.Publish(t.Context(), builder.PublishSpec{
		Build: "b-1", Recipe: "web", Via: recipe.ViaImportImage, Image: builder.Image{Key: "key", Ref: "disk.qcow2", Digest: "sha256:0123456789abcdef0"},
	}, func(string) {})
	e, ok := errors.AsType[*builder.Error](err)
	if !ok || e.Fault != builder.Internal || !strings.Contains(e.Reason, "bucket") || !strings.Contains(e.Hint, "aws.bucket") || len(i.forms) > 0 {
		t.Errorf("%#v after %d calls", err, len(i.forms))
	}
}

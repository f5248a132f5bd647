package publish_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// life is a process that publishes and is killed at one of its calls: afterwards nothing
// of it reaches AWS, and no answer reaches it.
type life struct {
	publish.Blocks
	publish.Images
	call  string
	nth   int
	after bool // the call has its effect, and the answer is lost

	mu   sync.Mutex
	seen int
	dead bool
}

var errDead = errors.New("the process is dead")

// begins says whether a call reaches AWS.
func (l *life) begins(call string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	if call == l.call {
		l.seen++
		l.dead = l.seen == l.nth
	}
	return !l.dead || l.after
}

// through makes a call, if the process still can.
func through[T any](l *life, call string, do func() (*T, error)) (*T, error) {
	if !l.begins(call) {
		return nil, errDead
	}
	out, err := do()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errDead
	}
	return out, err
}

func (l *life) StartSnapshot(ctx context.Context, in *ebs.StartSnapshotInput, o ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error) {
	return through(l, "StartSnapshot", func() (*ebs.StartSnapshotOutput, error) { return l.Blocks.StartSnapshot(ctx, in, o...) })
}

func (l *life) PutSnapshotBlock(ctx context.Context, in *ebs.PutSnapshotBlockInput, o ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error) {
	return through(l, "PutSnapshotBlock", func() (*ebs.PutSnapshotBlockOutput, error) { return l.Blocks.PutSnapshotBlock(ctx, in, o...) })
}

func (l *life) CompleteSnapshot(ctx context.Context, in *ebs.CompleteSnapshotInput, o ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error) {
	return through(l, "CompleteSnapshot", func() (*ebs.CompleteSnapshotOutput, error) { return l.Blocks.CompleteSnapshot(ctx, in, o...) })
}

func (l *life) RegisterImage(ctx context.Context, in *ec2.RegisterImageInput, o ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error) {
	return through(l, "RegisterImage", func() (*ec2.RegisterImageOutput, error) { return l.Images.RegisterImage(ctx, in, o...) })
}

func (l *life) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, o ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	return through(l, "DescribeImages", func() (*ec2.DescribeImagesOutput, error) { return l.Images.DescribeImages(ctx, in, o...) })
}

func (l *life) CreateTags(ctx context.Context, in *ec2.CreateTagsInput, o ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	return through(l, "CreateTags", func() (*ec2.CreateTagsOutput, error) { return l.Images.CreateTags(ctx, in, o...) })
}

func (l *life) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, o ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return through(l, "DescribeSnapshots", func() (*ec2.DescribeSnapshotsOutput, error) { return l.Images.DescribeSnapshots(ctx, in, o...) })
}

// TestPublishingKilledAtAnyCallIsTakenUp: the next process ends it with one snapshot and
// one image, made of all the blocks.
func TestPublishingKilledAtAnyCallIsTakenUp(t *testing.T) {
	path := someDisk(t)
	for _, k := range []struct {
		call string
		nth  int
	}{
		{"StartSnapshot", 1}, {"PutSnapshotBlock", 1}, {"PutSnapshotBlock", 11}, {"PutSnapshotBlock", 21}, {"CompleteSnapshot", 1},
		{"DescribeSnapshots", 1}, {"RegisterImage", 1}, {"DescribeImages", 1}, {"DescribeImages", 2},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %d, after it: %t", k.call, k.nth, after), func(t *testing.T) {
				w := newWorld(t, nil)
				images := &account{Snapshots: w.snapshots()}
				first := &life{Blocks: publish.NewBlocks(w.config, 0), Images: images, call: k.call, nth: k.nth, after: after}
				p := publish.Publisher{Blocks: first, Images: first, Dir: t.TempDir()}
				spec := builder.PublishSpec{Build: "1", Recipe: "web", Image: builder.Image{Key: "key", Driver: "local", Ref: path, Digest: "sha256:0123456789abcdef0"}}
				if _, err := p.Publish(t.Context(), spec, func(string) {}); !errors.Is(err, errDead) {
					t.Fatalf("the first life ended with %v", err)
				}
				p.Blocks, p.Images, spec.Build = first.Blocks, images, "2"
				img, err := p.Publish(t.Context(), spec, func(string) {})
				if err != nil {
					t.Fatal(err)
				}
				made := w.service.Snapshots()
				if len(images.images) != 1 || *images.images[0].ImageId != img.ID || len(made) != 1 {
					t.Fatalf("%d images, %d snapshots, and it is %s", len(images.images), len(made), img.ID)
				}
				w.same(t, made[0].ID, path)
				// Whose snapshot it is has to be seen before the image uses it. One that was
				// registered already is the image's.
				if registered := k.call == "DescribeImages" || k.call == "RegisterImage" && after; !registered && made[0].Tags["ingot:build"] != "2" {
					t.Errorf("the snapshot is tagged %v", made[0].Tags)
				}
			})
		}
	}
}

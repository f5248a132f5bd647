package publish_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	driver "github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
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
			Build: build, Recipe: "web", Version: "1.2.3",
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
	for key, want := range map[string]string{"ingot:owner": "me", "ingot:build": "b-1", "ingot:recipe": "web", "ingot:version": "1.2.3", "ingot:key": first.Key} {
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

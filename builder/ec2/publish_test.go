package ec2

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// TestPublishedByImport goes through the bucket. What a killed daemon began is taken up
// by the next one, without another upload, and nothing of it stays in the bucket.
func TestPublishedByImport(t *testing.T) {
	for via, call := range map[recipe.Via]string{recipe.ViaImportImage: "ImportImage", recipe.ViaImportSnapshot: "ImportSnapshot"} {
		t.Run(string(via), func(t *testing.T) {
			t.Parallel() // what is looked at every five seconds
			publishByImport(t, via, call)
		})
	}
}

func publishByImport(t *testing.T, via recipe.Via, call string) {
	c, cfg := idleCloud(t)
	d := newDriver(t, cfg)
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", path, "8M").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img (Debian package qemu-utils): %v: %s", err, out)
	}
	do := func(ctx context.Context, build string, log func(string)) (builder.Image, error) {
		p := &publish.Publisher{
			Images: ec2.NewFromConfig(c.Config()), Dir: t.TempDir(), Tags: d.ImageTags(),
			Bucket: publish.NewBucket(c.Config(), c.Bucket, cfg.Prefix, ec2test.ImportRole),
		}
		return p.Publish(ctx, builder.PublishSpec{
			Build: build, Recipe: "web", Version: "1.0.0", Via: via, Tags: map[string]string{"team": "web"},
			Image: builder.Image{ID: "img-1", Key: "the key", Driver: "local", Ref: path, Digest: "sha256:0123456789abcdef0"},
		}, log)
	}
	lost := c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, Times: 1, Effect: ec2test.LoseAnswer()})
	ctx, kill := context.WithCancelCause(t.Context())
	if _, err := do(ctx, "b-1", func(line string) {
		if strings.HasSuffix(line, "converting") {
			kill(errors.New("killed"))
		}
	}); err == nil {
		t.Fatal("the import was not broken off")
	}
	uploads := func() int {
		return len(c.Calls().Of("s3", "PutObject")) + len(c.Calls().Of("s3", "CompleteMultipartUpload"))
	}
	put := uploads()
	img, err := do(t.Context(), "b-2", func(line string) { t.Log(line) })
	if err != nil || img.Driver != Name || uploads() != put || put == 0 || len(c.Imports()) != 1 || lost.Hits() != 1 {
		t.Fatalf("%+v, %v, after %d and %d uploads and the imports %v", img, err, put, uploads()-put, c.Imports())
	}
	if objects := c.Calls().Of("s3", "DeleteObject"); len(objects) != 1 || objects[0].Status >= 300 {
		t.Errorf("removed from the bucket: %+v", objects)
	}
	image, err := d.describeImage(t.Context(), img.ID)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"team": "web", tagOwner: "test", tagBuild: "b-2", tagKey: "the key", "Name": "ingot-web-0123456789abcdef"} {
		if got := tagOf(image.Tags, key); got != want {
			t.Errorf("the tag %s is %q, want %q", key, got, want)
		}
	}
	if left, err := d.Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(left) > 0 {
		t.Errorf("to be reaped: %+v, %v", left, err)
	}
	if again, err := do(t.Context(), "b-3", func(string) {}); err != nil || again.ID != img.ID || uploads() != put {
		t.Errorf("again: %+v, %v", again, err)
	}
	if changed, err := d.Tag(t.Context(), img, map[string]string{"team": "shop"}); !changed || err != nil {
		t.Errorf("the tags of a release: %v, %v", changed, err)
	}
	if images := c.Leftovers(t.Context()).Images; !slices.ContainsFunc(images, func(r ec2test.Resource) bool { return r.ID == img.ID && r.Tags["team"] == "shop" }) {
		t.Errorf("images %v", images)
	}
}

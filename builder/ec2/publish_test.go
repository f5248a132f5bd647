package ec2

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

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

// publisher is a process that publishes one disk in account c.
type publisher struct {
	*publish.Publisher
	driver *Driver
	disk   string
	via    recipe.Via
}

func newPublisher(t *testing.T, c *ec2test.Cloud, cfg Config, sdk aws.Config, disk string, via recipe.Via) *publisher {
	t.Helper()
	d := newDriver(t, cfg)
	return &publisher{driver: d, disk: disk, via: via, Publisher: &publish.Publisher{
		Images: ec2.NewFromConfig(sdk), Dir: t.TempDir(), Tags: d.ImageTags(), Watch: d.Watch(),
		Bucket: publish.NewBucket(sdk, c.Bucket, cfg.Prefix, ec2test.ImportRole),
	}}
}

// publish publishes the disk for a build.
func (p *publisher) publish(ctx context.Context, build string, log func(string)) (builder.Image, error) {
	return p.Publish(ctx, builder.PublishSpec{
		Build: build, Recipe: "web", Version: "1.0.0", Via: p.via, Tags: map[string]string{"team": "web"},
		Image: builder.Image{ID: "img-1", Key: "the key", Driver: "local", Ref: p.disk, Digest: "sha256:0123456789abcdef0"},
	}, log)
}

func emptyDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", path, "8M").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img (Debian package qemu-utils): %v: %s", err, out)
	}
	return path
}

func publishByImport(t *testing.T, via recipe.Via, call string) {
	c, cfg := idleCloud(t)
	p := newPublisher(t, c, cfg, c.Config(), emptyDisk(t), via)
	d := p.driver
	lost := c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, Times: 1, Effect: ec2test.LoseAnswer()})
	ctx, kill := context.WithCancelCause(t.Context())
	if _, err := p.publish(ctx, "b-1", func(line string) {
		if strings.HasSuffix(line, "converting") {
			kill(builder.ErrGoesOn)
		}
	}); err == nil {
		t.Fatal("the import was not broken off")
	}
	uploads := func() int {
		return len(c.Calls().Of("s3", "PutObject")) + len(c.Calls().Of("s3", "CompleteMultipartUpload"))
	}
	put := uploads()
	p.Dir = t.TempDir()
	img, err := p.publish(t.Context(), "b-2", func(line string) { t.Log(line) })
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
	const allowed, recipes = 50, 30
	if ingots := len(image.Tags) - 1; ingots+recipes+maxTags > allowed { // but "team"
		t.Errorf("beside %d tags of ingot there is no room for %d of a recipe and %d of the operator", ingots, recipes, maxTags)
	}
	if left, err := d.Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(left) > 0 {
		t.Errorf("to be reaped: %+v, %v", left, err)
	}
	if again, err := p.publish(t.Context(), "b-3", func(string) {}); err != nil || again.ID != img.ID || uploads() != put {
		t.Errorf("again: %+v, %v", again, err)
	}
	if changed, err := d.Tag(t.Context(), img, map[string]string{"team": "shop"}); !changed || err != nil {
		t.Errorf("the tags of a release: %v, %v", changed, err)
	}
	if images := c.Leftovers(t.Context()).Images; !slices.ContainsFunc(images, func(r ec2test.Resource) bool { return r.ID == img.ID && r.Tags["team"] == "shop" }) {
		t.Errorf("images %v", images)
	}
}

// TestPublishingByImportThatIsCancelled leaves nothing that is nobody's, and the next
// publication of the same image begins anew, or finds what was made too soon.
func TestPublishingByImportThatIsCancelled(t *testing.T) {
	for via, call := range map[recipe.Via]string{recipe.ViaImportImage: "ImportImage", recipe.ViaImportSnapshot: "ImportSnapshot"} {
		for _, at := range []string{call, "converting", "its end", "CreateTags"} {
			t.Run(string(via)+" at "+at, func(t *testing.T) {
				t.Parallel()
				cancelledImport(t, via, call, at)
			})
		}
	}
}

// lookOn looks at the imports of an account until they have ended: each look lets them
// go on.
func lookOn(t *testing.T, api publish.Imports) {
	t.Helper()
	for range 10 {
		for _, err := range publish.Tasks(t.Context(), api) {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func cancelledImport(t *testing.T, via recipe.Via, call, at string) {
	c, cfg := idleCloud(t)
	p := newPublisher(t, c, cfg, c.Config(), emptyDisk(t), via)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	made := at == "its end" || at == "CreateTags"
	switch at {
	case call:
		c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, Times: 1, Effect: ec2test.After(func(*ec2test.Request) { cancel() })})
	case "its end":
		c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CancelImportTask", Times: 1, Effect: ec2test.Before(func(*ec2test.Request) { lookOn(t, p.Bucket.Imports) })})
	case "CreateTags":
		c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: at, Times: 1, Effect: ec2test.Before(func(*ec2test.Request) { cancel() })})
		c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: at, Times: 1, Effect: ec2test.Disconnect()})
	}
	_, err := p.publish(ctx, "b-1", func(line string) {
		if !made && strings.HasSuffix(line, at) || at == "its end" && strings.HasSuffix(line, "converting") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	lookOn(t, p.Bucket.Imports)
	left := c.Leftovers(t.Context())
	ours := left.With(tagOwner, "test")
	if left.String() != ours.String() || made == (left.String() == "") {
		t.Errorf("left: %v; of it has its tags: %v", left, ours)
	}
	if disks := c.Objects(t.Context(), cfg.Prefix+"publish/"); len(disks) > 0 {
		t.Errorf("in the bucket there still is %v", disks)
	}
	want := 2
	if made {
		want = 1
	}
	if img, err := p.publish(t.Context(), "b-2", func(string) {}); err != nil || len(c.Imports()) != want {
		t.Errorf("then it is %+v, %v, of the imports %v", img, err, c.Imports())
	}
}

// TestOnlyImportsThatGoOnAreCancelled, as VM Import has it.
func TestOnlyImportsThatGoOnAreCancelled(t *testing.T) {
	c, cfg := idleCloud(t)
	p := newPublisher(t, c, cfg, c.Config(), emptyDisk(t), recipe.ViaImportImage)
	if _, err := p.publish(t.Context(), "b-1", func(string) {}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{c.Imports()[0]: "IncorrectState", "import-ami-0": "InvalidConversionTaskId.NotFound"} {
		if _, err := p.Bucket.Imports.CancelImportTask(t.Context(), &ec2.CancelImportTaskInput{ImportTaskId: aws.String(id)}); code(err) != want {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
	}
}

// TestPublishingByImportKilledAtAnyCallIsTakenUp: the next process ends it with one
// import and one image, and the disk does not stay in the bucket.
func TestPublishingByImportKilledAtAnyCallIsTakenUp(t *testing.T) {
	for via, calls := range map[recipe.Via][]string{
		recipe.ViaImportImage:    {"s3:PutObject", "ec2:ImportImage", "ec2:DescribeImportImageTasks", "ec2:CreateTags", "ec2:ModifyImageAttribute", "s3:DeleteObject"},
		recipe.ViaImportSnapshot: {"s3:PutObject", "ec2:ImportSnapshot", "ec2:DescribeImportSnapshotTasks", "ec2:CreateTags", "ec2:RegisterImage", "s3:DeleteObject"},
	} {
		c, cfg := idleCloud(t)
		whole := newPublisher(t, c, cfg, c.Config(), emptyDisk(t), via)
		if _, err := whole.publish(t.Context(), "b-1", func(string) {}); err != nil {
			t.Fatal(err)
		}
		counts := c.Calls().Counts()
		for call := range counts {
			if acting(call) && !slices.Contains(calls, call) {
				t.Errorf("nothing is killed at %s, which publishing calls", call)
			}
		}
		for _, call := range calls {
			if counts[call] == 0 {
				t.Errorf("publishing has not called %s", call)
			}
			for n := 1; n <= counts[call]; n++ {
				publishingKilledAt(t, via, call, n, "before", ec2test.Disconnect())
				publishingKilledAt(t, via, call, n, "after", ec2test.LoseAnswer())
			}
		}
	}
}

func publishingKilledAt(t *testing.T, via recipe.Via, call string, n int, when string, effect ec2test.Effect) {
	t.Run(fmt.Sprintf("%s/%s %s %d", via, when, call, n), func(t *testing.T) {
		t.Parallel()
		c, cfg := idleCloud(t)
		disk := emptyDisk(t)
		life := newMortal(t, c, cfg)
		first := newPublisher(t, c, life.cfg, life.sdk, disk, via)
		service, operation, _ := strings.Cut(call, ":")
		met := c.Faults.Add(&ec2test.Fault{Service: service, Operation: operation, From: n, Times: 1,
			Effect: ec2test.Before(func(*ec2test.Request) { life.kill() })})
		c.Faults.Add(&ec2test.Fault{Service: service, Operation: operation, From: n, Times: 1, Effect: effect})
		if img, err := first.publish(life.ctx, "b-1", func(string) {}); met.Hits() == 0 {
			t.Fatalf("it was not killed: %+v, %v", img, err)
		}
		c.Faults.Clear()
		next := newPublisher(t, c, cfg, c.Config(), disk, via)
		img, err := next.publish(t.Context(), "b-2", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		left := c.Leftovers(t.Context())
		if len(left.Images) != 1 || left.Images[0].ID != img.ID || left.Images[0].Tags[tagKey] != "the key" || len(left.Snapshots)+len(left.Volumes) > 0 || len(c.Imports()) != 1 {
			t.Errorf("one image %s of one import is wanted: %v, of %v", img.ID, left, c.Imports())
		}
		if made, err := next.driver.describeImage(t.Context(), img.ID); err != nil || made.ImdsSupport != types.ImdsSupportValuesV20 {
			t.Errorf("%s gives its metadata to requests of version %q: %v", img.ID, made.ImdsSupport, err)
		}
		if disks := c.Objects(t.Context(), cfg.Prefix+"publish/"); len(disks) > 0 {
			t.Errorf("in the bucket there still is %v", disks)
		}
	})
}

// TestEveryDiskOfAnImportIsOurs: VM Import tags none of the snapshots that it makes.
func TestEveryDiskOfAnImportIsOurs(t *testing.T) {
	i := newImporting(t)
	header := make([]byte, 512)
	copy(header[257:], "ustar")
	i.put("disks/golden.ova", string(header)+strings.Repeat(ec2test.AnotherDisk, 2))
	made, err := publish.Convert(t.Context(), i.d.aws.Imports, publish.Import{
		Source: publish.Source{Bucket: i.cloud.Bucket, Key: "disks/golden.ova", Format: "ova"},
		Image:  publish.Image{Name: "golden", Tags: i.d.ImageTags(), Watch: i.d.Watch()},
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := i.d.describeImage(t.Context(), made.ID)
	if err != nil || len(image.BlockDeviceMappings) != 3 || aws.ToString(image.BlockDeviceMappings[0].Ebs.SnapshotId) != made.Snapshot {
		t.Fatalf("%+v is %+v, %v", made, image, err)
	}
	snapshots, err := i.d.aws.Compute.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil || len(snapshots.Snapshots) != 3 {
		t.Fatalf("%+v, %v", snapshots, err)
	}
	for _, s := range snapshots.Snapshots {
		if tagOf(s.Tags, tagOwner) != "test" || tagOf(s.Tags, tagManaged) != "true" {
			t.Errorf("%s has the tags %v", aws.ToString(s.SnapshotId), s.Tags)
		}
	}
}

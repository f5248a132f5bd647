package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// driver is what images that were published are images of.
const driver = "ec2"

// The tags of snapshots and images, besides the caller's. TagKey is another.
const (
	tagLedger  = "ingot:ledger"
	tagBuild   = "ingot:build"
	tagRecipe  = "ingot:recipe"
	tagVersion = "ingot:version"
	tagDigest  = "ingot:digest"
)

// Publisher publishes images of driver local in one account and region. Together with
// the Boot of the driver there it is a builder.Publisher:
//
//	struct{ *publish.Publisher; *ec2.Driver }
//
// Any number of goroutines may use it.
type Publisher struct {
	Blocks  Blocks
	Images  Images
	Dir     string            // what is remembered of uploads to this account and region
	Tags    map[string]string // of everything that is made
	Workers int               // blocks in flight; 0: 32
	Watch   Watch             // of what is waited for; nil: each wait asks for itself
	Bucket  Bucket            // for VM Import

	waits Waits // for VM Import
}

// Bucket is where disks lie for VM Import. The zero value has none.
type Bucket struct {
	Imports Imports
	Uploads Uploads
	Objects Objects
	Name    string
	Prefix  string // of all keys
	Role    string // of VM Import; empty: vmimport
}

// Publish is builder.Publisher's. The image of the same making of a disk is registered
// once, however often and under whatever version it is published. How long that takes
// is not of the time that the recipe gives its build.
func (p *Publisher) Publish(ctx context.Context, spec builder.PublishSpec, log func(string)) (builder.Image, error) {
	defer builder.Hold(ctx)()
	img := spec.Image
	if img.Digest == "" || img.Ref == "" {
		return builder.Image{}, errors.New("an image needs a digest and a disk to be published")
	}
	tags := maps.Clone(spec.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	maps.Copy(tags, p.Tags)
	maps.Copy(tags, map[string]string{
		TagKey: img.Key, tagBuild: spec.Build, tagRecipe: spec.Recipe, tagVersion: spec.Version, tagDigest: img.Digest,
	})
	image := Image{
		Name:        ImageName(spec.Recipe, strings.TrimPrefix(img.Digest, "sha256:")),
		Description: fmt.Sprintf("%.100s, built by ingot", spec.Recipe), Tags: tags, Progress: log, Watch: p.Watch,
	}
	ami, err := p.make(ctx, spec, image, log)
	if err != nil {
		return builder.Image{}, err
	}
	if ami.Reused {
		log(fmt.Sprintf("%s is registered already: %s", ami.Name, ami.ID))
	} else {
		log(fmt.Sprintf("registered %s as %s", ami.Name, ami.ID))
		img.Created = time.Now().UTC()
	}
	img.ID, img.Ref, img.Driver = ami.ID, ami.ID, driver
	return img, nil
}

// Prepare is builder.Preparer's: it reads the disk, of whose blocks most will be the
// image's too, for their checksums.
func (p *Publisher) Prepare(ctx context.Context, spec builder.PrepareSpec) {
	if spec.Via.Imports() {
		return
	}
	blocks, err := chain.Open(ctx, spec.Ref)
	if err != nil {
		return
	}
	// Publish reads again what could not be read, and tells of it.
	_ = newSums(p.Dir).learn(ctx, blocks)
	_ = blocks.Close()
}

// make makes the AMI in the way that the recipe asks for.
func (p *Publisher) make(ctx context.Context, spec builder.PublishSpec, image Image, log func(string)) (AMI, error) {
	if spec.Via.Imports() {
		return p.convert(ctx, spec, image, log)
	}
	snapshot, err := p.upload(ctx, spec, image.Tags, log)
	if err != nil {
		return AMI{}, err
	}
	image.Snapshot, image.SizeGiB, image.Adopt = snapshot.ID, snapshot.SizeGiB, snapshot.Reused
	return Register(ctx, p.Images, image)
}

// convert makes it by VM Import. The disk lies in the bucket for as long as it is read;
// one that VM Import has given up goes with the bucket's rule.
func (p *Publisher) convert(ctx context.Context, spec builder.PublishSpec, image Image, log func(string)) (AMI, error) {
	b := p.Bucket
	if b.Name == "" {
		return AMI{}, &builder.Error{Reason: "VM Import reads disks from a bucket, and this ingot has none", Hint: "the operator can configure aws.bucket, or the recipe leave out publish.via"}
	}
	from := Source{Bucket: b.Name, Key: b.Prefix + "publish/" + strings.TrimPrefix(spec.Image.Digest, "sha256:") + ".vmdk", Format: string(disk.VMDK)}
	task := maps.Clone(p.Tags)
	if task == nil {
		task = map[string]string{}
	}
	task[TagKey] = spec.Image.Key
	if image.Tags["Name"] == "" {
		image.Tags["Name"] = image.Name // VM Import gives images names of its own
	}
	return Convert(ctx, b.Imports, Import{
		Source: from, Image: image, Task: task, AsItIs: spec.Via == recipe.ViaImportSnapshot, TokensOnly: true, Role: b.Role,
		Build: spec.Build, Waits: &p.waits,
		Stage: func(ctx context.Context) error {
			log("the disk is put into the bucket " + b.Name)
			return p.stage(ctx, spec.Image.Ref, from)
		},
		// Also of an image that was there: who made it may have died before this.
		Unstage: func(ctx context.Context) { p.unstage(ctx, from, log) },
	})
}

// unstage removes a disk from the bucket.
func (p *Publisher) unstage(ctx context.Context, from Source, log func(string)) {
	if _, err := p.Bucket.Objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(from.Bucket), Key: aws.String(from.Key)}); err != nil {
		log(fmt.Sprintf("s3://%s/%s is not needed any more and could not be removed: %v", from.Bucket, from.Key, failed(err, "the bucket refuses")))
	}
}

// stage writes the disk into the bucket in a form that VM Import takes.
func (p *Publisher) stage(ctx context.Context, image string, to Source) (err error) {
	lease, err := store.LeaseFile(image)
	if err != nil {
		return failed(err, "the image's disk is not there any more")
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	if err := p.sweepStages(); err != nil {
		return err
	}
	dir := filepath.Join(p.Dir, stagePrefix+strings.TrimSuffix(path.Base(to.Key), ".vmdk"))
	lock, err := store.Acquire(ctx, dir+stageLock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), lock.Release()) }()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return err
	}
	file := filepath.Join(dir, "disk")
	if err := disk.Convert(ctx, image, disk.QCOW2, file, disk.VMDK); err != nil {
		return err
	}
	return Stage(ctx, p.Bucket.Uploads, file, to)
}

// Who writes a disk for the bucket has a folder, and a lock beside it.
const (
	stagePrefix = "stage-"
	stageLock   = ".lock"
)

// sweepStages removes what a process left that was killed while it staged.
func (p *Publisher) sweepStages() error {
	left, err := filepath.Glob(filepath.Join(p.Dir, stagePrefix+"*"))
	if err != nil {
		return err
	}
	for _, found := range left {
		dir := strings.TrimSuffix(found, stageLock)
		lock, free, err := store.TryAcquire(dir + stageLock)
		if free {
			err = errors.Join(os.RemoveAll(dir), lock.Release())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) upload(ctx context.Context, spec builder.PublishSpec, tags map[string]string, log func(string)) (_ Snapshot, err error) {
	// An upload takes minutes, in which the disk must not be pruned.
	lease, err := store.LeaseFile(spec.Image.Ref)
	if err != nil {
		return Snapshot{}, failed(err, "the image's disk is not there any more")
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	blocks, err := chain.Open(ctx, spec.Image.Ref)
	if err != nil {
		return Snapshot{}, failed(err, "the image's disk could not be read")
	}
	defer func() { err = errors.Join(err, blocks.Close()) }()
	o := Options{
		Key: spec.Image.Digest, Dir: p.Dir, Lineage: "recipe " + spec.Recipe,
		Description: fmt.Sprintf("%.100s, built by ingot", spec.Recipe), Tags: tags, Snapshots: p.Images, Workers: p.Workers,
		Progress: steps(log),
	}
	if spec.Parent != nil {
		o.Parents = []string{spec.Parent.Digest}
	}
	s, err := Upload(ctx, p.Blocks, blocks, o)
	switch {
	case err != nil:
	case s.Reused:
		log(fmt.Sprintf("the disk is there already: %s", s.ID))
	case s.Parent != "":
		log(fmt.Sprintf("%s holds the disk: %d of %d blocks differ from %s", s.ID, s.Written, s.Blocks, s.Parent))
	default:
		log(fmt.Sprintf("%s holds the disk: %d blocks", s.ID, s.Written))
	}
	return s, err
}

// steps tells of progress in tenths, so that a log stays short.
func steps(log func(string)) func(Progress) {
	told := 0
	return func(p Progress) {
		tenth := p.Done * 10 / max(1, p.Total)
		if tenth > told {
			told = tenth
			log(fmt.Sprintf("%d of %d blocks looked at, %d MiB sent", p.Done, p.Total, p.Sent>>20))
		}
	}
}

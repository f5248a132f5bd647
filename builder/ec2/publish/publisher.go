package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// driver is what images that were published are images of.
const driver = "ec2"

// The tags of snapshots and images, besides the caller's. TagKey is another.
const (
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
}

// Publish is builder.Publisher's. The image of the same making of a disk is registered
// once, however often and under whatever version it is published.
func (p *Publisher) Publish(ctx context.Context, spec builder.PublishSpec, log func(string)) (builder.Image, error) {
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
	snapshot, err := p.upload(ctx, spec, tags, log)
	if err != nil {
		return builder.Image{}, err
	}
	ami, err := Register(ctx, p.Images, Image{
		Name:        ImageName(spec.Recipe, strings.TrimPrefix(img.Digest, "sha256:")),
		Description: fmt.Sprintf("%.100s, built by ingot", spec.Recipe),
		Snapshot:    snapshot.ID, SizeGiB: snapshot.SizeGiB, Tags: tags, Progress: log,
	})
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

func (p *Publisher) upload(ctx context.Context, spec builder.PublishSpec, tags map[string]string, log func(string)) (_ Snapshot, err error) {
	// An upload takes minutes, in which the disk must not be pruned.
	lease, err := store.LeaseFile(spec.Image.Ref)
	if err != nil {
		return Snapshot{}, failed(err, "the image's disk is not there any more")
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	disk, err := chain.Open(ctx, spec.Image.Ref)
	if err != nil {
		return Snapshot{}, failed(err, "the image's disk could not be read")
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	o := Options{
		Key: spec.Image.Digest, Dir: p.Dir, Lineage: "recipe " + spec.Recipe,
		Description: fmt.Sprintf("%.100s, built by ingot", spec.Recipe), Tags: tags, Snapshots: p.Images, Workers: p.Workers,
		Progress: steps(log),
	}
	if spec.Parent != nil {
		o.Parents = []string{spec.Parent.Digest}
	}
	s, err := Upload(ctx, p.Blocks, disk, o)
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

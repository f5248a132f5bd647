package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
)

// The tags by which everything is found again. A permission policy may rely on
// tagManaged: nothing without it is ever changed or removed.
const (
	tagPrefix  = "ingot:"
	tagManaged = tagPrefix + "managed" // "true"
	tagOwner   = tagPrefix + "owner"
	tagLedger  = tagPrefix + "ledger" // in which tagBuild is counted
	tagBuild   = tagPrefix + "build"
	tagRole    = tagPrefix + "role"        // of an instance: build or test
	tagKey     = tagPrefix + "key"         // of an image: its build key
	tagImage   = tagPrefix + "image"       // of an image and its snapshots: complete, since it was made to stay
	tagClean   = tagPrefix + "clean"       // of a build instance: how many operations it has behind it
	tagKept    = tagPrefix + "kept"        // of an instance: stays after its build, until that time
	tagSince   = tagPrefix + "kept-since"  // of an instance that is kept: when that began
	tagRecipe  = tagPrefix + "kept-recipe" // likewise: builder.Kept.Recipe
	tagParent  = tagPrefix + "parent"      // of an image that was imported: where its disk lies
)

// maxTags is how many the operator has of the 50 that AWS allows: ingot needs up to
// eleven, for a disk that is published by VM Import, and recipes have 30.
const maxTags = 9

type role string

const (
	roleBuild role = "build"
	roleTest  role = "test"
)

func (d *Driver) tags(build string, more map[string]string) []types.Tag {
	return d.tagsBeside(nil, build, more)
}

// tagsBeside are those with tags of a recipe beside them, which give way.
func (d *Driver) tagsBeside(recipe map[string]string, build string, more map[string]string) []types.Tag {
	all := maps.Clone(recipe)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, d.Tags())
	all[tagBuild] = build
	maps.Copy(all, more)
	if all["Name"] == "" {
		all["Name"] = "ingot " + build
	}
	tags := make([]types.Tag, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
	}
	return tags
}

// Tags are those that everything of this daemon carries, whatever build it is of.
func (d *Driver) Tags() map[string]string {
	all := maps.Clone(d.cfg.Tags)
	if all == nil {
		all = map[string]string{}
	}
	all[tagManaged], all[tagOwner] = "true", d.cfg.Owner
	if d.cfg.Ledger != "" {
		all[tagLedger] = d.cfg.Ledger
	}
	return all
}

// ImageTags are Tags for images that are complete as soon as they are there: without
// them an image counts as begun and never finished when its build has ended.
func (d *Driver) ImageTags() map[string]string {
	all := d.Tags()
	all[tagImage] = "complete"
	return all
}

func specification(kind types.ResourceType, tags []types.Tag) types.TagSpecification {
	return types.TagSpecification{ResourceType: kind, Tags: tags}
}

func tagOf(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// foreign tells whether something of this owner is of another ledger's builds. What has
// no ledger, as an older ingot made it, is of each.
func (d *Driver) foreign(tags []types.Tag) bool {
	ledger := tagOf(tags, tagLedger)
	return ledger != "" && ledger != d.cfg.Ledger
}

// ours are the filters that leave only what this owner has made, of whichever ledger: EC2
// has no filter for what lacks a tag.
func (d *Driver) ours(more ...types.Filter) []types.Filter {
	return append([]types.Filter{filter("tag:"+tagManaged, "true"), filter("tag:"+tagOwner, d.cfg.Owner)}, more...)
}

// token makes a repeat of a call harmless: the same parts, the same token. EC2 takes
// up to 64 characters.
func token(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Tag implements builder.Tagger, for the AMI and its snapshots. Tags of the operator,
// and those by which things are found again, are nobody else's to change.
func (d *Driver) Tag(ctx context.Context, img builder.Image, wanted map[string]string) (bool, error) {
	changed, err := d.retag(ctx, img.Ref, wanted)
	return changed, failed(builder.StageDistribute, "the tags of "+img.Ref+" could not be set", err)
}

func (d *Driver) retag(ctx context.Context, ami string, wanted map[string]string) (bool, error) {
	wanted = maps.Clone(wanted)
	maps.DeleteFunc(wanted, func(key, _ string) bool {
		_, operators := d.cfg.Tags[key]
		return operators || strings.HasPrefix(key, tagPrefix)
	})
	image, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	if err != nil {
		return false, err
	}
	if len(image.Images) == 0 {
		return false, &builder.Error{Reason: "the image " + ami + " is not there any more", Hint: "repeat the build: it makes the image again"}
	}
	carried := [][]types.Tag{image.Images[0].Tags}
	ids := snapshotsOf(image.Images[0])
	if len(ids) > 0 {
		out, err := d.aws.Compute.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: ids})
		if err != nil {
			return false, err
		}
		for _, s := range out.Snapshots {
			carried = append(carried, s.Tags)
		}
	}
	if !slices.ContainsFunc(carried, func(tags []types.Tag) bool { return !carry(tags, wanted) }) {
		return false, nil
	}
	return true, d.tag(ctx, wanted, append(ids, ami)...)
}

// carry reports whether all that is wanted is there.
func carry(tags []types.Tag, wanted map[string]string) bool {
	there := map[string]string{}
	for _, t := range tags {
		there[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	for key, value := range wanted {
		if now, has := there[key]; !has || now != value {
			return false
		}
	}
	return true
}

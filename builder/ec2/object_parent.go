package ec2

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// objectParent is a parent that lies in S3 as a disk, and is imported.
type objectParent struct {
	recipe.Parent
	bucket, key string
}

func objectParentOf(p recipe.Parent) objectParent {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(p.Name, "s3://"), "/")
	return objectParent{Parent: p, bucket: bucket, key: key}
}

// format is the disk's, as VM Import calls it: the recipe was checked for it.
func (o objectParent) format() string {
	return strings.ToLower(strings.TrimPrefix(path.Ext(o.key), "."))
}

// objectRevision names the content of an object, for the price of one request. S3 gives
// each content an ETag of its own, whatever it is made of.
func (d *Driver) objectRevision(ctx context.Context, o objectParent) (string, error) {
	in := &s3.HeadObjectInput{Bucket: aws.String(o.bucket), Key: aws.String(o.key)}
	if o.Checksum != "" {
		in.ChecksumMode = s3types.ChecksumModeEnabled
	}
	head, err := d.aws.Objects.HeadObject(ctx, in)
	if err != nil {
		return "", o.unreadable(d.cfg.Region, err)
	}
	if err := o.verify(head); err != nil {
		return "", err
	}
	return fmt.Sprintf("s3:%s:%d", strings.Trim(aws.ToString(head.ETag), `"`), aws.ToInt64(head.ContentLength)), nil
}

// unreadable says why an object cannot be looked at. S3 gives no more than a status.
func (o objectParent) unreadable(region string, err error) error {
	e := &builder.Error{Fault: builder.Author, Stage: builder.StageResolve, Err: err}
	switch code(err) {
	case "NotFound", "NoSuchKey", "NoSuchBucket":
		e.Reason, e.Hint = "there is no object "+o.Text, "check parentImage: bucket and key are written as they are in S3"
	case "MovedPermanently", "PermanentRedirect", "BadRequest":
		e.Reason = "the bucket of " + o.Text + " is not in " + region
		e.Hint = "VM Import reads from buckets of its own region: copy the disk to one of " + region
	case "Forbidden", "AccessDenied":
		e.Fault, e.Reason = builder.Internal, "the daemon may not look at "+o.Text+", or it is not there"
		e.Hint = "the daemon's role has to allow s3:GetObject on it, and s3:ListBucket on the bucket"
	default:
		return failed(builder.StageResolve, o.Text+" could not be looked at", err)
	}
	return e
}

// verify holds an object against the recipe's checksum. VM Import reads the disk by
// itself, so that what S3 has computed is all that there is to compare.
func (o objectParent) verify(head *s3.HeadObjectOutput) error {
	if o.Checksum == "" {
		return nil
	}
	sum, err := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumSHA256))
	whole := head.ChecksumType == "" || head.ChecksumType == s3types.ChecksumTypeFullObject
	switch {
	case err != nil || len(sum) == 0 || !whole:
		return &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: "S3 keeps no SHA-256 of " + o.Text + " as a whole, so that its checksum cannot be checked",
			Hint:   "upload it in one part with --checksum-algorithm SHA256, or leave the checksum out of the recipe"}
	case "sha256:"+hex.EncodeToString(sum) != o.Checksum:
		return &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("%s has the checksum sha256:%x, not the recipe's", o.Text, sum),
			Hint:   "if the disk is the right one, put its checksum into the recipe"}
	}
	return nil
}

// importObject makes an AMI of a disk in S3, once for each content: the AMI is found
// again by the name of the import, and so is the import on its way. The AMI has the tag
// of no build: it stays for all.
func (d *Driver) importObject(ctx context.Context, o objectParent, build string, log func(string)) (builder.Base, error) {
	revision, err := d.objectRevision(ctx, o)
	if err != nil {
		return builder.Base{}, err
	}
	tags := d.ImageTags()
	tags[tagParent] = clipTag(o.Text)
	if tags["Name"] == "" {
		tags["Name"] = clipTag("ingot " + path.Base(o.key))
	}
	release := builder.Hold(ctx) // what VM Import does takes as long as it moves
	made, err := publish.Convert(ctx, d.aws.Imports, publish.Import{
		Source: publish.Source{Bucket: o.bucket, Key: o.key, Format: o.format()},
		Image:  publish.Image{Name: imageName(d.cfg.Owner, "import", o.Name+" "+revision), Tags: tags, Progress: log, Watch: d.Watch()},
		Role:   d.cfg.ImportRole, Build: build, Waits: &d.waits,
		Accept: func(ctx context.Context, made []string) error { return d.unchanged(ctx, o, revision, build, made) },
	})
	release()
	if err != nil {
		return builder.Base{}, err
	}
	if made.Reused {
		log(fmt.Sprintf("%s was imported as %s", o.Text, made.ID))
	} else {
		log(fmt.Sprintf("%s is imported as %s", o.Text, made.ID))
	}
	var image catalogue.Image
	err = d.appeared(ctx, func() (err error) {
		image, err = d.parents.Resolve(ctx, made.ID, d.architecture())
		return err
	})
	if err != nil {
		return builder.Base{}, err
	}
	return builder.Base{Ref: made.ID, Digest: revision, Revision: revision, Platform: image.Platform}, nil
}

// unchanged makes sure that what was imported is what was looked at before: VM Import
// takes the object as it finds it.
func (d *Driver) unchanged(ctx context.Context, o objectParent, revision, build string, made []string) error {
	now, err := d.objectRevision(ctx, o)
	if err != nil || now == revision {
		return err
	}
	if err := d.discard(ctx, d.tags(build, nil), made); err != nil {
		return err
	}
	return &builder.Error{Fault: builder.Transient, Stage: builder.StageResolve,
		Reason: o.Text + " was replaced while it was imported", Hint: "the build can be repeated: it imports the new one"}
}

// clipTag makes a text fit for the value of a tag.
func clipTag(text string) string {
	const most = 256
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}

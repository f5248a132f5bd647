package ec2

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder/ec2/answer"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// imports adds those whose build has ended: on their way, or completed by nobody who
// has taken over what they made, to which VM Import gives no tags.
func (d *Driver) imports(ctx context.Context, add adder) error {
	var completed []publish.Task
	for t, err := range publish.Tasks(ctx, d.aws.Imports) {
		switch {
		case answer.Denied(err):
			return nil // who may not look at imports begins none
		case err != nil:
			return failed("", "the imports of the account could not be listed", err)
		case t.Active():
			add("import", t.ID, t.Tags, &time.Time{}, ended)
		case t.Completed() && tagOf(t.Tags, tagManaged) == "true" && tagOf(t.Tags, tagOwner) == d.cfg.Owner:
			completed = append(completed, t)
		}
	}
	untaken, err := d.untaken(ctx, completed)
	if err != nil {
		return failed("", "what imports have made could not be listed", err)
	}
	for _, t := range untaken {
		add("import", t.ID, t.Tags, &time.Time{}, "nobody has taken what it made")
	}
	return nil
}

// untaken are those of some completed imports whose image or snapshot is there and has
// none of ingot's tags.
func (d *Driver) untaken(ctx context.Context, completed []publish.Task) ([]publish.Task, error) {
	var images, snapshots []string
	for _, t := range completed {
		for _, id := range t.Made {
			if isImage(id) {
				images = append(images, id)
			} else {
				snapshots = append(snapshots, id)
			}
		}
	}
	untagged := map[string]bool{}
	const most = 200 // values of a filter
	for some := range slices.Chunk(images, most) {
		out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{filter("image-id", some...)}})
		if err != nil {
			return nil, err
		}
		for _, i := range out.Images {
			untagged[aws.ToString(i.ImageId)] = tagOf(i.Tags, tagManaged) == ""
		}
	}
	found, err := d.snapshots(ctx, snapshots)
	if err != nil {
		return nil, err
	}
	for id, s := range found {
		untagged[id] = tagOf(s.Tags, tagManaged) == ""
	}
	return slices.DeleteFunc(completed, func(t publish.Task) bool { return len(t.Made) == 0 || !untagged[t.Made[0]] }), nil
}

func isImage(id string) bool { return strings.HasPrefix(id, "ami-") }

// reapImport cancels an import, or removes what it has made. It may have another build
// by now, or have been taken over.
func (d *Driver) reapImport(ctx context.Context, l Leftover) (gone bool, err error) {
	for t, err := range publish.Tasks(ctx, d.aws.Imports) {
		if err != nil {
			return false, err
		}
		if t.ID != l.ID || tagOf(t.Tags, tagBuild) != l.Build {
			continue
		}
		if t.Active() {
			err := publish.Cancel(ctx, d.aws.Imports, t.ID)
			return err == nil, err
		}
		untaken, err := d.untaken(ctx, []publish.Task{t})
		if err != nil || len(untaken) == 0 {
			return false, err
		}
		of := map[string]string{}
		if l.Ledger != "" {
			of[tagLedger] = l.Ledger
		}
		err = d.discard(ctx, d.tags(l.Build, of), t.Made)
		return err == nil, err
	}
	return false, nil
}

// discard removes what an import has made. Only what has ingot's tags may be removed,
// and by those of its build it is found again if that is broken off.
func (d *Driver) discard(ctx context.Context, tags []types.Tag, made []string) error {
	err := d.appeared(ctx, func() error {
		_, err := d.aws.Compute.CreateTags(ctx, &ec2.CreateTagsInput{Resources: made, Tags: tags})
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range made { // an image before its snapshots
		if isImage(id) {
			_, err = d.aws.Compute.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
		} else {
			_, err = d.aws.Compute.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

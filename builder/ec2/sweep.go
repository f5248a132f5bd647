package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
)

// Leftover is something in the account that no build owns.
type Leftover struct {
	Kind   string    `json:"kind"` // instance, image, snapshot, volume or import
	ID     string    `json:"id"`
	Ledger string    `json:"ledger,omitempty"` // of the build; empty: an older ingot made it
	Build  string    `json:"build"`
	Since  time.Time `json:"since,omitzero"` // EC2 does not tell it of imports
	Why    string    `json:"why"`

	Foreign bool `json:"foreign,omitempty"` // of another ledger than the driver's
}

// Sweep implements builder.Driver. A driver does not know which builds another
// process is about to take up: that is for Reap, which is told.
func (d *Driver) Sweep(context.Context) ([]string, error) { return nil, nil }

// Leftovers lists what this ledger's builds have made and no build owns: live tells
// of the builds that are going on or will be taken up. Instances that are kept, for
// their time, images that are complete, what other ledgers' builds have made, and
// whatever has not ingot's own tags are never among them.
func (d *Driver) Leftovers(ctx context.Context, live func(build string) bool) ([]Leftover, error) {
	return d.leftovers(ctx, func(tags []types.Tag) bool {
		// Nobody takes up an instance that was kept, so that its build owns it no more.
		return !d.foreign(tags) && (!live(tagOf(tags, tagBuild)) || expired(tags))
	})
}

// Foreign lists what would be left over of the other ledgers of this owner if all of their
// builds had ended, of which this one knows nothing: a daemon at work may use it.
func (d *Driver) Foreign(ctx context.Context) ([]Leftover, error) {
	all, err := d.leftovers(ctx, d.foreign)
	for n := range all {
		if all[n].Foreign = true; all[n].Why == ended {
			all[n].Why = "whether its build has ended is not known here"
		}
	}
	return all, err
}

// leftovers lists what some tags' builds have made and did not make to stay.
func (d *Driver) leftovers(ctx context.Context, wanted func(tags []types.Tag) bool) ([]Leftover, error) {
	var all []Leftover
	add := func(kind, id string, tags []types.Tag, since *time.Time, why string) {
		build := tagOf(tags, tagBuild)
		// EC2 filtered by the same tags; what is removed is worth a second look.
		if build == "" || !wanted(tags) || tagOf(tags, tagManaged) != "true" || tagOf(tags, tagOwner) != d.cfg.Owner || since == nil || time.Since(*since) < d.cfg.pace.grace {
			return
		}
		all = append(all, Leftover{Kind: kind, ID: id, Ledger: tagOf(tags, tagLedger), Build: build, Since: *since, Why: why})
	}
	instances, err := d.ownersInstances(ctx)
	if err != nil {
		return nil, failed("", "the instances of the account could not be listed", err)
	}
	for _, i := range instances {
		if why := unwanted(i); why != "" {
			add("instance", aws.ToString(i.InstanceId), i.Tags, i.LaunchTime, why)
		}
	}
	used, err := d.unfinished(ctx, add)
	if err != nil {
		return nil, err
	}
	if err := d.loose(ctx, used, add); err != nil {
		return nil, err
	}
	if err := d.imports(ctx, add); err != nil {
		return nil, err
	}
	return all, nil
}

// ended is why most is left over.
const ended = "its build has ended"

// unwanted says why an instance whose build has ended is left over; empty: it is not.
func unwanted(i types.Instance) string {
	_, kept := keptUntil(i.Tags)
	switch {
	case over(i):
		return ""
	case expired(i.Tags):
		return "the time for which it was kept is over"
	case !kept:
		return ended
	}
	return ""
}

type adder func(kind, id string, tags []types.Tag, since *time.Time, why string)

// unfinished adds images that were begun and not completed, and returns the
// snapshots that images use: also those that somebody has disabled, or has registered
// beside ingot.
func (d *Driver) unfinished(ctx context.Context, add adder) (used []string, err error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true)})
	if err != nil {
		return nil, failed("", "the images of the account could not be listed", err)
	}
	for _, i := range out.Images {
		used = append(used, snapshotsOf(i)...)
		if tagOf(i.Tags, tagManaged) == "true" && tagOf(i.Tags, tagOwner) == d.cfg.Owner && tagOf(i.Tags, tagImage) == "" {
			made, err := time.Parse(time.RFC3339, aws.ToString(i.CreationDate))
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", aws.ToString(i.ImageId), err)
			}
			add("image", aws.ToString(i.ImageId), i.Tags, &made, "it was never completed")
		}
	}
	return used, nil
}

// loose adds snapshots and volumes that belong to nothing.
func (d *Driver) loose(ctx context.Context, used []string, add adder) error {
	snapshots := ec2.NewDescribeSnapshotsPaginator(d.aws.Compute, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: d.ours(), MaxResults: aws.Int32(1000)})
	for snapshots.HasMorePages() {
		page, err := snapshots.NextPage(ctx)
		if err != nil {
			return failed("", "the snapshots of the account could not be listed", err)
		}
		for _, s := range page.Snapshots {
			if !slices.Contains(used, aws.ToString(s.SnapshotId)) {
				add("snapshot", aws.ToString(s.SnapshotId), s.Tags, s.StartTime, "no image uses it")
			}
		}
	}
	volumes := ec2.NewDescribeVolumesPaginator(d.aws.Compute, &ec2.DescribeVolumesInput{
		Filters: d.ours(filter("status", string(types.VolumeStateAvailable))), MaxResults: aws.Int32(500),
	})
	for volumes.HasMorePages() {
		page, err := volumes.NextPage(ctx)
		if err != nil {
			return failed("", "the volumes of the account could not be listed", err)
		}
		for _, v := range page.Volumes {
			add("volume", aws.ToString(v.VolumeId), v.Tags, v.CreateTime, "no instance uses it")
		}
	}
	return nil
}

// Reap removes leftovers, images before their snapshots, and goes on after an error.
// What turns out to be wanted stays, and is not among what was removed: EC2 may have
// listed it with the tags of a moment before, and a build may have ended since.
func (d *Driver) Reap(ctx context.Context, all []Leftover) (removed []Leftover, err error) {
	for _, l := range all {
		gone, failed := d.reap(ctx, l)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s %s: %w", l.Kind, l.ID, failed))
			continue
		}
		if gone {
			removed = append(removed, l)
		}
	}
	return removed, err
}

func (d *Driver) reap(ctx context.Context, l Leftover) (gone bool, err error) {
	switch l.Kind {
	case "instance":
		return d.reapInstance(ctx, l.ID)
	case "image":
		return d.reapImage(ctx, l.ID)
	case "import":
		return d.reapImport(ctx, l)
	case "snapshot":
		_, err := d.aws.Compute.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(l.ID)})
		return err == nil, err
	case "volume":
		_, err := d.aws.Compute.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: aws.String(l.ID)})
		return err == nil, err
	}
	return false, &builder.Error{Reason: "there is no way to remove a " + l.Kind}
}

func (d *Driver) reapInstance(ctx context.Context, id string) (gone bool, err error) {
	out, err := d.aws.Compute.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if code(err) == "InvalidInstanceID.NotFound" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if unwanted(i) == "" {
				return false, nil
			}
		}
	}
	err = (&machine{d: d, id: id}).terminate(ctx)
	return err == nil, err
}

func (d *Driver) reapImage(ctx context.Context, ami string) (gone bool, err error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{ami}, Owners: []string{"self"}})
	if err != nil || len(out.Images) == 0 || tagOf(out.Images[0].Tags, tagImage) != "" {
		return false, err
	}
	err = d.deregister(ctx, ami)
	return err == nil, err
}

// deregister removes an image and its snapshots.
func (d *Driver) deregister(ctx context.Context, ami string) error {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{ami}, Owners: []string{"self"}})
	if err != nil || len(out.Images) == 0 {
		return err
	}
	if _, err := d.aws.Compute.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(ami)}); err != nil {
		return err
	}
	for _, id := range snapshotsOf(out.Images[0]) {
		if _, snapshotErr := d.aws.Compute.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)}); snapshotErr != nil {
			err = errors.Join(err, snapshotErr)
		}
	}
	return err
}

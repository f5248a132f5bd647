package ec2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// stalled is how long a snapshot may stand still before it is given up.
const stalled = 2 * time.Hour

// takeAway removes the Systems Manager agent when the instance stops, if the image
// did not have it: a command that removed it at once would remove what it runs in. By
// its default dependencies the unit is stopped before the system is.
const takeAway = `name: take-away
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Prepare
        action: ExecuteBash
        inputs:
          commands:
            - |
              if [ ! -e ` + ssmInstalled + ` ]; then exit 0; fi
              if command -v dpkg >/dev/null; then remove='dpkg --purge amazon-ssm-agent'; else remove='rpm -e amazon-ssm-agent'; fi
              systemd-run --unit ingot-take-away --property RemainAfterExit=yes \
                --property "ExecStop=/bin/sh -c '$remove; rm -rf /var/lib/amazon/ssm /var/log/amazon /etc/amazon/ssm'" /bin/true
`

// Snapshot implements builder.Instance.
func (i *instance) Snapshot(ctx context.Context, key string, inventory builder.Inventory) (builder.Image, error) {
	img, err := i.snapshot(ctx, key, inventory)
	return img, failed(builder.StageImage, "the image could not be made", err)
}

func (i *instance) snapshot(ctx context.Context, key string, inventory builder.Inventory) (builder.Image, error) {
	if err := i.leave(ctx); err != nil {
		return builder.Image{}, err
	}
	// The disk has to be complete. EC2 stops no Spot instance of a one-time request;
	// CreateImage shuts it down for its snapshots, and starts it again.
	if !i.spot {
		if err := i.stop(ctx); err != nil {
			return builder.Image{}, err
		}
	}
	facts, err := json.Marshal(inventory)
	if err != nil {
		return builder.Image{}, err
	}
	if err := i.d.putObject(ctx, i.d.factsOf(i.imageName(key)), facts); err != nil {
		return builder.Image{}, err
	}
	ami, err := i.createImage(ctx, key)
	if err != nil {
		return builder.Image{}, err
	}
	image, err := i.d.waitImage(ctx, ami, key)
	if err != nil {
		return builder.Image{}, err
	}
	return i.d.finished(ctx, image)
}

// leave takes the agent off the instance; of Windows, Clean has done so.
func (i *instance) leave(ctx context.Context) error {
	if i.cleaned == 0 {
		job := component.Job{ID: "take-away", Phases: []string{"build"},
			Documents: []component.JobDocument{{Name: "take-away", Path: "take-away.yaml", Text: takeAway}}}
		result, err := i.machine.run(ctx, builder.StageClean, job, func(component.Event) {})
		if err != nil {
			return err
		}
		if !result.Status.OK() {
			return &builder.Error{Stage: builder.StageClean, Reason: "the Systems Manager agent could not be taken off the instance"}
		}
	}
	return i.remove(ctx)
}

// remove takes the agent and all that it has written off the instance. That it begins
// is recorded first, for a daemon that is started again: it must not look for what was
// done before. That it has ended is recorded too: until then it is done again.
func (i *instance) remove(ctx context.Context) error {
	if i.cleaned < i.ops {
		if err := i.d.tag(ctx, map[string]string{tagClean: strconv.Itoa(i.ops)}, i.id); err != nil {
			return err
		}
		i.cleaned = i.ops
	}
	const id = "remove"
	_, removed, err := i.remembered(ctx, id)
	if removed || err != nil {
		return err
	}
	if i.windows {
		err = i.runScript(ctx, "remove", wipe())
	} else {
		_, err = i.perform(ctx, relay.Request{ID: id, Op: relay.Remove}, func(component.Event) {})
	}
	if err != nil {
		return err
	}
	return i.remember(ctx, id, relay.Outcome{})
}

// stop stops the instance, so that its disk is complete, and waits for it.
func (i *instance) stop(ctx context.Context) error {
	if _, err := i.d.aws.Compute.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{i.id}}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, i.d.cfg.pace.stopping, &builder.Error{
		Fault: builder.Author, Stage: builder.StageImage, Reason: fmt.Sprintf("instance %s has not stopped within %s", i.id, i.d.cfg.pace.stopping),
		Hint: "a service of the image may refuse to end",
	})
	defer cancel()
	return i.d.states.wait(limited, want{instance: i.id}, func(v view) (bool, error) {
		now, known := v.instances[i.id]
		if known && over(now) {
			return false, i.lost(now)
		}
		return known && now.State.Name == types.InstanceStateNameStopped, nil
	})
}

// createImage makes the AMI, or finds the one that an earlier try has made: its
// name says which build key it is of, and EC2 gives a name only once. One that failed
// has the name until it is deregistered, and one that was just made may not be seen yet.
func (i *instance) createImage(ctx context.Context, key string) (string, error) {
	tags := i.d.tagsBeside(i.spec.Tags, i.build, map[string]string{tagKey: key})
	name := i.imageName(key)
	for begin := time.Now(); ; {
		out, err := i.d.aws.Compute.CreateImage(ctx, &ec2.CreateImageInput{
			InstanceId: aws.String(i.id), Name: aws.String(name), Description: aws.String("made by ingot, build " + i.build),
			BlockDeviceMappings: outliving(i.spec.BlockDevices),
			TagSpecifications:   []types.TagSpecification{specification(types.ResourceTypeImage, tags), specification(types.ResourceTypeSnapshot, tags)},
		})
		if err == nil {
			return aws.ToString(out.ImageId), nil
		}
		if code(err) != "InvalidAMIName.Duplicate" {
			return "", i.orLost(ctx, err)
		}
		ami, lookErr := i.d.earlier(ctx, key, name)
		if ami != "" || lookErr != nil {
			return ami, lookErr
		}
		if time.Since(begin) > i.d.cfg.pace.visible {
			return "", err
		}
		if err := pause(ctx, i.d.cfg.pace.states); err != nil {
			return "", err
		}
	}
}

// earlier is the AMI of a build key that has a name. If it failed it is removed; the
// name is free as soon as EC2 knows of that.
func (d *Driver) earlier(ctx context.Context, key, name string) (ami string, err error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: d.ours(filter("tag:"+tagKey, key), filter("name", name)),
	})
	if err != nil {
		return "", err
	}
	for _, i := range out.Images {
		switch {
		case i.State == types.ImageStateDeregistered:
		case !broken(i):
			return aws.ToString(i.ImageId), nil
		default:
			log := d.cfg.Log.WithField("image", aws.ToString(i.ImageId))
			log.Info("an image that failed gives way to the next of its name")
			if err := d.deregister(ctx, aws.ToString(i.ImageId)); err != nil {
				log.WithError(err).Warn("of an image that failed, something may be left to the reaper")
			}
		}
	}
	return "", nil
}

// broken tells whether an image will never be one.
func broken(i types.Image) bool {
	return i.State == types.ImageStateFailed || i.State == types.ImageStateError || i.State == types.ImageStateInvalid
}

// orLost is why a call about the instance failed: the instance itself may be gone.
func (i *instance) orLost(ctx context.Context, err error) error {
	if !isOne(err, []string{"IncorrectState", "InvalidInstanceID.NotFound"}) {
		return err
	}
	lookErr := i.d.states.wait(ctx, want{instance: i.id}, func(v view) (bool, error) {
		if now, known := v.instances[i.id]; !known || over(now) {
			return false, i.lost(now)
		}
		return true, nil
	})
	if lookErr != nil {
		return lookErr
	}
	return err
}

// imageName is that of the build's image: builds of other ledgers have the same numbers.
func (i *instance) imageName(key string) string {
	return imageName(i.d.cfg.Owner, i.build, i.d.cfg.Ledger+" "+key)
}

// imageName is unique and says what people look for. EC2 takes 3 to 128 characters.
func imageName(owner, build, key string) string {
	const most = 100
	name := "ingot-" + owner + "-" + build
	return name[:min(len(name), most)] + "-" + token(key)[:16]
}

// waitImage waits as long as the snapshots of an AMI move: that takes as long as EC2
// needs for the disks, and is not of the time that the recipe gives its build.
func (d *Driver) waitImage(ctx context.Context, ami, key string) (types.Image, error) {
	defer builder.Hold(ctx)()
	var made types.Image
	begin, moved, last := time.Now(), time.Now(), ""
	err := d.states.wait(ctx, want{image: ami}, func(v view) (bool, error) {
		image, known := v.images[ami]
		if now := string(image.State) + v.progress[key]; now != last {
			moved, last = time.Now(), now
		}
		switch {
		case !known && time.Since(begin) > d.cfg.pace.visible:
			return false, &builder.Error{Fault: builder.Transient, Stage: builder.StageImage, Reason: "image " + ami + " was made and is not there"}
		case known && broken(image):
			return false, &builder.Error{Fault: builder.Transient, Stage: builder.StageImage, Reason: "EC2 could not make the image: " + why(image), Hint: "the build can be repeated"}
		case time.Since(moved) > stalled:
			return false, &builder.Error{Fault: builder.Transient, Stage: builder.StageImage, Reason: fmt.Sprintf("the snapshots of image %s have not moved for %s", ami, stalled)}
		}
		made = image
		return known && image.State == types.ImageStateAvailable, nil
	})
	return made, err
}

func why(i types.Image) string {
	if i.StateReason == nil {
		return string(i.State)
	}
	return aws.ToString(i.StateReason.Message)
}

// factsOf is where the inventory of the image of a name lies.
func (d *Driver) factsOf(name string) string { return d.cfg.Prefix + "images/" + token(name) + ".json" }

// facts is an image's inventory. An older ingot has put it under the build key, which
// several images may have.
func (d *Driver) facts(ctx context.Context, i types.Image) ([]byte, error) {
	text, err := d.object(ctx, d.factsOf(aws.ToString(i.Name)), maxInventory)
	if code(err) == "NoSuchKey" {
		return d.object(ctx, d.factsOf(tagOf(i.Tags, tagKey)), maxInventory)
	}
	return text, err
}

// finished is an AMI as the pipeline knows it. The first time it is marked as one
// that stays.
func (d *Driver) finished(ctx context.Context, i types.Image) (builder.Image, error) {
	key := tagOf(i.Tags, tagKey)
	img := builder.Image{
		ID: aws.ToString(i.ImageId), Ref: aws.ToString(i.ImageId), Digest: aws.ToString(i.ImageId), Key: key, Driver: Name,
	}
	img.Created, _ = time.Parse(time.RFC3339, aws.ToString(i.CreationDate)) // zero where EC2 gives none
	text, err := d.facts(ctx, i)
	if err != nil {
		return img, err
	}
	if err := json.Unmarshal(text, &img.Inventory); err != nil {
		return img, fmt.Errorf("inventory of %s: %w", img.ID, err)
	}
	snapshots := snapshotsOf(i)
	if tagOf(i.Tags, tagImage) != "" {
		return img, d.sizes(ctx, snapshots, &img)
	}
	// What was just made may not be known yet.
	if err := d.appeared(ctx, func() error { return d.sizes(ctx, snapshots, &img) }); err != nil {
		return img, err
	}
	return img, d.appeared(ctx, func() error {
		return d.tag(ctx, map[string]string{tagImage: "complete"}, append(snapshots, img.ID)...)
	})
}

func snapshotsOf(i types.Image) []string {
	var ids []string
	for _, m := range i.BlockDeviceMappings {
		if m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) != "" {
			ids = append(ids, aws.ToString(m.Ebs.SnapshotId))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sizes adds what the image's disks show, and what of them holds data, as far as
// EC2 says that.
func (d *Driver) sizes(ctx context.Context, snapshots []string, img *builder.Image) error {
	if len(snapshots) == 0 {
		return nil
	}
	out, err := d.aws.Compute.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: snapshots})
	if err != nil {
		return err
	}
	for _, s := range out.Snapshots {
		virtual := int64(aws.ToInt32(s.VolumeSize)) << 30
		img.Virtual += virtual
		img.Size += cmp.Or(aws.ToInt64(s.FullSnapshotSizeInBytes), virtual)
	}
	return nil
}

func ec2Tag(key, value string) types.Tag {
	return types.Tag{Key: aws.String(key), Value: aws.String(value)}
}

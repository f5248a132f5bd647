package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
)

// Images is what registering asks of EC2; *ec2.Client has it.
type Images interface {
	Snapshots
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	RegisterImage(context.Context, *ec2.RegisterImageInput, ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error)
}

var _ Images = (*ec2.Client)(nil)

// RootDevice is the name of the root volume of every image that is registered.
const RootDevice = "/dev/xvda"

// TagKey is the tag with the build key, by which an image is known again.
const TagKey = "ingot:key"

// maxName is what EC2 takes as an image's name.
const maxName = 128

// Image says what is registered.
type Image struct {
	Name         string // of the image; no other image of the account and region has it
	Description  string
	Snapshot     string // of the root volume
	Adopt        bool   // the snapshot, which may have the tags of an earlier build
	SizeGiB      int64  // of the root volume; 0: as the snapshot
	Architecture string // x86_64 when empty, or arm64
	Tags         map[string]string

	// Progress hears what is waited for, each time that it changes.
	Progress func(string)
	// Watch looks at what is waited for, at its own pace; nil: the client is asked, all
	// five seconds.
	Watch Watch
}

// AMI is an image of EC2.
type AMI struct {
	ID       string
	Name     string
	Snapshot string
	Reused   bool // it was registered before
}

// badInName is what EC2 does not take in an image's name.
var badInName = regexp.MustCompile(`[^A-Za-z0-9()\[\]. /'@_-]+`)

// ImageName names the image of a recipe that has a key: the same one each time that
// it is asked for, and nobody else's. A version is not in it: a candidate becomes a
// release as it is.
func ImageName(recipe, key string) string {
	end := "-" + key[:min(16, len(key))]
	name := recipe[:min(len(recipe), maxName-min(maxName, len(end)+len("ingot-")))]
	name = badInName.ReplaceAllString("ingot-"+name+end, "-")
	return name[:min(len(name), maxName)]
}

// How long is waited for what.
const (
	lookEvery = 5 * time.Second
	// stalledAfter is for a snapshot or image of which nothing has moved.
	stalledAfter = 30 * time.Minute
)

// Register waits until the snapshot is complete, as long as it moves, and makes an
// image of it, which can be launched when Register returns. An image that an earlier
// call has registered under the same name and of the same snapshot is returned.
//
// The image boots by UEFI where an instance type can, else by BIOS; its instances
// talk to the network by ENA, and answer metadata requests of version 2 alone.
func Register(ctx context.Context, images Images, i Image) (AMI, error) {
	if i.Name == "" || len(i.Name) > maxName || i.Snapshot == "" {
		return AMI{}, fmt.Errorf("an image needs a name of up to %d characters, and a snapshot", maxName)
	}
	r := &registering{Image: i, images: images}
	ami, err := r.register(ctx)
	return ami, failed(err, "the image %s could not be registered", i.Name)
}

// registering is one call of Register.
type registering struct {
	Image
	images Images
}

func (r *registering) register(ctx context.Context) (AMI, error) {
	found, err := r.find(ctx)
	if err != nil {
		return AMI{}, err
	}
	if found != nil {
		return r.known(ctx, *found, true)
	}
	if r.Adopt {
		if err := adopt(ctx, r.images, r.Snapshot, r.Tags); err != nil {
			return AMI{}, err
		}
	}
	if err := r.snapshotComplete(ctx); err != nil {
		return AMI{}, err
	}
	out, err := r.registerImage(ctx)
	if codeOf(err) == "InvalidAMIName.Duplicate" {
		// An answer was lost, or somebody else was faster.
		found, err := r.appeared(ctx)
		if err != nil {
			return AMI{}, err
		}
		return r.known(ctx, found, true)
	}
	if err != nil {
		return AMI{}, err
	}
	return r.known(ctx, types.Image{ImageId: out.ImageId}, false)
}

// registerImage makes the image. A snapshot that was just completed may not be known
// yet where the call comes to.
func (r *registering) registerImage(ctx context.Context) (out *ec2.RegisterImageOutput, err error) {
	for begin := time.Now(); ; {
		out, err = r.images.RegisterImage(ctx, r.request())
		if codeOf(err) != "InvalidSnapshot.NotFound" || time.Since(begin) > visibleWithin {
			return out, err
		}
		if err := pause(ctx, lookEvery); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *registering) request() *ec2.RegisterImageInput {
	architecture := types.ArchitectureValues(r.Architecture)
	if r.Architecture == "" {
		architecture = types.ArchitectureValuesX8664
	}
	disk := &types.EbsBlockDevice{SnapshotId: aws.String(r.Snapshot), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}
	if r.SizeGiB > 0 {
		disk.VolumeSize = aws.Int32(int32(r.SizeGiB))
	}
	in := &ec2.RegisterImageInput{
		Name: aws.String(r.Name), Architecture: architecture, VirtualizationType: aws.String("hvm"),
		RootDeviceName:      aws.String(RootDevice),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String(RootDevice), Ebs: disk}},
		BootMode:            types.BootModeValuesUefiPreferred,
		EnaSupport:          aws.Bool(true),
		ImdsSupport:         types.ImdsSupportValuesV20,
	}
	if architecture == types.ArchitectureValuesArm64 {
		in.BootMode = types.BootModeValuesUefi
	}
	if r.Description != "" {
		in.Description = aws.String(r.Description)
	}
	if len(r.Tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tagList(r.Tags)}}
	}
	return in
}

func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// find looks for our own image of the name. It returns nil when there is none.
func (r *registering) find(ctx context.Context) (*types.Image, error) {
	image, err := r.named(ctx)
	if image != nil && !r.ours(*image) {
		return nil, &builder.Error{
			Reason: fmt.Sprintf("the account has another image with the name %s: %s", r.Name, aws.ToString(image.ImageId)),
			Hint:   "deregister that image, or give it away",
		}
	}
	return image, err
}

// named looks for the account's image of the name, whoever made it.
func (r *registering) named(ctx context.Context) (*types.Image, error) {
	out, err := r.images.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("name"), Values: []string{literally(r.Name)}}},
	})
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(out.Images, func(i types.Image) bool { return aws.ToString(i.Name) == r.Name })
	if at < 0 {
		return nil, nil
	}
	return &out.Images[at], nil
}

// literally is a filter's value in which no character stands for others.
func literally(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(name)
}

// ours tells by the snapshot, or by the tag that names the build key.
func (r *registering) ours(image types.Image) bool {
	for _, d := range image.BlockDeviceMappings {
		if d.Ebs != nil && r.Snapshot != "" && aws.ToString(d.Ebs.SnapshotId) == r.Snapshot {
			return true
		}
	}
	return r.Tags[TagKey] != "" && slices.ContainsFunc(image.Tags, func(t types.Tag) bool {
		return aws.ToString(t.Key) == TagKey && aws.ToString(t.Value) == r.Tags[TagKey]
	})
}

// appeared is find for an image that must be there, but may not be shown yet.
func (r *registering) appeared(ctx context.Context) (image types.Image, err error) {
	direct := r.Image
	direct.Watch = nil // which knows no names
	err = direct.poll(ctx, "the image "+r.Name+" to appear", func() (string, bool, error) {
		found, err := r.find(ctx)
		if found != nil {
			image = *found
		}
		return "registered", found != nil, err
	})
	return image, err
}

// snapshotComplete waits for the snapshot.
func (r *registering) snapshotComplete(ctx context.Context) error {
	return r.poll(ctx, "the snapshot "+r.Snapshot, func() (string, bool, error) {
		s, err := r.watch(r.images, nil).Snapshot(ctx, r.Snapshot)
		switch {
		case err != nil:
			return "", false, err
		case s == nil:
			return "not there yet", false, nil
		case s.State == types.SnapshotStateError:
			return "", false, &builder.Error{
				Fault:  builder.Transient,
				Reason: "AWS could not complete the snapshot " + r.Snapshot,
				Hint:   "repeat the build: the disk is uploaded again",
				Err:    fmt.Errorf("state error: %.200s", aws.ToString(s.StateMessage)),
			}
		}
		return string(s.State) + " " + aws.ToString(s.Progress), s.State == types.SnapshotStateCompleted, nil
	})
}

// known waits until an image can be used. It bears its own name, whatever was asked for.
func (r *registering) known(ctx context.Context, image types.Image, reused bool) (AMI, error) {
	id, name := aws.ToString(image.ImageId), r.Name
	err := r.poll(ctx, "the image "+id, func() (string, bool, error) {
		i, err := r.watch(r.images, nil).Image(ctx, id)
		switch {
		case err != nil:
			return "", false, err
		case i == nil:
			return "not there yet", false, nil
		}
		name = aws.ToString(i.Name)
		if i.State == types.ImageStateFailed || i.State == types.ImageStateError || i.State == types.ImageStateInvalid {
			return "", false, &builder.Error{
				Reason: "AWS could not make the image " + id, Hint: "see its state in the EC2 console, and deregister it",
				Err: fmt.Errorf("state %s: %s", i.State, reasonOf(*i)),
			}
		}
		return string(i.State), i.State == types.ImageStateAvailable, nil
	})
	return AMI{ID: id, Name: name, Snapshot: r.Snapshot, Reused: reused}, err
}

func reasonOf(i types.Image) string {
	if i.StateReason == nil {
		return "no reason given"
	}
	return fmt.Sprintf("%.200s", aws.ToString(i.StateReason.Message))
}

// poll calls look until it is done, and tells each time that the state is another one.
// What moves is waited for without an end; what does not, for half an hour. A look that
// is a Watch's takes the time that lies between two.
func (i Image) poll(ctx context.Context, what string, look func() (state string, done bool, err error)) error {
	last, moved, every := "", time.Now(), lookEvery
	if i.Watch != nil {
		every = 0
	}
	for {
		state, done, err := look()
		if err != nil || done {
			return err
		}
		if state != last {
			last, moved = state, time.Now()
			if i.Progress != nil {
				i.Progress(what + ": " + state)
			}
		}
		if time.Since(moved) > stalledAfter {
			return &builder.Error{
				Fault:  builder.Transient,
				Reason: fmt.Sprintf("nothing has moved for %s at %s: %s", stalledAfter, what, last),
				Hint:   "repeat the build: it goes on where it was",
				Err:    errStalled,
			}
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

var errStalled = errors.New("no progress")

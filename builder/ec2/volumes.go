package ec2

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// mappings are the image's own volumes, which end with the instance whatever the image
// says, the first one as large as asked for; then those that the recipe adds, and the
// further ones.
func mappings(s start, image types.Image) ([]types.BlockDeviceMapping, error) {
	l := layout{start: s, parents: image.BlockDeviceMappings, root: aws.ToString(image.RootDeviceName)}
	var all []types.BlockDeviceMapping
	for _, m := range l.parents {
		name := aws.ToString(m.DeviceName)
		if m.Ebs == nil || slices.ContainsFunc(s.devices, func(d recipe.BlockDevice) bool { return d.Name == name }) {
			continue
		}
		own := types.BlockDeviceMapping{DeviceName: m.DeviceName, Ebs: &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true)}}
		if s.diskGiB > 0 && name == l.root {
			if err := large(m, s.diskGiB); err != nil {
				return nil, err
			}
			own = volume(l.root, s.diskGiB)
		}
		all = append(all, own)
	}
	for _, d := range s.devices {
		m, err := l.device(d)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	for _, size := range s.disks {
		name, err := free(all)
		if err != nil {
			return nil, err
		}
		all = append(all, volume(name, size))
	}
	return all, nil
}

// free is a name for one volume more.
func free(taken []types.BlockDeviceMapping) (string, error) {
	for letter := 'f'; letter <= 'p'; letter++ { // of which EC2 advises to name further volumes
		name := "/dev/sd" + string(letter)
		if !slices.ContainsFunc(taken, func(m types.BlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == name }) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%d volumes, and a further disk, are too many", len(taken))
}

func volume(device string, gib int) types.BlockDeviceMapping {
	return types.BlockDeviceMapping{DeviceName: aws.String(device), Ebs: &types.EbsBlockDevice{
		VolumeSize: aws.Int32(int32(gib)), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true),
	}}
}

// misfit is what does not fit the parent image, of which recipes know nothing when they
// are checked.
func misfit(hint, format string, arguments ...any) error {
	return &builder.Error{Fault: builder.Author, Stage: builder.StageLaunch, Reason: fmt.Sprintf(format, arguments...), Hint: hint}
}

// large refuses to make a volume smaller than what is on it.
func large(m types.BlockDeviceMapping, gib int) error {
	if has := aws.ToInt32(m.Ebs.VolumeSize); has > int32(gib) {
		return misfit("a disk can grow and not shrink: raise the recipe's disk size, or leave it out",
			"the parent image's disk %s has %d GiB, the recipe asks for %d", aws.ToString(m.DeviceName), has, gib)
	}
	return nil
}

// volumesRefused are answers to a launch with volumes that EC2 does not give.
var volumesRefused = []string{
	"InvalidBlockDeviceMapping", "InvalidParameterCombination", "InvalidParameterDependency", "InvalidSnapshot.NotFound", "InvalidVolume.Type",
}

// refusedVolumes makes them the author's, whose volumes they are.
func refusedVolumes(s start, err error) error {
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok || len(s.devices) == 0 || !isOne(err, volumesRefused) {
		return err
	}
	return &builder.Error{Fault: builder.Author, Stage: builder.StageLaunch, Err: err,
		Reason: "EC2 does not give the volumes of the recipe: " + clip(answer.ErrorMessage()), Hint: "see blockDeviceMappings of the recipe"}
}

// layout lays a recipe's devices over those of its parent.
type layout struct {
	start
	root    string
	parents []types.BlockDeviceMapping
}

func (l layout) device(d recipe.BlockDevice) (types.BlockDeviceMapping, error) {
	out := types.BlockDeviceMapping{DeviceName: aws.String(d.Name)}
	at := slices.IndexFunc(l.parents, func(m types.BlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == d.Name })
	further := at < 0 || l.parents[at].Ebs == nil
	switch {
	case d.Name == l.root && (d.Volume == nil || d.Volume.Snapshot != ""):
		return out, misfit("give it an ebs without snapshotId, or leave it out", "%s is the root device of the parent image, which can be neither left out nor replaced", d.Name)
	case d.Name == l.root && l.diskGiB > 0:
		return out, misfit("leave out volumeSize of the recipe, and give the device one", "volumeSize and blockDeviceMappings both name the root device %s", d.Name)
	case catalogue.IsRootName(d.Name) && d.Name != l.root:
		return out, misfit("name "+l.root+" for the root, or a device such as /dev/sdf for a further volume", "the root device of the parent image is %s, not %s", l.root, d.Name)
	case d.Removed && at < 0:
		return out, misfit("it has "+l.names()+"; leave the entry out", "the parent image has no device %s that could be left out", d.Name)
	case d.Removed:
		out.NoDevice = aws.String("")
		return out, nil
	case d.Virtual != "":
		out.VirtualName = aws.String(d.Virtual)
		return out, nil
	case further && d.Volume.GiB == 0 && d.Volume.Snapshot == "":
		return out, misfit("give it a volumeSize or a snapshotId, or name a device of the parent: "+l.names(), "the parent image has no volume %s, and it is not said how large it is", d.Name)
	}
	if !further && d.Volume.GiB > 0 && d.Volume.Snapshot == "" {
		if err := large(l.parents[at], d.Volume.GiB); err != nil {
			return out, err
		}
	}
	out.Ebs = ebsOf(*d.Volume)
	if further && out.Ebs.VolumeType == "" {
		out.Ebs.VolumeType = types.VolumeTypeGp3
	}
	return out, nil
}

func (l layout) names() string {
	names := make([]string, len(l.parents))
	for i, m := range l.parents {
		names[i] = aws.ToString(m.DeviceName)
	}
	return strings.Join(names, ", ")
}

// ebsOf is a volume as it is launched: it ends with the build instance in any case.
func ebsOf(v recipe.Volume) *types.EbsBlockDevice {
	e := &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeType(v.Type)}
	number := func(n int) *int32 {
		if n == 0 {
			return nil
		}
		return aws.Int32(int32(n))
	}
	e.VolumeSize, e.Iops, e.Throughput = number(v.GiB), number(v.IOPS), number(v.Throughput)
	if v.Encrypted {
		e.Encrypted = aws.Bool(true)
	}
	if v.KMSKey != "" {
		e.KmsKeyId = aws.String(v.KMSKey)
	}
	if v.Snapshot != "" {
		e.SnapshotId = aws.String(v.Snapshot)
	}
	return e
}

// outliving are the volumes that stay when an instance of the image ends: all that an
// image changes of what the build instance had.
func outliving(devices []recipe.BlockDevice) []types.BlockDeviceMapping {
	var all []types.BlockDeviceMapping
	for _, d := range devices {
		if d.Volume != nil && d.Volume.Outlives {
			all = append(all, types.BlockDeviceMapping{DeviceName: aws.String(d.Name), Ebs: &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(false)}})
		}
	}
	return all
}

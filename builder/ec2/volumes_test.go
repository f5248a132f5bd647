package ec2

import (
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// devicesOf are the devices that a call asks for, by name, as it was on the wire.
func devicesOf(form url.Values) map[string]string {
	all := map[string]string{}
	for key, values := range form {
		number, field, found := strings.Cut(strings.TrimPrefix(key, "BlockDeviceMapping."), ".")
		if found && strings.HasPrefix(key, "BlockDeviceMapping.") && field != "DeviceName" {
			name := form.Get("BlockDeviceMapping." + number + ".DeviceName")
			all[name+" "+field] = values[0]
		}
	}
	return all
}

// TestVolumesOfTheRecipe go from the recipe into the launch, and from there into the image
// and the next launch.
func TestVolumesOfTheRecipe(t *testing.T) {
	c, cfg := idleCloud(t)
	var launched, imaged []map[string]string
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.Before(func(r *ec2test.Request) { launched = append(launched, devicesOf(r.Form)) })})
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateImage", Effect: ec2test.Before(func(r *ec2test.Request) { imaged = append(imaged, devicesOf(r.Form)) })})
	d := newDriver(t, cfg)
	parent, err := d.describeImage(t.Context(), ec2test.Parents[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	root := aws.ToString(parent.RootDeviceName)
	first := imageOf(t, d, builder.LaunchSpec{Build: "b-1", Base: builder.Base{Ref: ec2test.Parents[0].ID}, BlockDevices: []recipe.BlockDevice{
		{Name: root, Volume: &recipe.Volume{GiB: 20, Type: "gp3", IOPS: 4000, Throughput: 200, Encrypted: true, KMSKey: "alias/golden"}},
		{Name: "/dev/sdf", Volume: &recipe.Volume{GiB: 5, Outlives: true}},
		{Name: "/dev/sdg", Volume: &recipe.Volume{GiB: 4, Type: "io2", IOPS: 100}},
		{Name: "/dev/sdh", Virtual: "ephemeral0"},
	}})
	want := map[string]string{
		root + " Ebs.VolumeSize": "20", root + " Ebs.VolumeType": "gp3", root + " Ebs.Iops": "4000", root + " Ebs.Throughput": "200",
		root + " Ebs.Encrypted": "true", root + " Ebs.KmsKeyId": "alias/golden", root + " Ebs.DeleteOnTermination": "true",
		"/dev/sdf Ebs.VolumeSize": "5", "/dev/sdf Ebs.VolumeType": "gp3", "/dev/sdf Ebs.DeleteOnTermination": "true",
		"/dev/sdg Ebs.VolumeSize": "4", "/dev/sdg Ebs.VolumeType": "io2", "/dev/sdg Ebs.Iops": "100", "/dev/sdg Ebs.DeleteOnTermination": "true",
		"/dev/sdh VirtualName": "ephemeral0",
	}
	if !maps.Equal(launched[0], want) {
		t.Errorf("launched with %v,\nwant %v", launched[0], want)
	}
	if !maps.Equal(imaged[0], map[string]string{"/dev/sdf Ebs.DeleteOnTermination": "false"}) {
		t.Errorf("imaged with %v", imaged[0])
	}
	if left := c.Leftovers(t.Context()); len(left.Volumes) > 0 {
		t.Errorf("volumes are left: %v", left)
	}
	image, err := d.describeImage(t.Context(), first.Ref)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]types.EbsBlockDevice{}
	for _, m := range image.BlockDeviceMappings {
		made[aws.ToString(m.DeviceName)] = *m.Ebs
	}
	if len(made) != 3 || !aws.ToBool(made[root].Encrypted) || made["/dev/sdg"].VolumeType != types.VolumeTypeIo2 || aws.ToInt32(made[root].VolumeSize) != 20 || aws.ToBool(made["/dev/sdf"].DeleteOnTermination) || !aws.ToBool(made["/dev/sdg"].DeleteOnTermination) {
		t.Errorf("the image has %d devices: a root of %d GiB (encrypted: %v), and volumes that end: %v, %v", len(made), aws.ToInt32(made[root].VolumeSize), aws.ToBool(made[root].Encrypted),
			aws.ToBool(made["/dev/sdf"].DeleteOnTermination), aws.ToBool(made["/dev/sdg"].DeleteOnTermination))
	}

	t.Log("an image that stands on it leaves one out, and a test gives its disk another name")
	second := imageOf(t, d, builder.LaunchSpec{Build: "b-2", Base: builder.Base{Ref: first.Ref}, BlockDevices: []recipe.BlockDevice{{Name: "/dev/sdg", Removed: true}}})
	if got := launched[1]; got["/dev/sdg NoDevice"] != "" || len(got) != 3 || got["/dev/sdf Ebs.DeleteOnTermination"] != "true" || got[root+" Ebs.DeleteOnTermination"] != "true" {
		t.Errorf("launched with %v", got)
	}
	guest, err := d.Boot(t.Context(), builder.BootSpec{Build: "b-2", Image: second, Disks: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := launched[2]; got["/dev/sdg Ebs.VolumeSize"] != "1" || got["/dev/sdf Ebs.VolumeSize"] != "" || got["/dev/sdf Ebs.DeleteOnTermination"] != "true" {
		t.Errorf("booted with %v", got)
	}
}

func TestVolumesThatDoNotFitTheParent(t *testing.T) {
	image := types.Image{RootDeviceName: aws.String("/dev/xvda"), BlockDeviceMappings: []types.BlockDeviceMapping{
		{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(8)}},
		{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(10)}},
		{DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0")},
	}}
	for name, c := range map[string]struct {
		s    start
		want string
	}{
		"root named twice":     {start{diskGiB: 20, devices: []recipe.BlockDevice{{Name: "/dev/xvda", Volume: &recipe.Volume{GiB: 20}}}}, "both name the root device /dev/xvda"},
		"another root":         {start{devices: []recipe.BlockDevice{{Name: "/dev/sda1", Volume: &recipe.Volume{GiB: 20}}}}, "is /dev/xvda, not /dev/sda1"},
		"root left out":        {start{devices: []recipe.BlockDevice{{Name: "/dev/xvda", Removed: true}}}, "neither left out nor replaced"},
		"root replaced":        {start{devices: []recipe.BlockDevice{{Name: "/dev/xvda", Volume: &recipe.Volume{Snapshot: "snap-1"}}}}, "neither left out nor replaced"},
		"root as storage":      {start{devices: []recipe.BlockDevice{{Name: "/dev/xvda", Virtual: "ephemeral0"}}}, "neither left out nor replaced"},
		"too small":            {start{devices: []recipe.BlockDevice{{Name: "/dev/sdf", Volume: &recipe.Volume{GiB: 9}}}}, "disk /dev/sdf has 10 GiB, the recipe asks for 9"},
		"root too small":       {start{diskGiB: 7}, "disk /dev/xvda has 8 GiB, the recipe asks for 7"},
		"nothing to leave out": {start{devices: []recipe.BlockDevice{{Name: "/dev/sdg", Removed: true}}}, "no device /dev/sdg"},
		"no size for storage":  {start{devices: []recipe.BlockDevice{{Name: "/dev/sdb", Volume: &recipe.Volume{Type: "gp3"}}}}, "how large"},
		"no size":              {start{devices: []recipe.BlockDevice{{Name: "/dev/sdg", Volume: &recipe.Volume{Type: "gp3"}}}}, "how large"},
	} {
		_, err := mappings(c.s, image)
		e, ok := errors.AsType[*builder.Error](err)
		if !ok || e.Fault != builder.Author || e.Hint == "" || !strings.Contains(e.Reason, c.want) {
			t.Errorf("%s: %#v, want %q", name, err, c.want)
		}
	}
	_, err := mappings(start{disks: make([]int, 11)}, image)
	if err == nil {
		t.Error("eleven disks beside /dev/sdf fit into ten names")
	}
}

func TestVolumesThatEC2DoesNotGive(t *testing.T) {
	c, cfg := idleCloud(t)
	d := newDriver(t, cfg)
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.Refuse(400, "InvalidSnapshot.NotFound")})
	for fault, devices := range map[builder.Fault][]recipe.BlockDevice{
		builder.Author: {{Name: "/dev/sdf", Volume: &recipe.Volume{Snapshot: "snap-0"}}}, builder.Internal: nil,
	} {
		_, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "b-1", Base: builder.Base{Ref: ec2test.Parents[0].ID}, BlockDevices: devices})
		e, ok := errors.AsType[*builder.Error](err)
		if !ok || e.Fault != fault || fault == builder.Author && !strings.Contains(e.Reason, "does not give the volumes") {
			t.Errorf("with %v: %#v", devices, err)
		}
	}
}

package ec2test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// nothing is a machine that does all it is told.
func nothing() func(Launch) Machine {
	return Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })
}

func TestAClientTokenLaunchesOnce(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	in := launchInput()
	in.ClientToken = aws.String("token")
	first := a.launch(t, in)
	if again := a.launch(t, in); again != first {
		t.Errorf("launched %s and %s", first, again)
	}
	in.InstanceType = types.InstanceTypeT3Large
	_, err := a.ec2.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentParameterMismatch")
	if l := a.Leftovers(t.Context()); len(l.Instances) != 1 || l.Instances[0].Tags["build"] != "b1" {
		t.Errorf("left: %v", l)
	}
	in.InstanceType = launchInput().InstanceType
	a.Kill(first)
	_, err = a.ec2.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentInstanceTerminated")
	a.Forget(first)
	_, err = a.ec2.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentInstanceTerminated")
	_, err = a.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{first}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestLaunchesThatAreRefused(t *testing.T) {
	a := start(t, Options{})
	for code, change := range map[string]func(*ec2.RunInstancesInput){
		"InvalidAMIID.NotFound":     func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-0123456789abcdef0") },
		"InvalidUserData.Malformed": func(in *ec2.RunInstancesInput) { in.UserData = aws.String("not base64!") },
		"InvalidBlockDeviceMapping": func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(4)}}}
		},
		"InvalidSubnetID.NotFound": func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-0123456789abcdef0") },
		"InvalidGroup.NotFound":    func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-0123456789abcdef0"} },
	} {
		in := launchInput()
		change(in)
		_, err := a.ec2.RunInstances(t.Context(), in)
		wantCode(t, err, code)
	}
	if l := a.Leftovers(t.Context()); l.String() != "" {
		t.Errorf("left: %v", l)
	}
}

func TestAMachineLearnsOfItsLaunch(t *testing.T) {
	seen := make(chan Launch, 1)
	a := start(t, Options{Machine: func(l Launch) Machine { seen <- l; return noMachine{} }})
	in := launchInput()
	in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh")))
	id := a.launch(t, in)
	if l := <-seen; l.Instance != id || l.Image != Parents[0].ID || l.Type != "t3.small" || l.RootGiB != 8 || l.UserData != "#!/bin/sh" || l.Tags["build"] != "b1" {
		t.Errorf("got %+v", l)
	}
}

func TestStatesPass(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: 2})
	id := a.launch(t, launchInput())
	_, err := a.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "IncorrectInstanceState") // it is pending
	for _, want := range []types.InstanceStateName{"pending", "pending", "running", "running"} {
		if got := a.state(t, id); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	out, err := a.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	if err != nil || out.StoppingInstances[0].PreviousState.Name != "running" || out.StoppingInstances[0].CurrentState.Name != "stopping" {
		t.Fatalf("%+v %v", out, err)
	}
	for _, want := range []types.InstanceStateName{"stopping", "stopping"} {
		if got := a.state(t, id); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	until(t, "the stop", func() bool { return a.state(t, id) == "stopped" })

	running := &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"running"}}, {Name: aws.String("tag:build"), Values: []string{"b1"}}}}
	if out, err := a.ec2.DescribeInstances(t.Context(), running); err != nil || len(out.Reservations) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := a.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if got := a.state(t, id); got != "shutting-down" {
		t.Errorf("got %s", got)
	}
	until(t, "the end", func() bool { return a.state(t, id) == "terminated" })
	if l := a.Leftovers(t.Context()); l.String() != "" {
		t.Errorf("left: %v", l)
	}
}

func TestASpotInstanceCannotBeStopped(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: -1})
	in := launchInput()
	in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	id := a.launch(t, in)
	if got := a.state(t, id); got != "running" {
		t.Fatal(got)
	}
	_, err := a.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "UnsupportedOperation")
}

func TestImageOfAnInstance(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	in := launchInput()
	in.BlockDeviceMappings = []types.BlockDeviceMapping{
		{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(20), VolumeType: types.VolumeTypeGp3}},
		{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(5), DeleteOnTermination: aws.Bool(true)}},
	}
	id := a.launch(t, in)
	_, err := a.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("early")})
	wantCode(t, err, "IncorrectState")
	until(t, "the instance", func() bool { return a.state(t, id) == "running" })
	create := &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("mine"), TagSpecifications: []types.TagSpecification{
		{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("of"), Value: aws.String("image")}}},
		{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("of"), Value: aws.String("snapshot")}}},
	}}
	created, err := a.ec2.CreateImage(t.Context(), create)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.ec2.CreateImage(t.Context(), create)
	wantCode(t, err, "InvalidAMIName.Duplicate")

	pending := &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("state"), Values: []string{"pending"}}}}
	out, err := a.ec2.DescribeImages(t.Context(), pending)
	if err != nil || len(out.Images) != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	byID := &ec2.DescribeImagesInput{ImageIds: []string{*created.ImageId}}
	until(t, "the image", func() bool {
		out, err = a.ec2.DescribeImages(t.Context(), byID)
		return err == nil && out.Images[0].State == types.ImageStateAvailable
	})
	img := out.Images[0]
	if *img.RootDeviceName != "/dev/xvda" || img.Architecture != "x86_64" || len(img.BlockDeviceMappings) != 2 || *img.BlockDeviceMappings[0].Ebs.VolumeSize != 20 || *img.BlockDeviceMappings[1].Ebs.VolumeSize != 5 {
		t.Errorf("%+v", img)
	}
	snapshot := *img.BlockDeviceMappings[0].Ebs.SnapshotId
	snapshots, err := a.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil || len(snapshots.Snapshots) != 2 || *snapshots.Snapshots[0].Tags[0].Value != "snapshot" {
		t.Errorf("%+v %v", snapshots, err)
	}
	_, err = a.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot})
	wantCode(t, err, "InvalidSnapshot.InUse")
	if _, err := a.ec2.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: created.ImageId}); err != nil {
		t.Fatal(err)
	}
	_, err = a.ec2.DescribeImages(t.Context(), byID)
	wantCode(t, err, "InvalidAMIID.NotFound")
	if l := a.Leftovers(t.Context()); len(l.Snapshots) != 2 || len(l.Images) != 0 || len(l.With("of", "snapshot").Snapshots) != 2 {
		t.Errorf("left: %v", l)
	}
	if _, err := a.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snapshot}); err != nil {
		t.Error(err)
	}
}

func TestRegisteredImagesAreKept(t *testing.T) {
	a := start(t, Options{Polls: -1})
	volume, err := a.ec2.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(Region + "a"), Size: aws.Int32(3)})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := a.ec2.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	if err != nil {
		t.Fatal(err)
	}
	in := &ec2.RegisterImageInput{
		Name: aws.String("made of blocks"), Architecture: types.ArchitectureValuesArm64, BootMode: types.BootModeValuesUefi, EnaSupport: aws.Bool(true), RootDeviceName: aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"), ImdsSupport: types.ImdsSupportValuesV20,
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}}},
	}
	made, err := a.ec2.RegisterImage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}, Filters: []types.Filter{{Name: aws.String("block-device-mapping.snapshot-id"), Values: []string{*snapshot.SnapshotId}}}})
	if err != nil || len(out.Images) != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	if i := out.Images[0]; i.Architecture != "arm64" || i.BootMode != "uefi" || i.ImdsSupport != "v2.0" || !*i.EnaSupport || *i.BlockDeviceMappings[0].Ebs.VolumeSize != 3 {
		t.Errorf("%+v", i)
	}
	if l := a.Leftovers(t.Context()); len(l.Snapshots) != 0 || len(l.Images) != 1 || len(l.Volumes) != 1 {
		t.Errorf("left: %v", l)
	}
	_, err = a.ec2.RegisterImage(t.Context(), in)
	wantCode(t, err, "InvalidAMIName.Duplicate")
	in.Name, in.RootDeviceName = aws.String("no root"), aws.String("/dev/sda1")
	_, err = a.ec2.RegisterImage(t.Context(), in)
	wantCode(t, err, "InvalidBlockDeviceMapping")
}

func TestNewResourcesAreNotSeenAtOnce(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Unseen: 2, Polls: -1})
	id := a.launch(t, launchInput())
	byID := &ec2.DescribeInstancesInput{InstanceIds: []string{id}}
	byTag := &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:build"), Values: []string{"b1"}}}}
	_, err := a.ec2.DescribeInstances(t.Context(), byID)
	wantCode(t, err, "InvalidInstanceID.NotFound")
	if out, err := a.ec2.DescribeInstances(t.Context(), byTag); err != nil || len(out.Reservations) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	if out, err := a.ec2.DescribeInstances(t.Context(), byTag); err != nil || len(out.Reservations) != 1 {
		t.Errorf("%+v %v", out, err)
	}
	if got := a.state(t, id); got != "running" {
		t.Error(got)
	}
	made, err := a.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("new")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = a.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}})
		wantCode(t, err, "InvalidAMIID.NotFound")
	}
	if _, err = a.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}}); err != nil {
		t.Error(err)
	}
}

func TestInvalidRequestsAreReported(t *testing.T) {
	var said []string
	a := start(t, Options{Invalid: func(err error) { said = append(said, err.Error()) }})
	in := launchInput()
	in.InstanceType = "t3.unheard-of"
	_, err := a.ec2.RunInstances(t.Context(), in)
	wantCode(t, err, "ValidationError")
	if len(said) != 1 || !strings.Contains(said[0], "InstanceType") {
		t.Errorf("said %q", said)
	}
}

func TestKilledInstancesAreTerminated(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: -1})
	id := a.launch(t, launchInput())
	a.online(t, id)
	a.Kill(id)
	out, err := a.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil || out.Reservations[0].Instances[0].State.Name != "terminated" || *out.Reservations[0].Instances[0].StateReason.Code != "Server.InternalError" {
		t.Errorf("%+v %v", out, err)
	}
	if l := a.Leftovers(t.Context()); l.String() != "" || len(a.Instances()) != 0 {
		t.Errorf("left: %v", l)
	}
}

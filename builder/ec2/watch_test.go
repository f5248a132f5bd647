package ec2

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// TestWatchSeesWhatIsPublished: a snapshot and an image are waited for by the driver's
// rounds, whether they carry its tags or not.
func TestWatchSeesWhatIsPublished(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Unseen: 1})
	d := newDriver(t, configOf(t, c, "unused"))
	compute := ec2.NewFromConfig(c.Config())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	volume, err := compute.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(ec2test.Region + "a"), Size: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, tags := range map[string]map[string]string{"tagged": d.ImageTags(), "untagged": nil} {
		snapshot, err := compute.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err != nil {
			t.Fatal(err)
		}
		ami, err := publish.Register(ctx, compute, publish.Image{Name: name, Snapshot: *snapshot.SnapshotId, Tags: tags, Watch: d.Watch()})
		if err != nil || ami.ID == "" || ami.Name != name {
			t.Errorf("%s: %+v, %v", name, ami, err)
		}
	}
}

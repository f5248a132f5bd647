package ec2

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// idleCloud is a cloud in which nothing runs, and a driver there.
func idleCloud(t *testing.T) (*ec2test.Cloud, Config) {
	t.Helper()
	idle := ec2test.Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })
	c := ec2test.Start(t, ec2test.Options{Machine: idle})
	return c, configOf(t, c, "unused")
}

// imageOf makes an AMI of a new instance, as it is.
func imageOf(t *testing.T, d *Driver, spec builder.LaunchSpec) builder.Image {
	t.Helper()
	inst, err := d.Launch(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	i, key := inst.(*instance), "key of "+spec.Build
	if err := errors.Join(i.stop(t.Context()), d.putObject(t.Context(), d.factsOf(i.imageName(key)), []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	ami, err := i.createImage(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	image, err := d.waitImage(t.Context(), ami, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := d.finished(t.Context(), image)
	if err := errors.Join(err, i.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestTagsOfTheRecipe are on the AMI and on its snapshots, beside those of ingot and of
// the operator.
func TestTagsOfTheRecipe(t *testing.T) {
	_, cfg := idleCloud(t)
	cfg.Tags = map[string]string{"CostCenter": "42"}
	d := newDriver(t, cfg)
	img := imageOf(t, d, builder.LaunchSpec{Build: "b-1", Base: builder.Base{Ref: ec2test.Parents[0].ID}, Tags: map[string]string{
		"team": "web", "CostCenter": "0", "Name": "our web", tagOwner: "somebody", tagManaged: "false",
	}})
	carried := func(want map[string]string) {
		t.Helper()
		image, err := d.describeImage(t.Context(), img.Ref)
		if err != nil {
			t.Fatal(err)
		}
		out, err := d.aws.Compute.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: snapshotsOf(image)})
		if err != nil || len(out.Snapshots) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		for key, value := range want {
			if here, there := tagOf(image.Tags, key), tagOf(out.Snapshots[0].Tags, key); here != value || there != value {
				t.Errorf("the tag %s is %q on the image and %q on its snapshot, want %q", key, here, there, value)
			}
		}
	}
	want := map[string]string{"team": "web", "CostCenter": "42", "Name": "our web", tagOwner: "test", tagManaged: "true", tagLedger: "ours", tagBuild: "b-1"}
	carried(want)

	if changed, err := d.Tag(t.Context(), img, map[string]string{"team": "web", "CostCenter": "0", tagOwner: "somebody"}); changed || err != nil {
		t.Errorf("nothing is new, and it changed: %v, %v", changed, err)
	}
	if changed, err := d.Tag(t.Context(), img, map[string]string{"team": "shop", "stage": "live", "CostCenter": "0", tagManaged: "false"}); !changed || err != nil {
		t.Errorf("changed: %v, %v", changed, err)
	}
	want["team"], want["stage"] = "shop", "live"
	carried(want)

	img.Ref = "ami-0aaaaaaaaaaaaaaaa"
	_, err := d.Tag(t.Context(), img, map[string]string{"team": "shop"})
	if e, ok := errors.AsType[*builder.Error](err); !ok || !strings.Contains(e.Error(), img.Ref) {
		t.Errorf("of an image that is gone: %v", err)
	}
}

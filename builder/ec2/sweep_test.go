package ec2

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// launched makes an instance with just these tags, as anybody could.
func launched(t *testing.T, d *Driver, tags map[string]string) string {
	t.Helper()
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(ec2test.Parents[0].ID), InstanceType: types.InstanceTypeT3Small, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance}},
	}
	for key, value := range tags {
		in.TagSpecifications[0].Tags = append(in.TagSpecifications[0].Tags, ec2Tag(key, value))
	}
	out, err := d.aws.Compute.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Instances[0].InstanceId)
}

// TestOnlyLeftoversAreReaped has in one account what is left over, and everything
// that looks like it.
func TestOnlyLeftoversAreReaped(t *testing.T) {
	idle := ec2test.Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })
	c := ec2test.Start(t, ec2test.Options{Machine: idle})
	cfg := configOf(t, c, "unused")
	cfg.pace.grace = time.Nanosecond
	d := newDriver(t, cfg)

	ours := func(more ...string) map[string]string {
		tags := map[string]string{tagManaged: "true", tagOwner: "test", tagBuild: "ended", "name": "x"}
		for n := 0; n < len(more); n += 2 {
			tags[more[n]] = more[n+1]
		}
		return tags
	}
	left := launched(t, d, ours())
	stamp := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	// Its process may have died before the ledger knew that the build had ended.
	expired := launched(t, d, ours(tagBuild, "live", tagKept, stamp(-time.Minute)))
	stay := map[string]string{
		"of a build that goes on": launched(t, d, ours(tagBuild, "live")),
		"kept":                    launched(t, d, ours(tagKept, stamp(time.Hour))),
		"kept by a person":        launched(t, d, ours(tagKept, "for Ada")),
		"another's, and expired":  launched(t, d, ours(tagOwner, "other", tagKept, stamp(-time.Minute))),
		"another daemon's":        launched(t, d, ours(tagOwner, "other")),
		"not managed":             launched(t, d, map[string]string{tagOwner: "test", tagBuild: "ended", "name": "x"}),
		"somebody's":              launched(t, d, map[string]string{"name": "web"}),
	}
	live := func(build string) bool { return build == "live" }
	// An image that was published is complete from the start.
	from := stay["of a build that goes on"]
	waitRunning(t, d, from)
	tags := d.tags("ended", d.ImageTags())
	_, err := d.aws.Compute.CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: aws.String(from), Name: aws.String("published"),
		TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeImage, tags), specification(types.ResourceTypeSnapshot, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	// So is a snapshot of which somebody has made an image of their own.
	_, err = d.aws.Compute.CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: aws.String(from), Name: aws.String("somebody's"), TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeSnapshot, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Leftovers(t.Context(), live)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, l := range found {
		ids[l.ID] = l.Kind + " of " + l.Build
	}
	if len(found) != 2 || ids[left] != "instance of ended" || ids[expired] != "instance of live" {
		t.Fatalf("found %+v, want the instances %s and %s alone", found, left, expired)
	}
	removed, err := d.Reap(t.Context(), found)
	if err != nil || !slices.Equal(removed, found) {
		t.Errorf("removed %+v, %v", removed, err)
	}
	out, err := d.aws.Compute.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]bool{}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			states[aws.ToString(i.InstanceId)] = over(i)
		}
	}
	for what, id := range stay {
		if states[id] {
			t.Errorf("the instance that is %s was removed", what)
		}
	}
	if !states[left] || !states[expired] {
		t.Error("what was left over is there")
	}

	young := newDriver(t, configOf(t, c, "unused"))
	launched(t, d, ours())
	if found, err := young.Leftovers(t.Context(), live); err != nil || len(found) > 0 {
		t.Errorf("what was just made counts as left over: %+v, %v", found, err)
	}
}

// TestWhatIsWantedByNowIsNotReaped has builds mark as wanted what was listed as left
// over: what is not left over any more stays.
func TestWhatIsWantedByNowIsNotReaped(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(idle)})
	cfg := configOf(t, c, "unused")
	cfg.pace.grace = time.Nanosecond
	d := newDriver(t, cfg)
	stamp := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	ours := map[string]string{tagManaged: "true", tagOwner: "test", tagBuild: "ended"}
	kept, left := launched(t, d, ours), launched(t, d, ours)
	ours[tagKept] = stamp(-time.Minute)
	longer := launched(t, d, ours)
	waitRunning(t, d, kept)
	tags := d.tags("ended", nil)
	out, err := d.aws.Compute.CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: aws.String(kept), Name: aws.String("made"), TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeImage, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ami := aws.ToString(out.ImageId)

	all, err := d.Leftovers(t.Context(), func(string) bool { return false })
	if err != nil || len(all) != 4 {
		t.Fatalf("found %+v, %v, want three instances and an image", all, err)
	}
	err = errors.Join(
		d.tag(t.Context(), map[string]string{tagKept: stamp(time.Hour)}, kept, longer),
		d.tag(t.Context(), map[string]string{tagImage: "complete"}, ami),
	)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := d.Reap(t.Context(), all)
	if err != nil || len(removed) != 1 || removed[0].ID != left {
		t.Errorf("removed %+v, %v, want the instance %s alone", removed, err, left)
	}
	still := c.Leftovers(t.Context())
	if len(still.Images) != 1 || len(still.Instances) != 2 {
		t.Errorf("there is %v, want %s, %s and %s", still, kept, longer, ami)
	}
}

// waitRunning waits until an instance runs, and EC2 shows it.
func waitRunning(t *testing.T, d *Driver, id string) {
	t.Helper()
	err := d.states.wait(t.Context(), want{instance: id}, func(v view) (bool, error) {
		i, known := v.instances[id]
		return known && i.State.Name == types.InstanceStateNameRunning, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

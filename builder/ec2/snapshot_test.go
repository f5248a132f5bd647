package ec2

import (
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// TestABuildIsRepeatedAfterItsImageFailed has EC2 fail at an image, which keeps its
// name: the next try of the same build makes another, and leaves nothing of the first.
func TestABuildIsRepeatedAfterItsImageFailed(t *testing.T) {
	k := newKillable(t, false)
	failing := k.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateImage", Times: 1, Effect: ec2test.NoImage()})
	_, err := newMortal(t, k.Cloud, k.cfg).build(t, k.request)
	if failing.Hits() != 1 || builder.FaultOf(err) != builder.Transient || !strings.Contains(err.Error(), "EC2 could not make the image") {
		t.Fatalf("%v, fault %v", err, builder.FaultOf(err))
	}
	before := k.Leftovers(t.Context())
	if len(before.Images) != 1 {
		t.Fatalf("the image that failed is not there: %v", before)
	}
	result, err := newMortal(t, k.Cloud, k.cfg).build(t, k.request)
	if err != nil || !result.Passed() {
		t.Fatalf("the next try: %+v, %v", result, err)
	}
	left := k.Leftovers(t.Context())
	if len(left.Images) != 1 || left.Images[0].ID == before.Images[0].ID || len(left.Instances)+len(left.Volumes)+len(left.Snapshots) > 0 {
		t.Errorf("one new image is wanted, and nothing else: %v", left)
	}
}

// TestAnImageWhoseAnswerGotLostMayNotBeSeenYet: EC2 knows the name already, and it is
// looked for until the image shows, too.
func TestAnImageWhoseAnswerGotLostMayNotBeSeenYet(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(idle), Unseen: 3})
	d := newDriver(t, configOf(t, c, "unused"))
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "7", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
	if err != nil {
		t.Fatal(err)
	}
	i := inst.(*instance)
	waitRunning(t, d, i.id)
	if err := i.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateImage", Times: 1, Effect: ec2test.LoseAnswer()})
	ami, err := i.createImage(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	if images := c.Leftovers(t.Context()).Images; len(images) != 1 || images[0].ID != ami {
		t.Errorf("got %s, and there is %v", ami, images)
	}
}

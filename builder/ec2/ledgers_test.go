package ec2

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// ofLedger is the configuration of another ledger under the same owner.
func ofLedger(cfg Config, ledger string) Config {
	cfg.Ledger = ledger
	return cfg
}

// meet holds the first calls of an operation until two are there.
func meet(t *testing.T, c *ec2test.Cloud, operation string) {
	both := make(chan struct{})
	var mu sync.Mutex
	here := 0
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: operation, Times: 2, Effect: ec2test.Before(func(*ec2test.Request) {
		mu.Lock()
		if here++; here == 2 {
			close(both)
		}
		mu.Unlock()
		select {
		case <-both:
		case <-time.After(30 * time.Second):
			t.Errorf("one of two builds never came to %s", operation)
		}
	})})
}

// TestLedgersOfOneOwnerBuildTheSameAtOnce has two ledgers count a build of the same
// recipe under the same number: at each step both are there, and in the end each has an
// image of its own, with nobody having had the other's instance.
func TestLedgersOfOneOwnerBuildTheSameAtOnce(t *testing.T) {
	c, cfg := promptCloud(t)
	cfg.pace.grace = time.Nanosecond
	ami := ec2test.Parents[0].ID
	request := builder.Request{Build: "7", Tree: treeOf(t), Recipe: &recipe.Recipe{
		Name: "same", Parent: recipe.Parent{Kind: recipe.ParentAMI, Name: ami, Text: ami},
		Components: []recipe.Use{useOf(t, "once", "build", "true")}, Tests: []recipe.Use{useOf(t, "tested", "test", "true")},
		Infrastructure: recipe.Infrastructure{TimeoutMinutes: 5},
	}}
	for _, operation := range []string{"RunInstances", "StopInstances", "CreateImage", "TerminateInstances"} {
		meet(t, c, operation)
	}
	ledgers := []string{"ours", "theirs"}
	results := make([]builder.Result, len(ledgers))
	drivers := make([]*Driver, len(ledgers))
	var building sync.WaitGroup
	for n, ledger := range ledgers {
		drivers[n] = newDriver(t, ofLedger(cfg, ledger))
		building.Go(func() {
			var err error
			if results[n], err = builder.New(drivers[n], forgetful{}).Build(t.Context(), request, func(builder.Event) {}); err != nil || !results[n].Passed() {
				t.Errorf("the build of %s: %+v, %v", ledger, results[n].Tests, err)
			}
		})
	}
	building.Wait()
	if t.Failed() {
		t.FailNow()
	}
	left := c.Leftovers(t.Context())
	made := map[string]string{}
	for _, i := range left.Images {
		made[i.Tags[tagLedger]] = i.ID
	}
	want := map[string]string{"ours": results[0].Image.Ref, "theirs": results[1].Image.Ref}
	if len(left.Images) != 2 || !maps.Equal(made, want) {
		t.Errorf("images by ledger %v, the builds have %v", made, want)
	}
	if left.Images = nil; left.String() != "" {
		t.Errorf("left behind: %v", left)
	}
	if inventories := c.Objects(t.Context(), cfg.Prefix+"images/"); len(inventories) != 2 {
		t.Errorf("the inventories %v are there, want one of each image", inventories)
	}
	launched := slices.DeleteFunc(c.Calls().Of("ec2", "RunInstances"), func(call ec2test.Call) bool { return call.Status != 200 })
	if len(launched) != 4 {
		t.Errorf("%d instances were launched, want two for each build", len(launched))
	}
	for n, d := range drivers {
		if all, err := d.Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(all) > 0 {
			t.Errorf("left over of %s: %+v, %v", ledgers[n], all, err)
		}
		// What is complete serves every ledger of the owner.
		if img, found, err := d.Image(t.Context(), results[n].Keys.Build); err != nil || !found || !slices.Contains(slices.Collect(maps.Values(want)), img.Ref) {
			t.Errorf("of its key %s finds %+v, %v, %v", ledgers[n], img, found, err)
		}
	}
}

// TestWhatAnotherLedgerMadeIsNotTakenUp: neither a running instance, nor an image that is
// being made, of a build with the same number.
func TestWhatAnotherLedgerMadeIsNotTakenUp(t *testing.T) {
	_, cfg := idleCloud(t)
	ours, theirs := newDriver(t, cfg), newDriver(t, ofLedger(cfg, "theirs"))
	launch := func(d *Driver) *instance {
		t.Helper()
		inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "7", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
		if err != nil {
			t.Fatal(err)
		}
		return inst.(*instance)
	}
	first, second := launch(ours), launch(theirs)
	if first.id == second.id || second.adopted {
		t.Fatalf("both builds have the instance %s", first.id)
	}
	if again := launch(ours); again.id != first.id || !again.adopted {
		t.Errorf("its own next life has %s, want %s", again.id, first.id)
	}
	var images []string
	for _, i := range []*instance{first, second} {
		if err := i.stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		ami, err := i.createImage(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, ami)
	}
	if images[0] == images[1] {
		t.Errorf("both builds have the image %s", images[0])
	}
	if img, found, err := ours.Image(t.Context(), "key"); found || err != nil {
		t.Errorf("one that is not complete is found: %+v, %v", img, err)
	}
}

// remains makes an instance, an image, a volume, a snapshot and an import with the tags
// of a driver's build that has ended, and returns their ids.
func remains(t *testing.T, c *ec2test.Cloud, d *Driver, build string) (ids []string) {
	t.Helper()
	client, tags := ec2.NewFromConfig(c.Config()), d.tags(build, nil)
	plain := map[string]string{}
	for _, tag := range tags {
		plain[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	instance := launched(t, d, plain)
	waitRunning(t, d, instance)
	image, err := client.CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: aws.String(instance), Name: aws.String("of " + d.cfg.Ledger), TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeImage, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(ec2test.Region + "a"), Size: aws.Int32(1), TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeVolume, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := client.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{
		VolumeId: volume.VolumeId, TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeSnapshot, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	const disk = "disks/golden.vmdk"
	if err := d.putObject(t.Context(), disk, []byte("KDMV and the rest")); err != nil {
		t.Fatal(err)
	}
	task, err := client.ImportImage(t.Context(), &ec2.ImportImageInput{
		DiskContainers:    []types.ImageDiskContainer{{Format: aws.String("VMDK"), UserBucket: &types.UserBucket{S3Bucket: aws.String(c.Bucket), S3Key: aws.String(disk)}}},
		TagSpecifications: []types.TagSpecification{specification(types.ResourceTypeImportImageTask, tags)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return []string{instance, aws.ToString(image.ImageId), aws.ToString(volume.VolumeId), aws.ToString(snapshot.SnapshotId), aws.ToString(task.ImportTaskId)}
}

// idsOf are those of leftovers of one ledger, in order; others are an error.
func idsOf(t *testing.T, all []Leftover, ledgers ...string) (ids []string) {
	t.Helper()
	for _, l := range all {
		if !slices.Contains(ledgers, l.Ledger) {
			t.Errorf("listed: %+v, which is of none of %q", l, ledgers)
		}
		ids = append(ids, l.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestOnlyItsOwnLedgersLeftoversAreReaped: of each kind of thing there is one of either
// ledger, and one that an older ingot made.
func TestOnlyItsOwnLedgersLeftoversAreReaped(t *testing.T) {
	c, cfg := idleCloud(t)
	c.HoldImports()
	cfg.pace.grace = time.Nanosecond
	ours, theirs, older := newDriver(t, cfg), newDriver(t, ofLedger(cfg, "theirs")), newDriver(t, ofLedger(cfg, ""))
	first, second, third := remains(t, c, ours, "7"), remains(t, c, theirs, "7"), remains(t, c, older, "7")
	sorted := func(ids ...[]string) []string { return slices.Sorted(slices.Values(slices.Concat(ids...))) }
	ended := func(string) bool { return false }

	mine, err := ours.Leftovers(t.Context(), ended)
	if ids := idsOf(t, mine, "ours", ""); err != nil || !slices.Equal(ids, sorted(first, third)) {
		t.Fatalf("left over: %v, %v; want %v", ids, err, sorted(first, third))
	}
	foreign, err := ours.Foreign(t.Context())
	if ids := idsOf(t, foreign, "theirs"); err != nil || !slices.Equal(ids, sorted(second)) {
		t.Fatalf("of other ledgers: %v, %v; want %v", ids, err, sorted(second))
	}
	for _, l := range foreign {
		if !l.Foreign || l.Build != "7" || l.Kind == "instance" && !strings.Contains(l.Why, "not known here") {
			t.Errorf("shown as %+v", l)
		}
	}
	if removed, err := ours.Reap(t.Context(), mine); err != nil || len(removed) != len(mine) {
		t.Errorf("removed %+v, %v", removed, err)
	}
	still, err := theirs.Leftovers(t.Context(), ended)
	if ids := idsOf(t, still, "theirs"); err != nil || !slices.Equal(ids, sorted(second)) {
		t.Errorf("after the reaper of the other ledger there is %v, %v; want %v", ids, err, sorted(second))
	}
	if all, err := older.Leftovers(t.Context(), ended); err != nil || len(all) > 0 {
		t.Errorf("left over without a ledger: %+v, %v", all, err)
	}
	if all, err := theirs.Leftovers(t.Context(), func(string) bool { return true }); err != nil || len(all) > 0 {
		t.Errorf("of a build that goes on: %+v, %v", all, err)
	}
	if removed, err := ours.Reap(t.Context(), foreign); err != nil || len(removed) != len(foreign) {
		t.Errorf("as those of a ledger that is lost, removed %+v, %v", removed, err)
	}
	if left := c.Leftovers(t.Context()); left.String() != "" {
		t.Errorf("left: %v", left)
	}
	if cancelled := c.Calls().Of("ec2", "CancelImportTask"); len(cancelled) != 3 {
		t.Errorf("cancelled imports with %v, want 3", cancelled)
	}
}

// TestKeptInstancesOfLedgersAreToldApart: each ledger sees its own; without one, a number
// that two have given is refused until it is said whose is meant.
func TestKeptInstancesOfLedgersAreToldApart(t *testing.T) {
	c, cfg := idleCloud(t)
	ours, theirs, anyones := newDriver(t, cfg), newDriver(t, ofLedger(cfg, "theirs")), newDriver(t, ofLedger(cfg, ""))
	keep := func(d *Driver, build string) string {
		t.Helper()
		inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: build, Base: builder.Base{Ref: ec2test.Parents[0].ID}})
		if err != nil {
			t.Fatal(err)
		}
		k, err := inst.Retain(t.Context(), builder.Kept{Build: build, Stage: builder.StageBuild, Since: time.Now(), Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return k.Ref
	}
	first, second := keep(ours, "7"), keep(theirs, "7")
	alone := keep(theirs, "8")
	list := func(d *Driver) map[string]string {
		t.Helper()
		all, err := d.Kept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, k := range all {
			found[k.Ref] = k.Ledger
		}
		return found
	}
	if found := list(ours); !maps.Equal(found, map[string]string{first: "ours"}) {
		t.Errorf("a ledger lists %v", found)
	}
	if found := list(anyones); !maps.Equal(found, map[string]string{first: "ours", second: "theirs", alone: "theirs"}) {
		t.Errorf("without a ledger there are %v", found)
	}
	_, executed := anyones.Exec(t.Context(), "7", []string{"true"}, func(component.Event) {})
	for what, err := range map[string]error{"exec": executed, "remove": anyones.Remove(t.Context(), "7")} {
		if err == nil || !strings.Contains(err.Error(), "ours ("+first+"), theirs ("+second+")") || !strings.Contains(err.Error(), "--ledger") {
			t.Errorf("%s on either's: %v", what, err)
		}
	}
	if err := errors.Join(ours.Remove(t.Context(), "7"), anyones.Remove(t.Context(), "8")); err != nil {
		t.Error(err)
	}
	if left := running(t, c); len(left) != 1 || !strings.HasPrefix(left[0], second) {
		t.Errorf("still running: %v, want %s", left, second)
	}
}

// TestLedgersImportTheSameDiskByThemselves: a build that ends its wait ends nothing that
// another ledger's build waits for.
func TestLedgersImportTheSameDiskByThemselves(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV and the rest")
	before := i.resolve(newDriver(t, ofLedger(i.cfg, "")), p)
	for _, ledger := range []string{"ours", "theirs"} {
		if base := i.resolve(newDriver(t, ofLedger(i.cfg, ledger)), p); base != before || i.calls() != 1 {
			t.Errorf("what an older ingot has imported as %+v is not taken by %s: %+v", before, ledger, base)
		}
	}
	i.put("disks/golden.vmdk", "KDMV and something else")
	var both [2]builder.Base
	var importing sync.WaitGroup
	for n, ledger := range []string{"ours", "theirs"} {
		d := newDriver(t, ofLedger(i.cfg, ledger))
		importing.Go(func() {
			var err error
			if both[n], err = d.Resolve(context.WithoutCancel(t.Context()), p, func(string) {}); err != nil {
				t.Error(err)
			}
		})
	}
	importing.Wait()
	late := i.resolve(newDriver(t, ofLedger(i.cfg, "late")), p)
	of := map[string]int{}
	for _, made := range i.imported() {
		of[made.Tags[tagLedger]]++
	}
	if both[0].Ref == both[1].Ref || both[0].Digest != both[1].Digest || !maps.Equal(of, map[string]int{"": 1, "ours": 1, "theirs": 1, "late": 1}) {
		t.Errorf("%+v and %+v, of AMIs by ledger %v", both, late, of)
	}
}

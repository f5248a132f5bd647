package publish_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
)

// ec2Fake is EC2 as far as Register needs it.
type ec2Fake struct {
	progress   []string // of the snapshot: one for each look; after the last it is complete
	never      bool     // it stays where it is
	broken     bool     // it ends in an error
	loseAnswer bool     // of RegisterImage
	late       int      // looks for which a new image is not shown yet

	looks  int
	images []types.Image
	asked  []*ec2.RegisterImageInput
}

func (f *ec2Fake) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	s := types.Snapshot{SnapshotId: aws.String(in.SnapshotIds[0]), State: types.SnapshotStatePending}
	switch {
	case f.looks < len(f.progress):
		s.Progress = aws.String(f.progress[f.looks])
	case f.broken:
		s.State, s.StateMessage = types.SnapshotStateError, aws.String("the key is gone")
	case !f.never:
		s.State = types.SnapshotStateCompleted
	}
	f.looks++
	return &ec2.DescribeSnapshotsOutput{Snapshots: []types.Snapshot{s}}, nil
}

// CreateTags is for uploads, of which it knows none.
func (f *ec2Fake) CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	return nil, &smithy.GenericAPIError{Code: "InvalidSnapshot.NotFound"}
}

func (f *ec2Fake) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	if len(f.images) > 0 && f.late > 0 {
		f.late--
		if len(in.ImageIds) > 0 {
			return nil, &smithy.GenericAPIError{Code: "InvalidAMIID.NotFound"}
		}
		return &ec2.DescribeImagesOutput{}, nil
	}
	var found []types.Image
	for _, i := range f.images {
		if slices.Contains(in.ImageIds, *i.ImageId) || len(in.Filters) > 0 && in.Filters[0].Values[0] == *i.Name {
			found = append(found, i)
		}
	}
	return &ec2.DescribeImagesOutput{Images: found}, nil
}

func (f *ec2Fake) RegisterImage(_ context.Context, in *ec2.RegisterImageInput, _ ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error) {
	f.asked = append(f.asked, in)
	if slices.ContainsFunc(f.images, func(i types.Image) bool { return *i.Name == *in.Name }) {
		return nil, &smithy.GenericAPIError{Code: "InvalidAMIName.Duplicate"}
	}
	id := aws.String(fmt.Sprintf("ami-%08d", len(f.images)))
	f.images = append(f.images, types.Image{
		ImageId: id, Name: in.Name, State: types.ImageStateAvailable,
		BlockDeviceMappings: []types.BlockDeviceMapping{{Ebs: &types.EbsBlockDevice{SnapshotId: in.BlockDeviceMappings[0].Ebs.SnapshotId}}},
	})
	if f.loseAnswer {
		f.loseAnswer = false
		return f.RegisterImage(context.Background(), in) // as the SDK does by itself
	}
	return &ec2.RegisterImageOutput{ImageId: id}, nil
}

func TestRegister(t *testing.T) {
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("%d%%", i/2)
	}
	for name, f := range map[string]*ec2Fake{
		"at once":                      {},
		"a slow snapshot":              {progress: many},
		"lost answer":                  {loseAnswer: true},
		"shown late":                   {late: 3},
		"lost answer, shown late":      {loseAnswer: true, late: 3},
		"a snapshot not yet announced": {progress: []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := publish.Image{Name: "ingot-web-1.2.3-0123", Snapshot: "snap-1", SizeGiB: 4, Tags: map[string]string{publish.TagKey: "0123"}}
				ami, err := publish.Register(t.Context(), f, i)
				if err != nil || ami.ID != "ami-00000000" || len(f.images) != 1 {
					t.Fatalf("%+v (%v), %d images, want one", ami, err, len(f.images))
				}
				want := &ec2.RegisterImageInput{
					Name: aws.String(i.Name), Architecture: "x86_64", VirtualizationType: aws.String("hvm"), BootMode: "uefi-preferred",
					EnaSupport: aws.Bool(true), ImdsSupport: "v2.0", RootDeviceName: aws.String("/dev/xvda"),
					BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{
						SnapshotId: aws.String("snap-1"), VolumeSize: aws.Int32(4), VolumeType: "gp3", DeleteOnTermination: aws.Bool(true),
					}}},
					TagSpecifications: []types.TagSpecification{{ResourceType: "image", Tags: []types.Tag{{Key: aws.String("ingot:key"), Value: aws.String("0123")}}}},
				}
				if !reflect.DeepEqual(f.asked[0], want) {
					t.Errorf("asked for %+v", f.asked[0])
				}
				again, err := publish.Register(t.Context(), f, i)
				if err != nil || again.ID != ami.ID || !again.Reused || len(f.images) != 1 {
					t.Fatalf("again: %+v (%v), %d images", again, err, len(f.images))
				}
			})
		})
	}
}

func TestRegisterGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		fake  *ec2Fake
		whose builder.Fault
		says  string
		after time.Duration
	}{
		"nothing moves":   {&ec2Fake{never: true, progress: []string{"1%", "2%"}}, builder.Transient, "nothing has moved", 31 * time.Minute},
		"it fails":        {&ec2Fake{broken: true}, builder.Transient, "could not complete the snapshot", 0},
		"the name is not": {&ec2Fake{images: []types.Image{{ImageId: aws.String("ami-9"), Name: aws.String("n")}}}, builder.Internal, "ami-9", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ami, err := publish.Register(t.Context(), c.fake, publish.Image{Name: "n", Snapshot: "snap-1"})
				var e *builder.Error
				if !errors.As(err, &e) || e.Fault != c.whose || !strings.Contains(e.Reason, c.says) || e.Hint == "" {
					t.Fatalf("%+v, %v, want the fault %s and %q", ami, err, c.whose, c.says)
				}
				if took := time.Since(start); took > c.after {
					t.Errorf("it took %s to say so", took)
				}
			})
		})
	}
}

func TestImageName(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 4)
	for recipe, want := range map[string]string{
		"web-server":             "ingot-web-server-0123456789abcdef",
		"naïve":                  "ingot-na-ve-0123456789abcdef",
		strings.Repeat("x", 300): "ingot-" + strings.Repeat("x", 105) + "-0123456789abcdef",
	} {
		if got := publish.ImageName(recipe, key); got != want || len(got) > 128 {
			t.Errorf("%s: %s (%d), want %s", recipe, got, len(got), want)
		}
	}
}

// TestFromDiskToImage is the whole way, against moto and what package ec2test adds to
// it, with lost answers.
func TestFromDiskToImage(t *testing.T) {
	cloud := ec2test.Start(t, ec2test.Options{})
	there, err := url.Parse(cloud.URL)
	if err != nil {
		t.Fatal(err)
	}
	lost := []*ec2test.Fault{
		cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RegisterImage", Times: 1, Effect: ec2test.LoseAnswer()}),
		cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "DescribeSnapshots", Times: 1, Effect: ec2test.Throttle()}),
	}
	service := &publishtest.Service{Next: httputil.NewSingleHostReverseProxy(there)}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	w := &world{service: service, url: server.URL, moto: cloud.URL, config: cloud.Config()}
	w.config.BaseEndpoint = aws.String(server.URL)

	path := someDisk(t)
	s, err := w.upload(t, path, publish.Options{Key: "k", Dir: t.TempDir(), Tags: map[string]string{"ingot:build": "b-1"}})
	if err != nil {
		t.Fatal(err)
	}
	w.same(t, s.ID, path)
	compute := ec2.NewFromConfig(cloud.Config())
	i := publish.Image{
		Name: publish.ImageName("web", "0123456789abcdef0123"), Snapshot: s.ID, SizeGiB: s.SizeGiB,
		Tags: map[string]string{publish.TagKey: "k", "ingot:build": "b-1"},
	}
	ami, err := publish.Register(t.Context(), compute, i)
	if err != nil {
		t.Fatal(err)
	}
	again, err := publish.Register(t.Context(), compute, i)
	if err != nil || again.ID != ami.ID || !again.Reused {
		t.Errorf("again: %+v (%v)", again, err)
	}
	for _, f := range lost {
		if f.Hits() != 1 {
			t.Errorf("%s: want one", f)
		}
	}
	out, err := compute.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{i.Name}}}})
	if err != nil || len(out.Images) != 1 || aws.ToString(out.Images[0].ImageId) != ami.ID {
		t.Fatalf("there are %+v (%v), want the one image %s", out, err, ami.ID)
	}
	image := out.Images[0]
	if len(image.BlockDeviceMappings) != 1 || aws.ToString(image.BlockDeviceMappings[0].Ebs.SnapshotId) != s.ID || image.BootMode != types.BootModeValuesUefiPreferred {
		t.Errorf("the image is %+v, want it to boot from %s by either firmware", image, s.ID)
	}
}

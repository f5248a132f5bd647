package catalogue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
)

// region is a fake of one region: the images that exist there and the parameters. It
// is as strict as EC2, and with gullible set it forgets about owners.
type region struct {
	images     []types.Image
	parameters map[string]ssmtypes.Parameter
	gullible   bool
	fail       error
	calls      []string
}

func (r *region) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	r.calls = append(r.calls, "DescribeImages")
	switch {
	case r.fail != nil:
		return nil, r.fail
	case len(in.ImageIds) > 0 && in.MaxResults != nil:
		return nil, &smithy.GenericAPIError{Code: "InvalidParameterCombination", Fault: smithy.FaultClient}
	case len(in.ImageIds) == 0 && len(in.Owners) == 0:
		return nil, errors.New("images were asked for by name alone")
	}
	var found []types.Image
	for _, i := range r.images {
		if r.asked(i, in) {
			found = append(found, i)
		}
	}
	if len(in.ImageIds) > 0 && len(found) == 0 {
		return nil, &smithy.GenericAPIError{Code: "InvalidAMIID.NotFound", Fault: smithy.FaultClient}
	}
	return pageOf(found, in)
}

// pageOf answers two images at a time, as EC2 may answer fewer than it was asked for.
func pageOf(found []types.Image, in *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error) {
	if in.MaxResults == nil {
		return &ec2.DescribeImagesOutput{Images: found}, nil
	}
	var from int
	if in.NextToken != nil {
		if _, err := fmt.Sscan(*in.NextToken, &from); err != nil {
			return nil, err
		}
	}
	out := &ec2.DescribeImagesOutput{Images: found[from:min(from+2, len(found))]}
	if from+2 < len(found) {
		out.NextToken = aws.String(fmt.Sprint(from + 2))
	}
	return out, nil
}

func (r *region) asked(i types.Image, in *ec2.DescribeImagesInput) bool {
	if len(in.ImageIds) > 0 {
		return slices.Contains(in.ImageIds, *i.ImageId)
	}
	if !aws.ToBool(in.IncludeDeprecated) && i.DeprecationTime != nil && *i.DeprecationTime < "2026" {
		return false
	}
	if !r.gullible && !slices.Contains(in.Owners, *i.OwnerId) && !slices.Contains(in.Owners, aws.ToString(i.ImageOwnerAlias)) {
		return false
	}
	values := map[string]string{
		"name": *i.Name, "architecture": string(i.Architecture), "state": string(i.State),
		"root-device-type": string(i.RootDeviceType), "virtualization-type": string(i.VirtualizationType),
	}
	for _, f := range in.Filters {
		value, ok := values[*f.Name]
		if !ok {
			panic("unknown filter " + *f.Name)
		}
		if !slices.ContainsFunc(f.Values, func(pattern string) bool {
			match, err := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(value, "/", "|"))
			return match && err == nil
		}) {
			return false
		}
	}
	return true
}

func (r *region) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	r.calls = append(r.calls, "GetParameter")
	if r.fail != nil {
		return nil, r.fail
	}
	p, ok := r.parameters[*in.Name]
	if !ok {
		return nil, &ssmtypes.ParameterNotFound{}
	}
	return &ssm.GetParameterOutput{Parameter: &p}, nil
}

func (r *region) catalogue() *Catalogue { return &Catalogue{Images: r, Parameters: r} }

// image is an image that is fine but for what the test changes.
func image(n int, owner, name, date string, change ...func(*types.Image)) types.Image {
	i := types.Image{
		ImageId: aws.String(id(n)), OwnerId: &owner, Name: &name, CreationDate: aws.String(date + "T00:00:00.000Z"),
		State: types.ImageStateAvailable, Architecture: types.ArchitectureValuesX8664, RootDeviceType: types.DeviceTypeEbs,
		VirtualizationType: types.VirtualizationTypeHvm, RootDeviceName: aws.String("/dev/xvda"), Public: aws.Bool(true),
		BlockDeviceMappings: []types.BlockDeviceMapping{{
			DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: aws.String("snap-1"), VolumeSize: aws.Int32(8)},
		}},
	}
	for _, c := range change {
		c(&i)
	}
	return i
}

func id(n int) string { return fmt.Sprintf("ami-%017x", n) }

func value(name, text string) map[string]ssmtypes.Parameter {
	return map[string]ssmtypes.Parameter{name: {Name: &name, Value: &text, Type: ssmtypes.ParameterTypeString}}
}

const debian, stranger = "136693071363", "999999999999"

func TestNewestImageOfTheVendor(t *testing.T) {
	r := &region{images: []types.Image{
		image(1, debian, "debian-12-amd64-20260801-1", "2026-08-01"),
		image(2, debian, "debian-12-amd64-20261001-1", "2026-10-01"),
		image(3, debian, "debian-12-amd64-20260901-1", "2026-09-01"),
		image(4, debian, "debian-13-amd64-20261101-1", "2026-11-01"),
		image(5, debian, "debian-12-arm64-20261101-1", "2026-11-01", func(i *types.Image) { i.Architecture = "arm64" }),
		image(6, debian, "debian-12-amd64-20261102-1", "2026-11-02", func(i *types.Image) { i.State = "pending" }),
		image(7, debian, "debian-12-amd64-20261103-1", "2026-11-03", func(i *types.Image) { i.RootDeviceType = "instance-store" }),
		image(8, debian, "debian-12-amd64-20261104-1", "2026-11-04", func(i *types.Image) { i.DeprecationTime = aws.String("2026-11-05T00:00:00.000Z") }),
	}}
	for arch, want := range map[string]int{"": 2, X8664: 2, ARM64: 5} {
		got, err := r.catalogue().Resolve(t.Context(), "debian-12", arch)
		if err != nil || got.ID != id(want) {
			t.Errorf("%q: %+v, %v; want %s", arch, got, err, id(want))
		}
		revision, err := r.catalogue().Revision(t.Context(), "debian-12", arch)
		if err != nil || revision != got.ID {
			t.Errorf("revision %s, %v", revision, err)
		}
	}
	got, _ := r.catalogue().Resolve(t.Context(), "debian-12", "")
	want := Image{
		ID: id(2), Name: "debian-12-amd64-20261001-1", Owner: debian, Title: "Debian 12", Platform: "Linux", Architecture: X8664,
		RootDevice: "/dev/xvda", Volumes: []Volume{{Device: "/dev/xvda", GiB: 8}}, User: "admin", Created: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestVolumesOfAnImage: storage of the instance is none.
func TestVolumesOfAnImage(t *testing.T) {
	r := &region{images: []types.Image{image(1, debian, "golden", "2026-08-01", func(i *types.Image) {
		i.BlockDeviceMappings = append(i.BlockDeviceMappings,
			types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0")},
			types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{
				VolumeSize: aws.Int32(100), VolumeType: types.VolumeTypeGp3, Iops: aws.Int32(4000), Throughput: aws.Int32(250),
			}})
	})}}
	got, err := r.catalogue().Resolve(t.Context(), id(1), "")
	want := []Volume{{Device: "/dev/xvda", GiB: 8}, {Device: "/dev/sdf", GiB: 100, Type: "gp3", IOPS: 4000, Throughput: 250}}
	if err != nil || !slices.Equal(got.Volumes, want) {
		t.Errorf("%+v, %v; want %+v", got.Volumes, err, want)
	}
}

// TestNameIsNoProof: a stranger publishes a newer image with the vendor's name. It is
// not taken, also when EC2 itself were to offer it.
func TestNameIsNoProof(t *testing.T) {
	for _, e := range list() {
		for arch, s := range e.Images {
			for _, gullible := range []bool{false, true} {
				strange := image(66, stranger, "any", "2026-11-21", func(i *types.Image) { i.Architecture = types.ArchitectureValues(arch) })
				strange.ImageOwnerAlias = aws.String("self")
				r := &region{gullible: gullible, parameters: value(s.Parameter, id(66))}
				for _, pattern := range s.Names {
					strange.Name = aws.String(nameOf(pattern))
					r.images = append(r.images, strange)
				}
				if s.Parameter != "" {
					r.images = append(r.images, strange)
				}
				got, err := r.catalogue().Resolve(t.Context(), e.Name, arch)
				if fault(err) != builder.Author || got.ID != "" {
					t.Errorf("%s %s gullible %t: a stranger's image was taken: %+v, %v", e.Name, arch, gullible, got, err)
				}
				if s.Parameter != "" {
					continue
				}
				if revision, err := r.catalogue().Revision(t.Context(), e.Name, arch); err == nil {
					t.Errorf("%s %s: a stranger's image is the revision %s", e.Name, arch, revision)
				}
			}
		}
	}
}

// TestEveryAliasFindsItsVendorsImage shows that the test before could have passed.
func TestEveryAliasFindsItsVendorsImage(t *testing.T) {
	for _, e := range list() {
		for arch, s := range e.Images {
			r := &region{parameters: value(s.Parameter, id(1))}
			name := "any"
			if s.Parameter == "" {
				name = nameOf(s.Names[0])
			}
			r.images = []types.Image{image(1, e.Owners[0], name, "2026-01-01", func(i *types.Image) { i.Architecture = types.ArchitectureValues(arch) })}
			got, err := r.catalogue().Resolve(t.Context(), e.Name, arch)
			if err != nil || got.ID != id(1) || got.Platform != e.Platform || got.Agent != e.Agent || got.Notice != e.Withdrawn {
				t.Errorf("%s %s: %+v, %v", e.Name, arch, got, err)
			}
		}
	}
}

// vendorsNames are names that vendors have given to images, by alias and architecture:
// the first is what the alias stands for, the others are made for somebody else.
// Those of CentOS Stream 10 and of ARM follow their vendors' other names.
var vendorsNames = map[string][]string{
	"ubuntu-16.04 x86_64":    {"ubuntu/images/hvm-ssd/ubuntu-xenial-16.04-amd64-server-20210928", "ubuntu/images/ebs-ssd/ubuntu-xenial-16.04-amd64-server-20200407"},
	"ubuntu-16.04 arm64":     {"ubuntu/images/hvm-ssd/ubuntu-xenial-16.04-arm64-server-20210928"},
	"ubuntu-18.04 x86_64":    {"ubuntu/images/hvm-ssd/ubuntu-bionic-18.04-amd64-server-20221201", "ubuntu-pro-server/images/hvm-ssd/ubuntu-bionic-18.04-amd64-pro-server-20230524"},
	"ubuntu-18.04 arm64":     {"ubuntu/images/hvm-ssd/ubuntu-bionic-18.04-arm64-server-20221201"},
	"ubuntu-20.04 x86_64":    {"ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20221018", "ubuntu-eks/k8s_1.25/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20230707"},
	"ubuntu-20.04 arm64":     {"ubuntu/images/hvm-ssd/ubuntu-focal-20.04-arm64-server-20221018"},
	"ubuntu-22.04 x86_64":    {"ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20240207.1", "ubuntu-minimal/images/hvm-ssd/ubuntu-jammy-22.04-amd64-minimal-20240207"},
	"ubuntu-22.04 arm64":     {"ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20240207.1"},
	"ubuntu-24.04 x86_64":    {"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260904", "ubuntu/images-testing/hvm-ssd-gp3/ubuntu-noble-daily-amd64-server-20260904"},
	"ubuntu-24.04 arm64":     {"ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20260904"},
	"rhel-7 x86_64":          {"RHEL-7.9_HVM-20221027-x86_64-0-Hourly2-GP2", "RHEL-7.9_HVM-20221027-x86_64-0-Access2-GP2"},
	"rhel-8 x86_64":          {"RHEL-8.10.0_HVM-20251002-x86_64-1918-Hourly2-GP3", "RHEL-SAP-8.10.0_HVM-20251002-x86_64-1918-Hourly2-GP3"},
	"rhel-8 arm64":           {"RHEL-8.10.0_HVM-20251002-arm64-1918-Hourly2-GP3"},
	"rhel-9 x86_64":          {"RHEL-9.4.0_HVM-20240605-x86_64-82-Hourly2-GP3", "RHEL-9.4.0_HVM_BETA-20240605-x86_64-82-Hourly2-GP3"},
	"rhel-9 arm64":           {"RHEL-9.4.0_HVM-20240605-arm64-82-Hourly2-GP3"},
	"rhel-10 x86_64":         {"RHEL-10.0.0_HVM-20251030-x86_64-0-Hourly2-GP3", "RHEL-10.0.0_HVM-20251030-x86_64-0-Access2-GP3"},
	"rhel-10 arm64":          {"RHEL-10.0.0_HVM-20251030-arm64-0-Hourly2-GP3"},
	"centos-7 x86_64":        {"CentOS Linux 7 x86_64 - 2211", "CentOS 7.9.2009 x86_64"},
	"centos-7 arm64":         {"CentOS Linux 7 aarch64 - 2211"},
	"centos-8 x86_64":        {"CentOS 8.4.2105 x86_64", "CentOS Stream 8 x86_64 20240311"},
	"centos-8 arm64":         {"CentOS 8.4.2105 aarch64"},
	"centos-stream-8 x86_64": {"CentOS Stream 8 x86_64 20240311", "CentOS Stream 9 x86_64 20240311"},
	"centos-stream-8 arm64":  {"CentOS Stream 8 aarch64 20240311"},
	"centos-stream-9 x86_64": {"CentOS Stream 9 x86_64 20260930", "CentOS Stream 8 x86_64 20240311"},
	"centos-stream-9 arm64":  {"CentOS Stream 9 aarch64 20260930"},

	"centos-stream-10 x86_64": {"CentOS Stream 10 x86_64 20260930", "CentOS Stream 9 x86_64 20260930"},
	"centos-stream-10 arm64":  {"CentOS Stream 10 aarch64 20260930"},
	"sles-12 x86_64":          {"suse-sles-12-sp5-v20240308-hvm-ssd-x86_64", "suse-sles-12-sp5-byos-v20240308-hvm-ssd-x86_64"},
	"sles-15 x86_64":          {"suse-sles-15-sp5-v20230620-hvm-ssd-x86_64", "suse-sles-15-sp5-chost-byos-v20230620-hvm-ssd-x86_64"},
	"sles-15 arm64":           {"suse-sles-15-sp5-v20230620-hvm-ssd-arm64"},
	"debian-11 x86_64":        {"debian-11-amd64-20260821-2577", "debian-11-backports-amd64-20260821-2577"},
	"debian-11 arm64":         {"debian-11-arm64-20260821-2577"},
	"debian-12 x86_64":        {"debian-12-amd64-20231013-1532", "debian-12-backports-amd64-20231013-1532"},
	"debian-12 arm64":         {"debian-12-arm64-20231013-1532"},
	"debian-13 x86_64":        {"debian-13-amd64-20260914-2601", "debian-13-backports-amd64-20260914-2601"},
	"debian-13 arm64":         {"debian-13-arm64-20260914-2601"},
}

// vendorsParameters are the names of public parameters, letter by letter, below
// /aws/service/.
var vendorsParameters = map[string]string{
	"amazon-linux-2 x86_64":    "ami-amazon-linux-latest/amzn2-ami-kernel-5.10-hvm-x86_64-gp2",
	"amazon-linux-2 arm64":     "ami-amazon-linux-latest/amzn2-ami-kernel-5.10-hvm-arm64-gp2",
	"amazon-linux-2023 x86_64": "ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
	"amazon-linux-2023 arm64":  "ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
	"windows-2012-r2 x86_64":   "ami-windows-latest/Windows_Server-2012-R2_RTM-English-64Bit-Base",
	"windows-2016 x86_64":      "ami-windows-latest/Windows_Server-2016-English-Full-Base",
	"windows-2019 x86_64":      "ami-windows-latest/Windows_Server-2019-English-Full-Base",
	"windows-2022 x86_64":      "ami-windows-latest/Windows_Server-2022-English-Full-Base",
	"windows-2025 x86_64":      "ami-windows-latest/Windows_Server-2025-English-Full-Base",
}

// TestAliasesMeanWhatVendorsPublish holds the list against names that are not derived
// from it: a pattern with a slip in it finds nothing here.
func TestAliasesMeanWhatVendorsPublish(t *testing.T) {
	left := map[string]bool{}
	for key := range vendorsNames {
		left[key] = true
	}
	for key := range vendorsParameters {
		left[key] = true
	}
	for _, e := range list() {
		for arch, s := range e.Images {
			key := e.Name + " " + string(arch)
			delete(left, key)
			if s.Parameter != "" || vendorsParameters[key] != "" {
				if s.Parameter != "/aws/service/"+vendorsParameters[key] {
					t.Errorf("%s: the parameter is %s", key, s.Parameter)
				}
				continue
			}
			r := &region{}
			for n, name := range vendorsNames[key] {
				// What is not meant is newer.
				r.images = append(r.images, image(n+1, e.Owners[0], name, fmt.Sprintf("2026-01-%02d", n+1), func(i *types.Image) { i.Architecture = types.ArchitectureValues(arch) }))
			}
			if got, err := r.catalogue().Resolve(t.Context(), e.Name, arch); err != nil || got.ID != id(1) {
				t.Errorf("%s: %+v, %v; want %q", key, got, err, vendorsNames[key])
			}
		}
	}
	for key := range left {
		t.Errorf("%s is not in the list", key)
	}
}

// nameOf is a name that fits a pattern.
func nameOf(pattern string) string {
	return strings.NewReplacer("*", "9.0", "?", "7").Replace(pattern)
}

func TestMinorReleaseGoesBeforeDate(t *testing.T) {
	const redHat, suse = "309956199498", "013907871322"
	r := &region{images: []types.Image{
		image(1, redHat, "RHEL-9.4.0_HVM-20261101-x86_64-1-Hourly2-GP3", "2026-11-01"),
		image(2, redHat, "RHEL-9.10.0_HVM-20260901-x86_64-1-Hourly2-GP3", "2026-09-01"),
		image(3, redHat, "RHEL-9.10.0_HVM-20260801-x86_64-1-Hourly2-GP3", "2026-08-01"),
		image(4, redHat, "RHEL-9.11.0_HVM_BETA-20261102-x86_64-1-Hourly2-GP3", "2026-11-02"),
		image(5, redHat, "RHEL-9.10.0_HVM-20261103-x86_64-1-Access2-GP3", "2026-11-03"),
		image(6, suse, "suse-sles-15-sp6-v20261101-hvm-ssd-x86_64", "2026-11-01"),
		image(7, suse, "suse-sles-15-sp7-v20260901-hvm-ssd-x86_64", "2026-09-01"),
		image(8, suse, "suse-sles-15-sp7-byos-v20261101-hvm-ssd-x86_64", "2026-11-01"),
		image(9, suse, "suse-sles-15-sp7-v20261101-ecs-hvm-ssd-x86_64", "2026-11-01"),
	}}
	for name, want := range map[string]int{"rhel-9": 2, "sles-15": 7} {
		if got, err := r.catalogue().Revision(t.Context(), name, X8664); err != nil || got != id(want) {
			t.Errorf("%s: %s, %v; want %s", name, got, err, id(want))
		}
	}
}

// TestWithdrawnAliasesLeadToWhatIsLeft: of a system that its vendor has given up, the
// newest image is taken, though it is deprecated, and its users are told. It is the
// vendor's; and of a system that is current, no deprecated image is ever taken.
func TestWithdrawnAliasesLeadToWhatIsLeft(t *testing.T) {
	old := func(i *types.Image) { i.DeprecationTime = aws.String("2025-01-01T00:00:00.000Z") }
	for _, e := range list() {
		for arch, s := range e.Images {
			if s.Parameter != "" {
				continue // as long as it is there, it holds an image that is offered
			}
			of := func(n int, owner, date string, change ...func(*types.Image)) types.Image {
				change = append(change, func(i *types.Image) { i.Architecture = types.ArchitectureValues(arch) })
				return image(n, owner, nameOf(s.Names[0]), date, change...)
			}
			r := &region{gullible: true, images: []types.Image{
				of(1, e.Owners[0], "2022-01-01", old), of(2, e.Owners[0], "2023-01-01", old), of(3, stranger, "2024-01-01", old), of(4, stranger, "2024-01-01"),
			}}
			got, err := r.catalogue().Resolve(t.Context(), e.Name, arch)
			if e.Withdrawn == "" {
				if fault(err) != builder.Author {
					t.Errorf("%s is current and led to %+v, %v", e.Name, got, err)
				}
				continue
			}
			if notice := e.Withdrawn + "; its owner has deprecated the image " + id(2); err != nil || got.ID != id(2) || got.Notice != notice {
				t.Errorf("%s %s: %+v, %v", e.Name, arch, got, err)
			}
			r.images = append(r.images, of(5, e.Owners[0], "2021-01-01"))
			if revision, err := r.catalogue().Revision(t.Context(), e.Name, arch); err != nil || revision != id(5) {
				t.Errorf("%s %s: what is not deprecated goes first: %s, %v", e.Name, arch, revision, err)
			}
		}
	}
}

func TestImagesByIDAndParameter(t *testing.T) {
	r := &region{
		images: []types.Image{
			image(1, stranger, "ours", "2026-01-01"),
			image(2, stranger, "old", "2026-01-01", func(i *types.Image) { i.DeprecationTime = aws.String("2026-02-01T00:00:00.000Z") }),
			image(3, stranger, "win", "2026-01-01", func(i *types.Image) {
				i.Platform = types.PlatformValuesWindows
				i.Description = aws.String("Golden\x1b[31m")
			}),
		},
		parameters: value("/golden/web", id(1)),
	}
	r.parameters["arn:aws:ssm:eu-west-1:123456789012:parameter/shared"] = r.parameters["/golden/web"]
	for text, want := range map[string]Image{
		id(1):             {ID: id(1), Title: "ours", Platform: "Linux"},
		"ssm:/golden/web": {ID: id(1), Title: "ours", Platform: "Linux"},
		"arn:aws:ssm:eu-west-1:123456789012:parameter/shared": {ID: id(1), Title: "ours", Platform: "Linux"},
		"arn:aws:ec2:eu-west-1:123456789012:image/" + id(1):   {ID: id(1), Title: "ours", Platform: "Linux"},
		id(2): {ID: id(2), Title: "old", Platform: "Linux", Notice: "its owner has deprecated the image " + id(2)},
		id(3): {ID: id(3), Title: "Golden[31m", Platform: "Windows"},
	} {
		got, err := r.catalogue().Resolve(t.Context(), text, "")
		if err != nil || got.ID != want.ID || got.Title != want.Title || got.Platform != want.Platform || got.Notice != want.Notice {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if revision, err := r.catalogue().Revision(t.Context(), text, ""); err != nil || revision != want.ID {
			t.Errorf("%s: revision %s, %v", text, revision, err)
		}
	}
}

// TestRevisionIsCheap: dependency updates are looked for often.
func TestRevisionIsCheap(t *testing.T) {
	r := &region{
		images:     []types.Image{image(1, debian, "debian-12-amd64-1", "2026-01-01")},
		parameters: value("/golden/web", id(1)),
	}
	for _, p := range list() {
		for _, s := range p.Images {
			if s.Parameter != "" {
				r.parameters[s.Parameter] = r.parameters["/golden/web"]
			}
		}
	}
	for text, want := range map[string]string{
		id(1): "", "ssm:/golden/web": "GetParameter", "amazon-linux-2023": "GetParameter", "debian-12": "DescribeImages",
	} {
		r.calls = nil
		if _, err := r.catalogue().Revision(t.Context(), text, ""); err != nil || strings.Join(r.calls, " ") != want {
			t.Errorf("%s: %v, %v", text, r.calls, err)
		}
	}
}

func TestWhoHasToAct(t *testing.T) {
	r := &region{images: []types.Image{image(1, debian, "debian-12-amd64-1", "2026-01-01")}, parameters: value("/text", "hello")}
	secret := r.parameters["/text"]
	secret.Value, secret.Type = aws.String(id(1)), ssmtypes.ParameterTypeSecureString
	r.parameters["/secret"] = secret
	for _, c := range []struct {
		text, arch string
		fail       error
		fault      builder.Fault
		says       string
	}{
		{text: "debian12", fault: builder.Author, says: `did you mean "debian-12"?`},
		{text: "solaris", fault: builder.Author, says: "one of amazon-linux-2, amazon-linux-2023"},
		{text: "windows-2022", arch: ARM64, fault: builder.Author, says: "no image of Windows Server 2022 for arm64"},
		{text: id(9), fault: builder.Author, says: "does not exist in this region"},
		{text: id(1), arch: ARM64, fault: builder.Author, says: "it is for x86_64, the instance type for arm64"},
		{text: "ssm:/missing", fault: builder.Author, says: "the parameter /missing does not exist"},
		{text: "ssm:/text", fault: builder.Author, says: "does not hold the id of an AMI"},
		{text: "ssm:/secret", fault: builder.Author, says: "does not hold the id of an AMI"},
		{text: "centos-7", fault: builder.Author, says: "CentOS Linux 7 ended on 2024-06-30"},
		{text: "amazon-linux-2", fault: builder.Author, says: "support of Amazon Linux 2 ended on 2026-06-30"},
		{text: "windows-2012-r2", fault: builder.Author, says: "AWS publishes no images of it any more"},
		{text: "debian-12", fail: errors.New("connection refused"), fault: builder.Transient},
		{text: "debian-12", fail: &smithy.GenericAPIError{Code: "RequestLimitExceeded", Fault: smithy.FaultClient}, fault: builder.Transient},
		{text: "debian-12", fail: &smithy.GenericAPIError{Code: "InternalError", Fault: smithy.FaultServer}, fault: builder.Transient},
		{text: "debian-12", fail: &smithy.GenericAPIError{Code: "UnauthorizedOperation", Fault: smithy.FaultClient, Message: "account 1"}, fault: builder.Internal},
	} {
		r.fail = c.fail
		_, err := r.catalogue().Resolve(t.Context(), c.text, c.arch)
		var e *builder.Error
		if !errors.As(err, &e) || e.Fault != c.fault || e.Stage != builder.StageResolve || !strings.Contains(e.Reason+"; "+e.Hint, c.says) {
			t.Errorf("%s %v: %v", c.text, c.fail, err)
		}
		if c.fail != nil && (e.Err == nil || strings.Contains(e.Reason, "account 1")) {
			t.Errorf("%s: what AWS says is for the operator: %+v", c.text, e)
		}
	}
	r.fail = context.Canceled
	if _, err := r.catalogue().Resolve(t.Context(), "debian-12", ""); !errors.Is(err, context.Canceled) || fault(err) != builder.Internal {
		t.Errorf("a build that is stopped: %v", err)
	}
}

func fault(err error) builder.Fault {
	if err == nil {
		return -1
	}
	return builder.FaultOf(err)
}

// TestListIsComplete holds the list to what it promises.
func TestListIsComplete(t *testing.T) {
	account := regexp.MustCompile(`^[0-9]{12}$`)
	var names []string
	for _, e := range list() {
		names = append(names, e.Name)
		if e.Platform != "Linux" && e.Platform != "Windows" {
			t.Errorf("%s is of platform %q", e.Name, e.Platform)
		}
		for _, owner := range e.Owners {
			if owner != "amazon" && !account.MatchString(owner) {
				t.Errorf("%s: %q is not an account", e.Name, owner)
			}
		}
		if _, err := regexp.Compile(e.Newest); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		for arch, s := range e.Images {
			if arch != X8664 && arch != ARM64 {
				t.Errorf("%s has images of %q", e.Name, arch)
			}
			if s.Parameter != "" && !strings.HasPrefix(s.Parameter, "/aws/service/") {
				t.Errorf("%s: anyone with an account can write %s", e.Name, s.Parameter)
			}
			if s.Parameter == "" && slices.Contains(e.Owners, "amazon") {
				t.Errorf("%s: amazon stands for many vendors, which only a parameter tells apart", e.Name)
			}
			for _, name := range s.Names {
				if _, err := path.Match(name, ""); err != nil || len(strings.TrimLeft(name, "*?")) != len(name) {
					t.Errorf("%s: pattern %q", e.Name, name)
				}
			}
		}
	}
	want := strings.Fields(`amazon-linux-2 amazon-linux-2023 centos-7 centos-8 centos-stream-10 centos-stream-8 centos-stream-9
		debian-11 debian-12 debian-13 rhel-10 rhel-7 rhel-8 rhel-9 sles-12 sles-15 ubuntu-16.04 ubuntu-18.04 ubuntu-20.04
		ubuntu-22.04 ubuntu-24.04 windows-2012-r2 windows-2016 windows-2019 windows-2022 windows-2025`)
	if !slices.Equal(names, want) {
		t.Errorf("the list holds %v", names)
	}
}

func TestArchitectureOfInstanceTypes(t *testing.T) {
	for name, want := range map[string]string{
		"t3.medium": X8664, "m7i.large": X8664, "c6a.large": X8664, "g4dn.xlarge": X8664, "g5.xlarge": X8664, "p4d.24xlarge": X8664, "u-6tb1.metal": X8664,
		"t4g.small": ARM64, "m7g.large": ARM64, "c7gn.large": ARM64, "m6gd.metal": ARM64, "x2gd.large": ARM64, "im4gn.large": ARM64, "is4gen.large": ARM64, "g5g.xlarge": ARM64, "a1.large": ARM64,
	} {
		if got := ArchitectureOf(name); got != want {
			t.Errorf("%s is for %s", name, cmp.Or(got, "nothing"))
		}
	}
}

func TestBrokenListIsRefused(t *testing.T) {
	for _, text := range []string{
		"aliases: []\nmore: 1\n",
		"aliases: [{name: a}]\n",
		"aliases: [{name: a, title: A, platform: Linux, owners: [amazon], user: u, rootDevice: /dev/sda, agent: true, images: {x86_64: {}}}]\n",
	} {
		if _, err := read([]byte(text)); err == nil {
			t.Errorf("accepted:\n%s", text)
		}
	}
}

// TestListIsDocumented finds every alias on the page, where a user is told of those
// that were withdrawn.
func TestListIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	current, withdrawn, ok := strings.Cut(string(text), "have withdrawn them")
	if !ok {
		t.Fatal("the page does not tell which are withdrawn")
	}
	for _, a := range Aliases() {
		where := current
		if a.Notice != "" {
			where = withdrawn
		}
		if !strings.Contains(where, "`"+a.Name+"`") {
			t.Errorf("%s is not where it belongs on the page", a.Name)
		}
	}
}

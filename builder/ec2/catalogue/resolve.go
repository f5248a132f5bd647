package catalogue

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Images is what is asked of EC2; *ec2.Client has it.
type Images interface {
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
}

// Parameters is what is asked of Systems Manager; *ssm.Client has it.
type Parameters interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// Catalogue finds images of one region, with one account's permissions.
type Catalogue struct {
	Images     Images
	Parameters Parameters
}

// Image is a parent that instances can be launched from.
type Image struct {
	ID           string // ami-…
	Name         string // as its owner named it
	Owner        string // account
	Title        string // of the alias, or the image's own description
	Platform     string // Linux or Windows
	Architecture string
	RootDevice   string
	Volumes      []Volume // that its instances have, the root among them
	User         string   // that people log in as; empty where it is not known
	Agent        bool     // the Systems Manager agent is known to be part of it
	Created      time.Time
	Notice       string // why it should no longer be used, or empty
}

// Volume is one of EBS that an image gives its instances. What EC2 does not say of it is
// zero.
type Volume struct {
	Device           string // /dev/xvda
	GiB              int
	Type             string // gp3
	IOPS, Throughput int    // per second, MiB/s
}

// Limits of what an answer may hold.
const (
	pageSize = 500
	maxPages = 20
	maxText  = 512 // of a text that others chose and we repeat
)

var (
	amiID    = regexp.MustCompile(`^ami-[0-9a-f]{8}([0-9a-f]{9})?$`)
	imageARN = regexp.MustCompile(`^arn:aws[a-z-]*:ec2:[a-z0-9-]*:[0-9]*:image/(ami-[0-9a-f]+)$`)
	paramARN = regexp.MustCompile(`^arn:aws[a-z-]*:ssm:[a-z0-9-]+:[0-9]{12}:parameter/.+$`)
)

// Revision names what a parent stands for right now: the id of an AMI, for the price
// of one request, or of none where the id is given. Two equal revisions mean that
// nothing moved. An empty arch stands for x86_64 with aliases, and for any otherwise.
func (c *Catalogue) Revision(ctx context.Context, text, arch string) (string, error) {
	q, err := parse(text, arch)
	if err != nil {
		return "", err
	}
	switch {
	case q.id != "":
		return q.id, nil
	case q.parameter != "":
		return c.parameter(ctx, q)
	}
	image, err := c.newest(ctx, q)
	return aws.ToString(image.ImageId), err
}

// Resolve finds the AMI that a parent stands for right now, and makes sure that it is
// what it should be: available, of that architecture and, of an alias, its vendor's.
// Its id is the revision. Errors are *builder.Error.
func (c *Catalogue) Resolve(ctx context.Context, text, arch string) (Image, error) {
	q, err := parse(text, arch)
	if err != nil {
		return Image{}, err
	}
	if q.names != nil {
		found, err := c.newest(ctx, q)
		if err != nil {
			return Image{}, err
		}
		return describe(found, q), nil
	}
	if q.parameter != "" {
		if q.id, err = c.parameter(ctx, q); err != nil {
			return Image{}, err
		}
	}
	found, err := c.image(ctx, q)
	if err != nil {
		return Image{}, err
	}
	return describe(found, q), nil
}

// question is a parent as it was written, taken apart. One of id, parameter and
// names is set; alias is set for aliases.
type question struct {
	text      string
	alias     *entry
	arch      string
	id        string
	parameter string
	names     []string
}

func parse(text, arch string) (question, error) {
	q := question{text: text, arch: arch}
	switch {
	case amiID.MatchString(text):
		q.id = text
	case imageARN.MatchString(text):
		q.id = imageARN.FindStringSubmatch(text)[1]
		if !amiID.MatchString(q.id) {
			return q, authors("%s is not the ARN of an AMI", "expected ami- and 8 or 17 hexadecimal digits", shorten(text))
		}
	case strings.HasPrefix(text, "ssm:"):
		q.parameter = strings.TrimPrefix(text, "ssm:")
	case paramARN.MatchString(text):
		q.parameter = text
	default:
		return parseAlias(q)
	}
	return q, nil
}

func parseAlias(q question) (question, error) {
	e, ok := find(q.text)
	if !ok {
		return q, authors("there is no parent image %q", unknownHint(q.text), shorten(q.text))
	}
	if q.arch == "" {
		q.arch = X8664
	}
	s, ok := e.Images[q.arch]
	if !ok {
		return q, authors("there is no image of %s for %s", "name another parent image; the architecture is that of the daemon's aws.instanceTypes", e.Title, shorten(q.arch))
	}
	q.alias, q.parameter, q.names = &e, s.Parameter, s.Names
	return q, nil
}

func unknownHint(text string) string {
	var names []string
	for _, e := range list() {
		names = append(names, e.Name)
	}
	if near := yamldoc.Suggest(text, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "name an AMI by its id, a parameter (ssm:/…), or one of " + strings.Join(names, ", ")
}

// parameter reads the id of an AMI.
func (c *Catalogue) parameter(ctx context.Context, q question) (string, error) {
	out, err := c.Parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(q.parameter)})
	if err != nil {
		return "", q.failed("read the parameter "+q.parameter, err)
	}
	p := out.Parameter
	if p == nil || p.Type == ssmtypes.ParameterTypeSecureString || !amiID.MatchString(aws.ToString(p.Value)) {
		return "", authors("the parameter %s does not hold the id of an AMI", "set it to ami-…, as a String of data type aws:ec2:image", shorten(q.parameter))
	}
	return *p.Value, nil
}

// image describes one AMI by its id.
func (c *Catalogue) image(ctx context.Context, q question) (types.Image, error) {
	out, err := c.Images.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{q.id}, IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		return types.Image{}, q.failed("describe "+q.id, err)
	}
	i := slices.IndexFunc(out.Images, func(i types.Image) bool { return aws.ToString(i.ImageId) == q.id })
	if i < 0 {
		return types.Image{}, authors("the image %s does not exist in this region, or is not shared with this account", "name an image that the account can launch there", q.id)
	}
	found := out.Images[i]
	if why := q.unfit(found); why != "" {
		return types.Image{}, authors("%s (%s) cannot be the parent image: %s", "name another image", shorten(q.text), q.id, why)
	}
	return found, nil
}

// newest asks for all images of an alias and picks one.
func (c *Catalogue) newest(ctx context.Context, q question) (types.Image, error) {
	var best types.Image
	pages := ec2.NewDescribeImagesPaginator(c.Images, &ec2.DescribeImagesInput{
		Owners:            q.alias.Owners,
		MaxResults:        aws.Int32(pageSize),
		IncludeDeprecated: aws.Bool(!q.current()),
		Filters: []types.Filter{
			{Name: aws.String("name"), Values: q.names},
			{Name: aws.String("architecture"), Values: []string{q.arch}},
			{Name: aws.String("state"), Values: []string{string(types.ImageStateAvailable)}},
			{Name: aws.String("root-device-type"), Values: []string{string(types.DeviceTypeEbs)}},
			{Name: aws.String("virtualization-type"), Values: []string{string(types.VirtualizationTypeHvm)}},
		},
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return types.Image{}, q.failed("look for images of "+q.alias.Title, err)
		}
		for _, i := range page.Images {
			if q.unfit(i) == "" && q.fits(i) && (best.ImageId == nil || q.compare(i, best) > 0) {
				best = i
			}
		}
	}
	if best.ImageId == nil {
		return types.Image{}, q.nothing()
	}
	return best, nil
}

func (q question) nothing() error {
	hint := "choose another region, or name an image by its id"
	if q.alias.Withdrawn != "" {
		hint = q.alias.Withdrawn + "; name an image of your own by its id"
	}
	return authors("no current image of %s for %s is offered in this region", hint, q.alias.Title, q.arch)
}

// current reports whether a deprecated image is none: it may be one that somebody named
// by its id, and one of an alias whose images all are or will be. AWS deprecates what
// is public after two years; it can be launched as long as its owner leaves it there.
func (q question) current() bool { return q.alias != nil && q.alias.Withdrawn == "" }

// unfit tells why an image cannot be used, whatever EC2 was asked for; empty: it can.
func (q question) unfit(i types.Image) string {
	switch {
	case !amiID.MatchString(aws.ToString(i.ImageId)):
		return "it has no id"
	case q.alias != nil && !owned(i, q.alias.Owners):
		return "it belongs to account " + shorten(aws.ToString(i.OwnerId)) + ", not to the vendor"
	case i.State != types.ImageStateAvailable:
		return "it is " + shorten(string(i.State))
	case i.RootDeviceType != types.DeviceTypeEbs:
		return "its root is not a volume of EBS"
	case q.arch != "" && string(i.Architecture) != q.arch:
		return "it is for " + shorten(string(i.Architecture)) + ", the instance type for " + q.arch
	case q.current() && deprecated(i, time.Now()):
		return "its owner has deprecated it"
	}
	return ""
}

// owned is the check against images that are named like somebody else's: the account
// is what nobody can choose.
func owned(i types.Image, owners []string) bool {
	return slices.ContainsFunc(owners, func(owner string) bool {
		if owner == "amazon" {
			return aws.ToString(i.ImageOwnerAlias) == owner // given by AWS, not by the owner
		}
		return aws.ToString(i.OwnerId) == owner
	})
}

func deprecated(i types.Image, now time.Time) bool {
	since, err := time.Parse(time.RFC3339, aws.ToString(i.DeprecationTime))
	return err == nil && !since.After(now)
}

// fits reports whether an image has one of the names that were asked for.
func (q question) fits(i types.Image) bool {
	name := strings.ReplaceAll(aws.ToString(i.Name), "/", "\x00") // to path.Match, a slash is special
	return slices.ContainsFunc(q.names, func(pattern string) bool {
		ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), name)
		return ok && err == nil
	})
}

// compare orders images of one alias: what is deprecated goes last, then by the numbers
// in the name that count, then by date, then by something that is always the same.
func (q question) compare(a, b types.Image) int {
	now := time.Now()
	if old := deprecated(a, now); old != deprecated(b, now) {
		if old {
			return -1
		}
		return 1
	}
	return cmp.Or(
		slices.Compare(q.release(a), q.release(b)),
		created(a).Compare(created(b)),
		strings.Compare(aws.ToString(a.ImageId), aws.ToString(b.ImageId)),
	)
}

func (q question) release(i types.Image) []int {
	if q.alias.Newest == "" {
		return nil
	}
	var numbers []int
	match := regexp.MustCompile(q.alias.Newest).FindStringSubmatch(aws.ToString(i.Name))
	for k := 1; k < len(match); k++ {
		n, err := strconv.Atoi(match[k])
		if err != nil {
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func created(i types.Image) time.Time {
	t, err := time.Parse(time.RFC3339, aws.ToString(i.CreationDate))
	if err != nil {
		return time.Time{}
	}
	return t
}

// IsWindows tells what EC2 says of an image's or an instance's platform: "windows",
// though the SDK's constant has another case, or nothing.
func IsWindows(p types.PlatformValues) bool {
	return strings.EqualFold(string(p), string(types.PlatformValuesWindows))
}

// describe puts EC2's words into ours.
func describe(i types.Image, q question) Image {
	image := Image{
		ID: aws.ToString(i.ImageId), Name: shorten(aws.ToString(i.Name)), Owner: shorten(aws.ToString(i.OwnerId)),
		Title: shorten(cmp.Or(aws.ToString(i.Description), aws.ToString(i.Name))), Platform: "Linux",
		Architecture: string(i.Architecture), RootDevice: shorten(aws.ToString(i.RootDeviceName)), Created: created(i),
	}
	if IsWindows(i.Platform) {
		image.Platform = "Windows"
	}
	for _, m := range i.BlockDeviceMappings {
		if m.Ebs != nil {
			image.Volumes = append(image.Volumes, volume(m))
		}
	}
	if e := q.alias; e != nil {
		image.Title, image.Platform, image.User, image.Agent, image.Notice = e.Title, e.Platform, e.User, e.Agent, e.Withdrawn
	}
	if deprecated(i, time.Now()) {
		if image.Notice != "" {
			image.Notice += "; "
		}
		image.Notice += "its owner has deprecated the image " + image.ID
	}
	return image
}

func volume(m types.BlockDeviceMapping) Volume {
	return Volume{
		Device: shorten(aws.ToString(m.DeviceName)), GiB: int(aws.ToInt32(m.Ebs.VolumeSize)), Type: string(m.Ebs.VolumeType),
		IOPS: int(aws.ToInt32(m.Ebs.Iops)), Throughput: int(aws.ToInt32(m.Ebs.Throughput)),
	}
}

// IsRootName tells whether EC2 keeps the name of a device for root devices.
func IsRootName(device string) bool { return device == "/dev/sda1" || device == "/dev/xvda" }

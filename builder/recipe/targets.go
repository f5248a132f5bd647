package recipe

import (
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const (
	driverLocal       = "local"
	driverEC2         = "ec2"
	driverManaged     = "imagebuilder"
	maxTimeoutMinutes = 24 * 60
	maxVolumeGiB      = 16_000
	maxTestDisks      = 8
)

type infrastructure struct {
	Driver         text                          `yaml:"driver"`
	Name           text                          `yaml:"name"`
	Isolation      text                          `yaml:"isolation"`
	KeepOnFailure  bool                          `yaml:"keepOnFailure"`
	TimeoutMinutes yamldoc.At[int]               `yaml:"timeoutMinutes"`
	TestDisks      yamldoc.At[[]yamldoc.At[int]] `yaml:"testDisks"`
}

func (r *reading) infrastructure(source *infrastructure) {
	i := Infrastructure{
		Driver:         r.oneOf(source.Driver, "driver", driverLocal, driverEC2, driverManaged),
		Isolation:      Isolation(r.oneOf(source.Isolation, "isolation", string(Container), string(VM))),
		KeepOnFailure:  source.KeepOnFailure,
		TimeoutMinutes: 60,
	}
	if source.Isolation.Node != nil && i.Isolation == Container && r.recipe.Platform != "Linux" {
		r.bad(source.Isolation.Node, "expected vm", "%s does not run in a container", r.recipe.Platform)
	}
	if r.recipe.Platform != "Linux" {
		i.Isolation = VM
	}
	if limit := source.TimeoutMinutes; limit.Node != nil {
		if limit.Value < 1 || limit.Value > maxTimeoutMinutes {
			r.bad(limit.Node, fmt.Sprintf("expected 1 to %d", maxTimeoutMinutes), "timeoutMinutes %d is out of bounds", limit.Value)
		}
		i.TimeoutMinutes = limit.Value
	}
	if disks := source.TestDisks; len(disks.Value) > maxTestDisks {
		r.bad(disks.Key, fmt.Sprintf("a test instance has at most %d", maxTestDisks), "%d testDisks", len(disks.Value))
	}
	for _, size := range source.TestDisks.Value {
		if size.Node != nil && (size.Value < 1 || size.Value > maxVolumeGiB) {
			r.bad(size.Node, fmt.Sprintf("expected 1 to %d GiB", maxVolumeGiB), "a test disk of %d GiB is out of bounds", size.Value)
		}
		i.TestDisks = append(i.TestDisks, size.Value)
	}
	r.recipe.Infrastructure = i
}

// infrastructureName reads on what instances of EC2 are, after it is known whether
// there are any.
func (r *reading) infrastructureName(name text) {
	if name.Node == nil {
		return
	}
	known := r.options.Infrastructures
	switch {
	case r.recipe.Infrastructure.Driver == driverLocal && r.recipe.Publish == nil:
		r.bad(name.Node, "expected driver: ec2, or publish: {driver: ec2}", "without instances of EC2 there is nothing to choose")
	case len(r.options.Regions) > 0 && !slices.Contains(known, name.Value):
		expected := "expected none: the operator has not configured any"
		if len(known) > 0 {
			expected = "expected " + alternatives(known) + "; the operator configures them with aws.infrastructures"
		}
		r.bad(name.Node, expected, "there is no infrastructure %q here", shorten(name.Value))
	}
	r.recipe.Infrastructure.Name = name.Value
}

type publish struct {
	Driver text `yaml:"driver,required" example:"ec2"`
	Region text `yaml:"region"`
	Via    text `yaml:"via"`
}

func publishWays() []string {
	return []string{string(ViaEBSDirect), string(ViaImportImage), string(ViaImportSnapshot)}
}

// publish reads to where the image is published, after infrastructure is known.
func (r *reading) publish(source *publish) {
	if source == nil || source.Driver.Node == nil {
		return
	}
	p := &Publish{Driver: r.oneOf(source.Driver, "driver to publish to", driverEC2), Region: source.Region.Value, Via: Via(r.oneOf(source.Via, "via", publishWays()...))}
	if built := r.recipe.Infrastructure.Driver; built != driverLocal && p.Driver == driverEC2 {
		r.bad(source.Driver.Node, "leave publish out, or build with driver local", "an image that is built by driver %s is not published to %s", built, p.Driver)
	}
	switch known := r.options.Regions; {
	case source.Region.Node == nil:
	case !regionName.MatchString(p.Region):
		r.bad(source.Region.Node, "expected a region such as eu-west-1", "%q is not a region", shorten(p.Region))
	case len(known) > 0 && !slices.Contains(known, p.Region):
		r.bad(source.Region.Node, "expected "+alternatives(known)+", or no region; the operator chooses it with aws.region, and another region takes a daemon of its own",
			"no image is published in %s here", p.Region)
	}
	r.recipe.Publish = p
}

type export struct {
	Format text `yaml:"format,required" example:"vmdk"`
}

func exportFormats() []string { return []string{"qcow2", "raw", "vmdk", "vhdx", "vhd", "ova"} }

func (r *reading) exports(list yamldoc.At[[]export]) {
	for _, entry := range list.Value {
		if entry.Format.Node == nil {
			continue
		}
		e := Export{r.oneOf(entry.Format, "format", exportFormats()...)}
		if e.Format == entry.Format.Value && slices.Contains(r.recipe.Exports, e) {
			r.bad(entry.Format.Node, "", "the format %s is given twice", e.Format)
			continue
		}
		r.recipe.Exports = append(r.recipe.Exports, e)
	}
}

type distribution struct {
	Region           text             `yaml:"region,required" example:"eu-west-1"`
	Name             text             `yaml:"name"`
	LaunchPermission launchPermission `yaml:"launchPermission"`
}

type launchPermission struct {
	UserIDs []text `yaml:"userIds"`
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
	variable   = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)
	imageName  = regexp.MustCompile(`^[-_A-Za-z0-9 .]+$`)
)

func (r *reading) distribution(list yamldoc.At[[]distribution]) {
	if len(list.Value) > maxListed {
		r.bad(list.Key, fmt.Sprintf("a recipe has at most %d", maxListed), "%d entries of distribution", len(list.Value))
		return
	}
	for _, entry := range list.Value {
		if entry.Region.Node == nil {
			continue
		}
		if !regionName.MatchString(entry.Region.Value) {
			r.bad(entry.Region.Node, "expected a region such as eu-west-1", "%q is not a region", shorten(entry.Region.Value))
		}
		same := func(d Distribution) bool { return d.Region == entry.Region.Value }
		if slices.ContainsFunc(r.recipe.Distribution, same) {
			r.bad(entry.Region.Node, "", "the region %s is given twice", shorten(entry.Region.Value))
		}
		d := Distribution{Region: entry.Region.Value, Name: r.imageName(entry.Name)}
		for _, id := range entry.LaunchPermission.UserIDs {
			if !accountID.MatchString(id.Value) {
				r.bad(id.Node, "expected the 12 digits of an AWS account", "%q is not an account id", shorten(id.Value))
			}
			d.LaunchPermission.UserIDs = append(d.LaunchPermission.UserIDs, id.Value)
		}
		r.recipe.Distribution = append(r.recipe.Distribution, d)
	}
}

// imageName checks the name of a distributed image, which may hold variables.
func (r *reading) imageName(name text) string {
	if name.Node == nil {
		return r.recipe.Name + "-{{ version }}-{{ build }}"
	}
	used := map[string]bool{}
	for _, match := range variable.FindAllStringSubmatch(name.Value, -1) {
		if used[match[1]] = true; match[1] != "version" && match[1] != "build" {
			r.bad(name.Node, "expected {{ version }} or {{ build }}", "unknown variable %q", shorten(match[0]))
		}
	}
	plain := variable.ReplaceAllString(name.Value, "0")
	switch {
	case !imageName.MatchString(plain) || utf8.RuneCountInString(plain) > 127:
		r.bad(name.Node, "expected at most 127 letters, digits, blanks and .-_, with {{ version }} and {{ build }}", "%q is not an image name", shorten(name.Value))
	case !used["build"]:
		r.bad(name.Node, "expected {{ build }} in it: image names are unique in an account, and the second build of a version needs another one", "the image name %q is the same for every build", shorten(name.Value))
	}
	return name.Value
}

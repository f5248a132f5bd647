package recipe

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// parentImage is written as one text, or as a map with the checksum beside it.
type parentImage struct {
	Source   text `yaml:"source,required" example:"https://example.org/debian-12.qcow2"`
	Checksum text `yaml:"checksum"`
}

// DecodeNode accepts both forms.
func (p *parentImage) DecodeNode(d *yamldoc.Document, n *yaml.Node) yamldoc.Problems {
	if n.Kind == yaml.MappingNode {
		type plain parentImage
		return d.Decode(n, (*plain)(p))
	}
	return d.Decode(n, &p.Source)
}

var (
	amiID       = regexp.MustCompile(`^ami-[0-9a-f]{8}([0-9a-f]{9})?$`)
	ssmName     = regexp.MustCompile(`^ssm:/[A-Za-z0-9_./-]+$`)
	imageARN    = regexp.MustCompile(`^arn:aws[a-z-]*:(imagebuilder|ssm|ec2):[a-z0-9-]*:([0-9]{12}|aws)?:[A-Za-z0-9_./-]+$`)
	objectName  = regexp.MustCompile(`^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(.+)$`)
	otherRecipe = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_-]*)/([^/]+)$`)
	checksum    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const wantParent = "expected an alias such as debian-12, name/1.x.x of another recipe, a disk file, an https URL with checksum, s3://bucket/disk.vmdk, ami-…, ssm:/… or an ARN"

// parent finds out what a parent image is by the way it is written.
func (r *reading) parent(source *parentImage) {
	at := source.Source.Node
	if at == nil {
		return
	}
	name := source.Source.Value
	p := Parent{Name: name, Text: name, Checksum: source.Checksum.Value}
	r.document.parentAt = r.yaml.Problem(at, "", "")
	if sum := source.Checksum; sum.Node != nil && !checksum.MatchString(sum.Value) {
		r.bad(sum.Node, "expected sha256: and 64 hexadecimal digits", "%q is not a checksum", shorten(sum.Value))
	}
	switch {
	case len(name) > maxPath || strings.ContainsFunc(name, isControl):
		r.bad(at, wantParent, "%q is not a parent image", shorten(name))
	case strings.HasPrefix(name, "ami-"):
		p.Kind = ParentAMI
		r.must(amiID, at, name, "expected ami- and 8 or 17 hexadecimal digits")
	case strings.HasPrefix(name, "ssm:"):
		p.Kind = ParentSSM
		r.must(ssmName, at, name, "expected ssm: and the name of a parameter, which begins with /")
	case strings.HasPrefix(name, "arn:"):
		p.Kind = ParentARN
		r.must(imageARN, at, name, "expected the ARN of an Image Builder image, or of an SSM parameter")
	case strings.HasPrefix(name, "s3:"):
		p.Kind = ParentObject
		r.objectParent(at, name)
	case strings.Contains(name, "://"):
		r.urlParent(at, &p)
	case isDiskPath(name):
		r.fileParent(at, &p)
	case otherRecipe.MatchString(name):
		r.recipeParent(at, &p)
	default:
		p.Kind = ParentAlias
		r.alias(at, name)
	}
	r.onDriver(at, p)
	r.document.parent = p
	r.recipe.Parent = p
}

func (r *reading) must(pattern *regexp.Regexp, at *yaml.Node, name, expected string) {
	if !pattern.MatchString(name) {
		r.bad(at, expected, "%q is not a parent image", shorten(name))
	}
}

// onDriver refuses parents that live in an account when the build does not.
func (r *reading) onDriver(at *yaml.Node, p Parent) {
	cloud := p.Kind == ParentObject || p.Kind == ParentAMI || p.Kind == ParentSSM || p.Kind == ParentARN
	if cloud && r.recipe.Infrastructure.Driver == driverLocal {
		r.bad(at, "expected infrastructure: {driver: ec2} or {driver: imagebuilder}", "the driver local cannot use %s", shorten(p.Name))
	}
}

func (r *reading) urlParent(at *yaml.Node, p *Parent) {
	p.Kind = ParentURL
	u, err := url.Parse(p.Name)
	switch {
	case err != nil || u.Host == "":
		r.bad(at, "expected https://host/path", "%q is not a URL", shorten(p.Name))
		return
	case u.Scheme != "https":
		r.bad(at, "expected https://", "a parent image cannot be fetched over %s", shorten(u.Scheme))
		return
	case u.User != nil:
		r.bad(at, "expected a URL without user and password: the recipe is no place for secrets", "the URL of the parent image carries credentials")
		r.document.problems[len(r.document.problems)-1].Excerpt = "" // what is wrong must not be repeated
		return
	}
	if sum, ok := strings.CutPrefix(u.Fragment, "sha256="); ok {
		sum = "sha256:" + sum
		switch {
		case !checksum.MatchString(sum):
			r.bad(at, "expected #sha256= and 64 hexadecimal digits", "%q is not a checksum", shorten(u.Fragment))
		case p.Checksum != "" && p.Checksum != sum:
			r.bad(at, "expected one of them", "the URL and the key checksum name different checksums")
		}
		p.Checksum = sum
	}
	u.Fragment, u.RawFragment = "", ""
	p.Name = u.String()
	if p.Checksum == "" {
		r.bad(at, "expected parentImage: {source: …, checksum: \"sha256:…\"}", "the parent image has no checksum")
	}
}

// objectFormats are the ends of names of disks that can be imported from S3.
func objectFormats() []string { return []string{".vmdk", ".vhdx", ".vhd", ".ova", ".raw"} }

func (r *reading) objectParent(at *yaml.Node, name string) {
	switch match := objectName.FindStringSubmatch(name); {
	case match == nil:
		r.bad(at, "expected s3://bucket/key", "%q is not the address of an object in S3", shorten(name))
	case !slices.Contains(objectFormats(), strings.ToLower(path.Ext(match[1]))):
		r.bad(at, "expected a disk that ends with "+alternatives(objectFormats()), "%q cannot be imported", shorten(name))
	}
}

// isDiskPath reports whether a parent is written as a file.
func isDiskPath(name string) bool {
	return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || isDisk(name)
}

func isDisk(name string) bool {
	return slices.Contains(diskExtensions(), strings.ToLower(path.Ext(name)))
}

func diskExtensions() []string {
	return []string{".qcow2", ".raw", ".img", ".vmdk", ".vhdx", ".vhd", ".ova"}
}

func (r *reading) fileParent(at *yaml.Node, p *Parent) {
	p.Kind = ParentFile
	if !isDisk(p.Name) {
		r.bad(at, "expected a file that ends with "+alternatives(diskExtensions()), "%q is not a disk file", shorten(p.Name))
		return
	}
	if host, ok := r.hostPath(p.Name); ok {
		p.Name = host
		return
	}
	to, problem := r.find(p.Name)
	switch {
	case problem != nil:
		r.bad(at, problem.expected, "parentImage: %s", problem.message)
	case !to.info.Mode().IsRegular():
		r.bad(at, "expected a disk file", "parentImage: %s is a folder", to.path)
	default:
		p.Name = to.path
		r.parentContent(to.path)
	}
}

// parentContent makes a disk file of the repository part of the recipe's closure.
func (r *reading) parentContent(at string) {
	digest, err := r.digests.file(r.tree, at)
	if err != nil {
		r.fault(err)
	}
	r.recipe.parentDigest = digest
	r.noteRead("parent", at, digest)
}

// rooted is a tree that lies in a folder of the host.
type rooted interface{ Root() string }

// hostPath returns the absolute path of a disk file outside of the repository,
// where the options allow it.
func (r *reading) hostPath(name string) (string, bool) {
	if tree, ok := r.tree.(rooted); ok && r.options.HostFiles && !path.IsAbs(name) {
		if inside := path.Join(path.Dir(r.document.path), name); inside != ".." && !strings.HasPrefix(inside, "../") {
			return "", false
		}
		return filepath.Join(tree.Root(), path.Dir(r.document.path), filepath.FromSlash(name)), true
	}
	if !path.IsAbs(name) {
		return "", false
	}
	name = path.Clean(name)
	allowed := r.options.HostFiles || slices.ContainsFunc(r.options.ParentDirs, func(dir string) bool {
		return strings.HasPrefix(name, strings.TrimSuffix(path.Clean(dir), "/")+"/")
	})
	return name, allowed
}

func (r *reading) recipeParent(at *yaml.Node, p *Parent) {
	p.Kind = ParentRecipe
	match := otherRecipe.FindStringSubmatch(p.Name)
	p.Name, p.Version = match[1], match[2]
	if _, err := ParsePattern(shorten(p.Version)); err != nil {
		r.bad(at, "", "parent recipe %s: %v", p.Name, err)
	}
}

// alias checks a name against what the recipe's driver knows.
func (r *reading) alias(at *yaml.Node, name string) {
	driver := r.recipe.Infrastructure.Driver
	known := r.options.Aliases[driver]
	i := slices.IndexFunc(known, func(a Alias) bool { return a.Name == name })
	if i < 0 {
		r.bad(at, r.unknownAlias(name, driver), "unknown parent image %q", shorten(name))
		return
	}
	if platform := known[i].Platform; platform != "" && platform != r.recipe.Platform {
		r.bad(at, "expected platform: "+platform, "%s is not an image of %s", name, r.recipe.Platform)
	}
	if notice := known[i].Notice; notice != "" {
		r.recipe.notices = append(r.recipe.notices, r.yaml.Problem(at, notice, ""))
	}
}

// unknownAlias tells what would have been right instead of a name.
func (r *reading) unknownAlias(name, driver string) string {
	for _, other := range slices.Sorted(maps.Keys(r.options.Aliases)) {
		if slices.Contains(aliasNames(r.options.Aliases[other]), name) {
			return fmt.Sprintf("the driver %s knows it: expected infrastructure: {driver: %s}", other, other)
		}
	}
	names := aliasNames(r.options.Aliases[driver])
	if near := yamldoc.Suggest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(names) > 0 {
		return "known aliases: " + strings.Join(names, ", ") + "; another recipe is written name/x.x.x, a file with its path"
	}
	return wantParent
}

func aliasNames(aliases []Alias) []string {
	names := make([]string, len(aliases))
	for i, a := range aliases {
		names[i] = a.Name
	}
	return names
}

// ReadParent reads a parent image as a recipe names it, for work without a recipe on
// the driver local. Disk files are named by absolute paths of the host. What is wrong
// is for whoever wrote the name.
func ReadParent(name string, options Options) (Parent, error) {
	options.HostFiles = true
	r := &reading{
		loader:   &loader{options: options},
		yaml:     &yamldoc.Document{},
		document: &document{},
		recipe:   &Recipe{Infrastructure: Infrastructure{Driver: driverLocal}},
	}
	at := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
	r.parent(&parentImage{Source: text{Value: name, Node: at}})
	if problems := r.document.problems; len(problems) > 0 {
		return Parent{}, fmt.Errorf("%s; %s", problems[0].Message, problems[0].Expected) // the place of it is the command line
	}
	return r.recipe.Parent, nil
}

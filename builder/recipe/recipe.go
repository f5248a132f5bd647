// Package recipe reads recipes: the documents that name a parent image,
// components, tests, schedule and distribution, and everything they reach.
//
// Load reads all recipes of one tree (a commit, or a working directory) into a
// Set; what is wrong is in the Set beside what is right, so that one bad file
// never hides the others. A recipe is a regular file that ends with .yaml or .yml
// and says apiVersion: ingot/v1; other YAML is nobody's business here. Plan
// compares two Sets and decides, without touching anything, what has to be built,
// tested or distributed, and why.
//
// The package does not fetch, build or store; a parent image stays a name here.
package recipe

import (
	"io/fs"
	"slices"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Tree is a tree of files as recipes see it: one commit, or a directory. Paths
// are slash-separated and relative, as in io/fs. Hash names the content of a file
// or folder: equal hashes mean equal content, within one implementation.
type Tree interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.ReadLinkFS // Lstat does not follow links
	Hash(path string) (string, error)
}

// APIVersion is the only one there is.
const APIVersion = "ingot/v1"

// Recipe is one valid recipe with its closure.
type Recipe struct {
	Path           string // of its document in the tree
	Name           string
	Version        Version
	Description    string
	Platform       string // Linux (default), Windows, macOS
	Parent         Parent
	Components     []Use // in the order in which they run
	Files          []Files
	Tests          []Use
	Schedule       *Schedule
	Infrastructure Infrastructure
	Publish        *Publish // nil: the image stays where it was built
	Exports        []Export
	Distribution   []Distribution
	WorkingDir     string // default /tmp, C:\ on Windows
	DiskGiB        int    // root volume; 0: as the parent
	BlockDevices   []BlockDevice
	UserData       string // what the build instance does at its first boot
	AMITags        map[string]string

	document     string // digest of the document's text
	parentDigest string // of a disk file in the tree
	signature    signature
	notices      yamldoc.Problems // about the recipe itself
	versionAt    yamldoc.Problem  // where the version stands, to be filled with a message
}

// Warnings are what is worth knowing about the recipe and the component documents
// that it uses, and fails nothing.
func (r *Recipe) Warnings() yamldoc.Problems {
	warnings := slices.Clone(r.notices)
	for _, u := range slices.Concat(r.Components, r.Tests) {
		if u.Document == nil {
			continue
		}
		for _, w := range u.Document.Warnings {
			if !slices.Contains(warnings, w) { // a component may be used twice
				warnings = append(warnings, w)
			}
		}
	}
	return warnings
}

// ParentKind says how a parent image is named.
type ParentKind string

const (
	ParentAlias  ParentKind = "alias"  // debian-12
	ParentRecipe ParentKind = "recipe" // name/x.x.x, an image of another recipe
	ParentFile   ParentKind = "file"   // a disk file: of the repository, or absolute on the host
	ParentURL    ParentKind = "url"    // https, with a checksum
	ParentObject ParentKind = "object" // s3://bucket/key, a disk file in S3
	ParentAMI    ParentKind = "ami"    // ami-…
	ParentSSM    ParentKind = "ssm"    // ssm:/…
	ParentARN    ParentKind = "arn"    // arn:…
)

// Parent is the image that a recipe starts from, as its author named it.
type Parent struct {
	Kind     ParentKind
	Name     string // alias, recipe name, path, URL, address of an object, ami id, parameter, ARN
	Version  string // of ParentRecipe: a version or a pattern such as 1.x.x
	Checksum string // sha256:…, required for ParentURL
	Text     string // as written
}

// Use is a component that a recipe uses.
type Use struct {
	Ref        string // as written: a gallery name, optionally @version, or a path
	Name       string // short, for people: the base name without .yaml, or the gallery name
	Path       string // in the tree; gallery:name@version for the gallery
	Text       []byte
	Digest     string // sha256 of Text
	Document   *component.Document
	Parameters map[string]string // only what the recipe gives
}

// Files is one entry of files: what is put on the instance before the components run.
type Files struct {
	Source      string // path in the tree, clean
	Destination string // absolute on the instance
	Owner       string // root when empty
	Group       string
	Permissions string // octal; empty: as in the repository
	Entries     []File // every file, folder and link below Source, sorted
}

// File is one entry below a Files source.
type File struct {
	Path   string      // in the tree
	Target string      // absolute on the instance
	Mode   fs.FileMode // type and permission bits
	Link   string      // of a symbolic link
	Size   int64
	Digest string // sha256 of the content; empty for folders and links
}

// Schedule is a calendar trigger.
type Schedule struct {
	Cron           string // as cron.ParseStandard reads it, whatever form the author chose
	Timezone       string // IANA name, default UTC
	StartCondition StartCondition
}

// StartCondition decides whether a due schedule builds.
type StartCondition string

const (
	DependencyUpdates StartCondition = "dependency-updates" // only when the parent or a wildcard component moved
	Always            StartCondition = "always"
)

// Isolation is where components run with the local driver.
type Isolation string

const (
	Container Isolation = "container"
	VM        Isolation = "vm"
)

// Infrastructure says where and how a recipe is built.
type Infrastructure struct {
	Driver         string // local (default), ec2, imagebuilder
	Name           string // one of the operator's infrastructures on EC2; empty: the usual one
	Isolation      Isolation
	KeepOnFailure  bool
	TimeoutMinutes int   // of the whole build; default 60
	TestDisks      []int // sizes in GiB of further, empty disks of the test instance
}

// BlockDevice is a device of the build instance that becomes one of the image: one of a
// volume, instance storage, or a device of the parent that is left out.
type BlockDevice struct {
	Name    string // /dev/sdf
	Volume  *Volume
	Virtual string // instance storage: ephemeral0
	Removed bool
}

// Volume is one of EBS. What is zero is as in the parent image, or as EBS has it.
type Volume struct {
	GiB              int
	Type             string // gp3
	IOPS, Throughput int    // per second, MiB/s
	Encrypted        bool
	KMSKey           string
	Snapshot         string
	Outlives         bool // instances of the image
}

// Publish says that the image is made one of another driver, too. It is that one
// which is tested and released.
type Publish struct {
	Driver string // ec2
	Region string // where its releases are at home; empty: as the daemon is configured
	Via    Via
}

// Via is the way on which a disk becomes an AMI.
type Via string

// The ways, by the names that AWS gives them.
const (
	ViaEBSDirect      Via = "ebs-direct"      // its blocks are written to a snapshot
	ViaImportImage    Via = "import-image"    // VM Import looks at its system and adds what EC2 needs
	ViaImportSnapshot Via = "import-snapshot" // VM Import makes a snapshot of it, as it is
)

// Imports reports whether it is one through VM Import, which reads disks from S3.
func (v Via) Imports() bool { return v == ViaImportImage || v == ViaImportSnapshot }

// Export is a disk format that a release is also written in.
type Export struct {
	Format string // qcow2, raw, vmdk, vhdx, vhd, ova
}

// Distribution is a place that a release is sent to.
type Distribution struct {
	Region           string
	Name             string // of the image, with {{ version }} and {{ build }}; never empty
	LaunchPermission LaunchPermission
}

// LaunchPermission says who may use the distributed image.
type LaunchPermission struct {
	UserIDs []string
}

package recipe

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// maxDevices is more than any instance type of EC2 takes.
const maxDevices = 40

type blockDevice struct {
	DeviceName  text            `yaml:"deviceName,required" example:"/dev/sdf"`
	VirtualName text            `yaml:"virtualName"`
	NoDevice    text            `yaml:"noDevice"`
	EBS         yamldoc.At[ebs] `yaml:"ebs"`
}

type ebs struct {
	VolumeSize          yamldoc.At[int]  `yaml:"volumeSize"`
	VolumeType          text             `yaml:"volumeType"`
	IOPS                yamldoc.At[int]  `yaml:"iops"`
	Throughput          yamldoc.At[int]  `yaml:"throughput"`
	Encrypted           yamldoc.At[bool] `yaml:"encrypted"`
	KMSKeyID            text             `yaml:"kmsKeyId"`
	SnapshotID          text             `yaml:"snapshotId"`
	DeleteOnTermination yamldoc.At[bool] `yaml:"deleteOnTermination"`
}

// span is what a number may be; the zero span allows none.
type span struct{ least, most int }

func (s span) holds(n int) bool { return n >= s.least && n <= s.most }

// volumeTypes are those of EBS, with sizes in GiB and throughput in MiB/s.
var volumeTypes = map[string]struct{ size, iops, throughput span }{
	"standard": {size: span{1, 1024}},
	"gp2":      {size: span{1, 16_384}},
	"gp3":      {size: span{1, 65_536}, iops: span{3000, 80_000}, throughput: span{125, 2000}},
	"io1":      {size: span{4, 16_384}, iops: span{100, 64_000}},
	"io2":      {size: span{4, 65_536}, iops: span{100, 256_000}},
	"st1":      {size: span{125, 16_384}},
	"sc1":      {size: span{125, 16_384}},
}

// volumeTypeNames has the ones of today first.
func volumeTypeNames() []string {
	return []string{"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"}
}

var (
	deviceName  = regexp.MustCompile(`^(/dev/)?(sd[a-z][0-9]{0,2}|xvd[a-z]{1,2}[0-9]{0,2})$`)
	virtualName = regexp.MustCompile(`^ephemeral([0-9]|1[0-9]|2[0-3])$`)
	kmsKey      = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+|alias/[A-Za-z0-9/_-]+|(mrk-)?[0-9a-f-]{32,36})$`)
	snapshotID  = regexp.MustCompile(`^snap-([0-9a-f]{8}|[0-9a-f]{17})$`)
)

// blockDevices reads the volumes of the build instance, which become the image's.
func (r *reading) blockDevices(list yamldoc.At[[]blockDevice]) {
	if built := r.recipe.Infrastructure.Driver; len(list.Value) > 0 && built == driverLocal {
		r.bad(list.Key, "expected infrastructure: {driver: ec2}; volumeSize is the size of the root disk with any driver", "the driver %s makes no volumes of EC2", built)
		return
	}
	if len(list.Value) > maxDevices {
		r.bad(list.Key, fmt.Sprintf("a recipe has at most %d", maxDevices), "%d blockDeviceMappings", len(list.Value))
		return
	}
	for _, entry := range list.Value {
		if entry.DeviceName.Node == nil {
			continue
		}
		name := entry.DeviceName.Value
		if !deviceName.MatchString(name) {
			r.bad(entry.DeviceName.Node, "expected a name such as /dev/sdf or /dev/xvda", "%q is not a device", shorten(name))
		}
		if slices.ContainsFunc(r.recipe.BlockDevices, func(d BlockDevice) bool { return d.Name == name }) {
			r.bad(entry.DeviceName.Node, "", "the device %s is given twice", shorten(name))
		}
		r.recipe.BlockDevices = append(r.recipe.BlockDevices, r.blockDevice(entry))
	}
}

func (r *reading) blockDevice(entry blockDevice) BlockDevice {
	d := BlockDevice{Name: entry.DeviceName.Value, Virtual: entry.VirtualName.Value}
	var kinds int
	if at := entry.VirtualName.Node; at != nil {
		kinds++
		if !virtualName.MatchString(d.Virtual) {
			r.bad(at, "expected ephemeral0 to ephemeral23", "%q is not a virtual device", shorten(d.Virtual))
		}
	}
	if at := entry.NoDevice.Node; at != nil {
		kinds++
		if d.Removed = true; entry.NoDevice.Value != "" {
			r.bad(at, `expected noDevice: ""`, "noDevice has the value %q", shorten(entry.NoDevice.Value))
		}
	}
	if entry.EBS.Node != nil {
		kinds++
		volume := r.volume(entry.EBS.Value)
		d.Volume = &volume
	}
	if kinds != 1 {
		r.bad(entry.DeviceName.Node, `expected one of ebs, virtualName and noDevice: ""`, "the device %s is %d things", shorten(d.Name), kinds)
	}
	return d
}

func (r *reading) volume(source ebs) Volume {
	v := Volume{
		GiB: source.VolumeSize.Value, IOPS: source.IOPS.Value, Throughput: source.Throughput.Value,
		Encrypted: source.Encrypted.Value, KMSKey: source.KMSKeyID.Value, Snapshot: source.SnapshotID.Value,
		Outlives: source.DeleteOnTermination.Node != nil && !source.DeleteOnTermination.Value,
	}
	if source.VolumeType.Node != nil {
		v.Type = r.oneOf(source.VolumeType, "volumeType", volumeTypeNames()...)
	}
	r.volumeNumbers(source, v)
	if at := source.KMSKeyID.Node; at != nil {
		if !kmsKey.MatchString(v.KMSKey) {
			r.bad(at, "expected the id, the alias (alias/golden) or the ARN of a key", "%q is not a KMS key", shorten(v.KMSKey))
		}
		if !v.Encrypted {
			r.bad(at, "expected encrypted: true beside it", "a volume that is not encrypted has no kmsKeyId")
		}
	}
	if at := source.SnapshotID.Node; at != nil && !snapshotID.MatchString(v.Snapshot) {
		r.bad(at, "expected an id such as snap-0123456789abcdef0", "%q is not a snapshot", shorten(v.Snapshot))
	}
	return v
}

// volumeNumbers holds size, iops and throughput against what the type of a volume
// allows. Of a volume without a type the parent image has one, which is not known yet.
func (r *reading) volumeNumbers(source ebs, v Volume) {
	limits := volumeTypes[v.Type]
	if v.Type == "" {
		limits.size = span{1, 65_536}
	}
	if at := source.VolumeSize.Node; at != nil && !limits.size.holds(v.GiB) {
		r.bad(at, fmt.Sprintf("expected %d to %d GiB", limits.size.least, limits.size.most), "a %s of %d GiB is out of bounds", volumeWord(v.Type), v.GiB)
	}
	for _, n := range []struct {
		key   string
		given yamldoc.At[int]
		in    span
		types string
	}{
		{"iops", source.IOPS, limits.iops, "gp3, io1 or io2"},
		{"throughput", source.Throughput, limits.throughput, "gp3"},
	} {
		switch {
		case n.given.Node == nil:
		case n.in == span{}:
			r.bad(n.given.Key, "expected volumeType: "+n.types, "a %s has no %s of its own", volumeWord(v.Type), n.key)
		case !n.in.holds(n.given.Value):
			r.bad(n.given.Node, fmt.Sprintf("expected %d to %d", n.in.least, n.in.most), "%s %d is out of bounds", n.key, n.given.Value)
		}
	}
	if source.IOPS.Node == nil && (v.Type == "io1" || v.Type == "io2") {
		r.bad(source.VolumeType.Node, "expected iops beside it", "a %s needs to know its iops", volumeWord(v.Type))
	}
}

func volumeWord(kind string) string {
	if kind == "" {
		return "volume without volumeType"
	}
	return "volume of type " + kind
}

func (d BlockDevice) digest() string {
	parts := []string{d.Name, d.Virtual, strconv.FormatBool(d.Removed)}
	if v := d.Volume; v != nil {
		parts = append(parts, strconv.Itoa(v.GiB), v.Type, strconv.Itoa(v.IOPS), strconv.Itoa(v.Throughput),
			strconv.FormatBool(v.Encrypted), v.KMSKey, v.Snapshot, strconv.FormatBool(v.Outlives))
	}
	return hash("device", parts...)
}

func devicesDigest(devices []BlockDevice) string {
	digests := make([]string, len(devices))
	for i, d := range devices {
		digests[i] = d.digest()
	}
	return hash("devices", digests...)
}

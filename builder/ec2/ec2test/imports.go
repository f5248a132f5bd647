package ec2test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ImportRole is the role with which VM Import reads the bucket; an account has no other.
const ImportRole = "vmimport"

// importTask is a disk on its way from S3 to an AMI, or to a snapshot. The Cloud's lock
// guards it.
type importTask struct {
	id, parameters string
	kind           importKind
	bucket, key    string
	format         string
	tags           map[string]string
	step           int // of importSteps
	failed         string
	state          string // deleting, then deleted; empty while the task goes on, or is completed
	disks          int    // that the file holds; one, but for OVA
	image          *image
	snapshots      []string // of each disk, the root's first
}

// importPrefix is how the names of tasks begin.
const importPrefix = "import-ami-"

// importKind is what VM Import makes of disks.
type importKind struct {
	operation, describe string
	taskSet, taggable   string
	formats             []string
}

var (
	toImage = importKind{
		"ImportImage", "DescribeImportImageTasks", "importImageTaskSet", "import-image-task", []string{"VMDK", "VHDX", "VHD", "OVA", "RAW"},
	}
	toSnapshot = importKind{
		"ImportSnapshot", "DescribeImportSnapshotTasks", "importSnapshotTaskSet", "import-snapshot-task", []string{"VMDK", "VHD", "RAW"},
	}
)

// importSteps are what a task goes through, one for each look at it.
var importSteps = []struct{ progress, message string }{
	{"1", "pending"}, {"19", "converting"}, {"46", "booting"}, {"76", "preparing ami"},
}

// diskMarks are how the disks of each format begin, and where that is.
var diskMarks = map[string]struct {
	at   int
	mark string
}{
	"VMDK": {0, "KDMV"}, "VHDX": {0, "vhdxfile"}, "VHD": {0, "conectix"}, "OVA": {257, "ustar"}, "RAW": {510, "\x55\xaa"},
}

// importDisk takes a disk on, unless it was taken on before.
func (c *Cloud) importDisk(kind importKind, form url.Values) answer {
	token, parameters := form.Get("ClientToken"), form.Encode()
	for _, t := range c.imports {
		if token != "" && t.kind.operation == kind.operation && strings.Contains(t.parameters, "ClientToken="+url.QueryEscape(token)+"&") {
			if t.parameters != parameters {
				return bad("IdempotentParameterMismatch", "The client token you have provided is associated with a task whose parameters are different")
			}
			return good(t.show(kind.operation + "Response")) // ended or not
		}
	}
	disks := []string{"DiskContainer."}
	if kind.operation == toImage.operation {
		disks = members(form, "DiskContainer")
	}
	if len(disks) != 1 {
		return bad("UnsupportedOperation", "the test's cloud imports one disk at a time")
	}
	t := &importTask{
		id: importPrefix + newID()[:8], parameters: parameters, kind: kind, tags: TagsFor(form, kind.taggable),
		bucket: form.Get(disks[0] + "UserBucket.S3Bucket"), key: form.Get(disks[0] + "UserBucket.S3Key"), format: strings.ToUpper(form.Get(disks[0] + "Format")),
	}
	for _, p := range members(form, "TagSpecification") {
		if tagged := form.Get(p + "ResourceType"); tagged != kind.taggable {
			return bad("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", tagged)
		}
	}
	if !slices.Contains(kind.formats, t.format) {
		return bad("InvalidParameter", "The disk image format %s is not supported", t.format)
	}
	if role := form.Get("RoleName"); role != "" && role != ImportRole {
		return bad("InvalidParameter", "The service role %s provided does not exist or does not have sufficient permissions", role)
	}
	if _, a := c.beginning(t); !a.ok() {
		return bad("InvalidParameter", "The given S3 object s3://%s/%s does not exist", t.bucket, t.key)
	}
	c.imports = append(c.imports, t)
	return good(t.show(kind.operation + "Response"))
}

// beginning is how an object in S3 begins.
func (c *Cloud) beginning(t *importTask) ([]byte, answer) {
	a := c.emulator.ask(c.ctx, http.MethodGet, "/"+t.bucket+"/"+(&url.URL{Path: t.key}).EscapedPath(), "s3", "")
	return a.body, a
}

// describeImports lists tasks, and lets those that it lists go on.
func (c *Cloud) describeImports(kind importKind, form url.Values) answer {
	ids := list(form, "ImportTaskId")
	for _, id := range ids {
		if !slices.ContainsFunc(c.imports, func(t *importTask) bool { return t.id == id && t.kind.operation == kind.operation }) {
			return bad("InvalidConversionTaskId.NotFound", "The import task ID %s does not exist", id)
		}
	}
	tasks := element(kind.taskSet)
	for _, t := range c.imports {
		if t.kind.operation != kind.operation || len(ids) > 0 && !slices.Contains(ids, t.id) {
			continue
		}
		tasks.children = append(tasks.children, t.show("item"))
		if a := c.goOn(t); a.status != 0 {
			return a
		}
	}
	return good(element(kind.describe+"Response", tasks))
}

// tagImports changes tags of tasks, which moto does not know.
func (c *Cloud) tagImports(ids []string, form url.Values) answer {
	if form.Get("Action") != "CreateTags" {
		return bad("UnsupportedOperation", "the test's cloud takes no tags off imports")
	}
	var tasks []*importTask
	for _, id := range ids {
		at := slices.IndexFunc(c.imports, func(t *importTask) bool { return t.id == id })
		if at < 0 {
			return bad("InvalidConversionTaskId.NotFound", "The import task ID %s does not exist", id)
		}
		tasks = append(tasks, c.imports[at])
	}
	for _, t := range tasks {
		for _, p := range members(form, "Tag") {
			t.tags[form.Get(p+"Key")] = form.Get(p + "Value")
		}
	}
	return good(element("CreateTagsResponse", value("return", "true")))
}

// cancelImport ends a task that has not come to its end by itself.
func (c *Cloud) cancelImport(form url.Values) answer {
	id := form.Get("ImportTaskId")
	at := slices.IndexFunc(c.imports, func(t *importTask) bool { return t.id == id })
	if at < 0 {
		return bad("InvalidConversionTaskId.NotFound", "The import task ID %s does not exist", id)
	}
	t := c.imports[at]
	if t.state != "" || len(t.snapshots) > 0 {
		return bad("IncorrectState", "The import task %s has ended and cannot be cancelled", id)
	}
	t.state = "deleting"
	return good(element("CancelImportTaskResponse", value("importTaskId", id), value("previousState", "active"), value("state", t.state)))
}

// goOn takes a task a step further. What is wrong with the disk is found when it is
// converted, and an AMI is there at the end.
func (c *Cloud) goOn(t *importTask) answer {
	if t.state != "" {
		t.state = "deleted"
	}
	if t.state != "" || len(t.snapshots) > 0 || c.importsHeld {
		return answer{}
	}
	if t.step < len(importSteps)-1 {
		t.step++
		if importSteps[t.step].message == "converting" {
			mark := diskMarks[t.format]
			disk, a := c.beginning(t)
			switch {
			case !a.ok() || len(disk) < mark.at+len(mark.mark) || !bytes.HasPrefix(disk[mark.at:], []byte(mark.mark)):
				t.failed = fmt.Sprintf("ClientError: Disk validation failed [We do not have access to the given resource, or it is no %s]", t.format)
			case t.kind.operation == toImage.operation && bytes.Contains(disk, []byte(StrangeSystem)):
				t.failed = "ClientError: Unknown OS / Missing OS files."
			case bytes.Contains(disk, []byte(FailingImport)):
				t.failed = "ServerError: an internal error has occurred during conversion."
			}
			if t.failed != "" {
				t.state = "deleted"
			}
			if t.disks = 1; t.format == "OVA" {
				t.disks += bytes.Count(disk, []byte(AnotherDisk))
			}
		}
		return answer{}
	}
	return c.completeImport(t)
}

// What a disk holds of which VM Import makes no AMI.
const (
	StrangeSystem = "a system that nobody knows" // the disk's fault
	FailingImport = "a disk on which VM Import breaks"
)

// AnotherDisk is in an OVA once for each disk besides the root's.
const AnotherDisk = "one more disk"

// completeImport makes the snapshots, and of them the AMI, with a name and without tags,
// as VM Import does.
func (c *Cloud) completeImport(t *importTask) answer {
	for range t.disks {
		if a := c.importedSnapshot(t); !a.ok() {
			return a
		}
	}
	if t.kind.operation == toSnapshot.operation {
		c.snapshots[t.snapshots[0]] = &snapshot{}
		c.appear(t.snapshots[0])
		return answer{}
	}
	return c.importedImage(t)
}

func (c *Cloud) importedSnapshot(t *importTask) answer {
	volume, a := c.form(c.ctx, url.Values{"Action": {"CreateVolume"}, "Size": {"8"}, "AvailabilityZone": {Region + "a"}})
	if volume == nil {
		return a
	}
	id := volume.get("volumeId")
	taken, a := c.form(c.ctx, url.Values{"Action": {"CreateSnapshot"}, "VolumeId": {id}, "Description": {"Created by AWS-VMImport service for " + t.id}})
	if taken == nil {
		return a
	}
	t.snapshots = append(t.snapshots, taken.get("snapshotId"))
	_, a = c.form(c.ctx, url.Values{"Action": {"DeleteVolume"}, "VolumeId": {id}})
	return a
}

func (c *Cloud) importedImage(t *importTask) answer {
	made, a := c.form(c.ctx, url.Values{"Action": {"RegisterImage"}, "Name": {t.id}, "Description": {"AWS-VMImport service: Linux - Debian GNU/Linux 12"}})
	if made == nil {
		return a
	}
	img := &image{
		id: made.get("imageId"), name: t.id, state: stateAvailable, settled: true, rootDevice: "/dev/sda1",
		attributes: map[string]string{"architecture": "x86_64", "bootMode": "legacy-bios", "enaSupport": "true", "virtualizationType": "hvm", "rootDeviceType": "ebs"},
	}
	for n, id := range t.snapshots {
		name := "/dev/sda1"
		if n > 0 {
			name = "/dev/sd" + string(rune('e'+n))
		}
		img.devices = append(img.devices, device{name: name, snapshot: id, gib: 8, kind: "gp2"})
	}
	if a := c.dropOwnSnapshot(img.id); !a.ok() {
		return a
	}
	c.images[img.id] = img
	c.appear(img.id)
	t.image = img
	return answer{}
}

// show is a task as the service shows it.
func (t *importTask) show(name string) *tree {
	out := element(name, value("importTaskId", t.id))
	detail := out
	if t.kind.operation == toSnapshot.operation {
		detail = element("snapshotTaskDetail")
		out.children = append(out.children, detail)
	}
	put := func(name, text string) { detail.children = append(detail.children, value(name, text)) }
	switch {
	case t.state != "":
		put("status", t.state)
		put("statusMessage", t.failed)
	case t.image != nil:
		put("status", "completed")
		put("imageId", t.image.id)
		put("architecture", "x86_64")
		put("platform", "Linux")
		details := element("snapshotDetailSet")
		for _, id := range t.snapshots {
			details.children = append(details.children, element("item", value("format", t.format), value("snapshotId", id)))
		}
		out.children = append(out.children, details)
	case len(t.snapshots) > 0:
		put("status", "completed")
		put("format", t.format)
		put("snapshotId", t.snapshots[0])
	default:
		put("status", "active")
		put("progress", importSteps[t.step].progress)
		put("statusMessage", importSteps[t.step].message)
	}
	tags := element("tagSet")
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		tags.children = append(tags.children, element("item", value("key", key), value("value", t.tags[key])))
	}
	out.children = append(out.children, tags)
	return out
}

// Imports are the names of all tasks that were begun, in order.
func (c *Cloud) Imports() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for _, t := range c.imports {
		ids = append(ids, t.id)
	}
	return ids
}

// HoldImports lets no import go on until release is called.
func (c *Cloud) HoldImports() (release func()) {
	hold := func(held bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.importsHeld = held
	}
	hold(true)
	return func() { hold(false) }
}

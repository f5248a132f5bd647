package ec2test

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// image is what is known of an AMI besides what moto knows.
type image struct {
	id, name   string
	public     bool // of another account
	state      string
	polls      int
	settled    bool // the disk is kept
	fails      bool // it will
	rootDevice string
	attributes map[string]string // elements of DescribeImages
	devices    []device
}

// device is a volume as an image or a launch describes it.
type device struct {
	name, snapshot, kind string
	gib                  int64
	deleted              bool // with the instance
	encrypted            bool
	iops, throughput     string
}

// snapshot is what is known of one besides what moto knows.
type snapshot struct {
	hidden   bool // moto's own, of which AWS has none
	polls    int
	waiting  func() bool // not complete for another reason than polls
	uploaded bool        // through the EBS direct APIs
	parent   string      // of one that was uploaded; empty: none
}

func (i *image) poll() {
	if i.polls > 0 {
		i.polls--
	} else if i.state == statePending && i.settled {
		i.state = stateAvailable
		if i.fails {
			i.state = stateFailed
		}
	}
}

// imageName is what a name must be.
var imageName = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./\-'@_]{3,128}$`)

// nameable says why an image cannot have a name.
func (c *Cloud) nameable(name string) answer {
	if !imageName.MatchString(name) {
		return bad("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	for _, img := range c.images {
		if img.name == name && !img.public {
			return bad("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, img.id)
		}
	}
	return answer{}
}

// createImage makes an image of an instance: a snapshot of each volume, then the rest.
func (c *Cloud) createImage(r *Request) answer {
	form := r.Form
	id, name := form.Get("InstanceId"), form.Get("Name")
	i := c.instances[id]
	if i == nil {
		return bad("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	if refused := c.nameable(name); refused.status != 0 {
		return refused
	}
	if i.state != stateRunning && i.state != stateStopped {
		return bad("IncorrectState", "Instance '%s' is not in a state from which an image can be made: %s", id, i.state)
	}
	if i.state == stateRunning && form.Get("NoReboot") == "true" {
		return bad("UnsupportedOperation", "the test's cloud makes no image of a running machine without a reboot")
	}
	changed := members(form, "BlockDeviceMapping")
	for _, p := range changed {
		if form.Get(p+"Ebs.VolumeSize") != "" || form.Get(p+"Ebs.Encrypted") != "" || form.Get(p+"Ebs.SnapshotId") != "" {
			return bad("InvalidParameterCombination", "%s: of what the instance has, an image changes DeleteOnTermination alone", form.Get(p+"DeviceName"))
		}
	}
	parsed, a := c.form(c.ctx, onlyImage(form))
	if parsed == nil {
		return a
	}
	img := &image{
		id: parsed.get("imageId"), name: name, state: statePending, polls: c.options.Polls, fails: r.noImage,
		rootDevice: i.parent.rootDevice, attributes: maps.Clone(i.parent.attributes),
	}
	if a := c.dropOwnSnapshot(img.id); !a.ok() {
		return a
	}
	if a := c.snapshotVolumes(i, img, TagsFor(form, "snapshot")); !a.ok() {
		return a
	}
	for _, p := range changed {
		for n := range img.devices {
			if d := &img.devices[n]; d.name == form.Get(p+"DeviceName") {
				d.deleted = form.Get(p+"Ebs.DeleteOnTermination") == "true"
			}
		}
	}
	c.images[img.id] = img
	c.appear(img.id)
	c.photograph(i, img)
	return good(parsed)
}

// onlyImage is a form with tags for the image alone: moto cannot tag the snapshots.
func onlyImage(form url.Values) url.Values {
	changed := maps.Clone(form)
	without(changed, "BlockDeviceMapping")
	setTags(changed, "image", TagsFor(form, "image"))
	return changed
}

// dropOwnSnapshot hides the snapshot that moto makes of nothing for every image.
func (c *Cloud) dropOwnSnapshot(id string) answer {
	parsed, a := c.form(c.ctx, url.Values{"Action": {"DescribeImages"}, "ImageId.1": {id}})
	if parsed == nil {
		return a
	}
	for _, item := range parsed.items("imagesSet") {
		for _, d := range item.items("blockDeviceMapping") {
			c.snapshots[d.get("ebs", "snapshotId")] = &snapshot{hidden: true}
		}
	}
	return a
}

func (c *Cloud) snapshotVolumes(i *instance, img *image, tags map[string]string) answer {
	parsed, a := c.form(c.ctx, url.Values{"Action": {"DescribeVolumes"}, "Filter.1.Name": {"attachment.instance-id"}, "Filter.1.Value.1": {i.id}})
	if parsed == nil {
		return a
	}
	for _, volume := range parsed.items("volumeSet") {
		attached := volume.find("attachmentSet", "item")
		wanted := url.Values{"Action": {"CreateSnapshot"}, "VolumeId": {volume.get("volumeId")}, "Description": {fmt.Sprintf("Created by CreateImage(%s) for %s", i.id, img.id)}}
		setTags(wanted, "snapshot", tags)
		made, a := c.form(c.ctx, wanted)
		if made == nil {
			return a
		}
		id := made.get("snapshotId")
		c.snapshots[id] = &snapshot{polls: c.options.Polls, waiting: func() bool { return !img.settled }}
		c.appear(id)
		gib, err := strconv.ParseInt(volume.get("size"), 10, 64)
		if err != nil {
			return answer{err: err}
		}
		d := device{name: attached.get("device"), kind: volume.get("volumeType")}
		if at := slices.IndexFunc(i.devices, func(l device) bool { return l.name == d.name }); at >= 0 {
			d = i.devices[at] // moto forgets much of it
		}
		d.snapshot, d.gib = id, gib
		img.devices = append(img.devices, d)
	}
	slices.SortStableFunc(img.devices, func(a, b device) int { return rank(img, a) - rank(img, b) })
	return a
}

// rank puts the root device first.
func rank(img *image, d device) int {
	if d.name == img.rootDevice {
		return 0
	}
	return 1
}

// registerImage makes an image of snapshots.
func (c *Cloud) registerImage(form url.Values) answer {
	if refused := c.nameable(form.Get("Name")); refused.status != 0 {
		return refused
	}
	img := &image{name: form.Get("Name"), state: statePending, polls: c.options.Polls, settled: true, rootDevice: form.Get("RootDeviceName"), attributes: map[string]string{"rootDeviceType": "ebs"}}
	for element, parameter := range map[string]string{
		"architecture": "Architecture", "bootMode": "BootMode", "enaSupport": "EnaSupport", "imdsSupport": "ImdsSupport",
		"tpmSupport": "TpmSupport", "virtualizationType": "VirtualizationType", "sriovNetSupport": "SriovNetSupport", "description": "Description",
	} {
		if v := form.Get(parameter); v != "" {
			img.attributes[element] = v
		}
	}
	if img.attributes["virtualizationType"] == "" {
		img.attributes["virtualizationType"] = "paravirtual" // as the service has it
	}
	if img.attributes["architecture"] == "" {
		img.attributes["architecture"] = "i386" // likewise
	}
	var refused answer
	if img.devices, refused = c.registeredDevices(form); img.devices == nil {
		return refused
	}
	if !slices.ContainsFunc(img.devices, func(d device) bool { return d.name == img.rootDevice && d.snapshot != "" }) {
		return bad("InvalidBlockDeviceMapping", "The root device %q has no snapshot", img.rootDevice)
	}
	slices.SortStableFunc(img.devices, func(a, b device) int { return rank(img, a) - rank(img, b) })
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	img.id = parsed.get("imageId")
	if a := c.dropOwnSnapshot(img.id); !a.ok() {
		return a
	}
	if tags := TagsFor(form, "image"); len(tags) > 0 {
		tagged := url.Values{"Action": {"CreateTags"}, "ResourceId.1": {img.id}}
		for n, key := range slices.Sorted(maps.Keys(tags)) {
			tagged.Set(fmt.Sprintf("Tag.%d.Key", n+1), key)
			tagged.Set(fmt.Sprintf("Tag.%d.Value", n+1), tags[key])
		}
		if a := c.emulator.form(c.ctx, "ec2", tagged); !a.ok() {
			return a
		}
	}
	c.images[img.id] = img
	c.appear(img.id)
	return good(parsed)
}

// registeredDevices are the volumes of a new image; each snapshot must be complete.
func (c *Cloud) registeredDevices(form url.Values) ([]device, answer) {
	devices := formDevices(form)
	if len(devices) == 0 {
		return nil, bad("MissingParameter", "The request must contain the parameter blockDeviceMapping or imageLocation")
	}
	for n := range devices {
		d := &devices[n]
		if d.snapshot == "" {
			continue
		}
		if s := c.snapshots[d.snapshot]; s != nil && (s.hidden || s.waiting != nil && s.waiting()) {
			return nil, bad("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist, or is not complete", d.snapshot)
		}
		parsed, a := c.form(c.ctx, url.Values{"Action": {"DescribeSnapshots"}, "SnapshotId.1": {d.snapshot}})
		if parsed == nil {
			return nil, a
		}
		least, err := strconv.ParseInt(parsed.get("snapshotSet", "item", "volumeSize"), 10, 64)
		if err != nil {
			return nil, answer{err: err}
		}
		if d.gib == 0 {
			d.gib = least
		}
		if d.gib < least {
			return nil, bad("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", d.gib, d.snapshot, least)
		}
	}
	return devices, answer{}
}

// formDevices reads the block device mappings of a form.
func formDevices(form url.Values) []device {
	var devices []device
	for _, p := range members(form, "BlockDeviceMapping") {
		gib, _ := strconv.ParseInt(form.Get(p+"Ebs.VolumeSize"), 10, 64) // 0: as large as the snapshot
		devices = append(devices, device{
			name: form.Get(p + "DeviceName"), snapshot: form.Get(p + "Ebs.SnapshotId"), gib: gib, kind: form.Get(p + "Ebs.VolumeType"),
			deleted: form.Get(p+"Ebs.DeleteOnTermination") == "true", encrypted: form.Get(p+"Ebs.Encrypted") == "true",
			iops: form.Get(p + "Ebs.Iops"), throughput: form.Get(p + "Ebs.Throughput"),
		})
	}
	return devices
}

// setDevices writes them back.
func setDevices(form url.Values, devices []device) {
	without(form, "BlockDeviceMapping")
	for n, d := range devices {
		p := fmt.Sprintf("BlockDeviceMapping.%d.", n+1)
		form.Set(p+"DeviceName", d.name)
		form.Set(p+"Ebs.VolumeSize", strconv.FormatInt(d.gib, 10))
		if form.Set(p+"Ebs.VolumeType", d.kind); strings.HasPrefix(d.kind, "io") {
			form.Set(p+"Ebs.VolumeType", "gp3") // moto launches nothing with these
		}
		form.Set(p+"Ebs.DeleteOnTermination", strconv.FormatBool(d.deleted))
		form.Set(p+"Ebs.Encrypted", strconv.FormatBool(d.encrypted))
		if d.snapshot != "" {
			form.Set(p+"Ebs.SnapshotId", d.snapshot)
		}
	}
}

// launchDevices are the volumes of a new instance, the root's first: those of the
// image, changed by the launch, and those that the launch adds.
func launchDevices(form url.Values, parent *image) ([]device, answer) {
	devices := slices.Clone(parent.devices)
	for _, p := range members(form, "BlockDeviceMapping") {
		name := form.Get(p + "DeviceName")
		at := slices.IndexFunc(devices, func(d device) bool { return d.name == name })
		if form.Has(p + "NoDevice") {
			if at > 0 {
				devices = slices.Delete(devices, at, at+1)
			}
			continue
		}
		if form.Has(p + "VirtualName") {
			continue // storage of the host is on no image
		}
		if at < 0 {
			devices = append(devices, device{name: name, kind: "gp2"})
			at = len(devices) - 1
		}
		d := &devices[at]
		least := d.gib
		if v := form.Get(p + "Ebs.VolumeSize"); v != "" {
			d.gib, _ = strconv.ParseInt(v, 10, 64)
		}
		if d.gib < least || d.gib == 0 && form.Get(p+"Ebs.SnapshotId") == "" {
			return nil, bad("InvalidBlockDeviceMapping", "Volume of size %dGB on %s is smaller than its snapshot, expect size >= %dGB", d.gib, name, max(1, least))
		}
		if v := form.Get(p + "Ebs.VolumeType"); v != "" {
			d.kind = v
		}
		if v := form.Get(p + "Ebs.DeleteOnTermination"); v != "" {
			d.deleted = v == "true"
		}
		if v := form.Get(p + "Ebs.SnapshotId"); v != "" {
			d.snapshot = v
		}
		d.encrypted = d.encrypted || form.Get(p+"Ebs.Encrypted") == "true"
	}
	return devices, answer{}
}

// overlaid are the filters of DescribeImages for what moto does not know, with the
// elements that they look at.
var overlaid = map[string]string{
	"state": "imageState", "architecture": "architecture", "root-device-name": "rootDeviceName", "boot-mode": "bootMode", "ena-support": "enaSupport",
	"virtualization-type": "virtualizationType", "root-device-type": "rootDeviceType", "platform": "platform", "imds-support": "imdsSupport",
	"creation-date": "creationDate", "description": "description", "block-device-mapping.snapshot-id": "",
}

// describeImages shows what was registered, and refuses IDs that do not exist.
func (c *Cloud) describeImages(form url.Values) answer {
	ids := list(form, "ImageId")
	missing := c.hiddenIDs(ids)
	for _, id := range ids {
		if c.images[id] == nil && !slices.Contains(missing, id) {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return bad("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", strings.Join(missing, ", "))
	}
	filters := takeFilters(form, func(name string) bool { _, ours := overlaid[name]; return ours })
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	parsed.keep(func(item *tree) bool {
		img := c.images[item.get("imageId")]
		if img == nil || len(ids) == 0 && c.hidden(img.id) {
			return false
		}
		img.poll()
		img.show(item)
		return !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(img.filterValues(item, f.name)...) })
	}, "imagesSet")
	return good(parsed)
}

func (i *image) filterValues(item *tree, name string) []string {
	if name != "block-device-mapping.snapshot-id" {
		return []string{item.get(overlaid[name])}
	}
	var ids []string
	for _, d := range i.devices {
		ids = append(ids, d.snapshot)
	}
	return ids
}

// show writes an image as it is into moto's answer.
func (i *image) show(item *tree) {
	item.put(value("imageState", i.state))
	item.put(value("rootDeviceName", i.rootDevice))
	if i.state == stateFailed {
		item.put(element("stateReason", value("code", "Client.InternalError"), value("message", "a fault of the test")))
	}
	for _, name := range []string{"bootMode", "platform", "architecture"} {
		item.remove(name) // moto's guesses
	}
	for name, text := range i.attributes {
		item.put(value(name, text))
	}
	mapping := element("blockDeviceMapping")
	for _, d := range i.devices {
		ebs := element("ebs", value("volumeSize", strconv.FormatInt(d.gib, 10)), value("volumeType", d.kind),
			value("deleteOnTermination", strconv.FormatBool(d.deleted)), value("encrypted", strconv.FormatBool(d.encrypted)))
		if d.snapshot != "" {
			ebs.put(value("snapshotId", d.snapshot))
		}
		mapping.children = append(mapping.children, element("item", value("deviceName", d.name), ebs))
	}
	item.put(mapping)
}

// modifyImage makes an image one for IMDSv2, which cannot be undone.
func (c *Cloud) modifyImage(form url.Values) answer {
	img := c.images[form.Get("ImageId")]
	switch {
	case img == nil || c.hidden(img.id):
		return bad("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", form.Get("ImageId"))
	case img.public:
		return bad("AuthFailure", "Not authorized for image:%s", img.id)
	case img.state != stateAvailable:
		return bad("InvalidAMIID.Unavailable", "The image id '[%s]' is not available", img.id)
	case !form.Has("ImdsSupport.Value"):
		return bad("UnsupportedOperation", "the test's cloud modifies no attribute of an image but imdsSupport")
	case form.Get("ImdsSupport.Value") != "v2.0":
		return bad("InvalidParameterValue", "Invalid value '%s' for imdsSupport", form.Get("ImdsSupport.Value"))
	}
	img.attributes["imdsSupport"] = "v2.0"
	return good(element("ModifyImageAttributeResponse", value("return", "true")))
}

func (c *Cloud) deregisterImage(form url.Values) answer {
	img := c.images[form.Get("ImageId")]
	switch {
	case img == nil || c.hidden(img.id):
		return bad("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", form.Get("ImageId"))
	case img.public:
		return bad("AuthFailure", "Not authorized for image:%s", img.id)
	}
	a := c.emulator.form(c.ctx, "ec2", form)
	if !a.ok() {
		return a
	}
	delete(c.images, img.id)
	if form.Get("DeleteAssociatedSnapshots") == "true" {
		for _, d := range img.devices {
			if d.snapshot != "" {
				c.deleteSnapshot(url.Values{"Action": {"DeleteSnapshot"}, "SnapshotId": {d.snapshot}})
			}
		}
	}
	return a
}

func (c *Cloud) createSnapshot(form url.Values) answer {
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	id := parsed.get("snapshotId")
	c.snapshots[id] = &snapshot{polls: c.options.Polls}
	c.appear(id)
	parsed.put(value("status", statePending))
	parsed.put(value("progress", ""))
	return good(parsed)
}

// describeSnapshots shows how snapshots come to be complete.
func (c *Cloud) describeSnapshots(form url.Values) answer {
	ids := list(form, "SnapshotId")
	missing := c.hiddenIDs(ids)
	for _, id := range ids {
		if s := c.snapshots[id]; s != nil && s.hidden {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return bad("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", strings.Join(missing, ", "))
	}
	owners := list(form, "Owner")
	filters := takeFilters(form, func(name string) bool { return name == "status" })
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	parsed.keep(func(item *tree) bool {
		id := item.get("snapshotId")
		s := c.snapshots[id]
		if s == nil {
			s = &snapshot{}
		}
		if s.hidden || len(ids) == 0 && c.hidden(id) || len(owners) > 0 && !c.owned(owners, item.get("ownerId")) {
			return false
		}
		status := "completed"
		if s.polls > 0 || s.waiting != nil && s.waiting() {
			status = statePending
			item.put(value("progress", fmt.Sprintf("%d%%", 99/(1+s.polls))))
			s.polls = max(0, s.polls-1)
		}
		item.put(value("status", status))
		return !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(status) })
	}, "snapshotSet")
	return good(parsed)
}

func (c *Cloud) owned(owners []string, owner string) bool {
	return slices.Contains(owners, owner) || owner == c.Account && slices.Contains(owners, "self")
}

// deleteSnapshot refuses to take one from an image.
func (c *Cloud) deleteSnapshot(form url.Values) answer {
	id := form.Get("SnapshotId")
	if s := c.snapshots[id]; c.hidden(id) || s != nil && s.hidden {
		return bad("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	for _, img := range c.images {
		if slices.ContainsFunc(img.devices, func(d device) bool { return d.snapshot == id }) {
			return bad("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, img.id)
		}
	}
	return c.emulator.form(c.ctx, "ec2", form)
}

package recipe

import (
	"reflect"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Format describes recipes to those who write them.
func Format() yamldoc.Format {
	uses := yamldoc.Key{Doc: "A path relative to this file, such as ./nginx.yaml, or the name of a gallery component, such as update-linux or update-linux@1.x.x."}
	parameters := yamldoc.Key{Doc: "Values of the parameters that the component declares."}
	return yamldoc.Format{
		Title: "ingot recipe",
		Doc:   "An image to build: its parent, the components that run on it, and the tests that it has to pass.",
		Type:  reflect.TypeFor[imageRecipe](),
		Keys: map[string]yamldoc.Key{
			"apiVersion":  {Doc: "The version of this format.", Allowed: []string{APIVersion}},
			"kind":        {Doc: "What the document is.", Allowed: []string{kindImageRecipe}},
			"name":        {Doc: "Name of the image and of the commit status; unique in the repository.", Pattern: legalName.String()},
			"version":     {Doc: "x.y.z, raised when the content changes; dates such as 2026.08.01 are fine.", Pattern: `^[0-9]+\.[0-9]+\.[0-9]+$`, Word: true},
			"description": {Doc: "For people."},
			"platform":    {Doc: "The operating system.", Default: "Linux", Allowed: platformNames()},
			"parentImage": {
				Doc: "What the image starts from: debian-12, debian-13, another recipe (base/1.x.x), a disk file, an https URL with a checksum, a disk in S3 (s3://bucket/disk.vmdk, with the driver ec2), an AMI, ssm:/…, or an ARN; with the driver ec2 also amazon-linux-2023 and the like.",
			},
			"parentImage.source":   {Doc: "The parent image: a URL, or any other form.", Word: true},
			"parentImage.checksum": {Doc: "sha256: and 64 hexadecimal digits of a download, or of an object that S3 keeps its SHA-256 of.", Pattern: checksum.String(), Word: true},

			"components":            {Doc: "Run in this order; each leaves a layer that later builds reuse.", Most: MaxComponents},
			"components.component":  uses,
			"components.parameters": parameters,
			"tests":                 {Doc: "Run in a new instance that was booted from the finished image; all run, also after one has failed.", Most: MaxComponents},
			"tests.component":       uses,
			"tests.parameters":      parameters,

			"files":             {Doc: "Files of the repository that are put on the instance before the components run.", Most: maxListed},
			"files.source":      {Doc: "A file or folder, relative to this one."},
			"files.destination": {Doc: "An absolute path on the instance; a slash at its end makes it a folder.", Pattern: absolutePath, Word: true},
			"files.owner":       {Doc: "A name or number.", Default: "root", Pattern: account.String()},
			"files.group":       {Doc: "A name or number.", Default: "root", Pattern: account.String()},
			"files.permissions": {Doc: "An octal mode, such as 0644.", Pattern: octal.String()},

			"schedule":                {Doc: "Rebuilds the image by the calendar."},
			"schedule.cron":           {Doc: `Five fields, such as "0 3 * * SUN"; @daily; or Image Builder's cron(…) and rate(1 day).`, Word: true},
			"schedule.timezone":       {Doc: "An IANA name, such as Europe/Rome.", Default: "UTC", Word: true},
			"schedule.startCondition": {Doc: "Builds only when something that the image stands on has moved, or always.", Default: string(DependencyUpdates), Allowed: []string{string(DependencyUpdates), string(Always)}},

			"infrastructure":                {Doc: "Where and how the image is built."},
			"infrastructure.driver":         {Doc: "Who makes the image.", Default: driverLocal, Allowed: []string{driverLocal, driverEC2, driverManaged}},
			"infrastructure.name":           {Doc: "One of the operator's infrastructures, on which instances of EC2 are started."},
			"infrastructure.isolation":      {Doc: "Components run at native speed in a container, or in a booted machine.", Default: string(Container), Allowed: []string{string(Container), string(VM)}},
			"infrastructure.keepOnFailure":  {Doc: "Keep the instance of a failed build to look at.", Default: "false"},
			"infrastructure.timeoutMinutes": {Doc: "Of the whole build, without the time in which AWS makes, imports or takes a disk.", Default: "60", Min: 1, Max: maxTimeoutMinutes},
			"infrastructure.testDisks":      {Doc: "Sizes in GiB of further, empty disks of the test instance.", Most: maxTestDisks, Min: 1, Max: maxVolumeGiB},

			"publish":        {Doc: "Makes the image of a local build an AMI, too, on which the tests are run and which is released."},
			"publish.driver": {Doc: "To whose images it is added.", Allowed: []string{driverEC2}},
			"publish.region": {Doc: "Where the AMI is at home: the region of the daemon, which is also what it is without this key.", Pattern: regionName.String(), Word: true},

			"publish.via": {Doc: "The way of the disk to EC2: its blocks are written to a snapshot, or VM Import takes it from the daemon's bucket, with what EC2 needs added or as it is.", Default: string(ViaEBSDirect), Allowed: publishWays()},

			"exports":        {Doc: "Disk formats that a release is also written in."},
			"exports.format": {Doc: "A disk format.", Allowed: exportFormats()},

			"distribution":                          {Doc: "Where a release is sent.", Most: maxListed},
			"distribution.region":                   {Doc: "A region, such as eu-west-1.", Pattern: regionName.String(), Word: true},
			"distribution.name":                     {Doc: "Name of the image there; {{ version }} and {{ build }} stand for the release's."},
			"distribution.launchPermission":         {Doc: "Who may use the image."},
			"distribution.launchPermission.userIds": {Doc: "AWS accounts, 12 digits each.", Pattern: accountID.String()},

			"workingDirectory":                            {Doc: "Where components run: an absolute path on the instance.", Default: "/tmp", Pattern: absolutePath, Word: true},
			"volumeSize":                                  {Doc: "GiB of the root disk; without it, as large as the parent's.", Min: 1, Max: maxVolumeGiB},
			"blockDeviceMappings":                         {Doc: "Volumes of the AMI, with the driver ec2: changes of the parent's, and further ones.", Most: maxDevices},
			"blockDeviceMappings.deviceName":              {Doc: "As the instance knows the device, such as /dev/sdf; the parent's root device is the one that it says.", Pattern: deviceName.String()},
			"blockDeviceMappings.virtualName":             {Doc: "Instance storage.", Pattern: virtualName.String()},
			"blockDeviceMappings.noDevice":                {Doc: "An empty text leaves out a device of the parent."},
			"blockDeviceMappings.ebs":                     {Doc: "A volume of EBS. What is not given is as in the parent."},
			"blockDeviceMappings.ebs.volumeSize":          {Doc: "GiB, not less than the snapshot has.", Min: 1, Max: 65_536},
			"blockDeviceMappings.ebs.volumeType":          {Doc: "Of a further volume, gp3 without it.", Allowed: volumeTypeNames()},
			"blockDeviceMappings.ebs.iops":                {Doc: "Of gp3, and always of io1 and io2.", Min: 100, Max: 256_000},
			"blockDeviceMappings.ebs.throughput":          {Doc: "MiB/s of gp3.", Min: 125, Max: 2000},
			"blockDeviceMappings.ebs.encrypted":           {Doc: "Encrypt the volume, and with it the image's snapshot.", Default: "false"},
			"blockDeviceMappings.ebs.kmsKeyId":            {Doc: "Id, alias or ARN of the key, if not the account's for EBS.", Pattern: kmsKey.String()},
			"blockDeviceMappings.ebs.snapshotId":          {Doc: "What a further volume holds at first.", Pattern: snapshotID.String()},
			"blockDeviceMappings.ebs.deleteOnTermination": {Doc: "Whether the volume ends with the instances of the image.", Default: "true"},
			"userData": {Doc: "What the build instance does at its first boot, before the components, with the driver ec2: a script that begins with #!, or a #cloud-config."},
			"amiTags":  {Doc: "Tags of the AMI and its snapshots; {{ version }} and {{ buildDate }} stand for the recipe's version and the time at which the image was made.", Most: maxTags},
		},
	}
}

// absolutePath fits what is absolute on any platform.
const absolutePath = `^(/|[A-Za-z]:[\\/])`

func platformNames() []string {
	return []string{component.Linux, component.Windows, component.MacOS}
}

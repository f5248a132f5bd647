package ec2test

// Parent is a public AMI that every Cloud has.
type Parent struct {
	ID, Name, Owner, Architecture, Created string
	Windows                                bool
	RootDevice                             string
	GiB                                    int64
	BootMode                               string
	Parameter                              string // the public parameter of Systems Manager that names it
}

// Parents are the AMIs that are there without anybody making them, with the owner
// accounts and names that they have on AWS.
var Parents = []Parent{
	{ID: "ami-0deb1200000000002", Name: "debian-12-amd64-20261102-2285", Owner: "136693071363", Architecture: "x86_64", Created: "2026-11-02T10:00:00.000Z",
		RootDevice: "/dev/xvda", GiB: 8, BootMode: "uefi-preferred", Parameter: "/aws/service/debian/release/12/latest/amd64"},
	{ID: "ami-0deb1200000000001", Name: "debian-12-amd64-20261001-2250", Owner: "136693071363", Architecture: "x86_64", Created: "2026-10-01T10:00:00.000Z",
		RootDevice: "/dev/xvda", GiB: 8, BootMode: "uefi-preferred"},
	{ID: "ami-0deb12a0000000001", Name: "debian-12-arm64-20261102-2285", Owner: "136693071363", Architecture: "arm64", Created: "2026-11-02T10:00:00.000Z",
		RootDevice: "/dev/xvda", GiB: 8, BootMode: "uefi", Parameter: "/aws/service/debian/release/12/latest/arm64"},
	{ID: "ami-0a120230000000000", Name: "al2023-ami-2023.9.20261110.0-kernel-6.1-x86_64", Owner: "137112412989", Architecture: "x86_64", Created: "2026-11-10T10:00:00.000Z",
		RootDevice: "/dev/xvda", GiB: 8, BootMode: "uefi-preferred", Parameter: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-x86_64"},
	{ID: "ami-0b240400000000001", Name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261105", Owner: "099720109477", Architecture: "x86_64", Created: "2026-11-05T10:00:00.000Z",
		RootDevice: "/dev/sda1", GiB: 8, BootMode: "uefi-preferred", Parameter: "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"},
	{ID: "ami-0c202200000000001", Name: "Windows_Server-2022-English-Full-Base-2026.11.12", Owner: "801119661308", Architecture: "x86_64", Created: "2026-11-12T10:00:00.000Z",
		Windows: true, RootDevice: "/dev/sda1", GiB: 30, BootMode: "uefi", Parameter: "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base"},
}

// parentsForEmulator is the list in the form that moto reads.
func parentsForEmulator() []map[string]any {
	var list []map[string]any
	for _, p := range Parents {
		entry := map[string]any{
			"ami_id": p.ID, "name": p.Name, "owner_id": p.Owner, "architecture": p.Architecture, "creation_date": p.Created,
			"state": "available", "public": true, "image_type": "machine", "image_location": p.Owner + "/" + p.Name,
			"root_device_type": "ebs", "root_device_name": p.RootDevice, "virtualization_type": "hvm", "hypervisor": "xen",
			"boot_mode": p.BootMode, "sriov": "simple", "description": p.Name,
		}
		if p.Windows {
			entry["platform"] = "windows"
		}
		list = append(list, entry)
	}
	return list
}

func (p Parent) image() *image {
	i := &image{
		id: p.ID, name: p.Name, public: true, state: stateAvailable, rootDevice: p.RootDevice,
		attributes: map[string]string{"architecture": p.Architecture, "bootMode": p.BootMode, "enaSupport": "true", "virtualizationType": "hvm", "rootDeviceType": "ebs", "imdsSupport": "v2.0"},
		devices:    []device{{name: p.RootDevice, gib: p.GiB, kind: "gp3", deleted: true}},
	}
	if p.Windows {
		i.attributes["platform"] = "windows"
	}
	return i
}

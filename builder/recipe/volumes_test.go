package recipe

import (
	"reflect"
	"testing"
)

func TestUserData(t *testing.T) {
	for text, platform := range map[string]string{
		"#!/bin/sh\n": "Linux", "#cloud-config\n": "Linux", "<powershell>1</powershell>\n": "Windows", "version: 1.1\n": "Windows",
	} {
		r := valid(t, load(t, memory{"web.yaml": minimal("web", "1.0.0", "ami-0123456789abcdef0") +
			"platform: " + platform + "\ninfrastructure: {driver: ec2}\nuserData: |\n  " + text})).Recipes["web"]
		if r.UserData != text {
			t.Errorf("read %q of %q", r.UserData, text)
		}
	}
}

func TestBlockDevices(t *testing.T) {
	got := valid(t, load(t, memory{"web.yaml": minimal("web", "1.0.0", "ami-0123456789abcdef0") + `infrastructure: {driver: ec2}
blockDeviceMappings:
  - {deviceName: /dev/xvda, ebs: {volumeSize: 65536, volumeType: gp3, iops: 3000, throughput: 125}}
  - {deviceName: /dev/sdf, ebs: {volumeSize: 4, volumeType: io2, iops: 100, encrypted: true, kmsKeyId: "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0000-1111-2222-0a1b2c3d4e5f"}}
  - {deviceName: /dev/sdg, ebs: {snapshotId: snap-0123456789abcdef0, deleteOnTermination: false}}
  - {deviceName: xvdca, ebs: {volumeSize: 8, encrypted: false, deleteOnTermination: true}}
  - {deviceName: /dev/sdh, virtualName: ephemeral0}
  - {deviceName: /dev/sdi, noDevice: ""}
`})).Recipes["web"].BlockDevices
	want := []BlockDevice{
		{Name: "/dev/xvda", Volume: &Volume{GiB: 65536, Type: "gp3", IOPS: 3000, Throughput: 125}},
		{Name: "/dev/sdf", Volume: &Volume{GiB: 4, Type: "io2", IOPS: 100, Encrypted: true, KMSKey: "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0000-1111-2222-0a1b2c3d4e5f"}},
		{Name: "/dev/sdg", Volume: &Volume{Snapshot: "snap-0123456789abcdef0", Outlives: true}},
		{Name: "xvdca", Volume: &Volume{GiB: 8}},
		{Name: "/dev/sdh", Virtual: "ephemeral0"},
		{Name: "/dev/sdi", Removed: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v", got)
	}
}

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/local"
)

// TestDaemonOnAWSKilledWhilePublishing takes local builds whose images are published
// through kills of their daemon. Each is uploaded, or imported, once; one AMI is there in
// the end, and nothing else.
func TestDaemonOnAWSKilledWhilePublishing(t *testing.T) {
	skipIfShort(t)
	t.Run("ebs-direct", func(t *testing.T) {
		t.Parallel()
		s := newProcessOnAWS(t)
		commit := s.publishes("ebs-direct")
		s.diesAt(
			death{at: "the snapshot is started", call: "ebs:StartSnapshot"},
			death{at: "the snapshot has been started", call: "ebs:StartSnapshot", after: true},
			death{at: "half of the blocks are there", call: "ebs:PutSnapshotBlock", from: diskMiB},
			death{at: "the snapshot is completed", call: "ebs:CompleteSnapshot"},
			death{at: "the snapshot has been completed", call: "ebs:CompleteSnapshot", after: true},
			death{at: "the snapshot is tagged", call: "ec2:CreateTags"},
			death{at: "the image is registered", call: "ec2:RegisterImage"},
			death{at: "the image has been registered", call: "ec2:RegisterImage", after: true},
			death{at: "the test instance has been launched", call: "ec2:RunInstances", after: true},
		)
		s.start()
		s.awaitHold()
		s.kill()
		s.start()
		s.endHold()
		s.endsWell(commit, 1)
		s.sameAsUploaded()
	})
	t.Run("import-snapshot", func(t *testing.T) {
		t.Parallel()
		s := newProcessOnAWS(t)
		commit := s.publishes("import-snapshot")
		s.diesAt(
			death{at: "half of the disk is in the bucket", call: "s3:UploadPart", from: 2},
			death{at: "the disk is about to be in the bucket", call: "s3:CompleteMultipartUpload"},
			death{at: "the import is begun", call: "ec2:ImportSnapshot"},
			death{at: "the import has been begun", call: "ec2:ImportSnapshot", after: true},
			death{at: "the import is waited for", call: "ec2:DescribeImportSnapshotTasks", from: 2},
			death{at: "the snapshot is tagged", call: "ec2:CreateTags"},
			death{at: "the image is registered", call: "ec2:RegisterImage"},
			death{at: "the image has been registered", call: "ec2:RegisterImage", after: true},
		)
		s.start()
		s.endHold()
		s.endsWell(commit, 1)
		s.imported()
	})
	t.Run("import-image", func(t *testing.T) {
		t.Parallel()
		s := newProcessOnAWS(t)
		commit := s.publishes("import-image")
		s.diesAt(
			death{at: "the disk has been put into the bucket", call: "s3:CompleteMultipartUpload", after: true},
			death{at: "the import is begun", call: "ec2:ImportImage"},
			death{at: "the import has been begun", call: "ec2:ImportImage", after: true},
			death{at: "the import is waited for", call: "ec2:DescribeImportImageTasks", from: 2},
			death{at: "the image is tagged", call: "ec2:CreateTags"},
			death{at: "the image has been tagged", call: "ec2:CreateTags", after: true},
			death{at: "the image is changed", call: "ec2:ModifyImageAttribute"},
			death{at: "the image has been changed", call: "ec2:ModifyImageAttribute", after: true},
			death{at: "the disk is removed from the bucket", call: "s3:DeleteObject"},
		)
		s.start()
		s.endHold()
		s.endsWell(commit, 1)
		s.imported()
	})
}

// diskMiB is how much data lies on the disk that is published: two blocks each.
const diskMiB = 24

// publishes has an image built and published. It is files on a disk of no system: the
// test instance has one of its own.
func (s *processOnAWS) publishes(via string) (commit string) {
	s.Helper()
	lendParentAt(s.T, filepath.Join(s.dir, "cache"), smallDisk(s.T))
	s.write(filepath.Join(s.repo.dir, "motd"), "hello\n")
	s.write(filepath.Join(s.repo.dir, "hold.yaml"), fmt.Sprintf(`name: hold
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: Hold
        action: ExecuteBash
        inputs: {commands: ["test ! -e /etc/ran", "touch /etc/ran", "%s"]}
`, s.sleep()))
	return s.commit(fmt.Sprintf(`apiVersion: ingot/v1
kind: ImageRecipe
name: held
version: 1.0.0
parentImage: debian-12
files: [{source: motd, destination: /etc/motd}]
tests: [{component: ./hold.yaml}]
publish: {driver: ec2, via: %s}
`, via))
}

// smallDisk is one filesystem with data that cannot be compressed.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tree, raw, path := filepath.Join(dir, "tree"), filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	must(t, os.MkdirAll(filepath.Join(tree, "etc"), 0o755))
	data := make([]byte, diskMiB<<20)
	_, _ = rand.Read(data) // never fails
	must(t, os.WriteFile(filepath.Join(tree, "data"), data, 0o600))
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-d", tree, raw, "64M"},
		{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return path
}

// sameAsUploaded compares the disk that was built with the blocks of which its AMI is made,
// and sees that there was one upload.
func (s *processOnAWS) sameAsUploaded() {
	s.Helper()
	var image struct {
		Layer string
	}
	text, err := os.ReadFile(s.files("images", "*.json")[0])
	must(s.T, err)
	must(s.T, json.Unmarshal(text, &image))
	root := s.launched[0].Root
	if root == nil {
		s.Fatal("the test instance is not of what was uploaded")
	}
	raw := filepath.Join(s.dir, "uploaded.raw")
	must(s.T, root(s.Context(), raw))
	disk := filepath.Join(s.dir, "data", local.Name, "layers", image.Layer+".qcow2")
	if out, err := exec.CommandContext(s.Context(), "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, disk).CombinedOutput(); err != nil {
		s.Errorf("what was uploaded is another disk: %v: %s", err, out)
	}
}

// imported sees that there was one import, and that no disk that was written for it is left.
func (s *processOnAWS) imported() {
	s.Helper()
	if left, err := filepath.Glob(filepath.Join(s.dir, "data", "publish", ec2test.Region, "stage-*")); err != nil || len(left) > 0 {
		s.Errorf("left behind: %v, %v", left, err)
	}
	if tasks := s.cloud.Imports(); len(tasks) != 1 {
		s.Errorf("imports %v, want one", tasks)
	}
}

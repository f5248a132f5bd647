// Package publish makes an AMI of a disk file without any instance.
//
// Upload writes the blocks that hold data through the EBS direct APIs into a
// snapshot, and of a disk whose parent was published before only those that differ.
// Register makes an image of the snapshot. Both may be repeated after a crash at any
// point: they go on where they were, and what was made already is found again.
//
//	blocks := publish.NewBlocks(cfg, 0)
//	disk, err := chain.Open(ctx, path)
//	snapshot, err := publish.Upload(ctx, blocks, disk, publish.Options{Key: digest, Dir: dir, Snapshots: compute, Tags: tags})
//	image, err := publish.Register(ctx, compute, publish.Image{Name: name, Snapshot: snapshot.ID, Tags: tags})
//
// Publisher does all of that for the pipeline. Convert is the other way, through VM
// Import: for disks in formats that need it, for systems that lack what EC2 needs, and
// for where the EBS direct APIs are out of reach.
//
// Everything carries the tags of the caller from the call on that makes it, so that
// nothing is ever without an owner. What nobody finishes is the caller's to remove;
// the service itself gives up a snapshot to which nobody writes.
//
// Which image is published, and what is tested afterwards, is the pipeline's
// business.
package publish

import (
	"context"
	"io"
	"iter"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// Blocks is what is asked of the EBS direct APIs; *ebs.Client has it.
type Blocks interface {
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *ebs.PutSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error)
	StartSnapshot(context.Context, *ebs.StartSnapshotInput, ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error)
}

// Snapshots is what an upload asks of EC2; *ec2.Client has it.
type Snapshots interface {
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
}

var (
	_ Blocks    = (*ebs.Client)(nil)
	_ Snapshots = (*ec2.Client)(nil)
)

// Disk is what is published: package chain has one of qcow2 files. Nobody writes
// to it any more.
type Disk interface {
	io.ReaderAt
	Size() int64
	// Data yields start and end of every range that may hold anything but zeros, in order.
	Data() iter.Seq2[int64, int64]
	// Origin names what decides the content from start to end: wherever it is the same,
	// disks hold the same there. Empty: not known.
	Origin(start, end int64) string
}

// Package publish makes an AMI of a disk file without any instance: it writes the
// blocks that hold data through the EBS direct APIs into a snapshot and registers
// that as an image.
//
// Which image is published, and what is tested afterwards, is the pipeline's
// business.
package publish

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
)

// Blocks is what is asked of the EBS direct APIs; *ebs.Client has it.
type Blocks interface {
	CompleteSnapshot(context.Context, *ebs.CompleteSnapshotInput, ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *ebs.PutSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error)
	StartSnapshot(context.Context, *ebs.StartSnapshotInput, ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error)
}

var _ Blocks = (*ebs.Client)(nil)

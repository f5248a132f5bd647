package ec2

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

func isImage(id string) bool { return strings.HasPrefix(id, "ami-") }

// discard removes what an import has made. Only what has ingot's tags may be removed,
// and by them it is found again if that is broken off.
func (d *Driver) discard(ctx context.Context, build string, made []string) error {
	err := d.appeared(ctx, func() error {
		_, err := d.aws.Compute.CreateTags(ctx, &ec2.CreateTagsInput{Resources: made, Tags: d.tags(build, nil)})
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range made { // an image before its snapshots
		if isImage(id) {
			_, err = d.aws.Compute.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
		} else {
			_, err = d.aws.Compute.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

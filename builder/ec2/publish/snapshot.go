package publish

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// state is what has become of a snapshot; empty when there is none.
func (u *uploader) state(ctx context.Context, id string) (types.SnapshotState, error) {
	s, err := describe(ctx, u.Snapshots, id)
	if s == nil {
		return "", err
	}
	return s.State, nil
}

// adopt puts tags on a snapshot that an earlier build has begun: by them a reaper tells
// whose it is. One that has gone is somebody else's to notice.
func adopt(ctx context.Context, snapshots Snapshots, id string, tags map[string]string) error {
	if len(tags) == 0 {
		return nil
	}
	_, err := snapshots.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(tags)})
	if codeOf(err) == "InvalidSnapshot.NotFound" {
		return nil
	}
	return failed(err, "the snapshot %s could not be tagged", id)
}

// describe returns nil when there is no such snapshot.
func describe(ctx context.Context, snapshots Snapshots, id string) (*types.Snapshot, error) {
	out, err := snapshots.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if codeOf(err) == "InvalidSnapshot.NotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err, "the snapshot %s could not be looked up", id)
	}
	if len(out.Snapshots) == 0 {
		return nil, nil
	}
	return &out.Snapshots[0], nil
}

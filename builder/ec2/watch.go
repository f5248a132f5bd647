package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// Watch looks at what publishing and importing wait for together with all else that is
// waited for in the region: each look is part of a round, at whose end it returns.
func (d *Driver) Watch() publish.Watch { return watch{d.states} }

type watch struct{ *states }

var _ publish.Watch = watch{}

// glance waits for the next round and returns what it has seen of a thing; nil: nothing.
func glance[T any](ctx context.Context, s *states, w want, of func(view) (T, bool)) (*T, error) {
	var seen *T
	err := s.wait(ctx, w, func(v view) (bool, error) {
		if thing, known := of(v); known {
			seen = &thing
		}
		return true, nil
	})
	return seen, err
}

// Image implements publish.Watch.
func (w watch) Image(ctx context.Context, id string) (*types.Image, error) {
	return glance(ctx, w.states, want{image: id}, func(v view) (types.Image, bool) { i, known := v.images[id]; return i, known })
}

// Snapshot implements publish.Watch.
func (w watch) Snapshot(ctx context.Context, id string) (*types.Snapshot, error) {
	return glance(ctx, w.states, want{snapshot: id}, func(v view) (types.Snapshot, bool) { s, known := v.snapshots[id]; return s, known })
}

// ImageTask implements publish.Watch.
func (w watch) ImageTask(ctx context.Context, id string) (*types.ImportImageTask, error) {
	return glance(ctx, w.states, want{imported: id}, func(v view) (types.ImportImageTask, bool) { t, known := v.imports[id]; return t, known })
}

// SnapshotTask implements publish.Watch.
func (w watch) SnapshotTask(ctx context.Context, id string) (*types.ImportSnapshotTask, error) {
	return glance(ctx, w.states, want{disks: id}, func(v view) (types.ImportSnapshotTask, bool) { t, known := v.disks[id]; return t, known })
}

// snapshots are those that EC2 knows of some. It takes two hundred values of a filter,
// which, unlike a list of names, may be of what is not known yet.
func (d *Driver) snapshots(ctx context.Context, ids []string) (map[string]types.Snapshot, error) {
	const most = 200
	all := map[string]types.Snapshot{}
	for some := range slices.Chunk(ids, most) {
		out, err := d.aws.Compute.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{Filters: []types.Filter{filter("snapshot-id", some...)}})
		if err != nil {
			return nil, err
		}
		for _, s := range out.Snapshots {
			all[aws.ToString(s.SnapshotId)] = s
		}
	}
	return all, nil
}

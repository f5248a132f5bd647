package publish

import (
	"context"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Watch is how what is waited for is looked at, each look later than the one before.
// Many waits may share theirs: the driver of EC2 has one. nil is something that is not
// there, or not known yet.
type Watch interface {
	Image(ctx context.Context, id string) (*types.Image, error)
	Snapshot(ctx context.Context, id string) (*types.Snapshot, error)
	ImageTask(ctx context.Context, id string) (*types.ImportImageTask, error)
	SnapshotTask(ctx context.Context, id string) (*types.ImportSnapshotTask, error)
}

// direct asks for each thing by itself, and leaves the pace to whoever waits.
type direct struct {
	images  Images
	imports Imports // nil where nothing is imported
}

// watch is the image's own, or one that asks directly.
func (i Image) watch(images Images, imports Imports) Watch {
	if i.Watch != nil {
		return i.Watch
	}
	return direct{images, imports}
}

// Image implements Watch.
func (d direct) Image(ctx context.Context, id string) (*types.Image, error) {
	out, err := d.images.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if code := codeOf(err); code == "InvalidAMIID.NotFound" || code == "InvalidAMIID.Unavailable" {
		return nil, nil
	}
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}

// Snapshot implements Watch.
func (d direct) Snapshot(ctx context.Context, id string) (*types.Snapshot, error) {
	return describe(ctx, d.images, id)
}

// ImageTask implements Watch.
func (d direct) ImageTask(ctx context.Context, id string) (*types.ImportImageTask, error) {
	out, err := d.imports.DescribeImportImageTasks(ctx, &ec2.DescribeImportImageTasksInput{ImportTaskIds: []string{id}})
	if isNoTask(err) || err == nil && len(out.ImportImageTasks) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &out.ImportImageTasks[0], nil
}

// SnapshotTask implements Watch.
func (d direct) SnapshotTask(ctx context.Context, id string) (*types.ImportSnapshotTask, error) {
	out, err := d.imports.DescribeImportSnapshotTasks(ctx, &ec2.DescribeImportSnapshotTasksInput{ImportTaskIds: []string{id}})
	if isNoTask(err) || err == nil && len(out.ImportSnapshotTasks) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &out.ImportSnapshotTasks[0], nil
}

// isNoTask tells the answer to whoever asks for an import that is not known yet.
func isNoTask(err error) bool {
	is := codeOf(err)
	return is == "InvalidConversionTaskId.NotFound" || is == "InvalidConversionTaskId"
}

// Tasks are listed in pages; those behind the last one that is read are older than
// anything that is of interest.
const (
	taskPage  = 100
	taskPages = 20
)

// ImageTasks yields the imports of images that the account has.
func ImageTasks(ctx context.Context, api Imports) iter.Seq2[types.ImportImageTask, error] {
	return func(yield func(types.ImportImageTask, error) bool) {
		pages := ec2.NewDescribeImportImageTasksPaginator(api, &ec2.DescribeImportImageTasksInput{MaxResults: aws.Int32(taskPage)})
		for n := 0; pages.HasMorePages() && n < taskPages; n++ {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield(types.ImportImageTask{}, err)
				return
			}
			for _, t := range out.ImportImageTasks {
				if !yield(t, nil) {
					return
				}
			}
		}
	}
}

// SnapshotTasks yields the imports of disks as snapshots.
func SnapshotTasks(ctx context.Context, api Imports) iter.Seq2[types.ImportSnapshotTask, error] {
	return func(yield func(types.ImportSnapshotTask, error) bool) {
		pages := ec2.NewDescribeImportSnapshotTasksPaginator(api, &ec2.DescribeImportSnapshotTasksInput{MaxResults: aws.Int32(taskPage)})
		for n := 0; pages.HasMorePages() && n < taskPages; n++ {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield(types.ImportSnapshotTask{}, err)
				return
			}
			for _, t := range out.ImportSnapshotTasks {
				if !yield(t, nil) {
					return
				}
			}
		}
	}
}

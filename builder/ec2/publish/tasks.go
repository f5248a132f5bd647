package publish

import (
	"context"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Task is an import that the account has, of an image or of a disk as a snapshot.
type Task struct {
	ID   string
	Tags []types.Tag
	Made []string // the image, if it makes one, and its snapshots
	task
}

// Active says that VM Import is at work.
func (t Task) Active() bool { return !t.ended() && !t.completed() }

// Completed says that what was to be made is there.
func (t Task) Completed() bool { return t.completed() }

// tag is the value of one of its tags, or empty.
func (t Task) tag(key string) string {
	for _, tag := range t.Tags {
		if aws.ToString(tag.Key) == key {
			return aws.ToString(tag.Value)
		}
	}
	return ""
}

// Tasks yields the imports that the account has, ended or not.
func Tasks(ctx context.Context, api Imports) iter.Seq2[Task, error] {
	return func(yield func(Task, error) bool) {
		for _, kind := range []iter.Seq2[Task, error]{imageTasks(ctx, api), snapshotTasks(ctx, api)} {
			for t, err := range kind {
				if !yield(t, err) || err != nil {
					return
				}
			}
		}
	}
}

func imageTasks(ctx context.Context, api Imports) iter.Seq2[Task, error] {
	return asTasks(ImageTasks(ctx, api), func(t types.ImportImageTask) Task {
		return Task{
			aws.ToString(t.ImportTaskId), t.Tags, append(given(t.ImageId), snapshotsOf(t)...),
			task{aws.ToString(t.Status), aws.ToString(t.StatusMessage), aws.ToString(t.Progress)},
		}
	})
}

func snapshotTasks(ctx context.Context, api Imports) iter.Seq2[Task, error] {
	return asTasks(SnapshotTasks(ctx, api), func(t types.ImportSnapshotTask) Task {
		d := t.SnapshotTaskDetail
		if d == nil {
			d = &types.SnapshotTaskDetail{}
		}
		return Task{
			aws.ToString(t.ImportTaskId), t.Tags, given(d.SnapshotId),
			task{aws.ToString(d.Status), aws.ToString(d.StatusMessage), aws.ToString(d.Progress)},
		}
	})
}

func asTasks[T any](all iter.Seq2[T, error], of func(T) Task) iter.Seq2[Task, error] {
	return func(yield func(Task, error) bool) {
		for t, err := range all {
			if !yield(of(t), err) {
				return
			}
		}
	}
}

// Cancel ends an import. EC2 refuses it of one that has ended, or is about to.
func Cancel(ctx context.Context, api Imports, id string) error {
	_, err := api.CancelImportTask(ctx, &ec2.CancelImportTaskInput{ImportTaskId: aws.String(id), CancelReason: aws.String("the build has ended")})
	return err
}

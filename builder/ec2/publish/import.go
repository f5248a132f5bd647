package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

// Imports is what VM Import is asked for; *ec2.Client has it.
type Imports interface {
	Images
	CancelImportTask(context.Context, *ec2.CancelImportTaskInput, ...func(*ec2.Options)) (*ec2.CancelImportTaskOutput, error)
	DescribeImportImageTasks(context.Context, *ec2.DescribeImportImageTasksInput, ...func(*ec2.Options)) (*ec2.DescribeImportImageTasksOutput, error)
	DescribeImportSnapshotTasks(context.Context, *ec2.DescribeImportSnapshotTasksInput, ...func(*ec2.Options)) (*ec2.DescribeImportSnapshotTasksOutput, error)
	ImportImage(context.Context, *ec2.ImportImageInput, ...func(*ec2.Options)) (*ec2.ImportImageOutput, error)
	ImportSnapshot(context.Context, *ec2.ImportSnapshotInput, ...func(*ec2.Options)) (*ec2.ImportSnapshotOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyImageAttributeOutput, error)
}

// Uploads writes large objects in parts; *transfermanager.Client has it.
type Uploads interface {
	UploadObject(context.Context, *transfermanager.UploadObjectInput, ...func(*transfermanager.Options)) (*transfermanager.UploadObjectOutput, error)
}

// Objects removes what was uploaded; *s3.Client has it.
type Objects interface {
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
}

var (
	_ Imports = (*ec2.Client)(nil)
	_ Uploads = (*transfermanager.Client)(nil)
	_ Objects = (*s3.Client)(nil)
)

// Source is a disk file in S3.
type Source struct {
	Bucket, Key string
	Format      string // vmdk, vhd, vhdx, ova or raw
}

// formats says in which ways VM Import takes which.
var formats = map[string]struct{ converted, asItIs bool }{
	"vmdk": {true, true}, "vhd": {true, true}, "raw": {true, true}, "vhdx": {true, false}, "ova": {true, false},
}

// Import is what becomes an image by VM Import.
type Import struct {
	Source
	Image Image // Snapshot is found by the import

	// AsItIs takes the disk for one that boots on EC2 already. Otherwise VM Import
	// looks at the system on it and adds the drivers that it needs, which takes longer.
	AsItIs bool
	// TokensOnly has instances answer metadata requests of version 2 alone, as those of
	// an image that is registered do.
	TokensOnly bool
	// Role is that of VM Import in the account; empty: vmimport.
	Role string

	// Stage puts the disk where Source says. It is called before an import begins, and
	// not when an earlier one is taken up; nil: it lies there.
	Stage func(ctx context.Context) error
	// Unstage removes the disk, for which nobody waits any more; nil: it stays.
	Unstage func(ctx context.Context)
	// Task are the tags of the import, besides that of its build; nil: the image's.
	Task map[string]string
	// Build is for whom it is made. The import has its tag, by which a reaper tells
	// whether somebody still wants it and what it makes.
	Build string
	// Waits are those of the process; nil: nobody else waits for the same import.
	Waits *Waits
	// Accept looks at what was made before it gets the image's tags; nil: it will do.
	Accept func(ctx context.Context, made []string) error
}

// Stage puts a disk file where an import finds it.
func Stage(ctx context.Context, uploads Uploads, path string, to Source) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = uploads.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: aws.String(to.Bucket), Key: aws.String(to.Key), Body: f})
	return errors.Join(failed(err, "the disk could not be put into the bucket %s", to.Bucket), f.Close())
}

// Convert has VM Import make an image of a disk in S3. It waits as long as the import
// moves. A repeated call finds the image, or the import on its way, that an
// earlier one with the same name has begun. When ctx ends for good, and nobody else
// waits, the import is cancelled.
func Convert(ctx context.Context, api Imports, i Import) (AMI, error) {
	takes, known := formats[i.Format]
	switch {
	case !known || i.AsItIs && !takes.asItIs:
		return AMI{}, &builder.Error{
			Fault: builder.Author, Reason: fmt.Sprintf("VM Import does not take a disk in the format %q", i.Format),
			Hint: "convert it to vmdk or raw",
		}
	case i.Bucket == "" || i.Key == "" || i.Image.Name == "" || len(i.Image.Name) > maxName:
		return AMI{}, fmt.Errorf("an import needs a bucket, a key, and a name of up to %d characters", maxName)
	}
	c := newConversion(api, i)
	ami, err := c.convert(ctx)
	c.leave(ctx, err)
	return ami, importFailed(err, i.Source)
}

func newConversion(api Imports, i Import) *conversion {
	c := &conversion{Import: i, api: api}
	c.Image.Tags = maps.Clone(i.Image.Tags)
	if c.Image.Tags == nil {
		c.Image.Tags = map[string]string{}
	}
	c.Image.Tags[importTag] = c.token()
	if c.Task = maps.Clone(i.Task); c.Task == nil {
		c.Task = maps.Clone(c.Image.Tags)
	}
	c.Task[importTag] = c.token()
	if c.Build != "" {
		c.Task[tagBuild] = c.Build
	}
	if c.Waits == nil {
		c.Waits = &Waits{}
	}
	c.place = c.Waits.join(c.token(), c.Source, c.Build)
	return c
}

// importFailed knows the refusals that are VM Import's alone.
func importFailed(err error, from Source) error {
	if err != nil && codeOf(err) == "InvalidParameter" && strings.Contains(err.Error(), "service role") {
		return &builder.Error{
			Reason: "VM Import has no service role in this account, or the role may not read the bucket " + from.Bucket,
			Hint:   "make the role vmimport as AWS describes it for VM Import, with a trust for vmie.amazonaws.com", Err: err,
		}
	}
	return failed(err, "the disk s3://%s/%s could not be imported", from.Bucket, from.Key)
}

// conversion is one call of Convert.
type conversion struct {
	Import
	api   Imports
	place *place
}

func (c *conversion) convert(ctx context.Context) (AMI, error) {
	image, err := c.owned(ctx)
	switch {
	case err != nil:
		return AMI{}, err
	case image != nil:
		r := &registering{Image: c.Image, images: c.api}
		ami, err := r.known(ctx, *image, true)
		if err == nil && image.ImdsSupport != types.ImdsSupportValuesV20 { // who made it may have died before that
			err = c.requireTokens(ctx, ami.ID)
		}
		return ami, err
	case c.AsItIs:
		return c.throughSnapshot(ctx)
	}
	return c.throughImage(ctx)
}

// owned is the image that an earlier call has made and tagged, or nil. One that VM
// Import makes has a name that is not ours to choose.
func (c *conversion) owned(ctx context.Context) (*types.Image, error) {
	out, err := c.api.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("tag:" + importTag), Values: []string{c.token()}}},
	})
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(out.Images, func(i types.Image) bool { return !c.foreign(i.Tags) })
	if at < 0 {
		return nil, nil
	}
	return &out.Images[at], nil
}

// foreign says that another ledger's builds have begun something, and may end it as they
// like. What has no ledger, as an older ingot made it, is of each.
func (c *conversion) foreign(tags []types.Tag) bool {
	return slices.ContainsFunc(tags, func(t types.Tag) bool {
		return aws.ToString(t.Key) == tagLedger && aws.ToString(t.Value) != c.Task[tagLedger]
	})
}

// leaveWithin is for what is done after a build was cancelled.
const leaveWithin = 20 * time.Second

// leave ends the wait. The last one gives up what nobody wants any more, and removes the
// disk that nobody needs.
func (c *conversion) leave(ctx context.Context, err error) {
	defer c.place.forget()
	last, givenUp := c.place.leave(), err != nil && ctx.Err() != nil && !builder.GoesOn(ctx)
	if !last || err != nil && !givenUp {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	release, err := c.place.take(ctx)
	if err != nil {
		return // who has the turn wants it
	}
	defer release()
	again, disk := c.place.wanted()
	if givenUp && !again {
		if err := c.abandon(ctx); err != nil && c.Image.Progress != nil {
			c.Image.Progress(fmt.Sprintf("the import of s3://%s/%s is left to the reaper: %v", c.Bucket, c.Key, err))
		}
	}
	if c.Unstage != nil && !disk {
		c.Unstage(ctx)
	}
}

// abandon ends an import for which nobody waits any more.
func (c *conversion) abandon(ctx context.Context) error {
	err := c.giveUp(ctx)
	if codeOf(err) != "" { // it may have come to its end since it was looked at
		err = c.giveUp(ctx)
	}
	return failed(err, "it could not be cancelled")
}

// giveUp cancels the task that is on its way, or takes over what it has made. One that
// has the tag of a build of another process is that build's.
func (c *conversion) giveUp(ctx context.Context) error {
	if image, err := c.owned(ctx); err != nil || image != nil {
		return err
	}
	t, _, err := c.taskOnItsWay(ctx)
	if err != nil || t.ID == "" {
		return err
	}
	build := t.tag(tagBuild)
	switch {
	case build != "" && !c.place.has(build):
		return nil
	case t.completed():
		return c.accept(ctx, t.Made)
	}
	return Cancel(ctx, c.api, t.ID)
}

// token names an import, by all that can change what comes of it.
func (c *conversion) token() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{c.Image.Name, c.Bucket, c.Key, c.Format, fmt.Sprint(c.AsItIs)}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// clientToken makes the repeat of a call harmless. Each try that came to nothing is
// followed by one with a token of its own: to an old one the service would answer with
// the task that failed. Ledgers have tokens of their own, too.
func (c *conversion) clientToken(spent int) *string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", c.token(), c.Task[tagLedger], spent))
	return aws.String(hex.EncodeToString(sum[:]))
}

// importTag names the import that something belongs to: the service forgets a token
// after a while.
const importTag = "ingot:import"

func (c *conversion) tags(kind types.ResourceType) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: kind, Tags: tagList(c.Task)}}
}

// throughSnapshot has the disk made a snapshot and registers that.
func (c *conversion) throughSnapshot(ctx context.Context) (AMI, error) {
	r := &registering{Image: c.Image, images: c.api}
	if found, err := r.find(ctx); err != nil || found != nil {
		if err != nil {
			return AMI{}, err
		}
		return r.known(ctx, *found, true) // made in another way, of the same disk
	}
	id, err := c.begin(ctx, c.importSnapshot)
	if err != nil {
		return AMI{}, err
	}
	image := c.Image
	err = c.wait(ctx, id, func() (task, error) {
		t, err := c.Image.watch(c.api, c.api).SnapshotTask(ctx, id)
		if err != nil || t == nil || t.SnapshotTaskDetail == nil {
			return task{}, err
		}
		d := t.SnapshotTaskDetail
		image.Snapshot = aws.ToString(d.SnapshotId)
		return task{aws.ToString(d.Status), aws.ToString(d.StatusMessage), aws.ToString(d.Progress)}, nil
	})
	if err != nil {
		return AMI{}, err
	}
	if err := c.takeOver(ctx, image.Snapshot); err != nil {
		return AMI{}, err
	}
	return Register(ctx, c.api, image)
}

// begin returns the task that is on its way or done, or begins it.
func (c *conversion) begin(ctx context.Context, start func(ctx context.Context, token *string) (id *string, err error)) (string, error) {
	release, err := c.place.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	for from, staged := time.Now(), false; ; {
		t, spent, err := c.taskOnItsWay(ctx)
		if err != nil {
			return "", err
		}
		if t.ID != "" {
			c.place.tagged(t.tag(tagBuild))
			return t.ID, nil
		}
		if c.Stage != nil && !staged {
			if err := c.Stage(ctx); err != nil {
				return "", err
			}
			staged = true
		}
		id, err := start(ctx, c.clientToken(spent))
		if err == nil {
			c.place.tagged(c.Build)
			return aws.ToString(id), nil
		}
		// A build of another process was faster, and its task is not shown yet.
		if codeOf(err) != "IdempotentParameterMismatch" || time.Since(from) > visibleWithin {
			return "", err
		}
		if err := pause(ctx, lookEvery); err != nil {
			return "", err
		}
	}
}

func (c *conversion) importSnapshot(ctx context.Context, token *string) (*string, error) {
	out, err := c.api.ImportSnapshot(ctx, &ec2.ImportSnapshotInput{
		ClientToken: token, Description: aws.String(c.Image.Name), RoleName: c.role(),
		DiskContainer:     &types.SnapshotDiskContainer{Format: aws.String(strings.ToUpper(c.Format)), UserBucket: c.bucket()},
		TagSpecifications: c.tags(types.ResourceTypeImportSnapshotTask),
	})
	if err != nil {
		return nil, err
	}
	return out.ImportTaskId, nil
}

func (c *conversion) importImage(ctx context.Context, token *string) (*string, error) {
	out, err := c.api.ImportImage(ctx, &ec2.ImportImageInput{
		ClientToken: token, Description: aws.String(c.Image.Name), RoleName: c.role(),
		DiskContainers:    []types.ImageDiskContainer{{Format: aws.String(strings.ToUpper(c.Format)), UserBucket: c.bucket()}},
		TagSpecifications: c.tags(types.ResourceTypeImportImageTask),
	})
	if err != nil {
		return nil, err
	}
	return out.ImportTaskId, nil
}

// throughImage has the disk made an image, by a name that is not ours to choose.
func (c *conversion) throughImage(ctx context.Context) (AMI, error) {
	id, err := c.begin(ctx, c.importImage)
	if err != nil {
		return AMI{}, err
	}
	var ami string
	var snapshots []string // of each disk, the root's first
	err = c.wait(ctx, id, func() (task, error) {
		t, err := c.Image.watch(c.api, c.api).ImageTask(ctx, id)
		if err != nil || t == nil {
			return task{}, err
		}
		ami, snapshots = aws.ToString(t.ImageId), snapshotsOf(*t)
		return task{aws.ToString(t.Status), aws.ToString(t.StatusMessage), aws.ToString(t.Progress)}, nil
	})
	if err != nil {
		return AMI{}, err
	}
	if err := c.takeOver(ctx, append([]string{ami}, snapshots...)...); err != nil {
		return AMI{}, err
	}
	r := &registering{Image: c.Image, images: c.api}
	made, err := r.known(ctx, types.Image{ImageId: aws.String(ami)}, false)
	if err != nil {
		return AMI{}, err
	}
	if len(snapshots) > 0 {
		made.Snapshot = snapshots[0]
	}
	return made, c.requireTokens(ctx, ami)
}

// requireTokens does for an image what VM Import cannot be asked for.
func (c *conversion) requireTokens(ctx context.Context, ami string) error {
	if !c.TokensOnly || c.AsItIs {
		return nil
	}
	_, err := c.api.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
		ImageId: aws.String(ami), ImdsSupport: &types.AttributeValue{Value: aws.String(string(types.ImdsSupportValuesV20))},
	})
	return err
}

func snapshotsOf(t types.ImportImageTask) []string {
	var ids []string
	for _, d := range t.SnapshotDetails {
		ids = append(ids, given(d.SnapshotId)...)
	}
	return ids
}

// given is an ID, which an answer may leave out.
func given(id *string) []string {
	if aws.ToString(id) == "" {
		return nil
	}
	return []string{*id}
}

// tasks yields those that were begun by the same call in this ledger, ended or not.
func (c *conversion) tasks(ctx context.Context) iter.Seq2[Task, error] {
	all := imageTasks
	if c.AsItIs {
		all = snapshotTasks
	}
	return func(yield func(Task, error) bool) {
		for t, err := range all(ctx, c.api) {
			if (err != nil || t.tag(importTag) == c.token() && !c.foreign(t.Tags)) && !yield(t, err) {
				return
			}
		}
	}
}

// taskOnItsWay returns the task that is on its way or done. Where there is none, it
// tells how many have come to nothing.
func (c *conversion) taskOnItsWay(ctx context.Context) (t Task, spent int, err error) {
	for t, err := range c.tasks(ctx) {
		if err != nil {
			return Task{}, 0, err
		}
		if going, err := c.going(ctx, t); err != nil || going {
			return t, 0, err
		}
		spent++
	}
	return Task{}, spent, nil
}

// going says whether a task may still become something: it has not failed, and what it
// has made, if it has, was not removed since.
func (c *conversion) going(ctx context.Context, t Task) (bool, error) {
	switch {
	case t.ended():
		return false, nil
	case !t.completed() || len(t.Made) == 0:
		return true, nil
	case c.AsItIs:
		s, err := describe(ctx, c.api, t.Made[0])
		return s != nil, err
	}
	return c.imageThere(ctx, t.Made[0])
}

func (c *conversion) imageThere(ctx context.Context, id string) (bool, error) {
	out, err := c.api.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if strings.HasPrefix(codeOf(err), "InvalidAMIID") {
		return false, nil
	}
	return err == nil && len(out.Images) > 0, err
}

func (c *conversion) role() *string {
	if c.Role == "" {
		return nil
	}
	return aws.String(c.Role)
}

func (c *conversion) bucket() *types.UserBucket {
	return &types.UserBucket{S3Bucket: aws.String(c.Bucket), S3Key: aws.String(c.Key)}
}

// takeOver makes what an import has made the caller's. Of several who wait for it the
// first does that for all.
func (c *conversion) takeOver(ctx context.Context, made ...string) error {
	release, err := c.place.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.accept(ctx, made)
}

// accept is takeOver for whoever has the turn.
func (c *conversion) accept(ctx context.Context, made []string) error {
	all := strings.Join(made, " ")
	if c.place.taken == all {
		return nil
	}
	if c.Accept != nil {
		if err := c.Accept(ctx, made); err != nil {
			return err
		}
	}
	if err := c.own(ctx, made...); err != nil {
		return err
	}
	c.place.taken = all
	return nil
}

// own puts the caller's tags on what an import has made. Until then its task has them.
func (c *conversion) own(ctx context.Context, resources ...string) error {
	for begin := time.Now(); ; {
		_, err := c.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: resources, Tags: tagList(c.Image.Tags)})
		is := codeOf(err) // they may not be known yet
		if is != "InvalidAMIID.NotFound" && is != "InvalidSnapshot.NotFound" || time.Since(begin) > visibleWithin {
			return err
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// task is the state of an import.
type task struct{ state, message, progress string }

// ended says that the task is one that has failed, or that somebody has cancelled.
func (t task) ended() bool { return t.state == "deleted" || t.state == "deleting" }

func (t task) completed() bool { return t.state == "completed" }

func (c *conversion) wait(ctx context.Context, id string, look func() (task, error)) error {
	return c.Image.poll(ctx, "the import "+id, func() (string, bool, error) {
		t, err := look()
		switch {
		case err != nil:
		case t.ended():
			err = c.refused(id, t)
		case t.state != "" && !t.completed():
			err = c.claim(ctx, id)
		}
		return strings.TrimSpace(t.state + " " + t.progress + " " + t.message), t.completed(), err
	})
}

// claim gives an import the build's tag, where it has that of none which waits. What may
// pass by itself is tried again with the next look.
func (c *conversion) claim(ctx context.Context, id string) error {
	if !c.place.claim() {
		return nil
	}
	_, err := c.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(map[string]string{tagBuild: c.Build})})
	if err == nil {
		return nil
	}
	c.place.tagged("")
	if fault, _ := answer.Means(err); fault == builder.Transient {
		return nil
	}
	return failed(err, "the import %s could not be tagged", id)
}

// refused says what a message of VM Import means: it begins with who has to act.
func (c *conversion) refused(id string, t task) error {
	e := &builder.Error{
		Reason: fmt.Sprintf("VM Import has given up the disk s3://%s/%s: %.300s", c.Bucket, c.Key, t.message),
		Err:    fmt.Errorf("task %s: %s", id, t.state),
	}
	switch {
	case strings.HasPrefix(t.message, "ClientError"), strings.HasPrefix(t.message, "FirstBootFailure"):
		e.Fault, e.Hint = builder.Author, "VM Import takes certain systems and formats alone: see AWS's list of its errors, and mend or convert the disk"
	case strings.HasPrefix(t.message, "ServerError"):
		e.Fault, e.Hint = builder.Transient, "repeat the build"
	case t.message == "", strings.Contains(strings.ToLower(t.message), "cancel"):
		e.Fault, e.Hint = builder.Transient, "somebody has cancelled the import; repeat the build: it begins another one"
	default:
		e.Hint = "see the task in the EC2 console"
	}
	return e
}

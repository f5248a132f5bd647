package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder/local/store"
)

// BlockSize is how much is written to a snapshot at once, in bytes: the service
// knows no other size.
const BlockSize = 512 << 10

const (
	gib = 1 << 30

	// giveUpAfter is how long the service keeps a snapshot to which nobody writes: as
	// long as it can, so that a restart finds it.
	giveUpAfter = time.Hour
	leastGiveUp = 10 * time.Minute

	// visibleWithin is how long the service may take to know a snapshot that it has
	// just started.
	visibleWithin = 2 * time.Minute

	// beginnings bounds how often one call starts anew, because the snapshot that
	// it found is gone.
	beginnings = 3
)

// Options say what is uploaded as what.
type Options struct {
	// Key names the content: disks of the same key hold the same bytes.
	Key string
	// Parents are keys of disks, the nearest first, with which this one shares most of
	// its blocks. If one of them was uploaded from the same Dir and its snapshot is
	// still there, only the blocks that differ are written.
	Parents []string
	// Lineage names what the disk is a version of; the version that was uploaded last
	// is the nearest of its parents. Empty: nothing.
	Lineage string
	// Dir keeps what is remembered of uploads. It belongs to one account and region.
	Dir string

	Description string
	Tags        map[string]string // of the snapshot, from its start on
	Snapshots   Snapshots
	Workers     int           // blocks in flight, each of which takes 512 KiB of memory; 0: 32
	GiveUpAfter time.Duration // how long the service keeps a snapshot to which nobody writes; 0: an hour
	// Progress hears after each block how far it is, from one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far an upload is.
type Progress struct {
	Done, Total int   // blocks of the disk that may hold data
	Written     int   // of them that were sent, now or before
	Sent        int64 // bytes that were sent, now or before
}

// Snapshot is what an upload made.
type Snapshot struct {
	ID      string
	SizeGiB int64
	Parent  string // the snapshot that it differs from; empty: none
	Blocks  int    // of the disk that are not zeros
	Written int    // of them, and of the parent's, that were written
	Reused  bool   // it was there already
}

// Upload writes a disk into a snapshot and completes that. It may take a while more
// until it can be used; Register waits for it.
//
// A call with the same Key and Dir goes on where an earlier one ended, also when
// that was killed, and returns its snapshot when it was complete: no two uploads of
// the same content are ever on their way. Concurrent calls wait for each other.
func Upload(ctx context.Context, blocks Blocks, disk Disk, o Options) (Snapshot, error) {
	if o.Key == "" || o.Dir == "" || o.Snapshots == nil {
		return Snapshot{}, errors.New("an upload needs Key, Dir and Snapshots")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return Snapshot{}, err
	}
	u := &uploader{Options: o, blocks: blocks, disk: disk, records: records{o.Dir}, sums: newSums(o.Dir)}
	lock, err := store.Acquire(ctx, u.records.path(o.Key, ".lock"))
	if err != nil {
		return Snapshot{}, err
	}
	s, err := u.upload(ctx)
	err = errors.Join(err, u.sums.save())
	return s, errors.Join(failed(err, "the disk could not be written to a snapshot"), lock.Release())
}

// uploader is one call of Upload.
type uploader struct {
	Options
	blocks  Blocks
	disk    Disk
	records records
	sums    *sums
	attempt int  // the first that nobody has used
	alone   bool // no parent is taken
}

func (u *uploader) upload(ctx context.Context) (Snapshot, error) {
	done, err := u.records.manifest(u.Key)
	if err != nil {
		return Snapshot{}, err
	}
	if done != nil {
		state, err := u.state(ctx, done.Snapshot)
		if err != nil {
			return Snapshot{}, err
		}
		if state == ec2types.SnapshotStateCompleted || state == ec2types.SnapshotStatePending {
			return Snapshot{ID: done.Snapshot, SizeGiB: done.SizeGiB, Blocks: len(done.Blocks), Reused: true}, nil
		}
		u.attempt = done.Attempt + 1
	}
	for range beginnings {
		s, err := u.once(ctx)
		if !errors.Is(err, errGone) {
			return s, err
		}
	}
	return Snapshot{}, fmt.Errorf("the snapshot vanished %d times while it was written", beginnings)
}

// errGone says that the snapshot of the journal will never be complete.
var errGone = errors.New("the snapshot is not there any more")

// once continues the journal, or begins one.
func (u *uploader) once(ctx context.Context) (_ Snapshot, err error) {
	j, err := u.records.open(u.Key)
	if err != nil {
		return Snapshot{}, err
	}
	goesOn := j != nil
	if !goesOn {
		b, err := u.beginning(ctx)
		if err != nil {
			return Snapshot{}, err
		}
		if j, err = u.records.create(b); err != nil {
			return Snapshot{}, err
		}
	}
	defer func() {
		err = errors.Join(err, j.close())
		if errors.Is(err, errGone) {
			u.attempt = max(u.attempt, j.begin.Attempt+1)
			err = errors.Join(err, os.Remove(j.file.Name()))
		}
	}()
	if err := u.start(ctx, j); err != nil {
		return Snapshot{}, err
	}
	if goesOn {
		if err := adopt(ctx, u.Snapshots, j.snapshot, u.Tags); err != nil {
			return Snapshot{}, err
		}
	}
	parent, err := u.parentOf(j)
	if err != nil {
		return Snapshot{}, err
	}
	all, err := u.put(ctx, j, parent)
	if err != nil {
		return Snapshot{}, err
	}
	if err := u.seal(ctx, j); err != nil {
		return Snapshot{}, err
	}
	b := j.begin
	if err := u.records.setLatest(u.Lineage, b.Key); err != nil {
		return Snapshot{}, err
	}
	return Snapshot{ID: j.snapshot, SizeGiB: b.SizeGiB, Parent: b.Parent, Blocks: len(all), Written: len(j.written)},
		u.records.finish(manifest{Key: b.Key, Snapshot: j.snapshot, Attempt: b.Attempt, SizeGiB: b.SizeGiB, Blocks: all})
}

// beginning decides what the new snapshot is like.
func (u *uploader) beginning(ctx context.Context) (beginning, error) {
	giveUp := u.GiveUpAfter
	if giveUp == 0 {
		giveUp = giveUpAfter
	}
	b := beginning{
		Key: u.Key, Attempt: u.attempt, SizeGiB: (u.disk.Size() + gib - 1) / gib,
		Description: u.Description, Tags: u.Tags,
		Minutes: int32(min(max(giveUp, leastGiveUp), giveUpAfter) / time.Minute),
	}
	if u.alone {
		return b, nil
	}
	latest, err := u.records.latest(u.Lineage)
	if err != nil {
		return b, err
	}
	for _, key := range append([]string{latest}, u.Parents...) {
		m, err := u.records.manifest(key)
		if err != nil {
			return b, err
		}
		if m == nil || m.SizeGiB > b.SizeGiB || key == u.Key {
			continue
		}
		state, err := u.state(ctx, m.Snapshot)
		if err != nil {
			return b, err
		}
		if state == ec2types.SnapshotStateCompleted {
			b.ParentKey, b.Parent = key, m.Snapshot
			break
		}
	}
	return b, nil
}

// parentOf returns what is known of the journal's parent; without one, nothing.
func (u *uploader) parentOf(j *journal) (map[int32]sum, error) {
	if j.begin.Parent == "" {
		return nil, nil
	}
	m, err := u.records.manifest(j.begin.ParentKey)
	if err != nil {
		return nil, err
	}
	if m == nil || m.Snapshot != j.begin.Parent {
		return nil, fmt.Errorf("the record of %s was changed: %w", j.begin.ParentKey, errGone)
	}
	return m.Blocks, nil
}

// start starts the journal's snapshot, unless that was done before.
func (u *uploader) start(ctx context.Context, j *journal) error {
	if j.snapshot != "" {
		return nil
	}
	b := j.begin
	in := &ebs.StartSnapshotInput{
		VolumeSize: aws.Int64(b.SizeGiB), ClientToken: aws.String(b.token()), Timeout: aws.Int32(b.Minutes),
	}
	if b.Parent != "" {
		in.ParentSnapshotId = aws.String(b.Parent)
	}
	if b.Description != "" {
		in.Description = aws.String(b.Description)
	}
	for _, key := range slices.Sorted(maps.Keys(b.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(b.Tags[key])})
	}
	out, err := u.blocks.StartSnapshot(ctx, in)
	if _, other := errors.AsType[*types.ConflictException](err); other || b.Parent != "" && isGone(err) {
		// An earlier upload, of which nothing is recorded, or a parent that has just gone.
		return errors.Join(errGone, err)
	}
	if _, refused := errors.AsType[*types.ValidationException](err); refused && b.Parent != "" {
		// So is a parent that is not encrypted, where the account encrypts by default.
		u.alone = true
		return errors.Join(errGone, err)
	}
	if err != nil {
		return failed(err, "no snapshot could be started")
	}
	j.started = time.Now()
	if size := aws.ToInt32(out.BlockSize); size != BlockSize && size != BlockSize>>10 {
		return fmt.Errorf("the snapshot %s has blocks of %d bytes", aws.ToString(out.SnapshotId), size)
	}
	// What a crash of the machine takes away here, the same call brings back.
	return j.add(entry{Snapshot: aws.ToString(out.SnapshotId)}, false)
}

// put writes what the snapshot does not have yet, and returns the checksums of all
// blocks of the disk that are not zeros.
func (u *uploader) put(ctx context.Context, j *journal, parent map[int32]sum) (map[int32]sum, error) {
	w := &writing{uploader: u, journal: j, parent: parent, all: map[int32]sum{}}
	for index, s := range j.written {
		if s != zeroSum {
			w.all[index] = s
		}
	}
	w.progress.Written = len(j.written)
	w.todo = candidates(u.disk, parent)
	w.progress.Total = len(w.todo)
	w.todo = slices.DeleteFunc(w.todo, func(index int32) bool { _, have := j.written[index]; return have })
	w.progress.Done = w.progress.Total - len(w.todo)
	return w.all, w.run(ctx)
}

// candidates are the blocks that may hold data, here or in the parent, in order.
func candidates(disk Disk, parent map[int32]sum) []int32 {
	var all []int32
	next := int32(0)
	for start, end := range disk.Data() {
		for index := max(next, int32(start/BlockSize)); index <= int32((end-1)/BlockSize); index++ {
			all = append(all, index)
			next = index + 1
		}
	}
	if len(parent) == 0 {
		return all
	}
	all = slices.AppendSeq(all, maps.Keys(parent))
	slices.Sort(all)
	return slices.Compact(all)
}

// seal completes the snapshot. That may have been done before, by a call whose
// answer never came.
func (u *uploader) seal(ctx context.Context, j *journal) error {
	repeated := j.sealing
	if err := j.add(entry{Sealing: true}, true); err != nil {
		return err
	}
	in := &ebs.CompleteSnapshotInput{SnapshotId: aws.String(j.snapshot), ChangedBlocksCount: aws.Int32(int32(len(j.written)))}
	if len(j.written) > 0 {
		in.Checksum = aws.String(aggregate(j.written).text())
		in.ChecksumAlgorithm = types.ChecksumAlgorithmChecksumAlgorithmSha256
		in.ChecksumAggregationMethod = types.ChecksumAggregationMethodChecksumAggregationLinear
	}
	_, err := u.blocks.CompleteSnapshot(ctx, in)
	if err == nil {
		return nil
	}
	_, refused := errors.AsType[*types.ValidationException](err)
	if !refused && !isGone(err) {
		return failed(err, "the snapshot %s could not be completed", j.snapshot)
	}
	state, stateErr := u.state(ctx, j.snapshot)
	switch {
	case stateErr != nil:
		return errors.Join(failed(err, "the snapshot %s could not be completed", j.snapshot), stateErr)
	case state == ec2types.SnapshotStateCompleted:
		return nil
	case state == ec2types.SnapshotStatePending && repeated:
		return nil // Register waits for it, and says so when it does not become complete
	case state != ec2types.SnapshotStatePending:
		return errors.Join(errGone, err)
	}
	return failed(err, "the snapshot %s could not be completed", j.snapshot)
}

// aggregate is the checksum of all written blocks: that of their checksums, in the
// order of the blocks.
func aggregate(written map[int32]sum) sum {
	all := sha256.New()
	for _, index := range slices.Sorted(maps.Keys(written)) {
		s := written[index]
		all.Write(s[:])
	}
	return sum(all.Sum(nil))
}

// isGone says that there is no such snapshot, or that nobody may write to it any more.
func isGone(err error) bool {
	if _, gone := errors.AsType[*types.ResourceNotFoundException](err); gone {
		return true
	}
	refusal, ok := errors.AsType[*types.ValidationException](err)
	return ok && refusal.Reason == types.ValidationExceptionReasonInvalidSnapshotId
}

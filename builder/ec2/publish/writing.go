package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
)

// writing is the workers of one upload and what they share.
type writing struct {
	*uploader
	journal *journal
	parent  map[int32]sum

	mu       sync.Mutex
	todo     []int32
	all      map[int32]sum
	progress Progress
}

// run returns when every block is there, or when a worker failed and all have ended.
func (w *writing) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	workers := w.Workers
	if workers <= 0 {
		workers = defaultWorkers
	}
	var all sync.WaitGroup
	for range min(workers, len(w.todo)) {
		all.Go(func() {
			if err := w.work(ctx); err != nil {
				stop(err)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (w *writing) work(ctx context.Context) error {
	var into buffer
	for {
		index, ok := w.next()
		if !ok || ctx.Err() != nil {
			return nil
		}
		if err := w.block(ctx, index, &into); err != nil {
			return err
		}
	}
}

func (w *writing) next() (index int32, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.todo) == 0 {
		return 0, false
	}
	index, w.todo = w.todo[0], w.todo[1:]
	return index, true
}

var (
	zeroBlock [BlockSize]byte
	zeroSum   = sum(sha256.Sum256(zeroBlock[:]))
)

// block looks at one block of the disk and writes it where it has to be.
func (w *writing) block(ctx context.Context, index int32, into *buffer) error {
	have, read, err := w.sums.block(w.disk, index, into)
	if err != nil {
		return err
	}
	before, inParent := w.parent[index]
	if !inParent {
		before = zeroSum
	}
	differs := have != before
	if differs {
		var content io.ReadSeeker
		if read {
			content = bytes.NewReader(into.bytes())
		} else {
			content = newBlockReader(w.disk, index)
		}
		if err := w.send(ctx, index, content, have); err != nil {
			return w.doubt(err, index, into.bytes(), have)
		}
	}
	w.done(index, have, differs)
	return nil
}

// buffer is room for a block, which takes memory when it is first used.
type buffer struct{ data []byte }

func (b *buffer) bytes() []byte {
	if b.data == nil {
		b.data = make([]byte, BlockSize)
	}
	return b.data
}

// originOf names where the disk has a block from.
func originOf(disk Disk, index int32) string {
	start := int64(index) * BlockSize
	return disk.Origin(start, start+BlockSize)
}

// readBlock fills up with zeros what lies behind the end of the disk, whose size need
// not be a multiple of the block's.
func readBlock(disk Disk, index int32, data []byte) error {
	_, err := padded{disk}.ReadAt(data, int64(index)*BlockSize)
	return err
}

func checksum(data []byte) sum {
	if bytes.Equal(data, zeroBlock[:]) {
		return zeroSum
	}
	return sha256.Sum256(data)
}

// doubt says why a block was not taken, if that is because it is not what it was when
// its checksum was computed. No part of the disk is to be trusted then.
func (w *writing) doubt(refusal error, index int32, data []byte, have sum) error {
	if _, broken := errors.AsType[*unreadable](refusal); broken {
		return refusal
	}
	if err := readBlock(w.disk, index, data); err != nil || checksum(data) == have {
		return errors.Join(refusal, err)
	}
	return errors.Join(&builder.Error{
		Reason: "the disk is not what it was when it was read before, although nobody has written to its files",
		Hint:   "check the storage under the daemon's data folder, then build the image and its parent anew",
		Err:    refusal,
	}, w.sums.forget(originOf(w.disk, index)))
}

func (w *writing) done(index int32, have sum, sent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if have != zeroSum {
		w.all[index] = have
	}
	w.progress.Done++
	if sent {
		w.progress.Written++
	}
	w.progress.Sent = int64(w.progress.Written) * BlockSize
	if w.Progress != nil {
		w.Progress(w.progress)
	}
}

// blockReader is a block on its way from the disk to the service.
type blockReader struct {
	*io.SectionReader
	index int32
}

func newBlockReader(disk Disk, index int32) *blockReader {
	return &blockReader{io.NewSectionReader(padded{disk}, int64(index)*BlockSize, BlockSize), index}
}

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	return n, b.of(err)
}

func (b *blockReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.SectionReader.ReadAt(p, off)
	return n, b.of(err)
}

// of tells an error of the disk from those of the wire.
func (b *blockReader) of(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		err = &unreadable{b.index, err}
	}
	return err
}

// unreadable is an error of the disk, in the midst of a request.
type unreadable struct {
	index int32
	err   error
}

func (u *unreadable) Error() string {
	return fmt.Sprintf("block %d could not be read: %v", u.index, u.err)
}
func (u *unreadable) Unwrap() error { return u.err }

// padded is a disk with zeros behind its end.
type padded struct{ Disk }

func (d padded) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Disk.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	clear(p[n:])
	return len(p), nil
}

// send writes a block. A snapshot that was just started may not be known everywhere yet.
func (w *writing) send(ctx context.Context, index int32, content io.ReadSeeker, s sum) error {
	for wait := time.Second; ; wait = min(2*wait, 8*time.Second) {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return err
		}
		out, err := w.blocks.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: aws.String(w.journal.snapshot), BlockIndex: aws.Int32(index),
			BlockData: content, DataLength: aws.Int32(BlockSize),
			Checksum: aws.String(s.text()), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		switch {
		case err == nil && out.Checksum != nil && *out.Checksum != s.text():
			return fmt.Errorf("block %d of %s arrived with the checksum %.60q, not %s", index, w.journal.snapshot, *out.Checksum, s.text())
		case err == nil:
			return w.journal.add(entry{Put: &put{Index: index, Sum: s}}, false)
		case !isGone(err):
			return w.refused(ctx, index, err)
		case time.Since(w.journal.started) > visibleWithin:
			return errors.Join(errGone, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// refused says why a block is not taken: because of the block, or because the service
// has given the snapshot up.
func (w *writing) refused(ctx context.Context, index int32, err error) error {
	if broken, ok := errors.AsType[*unreadable](err); ok {
		return broken
	}
	if _, invalid := errors.AsType[*types.ValidationException](err); invalid {
		state, stateErr := w.state(ctx, w.journal.snapshot)
		if stateErr == nil && (state == "" || state == ec2types.SnapshotStateError) {
			return errors.Join(errGone, err)
		}
	}
	return failed(err, "block %d could not be written to the snapshot %s", index, w.journal.snapshot)
}

package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// teller moves a journal into the store.
type teller struct {
	client  *Client
	inbox   Inbox
	journal string
	offset  int64 // what the store has
	ended   bool  // the store has the journal's end
	last    time.Time
}

// follow tells what another command writes, until the journal's end or until free
// says that the other one is gone.
func (t *teller) follow(ctx context.Context, free func() (bool, error)) (gone bool, err error) {
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		if err := t.rest(ctx); err != nil || t.ended {
			return false, err
		}
		if free != nil {
			if gone, err := free(); gone || err != nil {
				return gone, err
			}
		}
		if err := t.beat(ctx); err != nil {
			return false, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// until tells what this command writes, until all has been told that is there when
// over is closed.
func (t *teller) until(ctx context.Context, over <-chan struct{}) error {
	// A look at a file costs nothing, and pieces shall not be too small anyway.
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		select {
		case <-over:
			// When the command is stopped, that its work has ended is worth telling.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			return t.rest(ctx)
		case <-tick.C:
		}
		if ctx.Err() != nil {
			continue
		}
		if err := errors.Join(t.rest(ctx), t.beat(ctx)); err != nil && ctx.Err() == nil {
			<-over
			return err
		}
	}
}

// rest tells all complete lines that the journal has.
func (t *teller) rest(ctx context.Context) error {
	f, err := os.Open(t.journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		piece, err := nextPiece(f, t.offset)
		if err != nil || len(piece) == 0 {
			return err
		}
		if err := t.client.upload(ctx, t.inbox, PieceName(t.offset), piece); err != nil {
			return fmt.Errorf("tell what happens: %w", err)
		}
		t.offset += int64(len(piece))
		t.ended = endsDone(piece)
		t.last = time.Now()
	}
}

// nextPiece is the complete lines from an offset on, as many as a piece takes and
// one at least.
func nextPiece(f io.ReaderAt, offset int64) ([]byte, error) {
	for size := int64(MaxPiece); ; size = MaxLine + 1 {
		text, err := io.ReadAll(io.NewSectionReader(f, offset, size))
		if err != nil {
			return nil, err
		}
		if end := bytes.LastIndexByte(text, '\n') + 1; end > 0 {
			return text[:end], nil
		}
		if int64(len(text)) < size {
			return nil, nil // the line is still being written
		}
		if size > MaxPiece {
			return nil, fmt.Errorf("the journal has a line of more than %d bytes", MaxLine)
		}
	}
}

// beat shows that a quiet operation goes on.
func (t *teller) beat(ctx context.Context) error {
	if time.Since(t.last) < beatPause {
		return nil
	}
	t.last = time.Now()
	return t.client.upload(ctx, t.inbox, BeatName, nil)
}

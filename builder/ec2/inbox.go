package ec2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// inbox hears what instances tell. However many operations are going on, one
// listing finds the news of all of them; what was read is deleted, so that there is
// nothing to list while nothing happens. It works only while somebody listens.
type inbox struct {
	d      *Driver
	prefix string // of this process alone

	mu        sync.Mutex
	listeners map[string]*listener // by the part of the key after prefix
	wake      chan struct{}
	cancel    context.CancelFunc
	ended     sync.WaitGroup
}

// parallel is how many objects are read at the same time.
const parallel = 16

// maxEventText bounds the text of one event, in bytes.
const maxEventText = 64 << 10

func newInbox(d *Driver) *inbox {
	ctx, cancel := context.WithCancel(context.Background())
	b := &inbox{
		d: d, cancel: cancel, listeners: map[string]*listener{}, wake: make(chan struct{}, 1),
		prefix: fmt.Sprintf("%sinbox/%s/%s/", d.cfg.Prefix, d.cfg.Owner, rand.Text()),
	}
	b.ended.Go(func() { b.work(ctx) })
	return b
}

func (b *inbox) close() {
	b.cancel()
	b.ended.Wait()
}

// listener is one operation that is waited for.
type listener struct {
	b    *inbox
	name string

	mu     sync.Mutex
	offset int64 // of the journal, up to which it was read
	notes  []relay.Note
	heard  time.Time
	news   chan struct{}
}

// listen makes a place for an operation's notes; leave gives it up.
func (b *inbox) listen() *listener {
	l := &listener{b: b, name: rand.Text(), heard: time.Now(), news: make(chan struct{}, 1)}
	b.mu.Lock()
	b.listeners[l.name] = l
	b.mu.Unlock()
	poke(b.wake)
	return l
}

func (l *listener) leave() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	delete(l.b.listeners, l.name)
}

// prefix is of the keys of the operation's objects.
func (l *listener) prefix() string { return l.b.prefix + l.name + "/" }

// take returns what has come since, and when there last was a sign of life.
func (l *listener) take() (notes []relay.Note, heard time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	notes, l.notes = l.notes, nil
	return notes, l.heard
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *inbox) find(name string) *listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listeners[name]
}

func (b *inbox) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners) > 0
}

func (b *inbox) work(ctx context.Context) {
	tick := time.NewTicker(b.d.cfg.pace.inbox)
	defer tick.Stop()
	for {
		if !b.busy() {
			select {
			case <-b.wake:
			case <-ctx.Done():
				return
			}
		}
		if err := b.look(ctx); err != nil && ctx.Err() == nil {
			// Whoever listens looks after its instance when it hears nothing.
			b.d.cfg.Log.WithError(err).Warn("the inbox could not be read; it is tried again")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look reads everything that lies in the inbox, and deletes it.
func (b *inbox) look(ctx context.Context) error {
	listed, err := b.d.aws.Objects.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: aws.String(b.d.cfg.Bucket), Prefix: aws.String(b.prefix),
	})
	if err != nil || len(listed.Contents) == 0 {
		return err
	}
	byName := map[string][]string{} // the names of objects by listener
	for _, o := range listed.Contents {
		name, object, _ := strings.Cut(strings.TrimPrefix(aws.ToString(o.Key), b.prefix), "/")
		byName[name] = append(byName[name], object)
	}
	var read sync.WaitGroup
	var mu sync.Mutex
	var gone []types.ObjectIdentifier
	slots := make(chan struct{}, parallel)
	for name, objects := range byName {
		read.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			done := b.read(ctx, name, objects)
			mu.Lock()
			defer mu.Unlock()
			for _, object := range done {
				gone = append(gone, types.ObjectIdentifier{Key: aws.String(b.prefix + name + "/" + object)})
			}
		})
	}
	read.Wait()
	return b.delete(ctx, gone)
}

// delete removes objects, of which one listing has no more than one call takes.
func (b *inbox) delete(ctx context.Context, objects []types.ObjectIdentifier) error {
	if len(objects) == 0 {
		return nil
	}
	_, err := b.d.aws.Objects.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: aws.String(b.d.cfg.Bucket), Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	})
	return err
}

// read hands objects to their listener in order and returns those that are done
// with: all up to the first that could not be read.
func (b *inbox) read(ctx context.Context, name string, objects []string) []string {
	slices.SortFunc(objects, func(a, b string) int { return cmp.Compare(a, b) })
	l := b.find(name)
	for n, object := range objects {
		if l == nil {
			continue // it does not listen any more
		}
		if object == relay.BeatName {
			l.hear(nil, -1)
			continue
		}
		offset, err := strconv.ParseInt(object, 10, 64)
		if err != nil || offset < 0 {
			continue // not written by the agent
		}
		if offset > l.at() {
			return objects[:n] // what comes before it is not there yet
		}
		text, err := b.d.object(ctx, b.prefix+path.Join(name, object), relay.MaxLine+relay.MaxPiece)
		if err != nil {
			if code(err) != "NoSuchKey" && ctx.Err() == nil {
				b.d.cfg.Log.WithError(err).Warn("a piece of a build's log could not be read; it is tried again")
			}
			return objects[:n]
		}
		l.hear(text, offset)
	}
	return objects
}

func (l *listener) at() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offset
}

// hear takes a piece of the journal that begins at offset; what of it was heard
// before is left out. A negative offset is a sign of life alone.
func (l *listener) hear(piece []byte, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = time.Now()
	if offset >= 0 {
		if known := l.offset - offset; known < int64(len(piece)) {
			l.notes = append(l.notes, parseNotes(piece[known:])...)
			l.offset = offset + int64(len(piece))
		}
	}
	poke(l.news)
}

// parseNotes reads lines that an instance wrote. Whatever is no note is left out.
func parseNotes(text []byte) []relay.Note {
	var notes []relay.Note
	for line := range bytes.Lines(text) {
		var n relay.Note
		if json.Unmarshal(line, &n) != nil || n.Event == nil && n.Done == nil {
			continue
		}
		if n.Event != nil {
			n.Event.Text = clip(n.Event.Text)
			if n.Event.Kind == component.Finished {
				continue // the end of a run is Done's to say
			}
		}
		notes = append(notes, n)
	}
	return notes
}

func clip(text string) string {
	if len(text) > maxEventText {
		return text[:maxEventText] + "…"
	}
	return text
}

// object reads a small object.
func (d *Driver) object(ctx context.Context, key string, most int64) ([]byte, error) {
	out, err := d.aws.Objects.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(d.cfg.Bucket), Key: aws.String(key)})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("object %s has more than %d bytes", key, most)
	}
	return text, err
}

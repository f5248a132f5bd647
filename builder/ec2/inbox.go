package ec2

import (
	"bytes"
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
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// inbox hears what instances tell. However many operations are going on, one
// listing finds the news of all of them; what was read is deleted, so that there is
// nothing to list while nothing happens. It works only while somebody listens.
type inbox struct {
	d      *Driver
	prefix string // of this process alone
	page   *int32 // how many objects are listed at once; nil: as many as S3 gives

	left map[string]version // by key: what was read and could not be deleted; of look

	mu        sync.Mutex
	listeners map[string]*listener // by the part of the key after prefix
	looked    time.Time            // when the last look was begun that has read everything
	failed    error                // of the look after that, if it has failed
	wake      chan struct{}
	cancel    context.CancelFunc
	ended     sync.WaitGroup
}

// parallel is how many objects are read at the same time.
const parallel = 16

const (
	// atOnce is how many pieces of one journal are read in one look: others wait for it.
	atOnce = 32
	// maxAhead is how many pieces may be there before the one that they follow. The agent
	// writes one after the other.
	maxAhead = 32
	// maxForeign is how many objects that are none of the agent's an instance may write.
	maxForeign = 500
)

// maxEventText bounds the text of one event, in bytes.
const maxEventText = 64 << 10

// version tells an object from one that was put in its place.
type version struct {
	tag  string
	made time.Time
}

func newInbox(d *Driver) *inbox {
	ctx, cancel := context.WithCancel(context.Background())
	b := &inbox{
		d: d, cancel: cancel, listeners: map[string]*listener{}, wake: make(chan struct{}, 1),
		prefix: fmt.Sprintf("%sinbox/%s/%s/", d.cfg.Prefix, d.cfg.Owner, rand.Text()), looked: time.Now(),
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
	b       *inbox
	name    string
	foreign int // objects that were none of the agent's; of the inbox's goroutine

	mu     sync.Mutex
	offset int64 // of the journal, up to which it was read
	flood  bool  // objects come that no agent writes
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
func (l *listener) take() (notes []relay.Note, heard time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flood {
		return nil, l.heard, &builder.Error{Fault: builder.Author, Stage: builder.StageBuild,
			Reason: fmt.Sprintf("more than %d objects that ingot's agent has not written lie where the instance tells of itself", maxForeign),
			Hint:   "nothing but the agent may write there: see what the components do with the addresses that it is given"}
	}
	notes, l.notes = l.notes, nil
	return notes, l.heard, nil
}

// flooded ends the listening.
func (l *listener) flooded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flood = true
	poke(l.news)
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
		err := b.note(time.Now(), b.look(ctx))
		if err != nil && ctx.Err() == nil {
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

// note remembers a look that was begun then.
func (b *inbox) note(begun time.Time, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed = err; err == nil {
		b.looked = begun
	}
	return err
}

// upTo is the time up to which all that was told was read, and why there is no more.
// What no look has come to yet is no silence.
func (b *inbox) upTo() (looked time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looked, b.failed
}

// look reads everything that lies in the inbox, and deletes it. What the look before
// could not delete tells nothing new: that is deleted without being read again.
func (b *inbox) look(ctx context.Context) error {
	listed, err := b.list(ctx)
	if err != nil {
		return err
	}
	var gone []string
	byName := map[string][]string{}
	for key, made := range listed {
		if before, known := b.left[key]; known && before == made {
			gone = append(gone, key)
			continue
		}
		name, object := b.split(key)
		byName[name] = append(byName[name], object)
	}
	var read sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, parallel)
	for name, objects := range byName {
		read.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			done := b.read(ctx, name, objects)
			mu.Lock()
			defer mu.Unlock()
			for _, object := range done {
				gone = append(gone, b.prefix+name+"/"+object)
			}
		})
	}
	read.Wait()
	left, err := b.delete(ctx, gone)
	b.left = map[string]version{}
	for _, key := range left {
		b.left[key] = listed[key]
	}
	return err
}

// split has the listener's name and the object's.
func (b *inbox) split(key string) (name, object string) {
	name, object, _ = strings.Cut(strings.TrimPrefix(key, b.prefix), "/")
	return name, object
}

// list finds objects. A page that is full is followed by one of other listeners:
// whoever has filled it must not hide what they are told.
func (b *inbox) list(ctx context.Context) (map[string]version, error) {
	found := map[string]version{}
	in := &s3.ListObjectsV2Input{Bucket: aws.String(b.d.cfg.Bucket), Prefix: aws.String(b.prefix), MaxKeys: b.page}
	for {
		listed, err := b.d.aws.Objects.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, err
		}
		last := ""
		for _, o := range listed.Contents {
			found[aws.ToString(o.Key)] = version{aws.ToString(o.ETag), aws.ToTime(o.LastModified)}
			last, _ = b.split(aws.ToString(o.Key))
		}
		if !aws.ToBool(listed.IsTruncated) || last == "" {
			return found, nil
		}
		in.StartAfter = aws.String(b.prefix + last + "0") // which follows on the slash
	}
}

// delete removes objects, as many in a call as S3 takes, and returns those that may
// still be there. S3 says of each by itself that it could not be removed.
func (b *inbox) delete(ctx context.Context, keys []string) (left []string, err error) {
	const most = 1000
	for some := range slices.Chunk(keys, most) {
		var objects []types.ObjectIdentifier
		for _, key := range some {
			objects = append(objects, types.ObjectIdentifier{Key: aws.String(key)})
		}
		out, failed := b.d.aws.Objects.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: aws.String(b.d.cfg.Bucket), Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		})
		if failed != nil {
			left, err = append(left, some...), failed
			continue
		}
		for _, e := range out.Errors {
			left = append(left, aws.ToString(e.Key))
			err = &smithy.OperationError{ServiceID: s3.ServiceID, OperationName: "DeleteObject",
				Err: &smithy.GenericAPIError{Code: aws.ToString(e.Code), Message: aws.ToString(e.Key) + ": " + aws.ToString(e.Message)}}
		}
	}
	return left, err
}

// read hands objects to their listener in order and returns those that are done with.
// A journal that grew while nobody looked is read a part at a time, and ends at the
// first piece that could not be read.
func (b *inbox) read(ctx context.Context, name string, objects []string) (done []string) {
	slices.Sort(objects)
	l := b.find(name)
	if l == nil {
		return objects // it does not listen any more
	}
	pieces, ahead, ended := 0, 0, false
	for _, object := range objects {
		offset, err := strconv.ParseInt(object, 10, 64)
		switch {
		case object == relay.BeatName:
			l.hear(nil, -1)
		case err != nil || offset < 0 || !ended && offset > l.at() && ahead == maxAhead:
			l.foreign++
		case ended:
			continue
		case offset > l.at():
			ahead++ // what comes before it is not there yet
			continue
		default:
			text, err := b.d.object(ctx, b.prefix+path.Join(name, object), relay.MaxLine+relay.MaxPiece)
			if err != nil {
				if code(err) != "NoSuchKey" && ctx.Err() == nil {
					b.d.cfg.Log.WithError(err).Warn("a piece of a build's log could not be read; it is tried again")
				}
				ended = true
				continue
			}
			l.hear(text, offset)
			pieces++
			ended = pieces == atOnce
		}
		done = append(done, object)
	}
	if l.foreign > maxForeign {
		l.flooded()
	}
	return done
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

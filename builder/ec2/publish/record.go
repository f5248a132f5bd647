package publish

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/store"
)

// sum is a block's SHA-256.
type sum [sha256.Size]byte

func (s sum) text() string { return base64.StdEncoding.EncodeToString(s[:]) }

// MarshalText and UnmarshalText are for records.
func (s sum) MarshalText() ([]byte, error) { return []byte(s.text()), nil }

func (s *sum) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(raw) != len(s) {
		return fmt.Errorf("%q is no checksum", text)
	}
	copy(s[:], raw)
	return nil
}

// manifest is what is remembered of a complete upload, for the next one to build on.
type manifest struct {
	Key      string        `json:"key"`
	Snapshot string        `json:"snapshot"`
	Attempt  int           `json:"attempt"`
	SizeGiB  int64         `json:"sizeGiB"`
	Blocks   map[int32]sum `json:"blocks"` // all of the disk that are not zeros
}

// beginning is all that a StartSnapshot is made of. A repeat after a crash must be
// the same to the letter, or the service takes it for another call.
type beginning struct {
	Key         string            `json:"key"`
	Attempt     int               `json:"attempt"` // how many uploads of this content ended in nothing
	SizeGiB     int64             `json:"sizeGiB"`
	ParentKey   string            `json:"parentKey,omitempty"`
	Parent      string            `json:"parent,omitempty"` // the snapshot
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Minutes     int32             `json:"minutes"`
}

// token makes a repeated StartSnapshot the same one: equal beginnings have equal ones.
func (b beginning) token() string {
	text, err := json.Marshal(b) // maps are sorted
	if err != nil {
		panic(err) // numbers, strings and maps of them always marshal
	}
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}

// entry is a line of a journal; one of its fields is set.
type entry struct {
	Begin    *beginning `json:"begin,omitempty"`
	Snapshot string     `json:"snapshot,omitempty"`
	Put      *put       `json:"put,omitempty"`
	Sealing  bool       `json:"sealing,omitempty"` // CompleteSnapshot is about to be called
}

// put is a block that the service has.
type put struct {
	Index int32 `json:"i"`
	Sum   sum   `json:"s"`
}

// journal is what is remembered of an upload on its way, line by line. A line is
// written before the next step when that step must not be taken without it, and a
// block's after the service has it: what is lost is written once more.
type journal struct {
	begin    beginning
	snapshot string
	started  time.Time // of the snapshot, as far as this process knows
	sealing  bool
	written  map[int32]sum

	mu   sync.Mutex
	file *os.File
}

// records is where both are kept.
type records struct{ dir string }

func (r records) path(key, suffix string) string {
	digest := sha256.Sum256([]byte(key))
	return filepath.Join(r.dir, hex.EncodeToString(digest[:16])+suffix)
}

// manifest returns nil when nothing of that key was published.
func (r records) manifest(key string) (*manifest, error) {
	path := r.path(key, ".json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &m, nil
}

// finish makes the manifest take the journal's place.
func (r records) finish(m manifest) error {
	if err := store.WriteJSON(r.path(m.Key, ".json"), m); err != nil {
		return err
	}
	return os.Remove(r.path(m.Key, ".journal"))
}

// latest is the key of what was uploaded last of a lineage; empty when nothing was.
func (r records) latest(lineage string) (key string, err error) {
	text, err := os.ReadFile(r.path(lineage, ".latest"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = json.Unmarshal(text, &key)
	}
	return key, err
}

func (r records) setLatest(lineage, key string) error {
	if lineage == "" {
		return nil
	}
	return store.WriteJSON(r.path(lineage, ".latest"), key)
}

// create begins a journal, in place of one that came to nothing.
func (r records) create(b beginning) (*journal, error) {
	path := r.path(b.Key, ".journal")
	temp := path + ".new"
	if err := os.WriteFile(temp, line(entry{Begin: &b}), 0o600); err != nil {
		return nil, err
	}
	if err := store.Place(temp, path); err != nil {
		return nil, err
	}
	return r.open(b.Key)
}

// open reads a journal to be continued. It returns nil when there is none.
func (r records) open(key string) (*journal, error) {
	f, err := os.OpenFile(r.path(key, ".journal"), os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, written: map[int32]sum{}}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	if j.begin.Key != key {
		return nil, errors.Join(fmt.Errorf("%s is of %q, not of %q", f.Name(), j.begin.Key, key), f.Close())
	}
	return j, nil
}

// load reads whole lines and cuts off what a crash left of the last one.
func (j *journal) load() error {
	in := bufio.NewReader(j.file)
	var whole int64
	for {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(bytes.TrimSpace(text), &e); err != nil {
			return err
		}
		j.take(e)
		whole += int64(len(text))
	}
	if err := j.file.Truncate(whole); err != nil {
		return err
	}
	_, err := j.file.Seek(whole, io.SeekStart)
	return err
}

func (j *journal) take(e entry) {
	switch {
	case e.Begin != nil:
		j.begin = *e.Begin
	case e.Snapshot != "":
		j.snapshot = e.Snapshot
	case e.Put != nil:
		j.written[e.Put.Index] = e.Put.Sum
	case e.Sealing:
		j.sealing = true
	}
}

// add appends an entry. A durable one is on stable storage when it returns; any
// other survives the end of this process, but not that of the machine.
func (j *journal) add(e entry, durable bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(line(e)); err != nil {
		return err
	}
	j.take(e)
	if durable {
		return j.file.Sync()
	}
	return nil
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}

func line(e entry) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // numbers, strings and maps of them always marshal
	}
	return append(text, '\n')
}

// Package relay is the inside end of a wire made of objects: how an agent works on
// an instance to which there is no connection, only commands that a service starts
// and a store that both sides reach over signed requests.
//
// A command gives the agent one Request. What happens is written as Notes, JSON
// lines, into a journal on the instance and from there, in pieces, into the store:
// each object is named by its place in the journal, so that a piece that arrives
// twice, or larger the second time, does no harm. An operation is done once: a
// command that comes again (a restarted daemon sends it, a rebooted instance runs
// it again) takes up what is there, or tells again what is done.
//
// The outside end is the driver's: it signs, reads and deletes the objects. What
// documents mean is package component's business, what a clean-up removes package
// sanitize's.
package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/sanitize"
)

// Op is what a Request asks for.
type Op string

const (
	Run    Op = "run"    // run a job; a reboot that it asks for ends the command with ExitReboot
	Put    Op = "put"    // unpack an archive
	Clean  Op = "clean"  // remove what must not be in an image
	Remove Op = "remove" // remove everything of ours; nothing can be told again after it
)

// Request is one operation on an instance.
type Request struct {
	ID      string         `json:"id"` // letters, digits, dots, dashes: the same one is done once
	Op      Op             `json:"op"`
	Job     *component.Job `json:"job,omitempty"`     // of Run
	Archive *Source        `json:"archive,omitempty"` // of Put: a tar archive with absolute names, without a first /
	Clean   *CleanSpec     `json:"clean,omitempty"`   // of Clean
	Inbox   Inbox          `json:"inbox"`
}

// Source is an object that is fetched and checked.
type Source struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"` // in hexadecimal
	Size   int64  `json:"size"`   // in bytes
}

// CleanSpec adjusts a clean-up.
type CleanSpec struct {
	WorkingDir string   `json:"workingDir,omitempty"`
	Extra      []string `json:"extra,omitempty"` // files and folders to be removed as well
}

// Inbox is where notes go: a form upload that is signed for every key with a prefix.
type Inbox struct {
	URL    string            `json:"url"`
	Fields map[string]string `json:"fields"`
	Prefix string            `json:"prefix"`
}

// Note is one line of an operation's journal.
type Note struct {
	Event *component.Event `json:"event,omitempty"`
	Done  *Outcome         `json:"done,omitempty"` // the last line
}

// Outcome is how an operation ended.
type Outcome struct {
	Result *component.Result `json:"result,omitempty"` // of Run
	Error  string            `json:"error,omitempty"`  // the operation could not be done
	Author bool              `json:"author,omitempty"` // and it is what was asked for that is wrong
}

// Sizes that nothing exceeds, in bytes.
const (
	MaxRequest = 4 << 20
	MaxPiece   = 256 << 10 // of the journal, in one object
	MaxLine    = 1 << 20   // of the journal
)

// BeatName is the name, after the prefix, of an object without content that is
// written again and again while there is nothing to tell.
const BeatName = "beat"

// PieceName is the name, after the prefix, of the piece of the journal that begins
// at this byte.
func PieceName(offset int64) string { return fmt.Sprintf("%016d", offset) }

// ErrReboot asks for a restart of the machine and the same command again.
var ErrReboot = errors.New("the machine has to be restarted")

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$`)

// Agent does operations on the machine that it runs on.
type Agent struct {
	Dir    string // of ours: programs, journals and logs; Remove removes it
	Env    component.Env
	Client Client
	Root   string // what Clean works on, and Put where names have no volume; default /
}

// Do fetches a request and does what it asks for. It returns nil when the outcome
// was told, whatever it was; ErrReboot; or why nothing could be told.
func (a *Agent) Do(ctx context.Context, source Source) error {
	text, err := a.fetchSmall(ctx, source)
	if err != nil {
		return fmt.Errorf("fetch the request: %w", err)
	}
	var r Request
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if !validID.MatchString(r.ID) {
		return fmt.Errorf("read the request: %q is no name of an operation", r.ID)
	}
	dir := filepath.Join(a.Dir, "ops", r.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if r.Op == Remove {
		return a.remove(ctx, r)
	}
	return a.once(ctx, r, dir)
}

func (a *Agent) fetchSmall(ctx context.Context, source Source) ([]byte, error) {
	if source.Size > MaxRequest {
		return nil, fmt.Errorf("it has %d bytes, more than %d", source.Size, MaxRequest)
	}
	var text bytes.Buffer
	empty := func() (io.Writer, error) {
		text.Reset()
		return &text, nil
	}
	if err := a.Client.fetch(ctx, source, empty); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// once does an operation that has not been done, and tells about it; one that is
// being done by another command, or has been done, it only tells about.
func (a *Agent) once(ctx context.Context, r Request, dir string) (err error) {
	journal := filepath.Join(dir, "journal")
	lock, err := openLock(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	tell := &teller{client: &a.Client, inbox: r.Inbox, journal: journal}
	// Another command that is at it may also die of it.
	mine, err := lock.try()
	followed := err == nil && !mine
	if followed {
		mine, err = tell.follow(ctx, lock.try)
	}
	if err != nil || !mine {
		return err
	}
	done, err := repair(journal)
	if err != nil {
		return err
	}
	if done {
		_, err := tell.follow(ctx, nil)
		return err
	}
	if followed && r.Op == Run && r.Job != nil {
		// The other one has ended for a restart that is still to come: this program has
		// seen it at work, and what follows is for the machine afterwards.
		switch pending, err := a.pending(*r.Job, dir); {
		case err != nil:
			return err
		case pending:
			return ErrReboot
		}
	}
	return a.work(ctx, r, dir, tell)
}

// pending reports whether a job waits for the restart that it asked for.
func (a *Agent) pending(job component.Job, dir string) (bool, error) {
	job.StateDir = dir
	return component.Pending(job, a.Env)
}

// work does the operation beside a teller that empties the journal.
func (a *Agent) work(ctx context.Context, r Request, dir string, tell *teller) error {
	out, err := openJournal(tell.journal)
	if err != nil {
		return err
	}
	telling, over := make(chan error, 1), make(chan struct{})
	go func() { telling <- tell.until(ctx, over) }()

	outcome, workErr := a.outcome(ctx, r, dir, out)
	if workErr == nil {
		workErr = out.add(Note{Done: &outcome})
	}
	workErr = errors.Join(workErr, out.Close())
	close(over) // what is in the journal now is all that there will be
	return errors.Join(workErr, <-telling)
}

// outcome does the operation. An error means that it has no outcome yet.
func (a *Agent) outcome(ctx context.Context, r Request, dir string, out *journalFile) (Outcome, error) {
	switch {
	case r.Op == Run && r.Job != nil:
		return a.run(ctx, *r.Job, dir, out)
	case r.Op == Put && r.Archive != nil:
		return failure(a.put(ctx, *r.Archive, dir)), nil
	case r.Op == Clean && r.Clean != nil:
		return failure(a.clean(*r.Clean)), nil
	}
	return Outcome{Error: fmt.Sprintf("the agent does not know the operation %q", r.Op)}, nil
}

func failure(err error) Outcome {
	if err == nil {
		return Outcome{}
	}
	_, authors := errors.AsType[*mistake](err)
	return Outcome{Error: err.Error(), Author: authors}
}

// run runs a job, or goes on with one after the restart that it asked for.
func (a *Agent) run(ctx context.Context, job component.Job, dir string, out *journalFile) (Outcome, error) {
	job.StateDir, job.LogDir = dir, filepath.Join(a.Dir, "log")
	begun := filepath.Join(dir, "begun")
	if _, err := os.Stat(begun); err == nil {
		switch pending, err := a.pending(job, dir); {
		case err != nil:
			return Outcome{}, err
		case !pending:
			return Outcome{Error: "the instance restarted while the job ran, without the job having asked for it"}, nil
		}
	}
	if err := os.WriteFile(begun, nil, 0o600); err != nil {
		return Outcome{}, err
	}
	if err := os.MkdirAll(job.LogDir, 0o700); err != nil {
		return Outcome{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result, err := component.Run(ctx, job, a.Env, func(e component.Event) {
		if e.Kind == component.Finished {
			return // the outcome says it
		}
		if err := out.add(Note{Event: &e}); err != nil {
			cancel(fmt.Errorf("write the journal: %w", err))
		}
	})
	switch {
	case err != nil:
		return Outcome{Result: &result, Error: err.Error()}, nil
	case result.Reboot:
		return Outcome{}, ErrReboot
	}
	return Outcome{Result: &result}, nil
}

func (a *Agent) clean(c CleanSpec) error {
	at := a.Root
	if at == "" {
		at = "/"
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return err
	}
	_, err = sanitize.Clean(root, sanitize.Options{WorkingDir: c.WorkingDir, Extra: c.Extra})
	return errors.Join(err, root.Close())
}

// remove tells that it removes everything, and does. In this order: afterwards
// there is no journal to tell from.
func (a *Agent) remove(ctx context.Context, r Request) error {
	text, err := json.Marshal(Note{Done: &Outcome{}})
	if err != nil {
		return err
	}
	if err := a.Client.upload(ctx, r.Inbox, PieceName(0), append(text, '\n')); err != nil {
		return err
	}
	return os.RemoveAll(a.Dir)
}

// mistake is an error that whoever asked has to mend.
type mistake struct{ error }

func (m *mistake) Unwrap() error { return m.error }

// Digest is the SHA256 of a Source with this content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// repair cuts off a last line that a crash left incomplete, and reports whether
// the journal has its end.
func repair(path string) (done bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	from := max(0, info.Size()-2*MaxLine)
	tail, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return false, err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if whole < len(tail) {
		if err := f.Truncate(from + int64(whole)); err != nil {
			return false, err
		}
	}
	return endsDone(tail[:whole]), nil
}

// endsDone reports whether the last of some complete lines is the journal's end.
func endsDone(lines []byte) bool {
	lines = bytes.TrimSuffix(lines, []byte{'\n'})
	var n Note
	return json.Unmarshal(lines[bytes.LastIndexByte(lines, '\n')+1:], &n) == nil && n.Done != nil
}

// journalFile takes notes.
type journalFile struct{ *os.File }

func openJournal(path string) (*journalFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &journalFile{f}, nil
}

func (j *journalFile) add(n Note) error {
	line, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if len(line) >= MaxLine && n.Done != nil && n.Done.Result != nil {
		// A run of very many steps: what counts is how it ended.
		short := *n.Done.Result
		short.Documents = nil
		return j.add(Note{Done: &Outcome{Result: &short, Error: n.Done.Error}})
	}
	_, err = j.Write(append(line, '\n'))
	if err == nil && n.Done != nil {
		err = j.Sync()
	}
	return err
}

// pollPause is how often a journal is looked at, beatPause how often a quiet one
// is a sign of life, patience how long a store may be out of reach.
const (
	pollPause = 300 * time.Millisecond
	beatPause = 30 * time.Second
	patience  = 10 * time.Minute
)

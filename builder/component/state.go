package component

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// runState is all that a run knows. It is written before a reboot and read after
// it; a step that has a record is not run again.
type runState struct {
	Job       string           `json:"job"`    // digest: another job of the same id does not resume this one
	Folder    string           `json:"folder"` // of the logs
	Started   time.Time        `json:"started"`
	Failure   *Failure         `json:"failure,omitempty"` // the first
	Documents []*documentState `json:"documents"`         // those that have begun
	Secrets   []string         `json:"secrets,omitempty"` // that were learnt on the way; what was printed may hold them
}

// documentState is one document that has begun.
type documentState struct {
	Started time.Time     `json:"started"`
	Ended   time.Time     `json:"ended,omitzero"`
	Phases  []*phaseState `json:"phases"`            // those that have begun
	Current *stepState    `json:"current,omitempty"` // the step to go on with
}

func (d *documentState) done() bool { return !d.Ended.IsZero() }

// phaseState is one phase that has begun.
type phaseState struct {
	Name    string        `json:"name"`
	Started time.Time     `json:"started"`
	Ended   time.Time     `json:"ended,omitzero"`
	Steps   []*stepRecord `json:"steps"` // those that have ended
}

// stepState is a step that has begun and not ended.
type stepState struct {
	Started   time.Time           `json:"started"`
	Verdict   Verdict             `json:"verdict"` // of its condition, which is not looked at again
	Attempt   int                 `json:"attempt"` // from 1
	Values    []string            `json:"values"`  // of its loop, which are not looked at again
	Iteration int                 `json:"iteration"`
	Outputs   []map[string]string `json:"outputs"`          // of the iterations so far
	Cut       bool                `json:"cut"`              // stdout was longer than what is kept
	Reboots   int                 `json:"reboots"`          // that this step asked for
	Nested    *runState           `json:"nested,omitempty"` // of the document that it runs

	NestedText string `json:"nestedText,omitempty"` // that document
}

// stepRecord is a step that has ended.
type stepRecord struct {
	Name     string              `json:"name"`
	Status   Status              `json:"status"`
	Message  string              `json:"message,omitempty"`
	Attempts int                 `json:"attempts"`
	Started  time.Time           `json:"started"`
	Ended    time.Time           `json:"ended"`
	Inputs   []map[string]string `json:"inputs,omitempty"` // resolved, as chaining gives them
	Shown    string              `json:"shown,omitempty"`  // resolved, as JSON for the result file
	Outputs  []map[string]string `json:"outputs,omitempty"`
	Values   []string            `json:"values,omitempty"` // of its loop
	Cut      bool                `json:"cut,omitempty"`
	Stderr   string              `json:"stderr,omitempty"` // the last lines, of a failed step
	Nested   []json.RawMessage   `json:"nested,omitempty"` // results of the documents that it ran
}

var legalID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// stateFile is where a job's state waits for the machine to come back.
func stateFile(env Env, job Job) string { return filepath.Join(env.stateDir(job), job.ID+".json") }

// Pending reports whether a run of this job waits to be resumed after a reboot
// that it asked for. A restart that nobody asked for leaves nothing pending.
func Pending(job Job, env Env) (bool, error) {
	if !legalID.MatchString(job.ID) {
		return false, badID(job)
	}
	state, err := loadState(stateFile(env.withDefaults(), job), digest(job))
	return state != nil, err
}

func badID(job Job) error {
	return fmt.Errorf("job id %.140q: expected up to 128 letters, digits, dots, dashes and underscores", job.ID)
}

// digest names what a job does, so that only the same job resumes.
func digest(job Job) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	// Neither a hash nor these types can fail to be written.
	_ = e.Encode(job.Documents)
	_ = e.Encode(job.Phases)
	return hex.EncodeToString(h.Sum(nil))
}

// loadState returns nil when there is nothing to resume.
func loadState(file, digest string) (*runState, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s runState
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("saved state %s is damaged; remove it to begin anew: %w", file, err)
	}
	if s.Job != digest {
		return nil, nil
	}
	return &s, nil
}

// saveState makes the state survive a reboot, a hard one too.
func saveState(file string, s *runState) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Values of parameters and outputs are in it as they are, unmasked.
	if err := writeSynced(file+".new", text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	return syncDir(dir)
}

// dropState makes sure that the state is not resumed twice.
func dropState(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func writeSynced(file string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes a rename or removal durable, where folders can be synced.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	syncErr := f.Sync()
	if err := f.Close(); err != nil {
		return err
	}
	if errors.Is(syncErr, errors.ErrUnsupported) || errors.Is(syncErr, os.ErrPermission) || errors.Is(syncErr, os.ErrInvalid) {
		return nil
	}
	return syncErr
}

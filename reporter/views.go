package reporter

import (
	"errors"
	"time"
)

// ErrNotFound is what a source of builds and images answers when there is none
// of that id.
var ErrNotFound = errors.New("not found")

// Repository is a watched repository as people see it.
type Repository struct {
	Name         string
	URL          string // without credentials
	CodeHost     string // owner/name at the code host; empty: none
	Branch       string
	Head         string    // commit of the branch; empty: not seen yet
	HeadTitle    string    // first line of its message
	LastPoll     time.Time // zero: never
	Problem      string    // why the last poll failed, without secrets; empty: it did not
	PullRequests int       // open and watched
	Builds       []Build   // the newest build of each recipe on the branch
}

// BuildFilter narrows a list of builds. Empty fields do not narrow.
type BuildFilter struct {
	Repository string
	Recipe     string
	State      State
	Before     int64 // only builds with a lower id; 0: from the newest
	Limit      int   // at most so many; 0: the source's own limit
}

// ImageFilter narrows a list of images. Empty fields do not narrow.
type ImageFilter struct {
	Repository string
	Recipe     string
	Limit      int // at most so many; 0: the source's own limit
}

// LogPiece is a part of a build's log as one step printed it. It may end in the
// middle of a line.
type LogPiece struct {
	ID     int64 // rises within a build; above 0
	Time   time.Time
	Stage  string
	Name   string // component or test
	Step   string // phase/step
	Stderr bool
	Text   string // hostile
}

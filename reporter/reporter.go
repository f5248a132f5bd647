// Package reporter tells people how a build went: it renders commit statuses and
// pull-request comments, and its sub-packages bring them to a code host, show
// them as web pages and as progress in a terminal.
//
// Everything is rendered from the types below, which are a reading of the ledger;
// rendering is pure, so that a report can be repeated without harm. Everything
// that comes out of a build (names, logs, test output) is treated as hostile text.
//
// The package does not know how builds run or where they are stored.
package reporter

import "time"

// State is where a build stands.
type State string

const (
	Waiting    State = "waiting"    // for another build, whose image is its parent
	Approval   State = "approval"   // for someone who may approve a fork's commit
	Queued     State = "queued"     // for a worker
	Running    State = "running"    //
	Succeeded  State = "succeeded"  //
	Failed     State = "failed"     // the recipe's fault: its author has to act
	Errored    State = "errored"    // ours, or the machine's: the operator has to act
	Cancelled  State = "cancelled"  // somebody asked for it
	Superseded State = "superseded" // a newer commit took its place before it ran
)

// Final reports whether nothing will change any more.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Errored, Cancelled, Superseded:
		return true
	default:
		return false
	}
}

// Trigger is why a build was asked for.
type Trigger string

const (
	Push        Trigger = "push"
	PullRequest Trigger = "pull_request"
	Schedule    Trigger = "schedule"
	Dependency  Trigger = "dependency"
	Manual      Trigger = "manual"
)

// Action is how much of the pipeline a build goes through.
type Action string

const (
	ActionBuild      Action = "build"      // build, test and, for a release, distribute
	ActionTest       Action = "test"       // test the image that exists
	ActionDistribute Action = "distribute" // distribute the image that exists
	ActionCheck      Action = "check"      // only said what is wrong with the documents
)

// Build is one recipe at one commit, on its way to an image.
type Build struct {
	ID              int64
	Repository      string // the name in the daemon's configuration
	CodeHost        string // owner/name at the code host; empty: none
	Ref             string // refs/heads/main, refs/pull/7/head
	Commit          string // full object name
	Title           string // first line of the commit's message
	Author          string // of the commit
	PullRequest     int    // 0: none
	Fork            bool
	Trigger         Trigger
	Release         bool   // of the release branch; otherwise a candidate
	Recipe          string // name; the path where the document has none
	RecipePath      string
	Version         string
	PreviousVersion string // of the last release; empty: none
	Number          int    // n of name/x.y.z/n; 0 until released
	Action          Action
	Why             []string // "components/nginx.yaml changed"
	Findings        []Finding
	State           State
	Components      int // how many the recipe uses; 0: unknown
	TestComponents  int // how many tests the recipe names; 0: unknown
	Stages          []Stage
	Tests           []Test
	Image           *Image
	PreviousImage   *Image // of the last release
	Failure         *Failure
	Created         time.Time
	Started         time.Time // zero until then
	Finished        time.Time // zero until then
}

// Duration is how long the build has run; now is used while it still does.
func (b Build) Duration(now time.Time) time.Duration {
	switch {
	case b.Started.IsZero():
		return 0
	case b.Finished.IsZero():
		return now.Sub(b.Started)
	default:
		return b.Finished.Sub(b.Started)
	}
}

// Finding is something about the documents that the author should know.
type Finding struct {
	File     string
	Line     int // 0: the whole file
	Column   int
	Excerpt  string
	Message  string
	Expected string
	Blocking bool // the recipe is not built because of it
}

// Stage is one row of a build's progress.
type Stage struct {
	Stage    string // resolve, launch, build, …
	Name     string // the component or test
	State    string // started, succeeded, failed, reused, skipped
	Step     string // the step that runs, or that failed: phase/step
	Text     string
	Started  time.Time
	Finished time.Time // zero while it runs
}

// Test is the outcome of one test component.
type Test struct {
	Name     string
	State    string // succeeded, failed, skipped
	Message  string // why it failed
	Steps    int
	Duration time.Duration
	Reused   bool // the outcome of an earlier run under the same test key
}

// Image is a finished image.
type Image struct {
	ID         string
	Name       string // name/x.y.z/n; empty for a candidate
	Repository string
	Recipe     string
	Version    string
	Driver     string
	Ref        string
	Size       int64
	Virtual    int64
	OS         string
	Packages   []Package
	Build      int64 // the build that made it
	Created    time.Time
}

// Package is one installed package.
type Package struct{ Name, Version, Architecture string }

// Failure says why a build did not succeed.
type Failure struct {
	Stage  string
	Name   string
	Step   string
	Reason string // for the author: one sentence
	Hint   string // the next action
	Output string // the last lines of the log of the failing step
	Replay string // the command that does the same locally
}

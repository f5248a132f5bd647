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
	ID              int64     `json:"id"`
	Repository      string    `json:"repository"`  // the name in the daemon's configuration
	CodeHost        string    `json:"codeHost"`    // owner/name at the code host; empty: none
	Ref             string    `json:"ref"`         // refs/heads/main, refs/pull/7/head
	Commit          string    `json:"commit"`      // full object name
	Title           string    `json:"title"`       // first line of the commit's message
	Author          string    `json:"author"`      // of the commit
	PullRequest     int       `json:"pullRequest"` // 0: none
	Fork            bool      `json:"fork"`
	Trigger         Trigger   `json:"trigger"`
	Release         bool      `json:"release"` // of the release branch; otherwise a candidate
	Recipe          string    `json:"recipe"`  // name; the path where the document has none
	RecipePath      string    `json:"recipePath"`
	Version         string    `json:"version"`
	PreviousVersion string    `json:"previousVersion"` // of the last release; empty: none
	Number          int       `json:"number"`          // n of name/x.y.z/n; 0 until released
	Action          Action    `json:"action"`
	Why             []string  `json:"why,omitempty"` // "components/nginx.yaml changed"
	Findings        []Finding `json:"findings,omitempty"`
	Estimate        string    `json:"estimate,omitempty"` // what it was expected to take: "about 8 minutes and $0.01 (…)"
	State           State     `json:"state"`
	Components      int       `json:"components"`     // how many the recipe uses; 0: unknown
	TestComponents  int       `json:"testComponents"` // how many tests the recipe names; 0: unknown
	Stages          []Stage   `json:"stages,omitempty"`
	Tests           []Test    `json:"tests,omitempty"`
	Image           *Image    `json:"image,omitempty"`
	PreviousImage   *Image    `json:"previousImage,omitempty"` // of the last release
	PreviousTests   []Test    `json:"previousTests,omitempty"` // likewise
	Failure         *Failure  `json:"failure,omitempty"`
	Created         time.Time `json:"created"`
	Started         time.Time `json:"started,omitzero"`  // zero until then
	Finished        time.Time `json:"finished,omitzero"` // zero until then
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
	File     string `json:"file"`
	Line     int    `json:"line"` // 0: the whole file
	Column   int    `json:"column"`
	Excerpt  string `json:"excerpt"`
	Message  string `json:"message"`
	Expected string `json:"expected"`
	Blocking bool   `json:"blocking"` // the recipe is not built because of it
}

// Stage is one row of a build's progress.
type Stage struct {
	Stage    string    `json:"stage"` // resolve, launch, build, …
	Name     string    `json:"name"`  // the component or test
	State    string    `json:"state"` // started, succeeded, failed, reused, skipped
	Step     string    `json:"step"`  // the step that runs, or that failed: phase/step
	Text     string    `json:"text"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"` // zero while it runs
}

// Test is the outcome of one test component.
type Test struct {
	Name     string        `json:"name"`
	State    string        `json:"state"`   // succeeded, failed, skipped
	Message  string        `json:"message"` // why it failed
	Steps    int           `json:"steps"`
	Duration time.Duration `json:"durationNanoseconds"`
	Reused   bool          `json:"reused"` // the outcome of an earlier run under the same test key
	Scan     *Scan         `json:"scan,omitempty"`
}

// Image is a finished image.
type Image struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`                // name/x.y.z/n; empty for a candidate
	Published  string    `json:"published,omitempty"` // its id at another driver, as which it was published: an AMI
	Repository string    `json:"repository"`
	Recipe     string    `json:"recipe"`
	Version    string    `json:"version"`
	Driver     string    `json:"driver"`
	Ref        string    `json:"ref"`
	Size       int64     `json:"size"`
	Virtual    int64     `json:"virtual"`
	OS         string    `json:"os"`
	Packages   []Package `json:"packages,omitempty"`
	Build      int64     `json:"build"` // the build that made it
	Created    time.Time `json:"created"`
}

// Package is one installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
}

// Failure says why a build did not succeed.
type Failure struct {
	Stage  string `json:"stage"`
	Name   string `json:"name"`
	Step   string `json:"step"`
	Reason string `json:"reason"` // for the author: one sentence
	Hint   string `json:"hint"`   // the next action
	Output string `json:"output"` // the last lines of the log of the failing step
	Replay string `json:"replay"` // the command that does the same locally
	Kept   *Kept  `json:"kept,omitempty"`

	// NotKept says why there is no such instance, in a sentence, where the recipe asks
	// for one.
	NotKept string `json:"notKept,omitempty"`
}

// Kept is the instance on which a build failed, as long as people can look into it.
type Kept struct {
	Until time.Time `json:"until"`
	Exec  string    `json:"exec"` // the command that runs another one on it, where ingot runs
}

// Text says what can be done with it, before the command.
func (k Kept) Text() string {
	return "The instance is kept until " + k.Until.UTC().Format("2006-01-02 15:04 UTC") + ". Where ingot runs, look into it with"
}

package component

import "time"

// Job is what an engine is asked to run: documents in order, in one execution.
// It travels as JSON from the daemon to the agent inside the instance.
type Job struct {
	ID         string        `json:"id"` // execution id; names the run's log folder and its saved state
	Documents  []JobDocument `json:"documents"`
	Command    []string      `json:"command,omitempty"` // instead of documents: a program and its arguments, see Result.Exit
	Phases     []string      `json:"phases"`            // which phases run; empty: all
	WorkingDir string        `json:"workingDir,omitempty"`
	LogDir     string        `json:"logDir,omitempty"`   // where TOE_… folders are made
	StateDir   string        `json:"stateDir,omitempty"` // where state survives a reboot
	Secrets    []string      `json:"secrets,omitempty"`  // masked in everything that is written
}

// JobDocument is one component document with the values of its parameters.
type JobDocument struct {
	Name       string            `json:"name"` // as the recipe calls it
	Path       string            `json:"path"` // for messages: the file in the repository, or gallery:name@version
	Text       string            `json:"text"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

// EventKind says what an Event reports.
type EventKind string

const (
	DocumentStarted  EventKind = "documentStarted"
	DocumentFinished EventKind = "documentFinished"
	StepStarted      EventKind = "stepStarted"
	StepFinished     EventKind = "stepFinished"
	Output           EventKind = "output"  // a piece of what a step printed, at most 32 KiB, cut at line ends where possible
	Warning          EventKind = "warning" // something the author should know that fails nothing
	Rebooting        EventKind = "rebooting"
	Finished         EventKind = "finished" // the last event of a run; carries Result
)

// Event is one line that the agent writes while it runs a Job.
type Event struct {
	Time     time.Time `json:"time"`
	Kind     EventKind `json:"kind"`
	Document string    `json:"document,omitempty"` // JobDocument.Name
	Phase    string    `json:"phase,omitempty"`
	Step     string    `json:"step,omitempty"`
	Action   string    `json:"action,omitempty"`
	Stream   string    `json:"stream,omitempty"` // stdout or stderr, of Output
	Text     string    `json:"text,omitempty"`   // of Output and Warning; the reason, of a failed step
	Status   Status    `json:"status,omitempty"` // of …Finished
	Result   *Result   `json:"result,omitempty"` // of Finished
}

// Status is how a step, phase, document or run ended. Of the spellings only success
// is the original's, the others are inferred from its prose.
type Status string

const (
	Success                   Status = "success"
	Failed                    Status = "failed"
	Skipped                   Status = "skipped"
	IgnoredFailure            Status = "ignoredFailure"
	SuccessWithIgnoredFailure Status = "successWithIgnoredFailure"
)

// OK reports whether the status lets the image go on.
func (s Status) OK() bool { return s != Failed && s != "" }

// Result is how a whole run ended. Reboot asks the caller to restart the
// instance and to run the same Job again; the engine then resumes.
type Result struct {
	Status    Status           `json:"status"`
	Reboot    bool             `json:"reboot,omitempty"`
	Failure   *Failure         `json:"failure,omitempty"` // the first failed step
	Documents []DocumentResult `json:"documents"`
	Exit      *int             `json:"exit,omitempty"` // of Job.Command: its status as a shell gives it; nil: the engine knows no commands
}

// DocumentResult is how one document ended.
type DocumentResult struct {
	Name     string        `json:"name"`
	Status   Status        `json:"status"`
	Steps    []StepResult  `json:"steps"` // of all phases that ran, in order
	Duration time.Duration `json:"durationNanoseconds"`
}

// StepResult is how one step ended.
type StepResult struct {
	Phase    string        `json:"phase"`
	Name     string        `json:"name"`
	Action   string        `json:"action"`
	Status   Status        `json:"status"`
	Message  string        `json:"message,omitempty"`
	Attempts int           `json:"attempts"`
	Duration time.Duration `json:"durationNanoseconds"`
}

// Failure describes the first failed step of a run.
type Failure struct {
	Document string `json:"document"`
	Path     string `json:"path"`
	Phase    string `json:"phase"`
	Step     string `json:"step"`
	Action   string `json:"action"`
	Message  string `json:"message"`
	Stderr   string `json:"stderr,omitempty"` // its last lines, at most 4 KiB
}

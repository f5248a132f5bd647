package reporter

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a commit status, in characters.
const (
	MaxDescription = 140
	MaxContext     = 255
)

// StatusState is a commit status as code hosts know it.
type StatusState string

const (
	StatusPending StatusState = "pending"
	StatusSuccess StatusState = "success"
	StatusFailure StatusState = "failure" // the author has to act
	StatusError   StatusState = "error"   // there is no result, and the author is not to blame
)

// Status is one line beside a commit.
type Status struct {
	State       StatusState
	Context     string // ingot/<recipe>, at most MaxContext characters
	Description string // at most MaxDescription characters, one line
	URL         string // of the build's page; empty: none
}

// StatusOf renders a build as a commit status. publicURL is where the dashboard
// is reachable; empty: statuses have no link.
func StatusOf(b Build, publicURL string, now time.Time) Status {
	state, text := statusText(b, now)
	return Status{
		State:       state,
		Context:     StatusContext(b.Recipe),
		Description: cut(basicPlane(Line(text, 4*MaxDescription)), MaxDescription),
		URL:         BuildURL(publicURL, b.ID),
	}
}

// StatusContext is the name of a recipe's status. A name that is too long is cut
// and made distinct by a hash of the whole.
func StatusContext(recipe string) string {
	name := "ingot/" + basicPlane(strings.Join(strings.Fields(Plain(recipe)), " "))
	if utf8.RuneCountInString(name) <= MaxContext {
		return name
	}
	sum := fmt.Sprintf("…%x", sha256.Sum256([]byte(recipe)))[:len("…")+12]
	return head(name, MaxContext-utf8.RuneCountInString(sum)) + sum
}

// BuildURL is the address of a build's page; empty without a public address.
func BuildURL(publicURL string, id int64) string {
	if publicURL == "" || id == 0 {
		return ""
	}
	return fmt.Sprintf("%s/builds/%d", strings.TrimRight(publicURL, "/"), id)
}

// basicPlane replaces what statuses at GitHub cannot hold: characters beyond the
// basic multilingual plane.
func basicPlane(s string) string {
	return strings.Map(func(r rune) rune {
		if r > 0xffff {
			return utf8.RuneError
		}
		return r
	}, s)
}

func statusText(b Build, now time.Time) (StatusState, string) {
	switch b.State {
	case Waiting:
		return StatusPending, "waiting for the build of its parent image"
	case Approval:
		return StatusPending, "waiting for approval: someone with write access has to approve this commit"
	case Queued:
		return StatusPending, "queued"
	case Running:
		return StatusPending, runningText(b)
	case Succeeded:
		return StatusSuccess, succeededText(b, now)
	case Failed:
		return StatusFailure, failedText(b)
	case Cancelled:
		return StatusError, "cancelled"
	case Superseded:
		return StatusError, "superseded: a newer commit came before this one was built"
	case Errored:
		return StatusError, erroredText(b)
	default:
		return StatusError, fmt.Sprintf("unknown state %q", b.State)
	}
}

// stageText says what goes on in a stage.
func stageText(stage string) string {
	switch stage {
	case "resolve":
		return "preparing the parent image"
	case "launch":
		return "starting the build instance"
	case "files":
		return "copying files"
	case "build":
		return "building"
	case "inventory":
		return "taking inventory"
	case "clean":
		return "cleaning up"
	case "image":
		return "making the image"
	case "boot":
		return "booting the image"
	case "prepare":
		return "preparing the test"
	case "test":
		return "testing"
	case "publish":
		return "publishing"
	case "distribute":
		return "distributing"
	default:
		return stage
	}
}

func runningText(b Build) string {
	if len(b.Stages) == 0 {
		return "started"
	}
	at := currentStage(b.Stages)
	text := stageText(at.Stage)
	if at.Name != "" {
		text += ": " + at.Name
	}
	total := map[string]int{"build": b.Components, "test": b.TestComponents}[at.Stage]
	if n := ordinal(b.Stages, at); total > 1 && n <= total {
		text += fmt.Sprintf(" (%d of %d)", n, total)
	}
	return text
}

// currentStage is the last row that runs, else the last row.
func currentStage(rows []Stage) Stage {
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].State == "started" {
			return rows[i]
		}
	}
	return rows[len(rows)-1]
}

// ordinal counts from 1 the rows of the same stage up to and including at.
func ordinal(rows []Stage, at Stage) int {
	n := 0
	for _, row := range rows {
		if row.Stage == at.Stage {
			n++
		}
		if row.Stage == at.Stage && row.Name == at.Name {
			break
		}
	}
	return n
}

func succeededText(b Build, now time.Time) string {
	if b.Action == ActionCheck {
		return "documents are valid"
	}
	var parts []string
	if b.Image != nil {
		if b.Image.Name != "" {
			parts = append(parts, Line(b.Image.Name, 60))
		}
		parts = append(parts, ShortImage(b.Image.ID))
		if b.Image.Published != "" {
			parts = append(parts, ShortImage(b.Image.Published))
		}
	}
	switch b.Action {
	case ActionDistribute:
		parts = append(parts, "distributed")
	default:
		parts = append(parts, testsText(b.Tests))
		if scans := scanText(b); scans != "" {
			parts = append(parts, scans)
		}
	}
	return strings.Join(append(parts, Elapsed(b.Duration(now))), " · ")
}

// testsText sums up tests: 4 tests passed; 1 of 4 tests failed; no tests.
func testsText(tests []Test) string {
	passed, failed, skipped := countTests(tests)
	switch {
	case len(tests) == 0:
		return "no tests"
	case failed > 0:
		return fmt.Sprintf("%d of %s failed", failed, Count(len(tests), "test"))
	case skipped > 0:
		return fmt.Sprintf("%s passed, %d skipped", Count(passed, "test"), skipped)
	default:
		return Count(passed, "test") + " passed"
	}
}

func countTests(tests []Test) (passed, failed, skipped int) {
	for _, t := range tests {
		switch t.State {
		case "succeeded":
			passed++
		case "failed":
			failed++
		default:
			skipped++
		}
	}
	return passed, failed, skipped
}

func failedText(b Build) string {
	if b.Failure != nil {
		return "failed in " + failureText(*b.Failure)
	}
	if f, ok := firstFinding(b.Findings); ok {
		text := findingPlace(f) + ": " + f.Message
		if more := len(b.Findings) - 1; more > 0 {
			// The count matters more than the end of a long message.
			tail := fmt.Sprintf(" (and %d more)", more)
			return Line(text, MaxDescription-len(tail)) + tail
		}
		return text
	}
	return "failed"
}

func erroredText(b Build) string {
	if b.Failure == nil {
		return "error in ingot, not in the recipe: its operator has to act"
	}
	tail := " (not the recipe's fault)"
	return Line("error in "+failureText(*b.Failure), MaxDescription-len(tail)) + tail
}

// failureText is "nginx: step Install: exit status 100", with what is known.
func failureText(f Failure) string {
	where := f.Stage
	switch {
	case f.Name != "" && f.Stage == "test":
		where = "test " + f.Name
	case f.Name != "":
		where = f.Name
	}
	reason := f.Reason
	// The reason often names the step already.
	if step := path.Base(f.Step); f.Step != "" && !strings.Contains(reason, step) {
		reason = "step " + step + ": " + reason
	}
	return strings.TrimSuffix(strings.TrimSpace(where+": "+reason), ":")
}

// firstFinding is the first that blocks, else the first.
func firstFinding(findings []Finding) (Finding, bool) {
	for _, f := range findings {
		if f.Blocking {
			return f, true
		}
	}
	if len(findings) == 0 {
		return Finding{}, false
	}
	return findings[0], true
}

// findingPlace is file:line:column, as far as known.
func findingPlace(f Finding) string {
	switch {
	case f.Line == 0:
		return f.File
	case f.Column == 0:
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
}

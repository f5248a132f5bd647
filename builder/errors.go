package builder

import (
	"context"
	"errors"
	"fmt"
)

// Fault says who has to act. The zero value blames us, which is the honest default.
type Fault int

const (
	Internal  Fault = iota // the operator of the daemon
	Author                 // the author of the recipe
	Transient              // nobody: try again
)

func (f Fault) String() string {
	switch f {
	case Author:
		return "author"
	case Transient:
		return "transient"
	default:
		return "internal"
	}
}

// Error is why a build did not end well, for two readers: Reason and Hint are for
// the pull request, Err is for the operator's log and never leaves it.
type Error struct {
	Fault  Fault
	Stage  Stage
	Name   string // component or test
	Step   string // phase/step
	Reason string // one sentence without secrets: "step Install failed: exit status 100"
	Hint   string // the next action, or empty
	Output string // the last lines of the failing step, or empty
	Err    error
}

func (e *Error) Error() string {
	where := string(e.Stage)
	for _, part := range []string{e.Name, e.Step} {
		if part != "" {
			where += " " + part
		}
	}
	if e.Err == nil || e.Err.Error() == e.Reason {
		return fmt.Sprintf("%s: %s", where, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %v", where, e.Reason, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// ErrGoesOn, in the cause of a context's end, says that the build does not end with it:
// the next process that runs the build takes it up where it stands.
var ErrGoesOn = errors.New("it is taken up again")

// GoesOn reports whether ctx has ended, and what it was for goes on in another process.
func GoesOn(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrGoesOn) }

// FaultOf tells who has to act on err.
func FaultOf(err error) Fault {
	var e *Error
	if errors.As(err, &e) {
		return e.Fault
	}
	return Internal
}

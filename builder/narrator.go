package builder

import (
	"errors"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// narrator turns what the pipeline does into events, one at a time.
type narrator struct {
	mu      sync.Mutex // components may emit from a goroutine of the driver
	observe Observer
	now     func() time.Time
}

func (n *narrator) event(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e.Time = n.now()
	n.observe(e)
}

func (n *narrator) mark(kind EventKind, stage Stage, name, text string) {
	n.event(Event{Kind: kind, Stage: stage, Name: name, Text: text})
}

func (n *narrator) output(stage Stage, name, text string, stderr bool) {
	n.event(Event{Kind: Output, Stage: stage, Name: name, Text: text, Stderr: stderr})
}

// stage tells the beginning and the end of work. The kind and text that work
// returns are those of the closing event; on an error the text is its reason.
func (n *narrator) stage(stage Stage, name string, work func() (EventKind, string, error)) error {
	start := n.now()
	n.event(Event{Kind: Started, Stage: stage, Name: name})
	kind, text, err := work()
	if err != nil {
		kind = Failed
		var e *Error
		if errors.As(err, &e) && text == "" {
			text = e.Reason
		}
	}
	n.event(Event{Kind: kind, Stage: stage, Name: name, Text: text, Elapsed: n.now().Sub(start)})
	return err
}

// component passes on what the engine says from inside the instance.
func (n *narrator) component(stage Stage, name string, e component.Event) {
	step := e.Phase + "/" + e.Step
	switch e.Kind {
	case component.StepStarted:
		n.event(Event{Kind: Started, Stage: stage, Name: name, Step: step, Text: e.Action})
	case component.StepFinished:
		n.event(Event{Kind: stepKind(e.Status), Stage: stage, Name: name, Step: step, Text: e.Text})
	case component.Output:
		n.event(Event{Kind: Output, Stage: stage, Name: name, Step: step, Text: e.Text, Stderr: e.Stream == "stderr"})
	case component.Warning:
		n.event(Event{Kind: Warned, Stage: stage, Name: name, Step: step, Text: e.Text})
	case component.Rebooting:
		n.event(Event{Kind: Output, Stage: stage, Name: name, Text: "rebooting\n"})
	}
}

func stepKind(s component.Status) EventKind {
	switch s {
	case component.Skipped:
		return Skipped
	case component.Failed:
		return Failed
	case component.IgnoredFailure:
		return Warned
	default:
		return Succeeded
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/reporter"
)

// maxHeld bounds what is kept of a line that has not ended, in bytes.
const maxHeld = 8192

// live shows a run of documents while it goes on, one line at a time. What steps
// print is foreign text and is made safe to look at.
type live struct {
	w     io.Writer
	trace bool

	began time.Time         // of the present step
	held  map[string]string // of each stream: the line that has not ended
	err   error             // the first of writing; it must not end the run
}

func newLive(w io.Writer, trace bool) *live {
	return &live{w: w, trace: trace, held: map[string]string{}}
}

// observe hears the events of one run, in order.
func (l *live) observe(e component.Event) {
	step := reporter.Line(e.Phase+"/"+e.Step, 200)
	switch e.Kind {
	case component.DocumentStarted:
		l.line(e.Time, "%s", reporter.Line(e.Document, 200))
	case component.StepStarted:
		l.began = e.Time
		l.line(e.Time, "  %s: %s", step, reporter.Line(e.Action, 100))
	case component.Output:
		l.output(e)
	case component.Warning:
		l.flush(e.Time)
		for line := range strings.Lines(e.Text) {
			l.line(e.Time, "  warning: %s", reporter.Line(line, 1000))
		}
	case component.StepFinished:
		l.flush(e.Time)
		text := string(e.Status)
		if e.Text != "" {
			text += ": " + reporter.Line(e.Text, 1000)
		}
		l.line(e.Time, "  %s: %s (%s)", step, text, reporter.Elapsed(e.Time.Sub(l.began)))
	case component.Rebooting:
		l.flush(e.Time)
		l.line(e.Time, "  reboot")
	case component.DocumentFinished:
		l.line(e.Time, "%s: %s", reporter.Line(e.Document, 200), e.Status)
	case component.Finished:
		l.flush(e.Time)
	}
}

// say adds a line of the command's own.
func (l *live) say(format string, args ...any) { l.line(time.Now(), format, args...) }

func (l *live) output(e component.Event) {
	text := l.held[e.Stream] + e.Text
	for {
		line, rest, ended := strings.Cut(text, "\n")
		if !ended && len(text) < maxHeld {
			break
		}
		l.printed(e.Time, line)
		text = rest
	}
	l.held[e.Stream] = text
}

// flush shows lines that have not ended and will not.
func (l *live) flush(now time.Time) {
	for _, stream := range []string{"stdout", "stderr"} {
		if text := l.held[stream]; text != "" {
			l.printed(now, text)
		}
	}
	clear(l.held)
}

func (l *live) printed(now time.Time, line string) {
	l.line(now, "  | %s", strings.ReplaceAll(reporter.Plain(strings.TrimRight(line, "\r")), "\n", " "))
}

func (l *live) line(now time.Time, format string, args ...any) {
	if l.err != nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	if l.trace {
		text = now.Format("15:04:05.000 ") + text
	}
	_, l.err = fmt.Fprintln(l.w, text)
}

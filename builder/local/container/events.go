package container

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Limits on what the container says. Whoever is root in it can write to the agent's
// output, so nothing about that is to be trusted.
const (
	maxLine = 4 << 20
	maxText = 64 << 10
	maxName = 256
)

// eventReader takes the agent's output, line by line, and passes valid events on.
// Lines that are too long, not JSON, or of an unknown kind are dropped.
type eventReader struct {
	emit    func(component.Event)
	heard   bool              // the agent has begun
	result  *component.Result // of the last Finished
	line    []byte
	tooLong bool
}

func newEventReader(emit func(component.Event)) *eventReader {
	return &eventReader{emit: emit}
}

// Write never fails: the container must not be able to end its own run oddly.
func (r *eventReader) Write(p []byte) (int, error) {
	written := len(p)
	r.heard = r.heard || written > 0
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			r.keep(p)
			return written, nil
		}
		r.keep(p[:end])
		if !r.tooLong {
			r.take(r.line)
		}
		r.line, r.tooLong = r.line[:0], false
		p = p[end+1:]
	}
}

func (r *eventReader) keep(part []byte) {
	if r.tooLong || len(r.line)+len(part) > maxLine {
		r.tooLong = true
		return
	}
	r.line = append(r.line, part...)
}

func (r *eventReader) take(line []byte) {
	var e component.Event
	if json.Unmarshal(line, &e) != nil || !known(e.Kind) {
		return
	}
	e.Time = time.Now() // the clock is the host's; what the line says may be anything
	e.Document, e.Phase, e.Step, e.Action = cut(e.Document, maxName), cut(e.Phase, maxName), cut(e.Step, maxName), cut(e.Action, maxName)
	e.Stream, e.Text = cut(e.Stream, maxName), cut(e.Text, maxText)
	if e.Kind == component.Finished {
		if e.Result == nil {
			return
		}
		limitResult(e.Result)
		r.result = e.Result
		if e.Result.Reboot {
			return // the run goes on after it
		}
	} else {
		e.Result = nil
	}
	r.emit(e)
}

func known(k component.EventKind) bool {
	switch k {
	case component.DocumentStarted, component.DocumentFinished, component.StepStarted, component.StepFinished,
		component.Output, component.Warning, component.Rebooting, component.Finished:
		return true
	}
	return false
}

// limitResult cuts every text of a result; how many there are is bounded by the
// length of the line.
func limitResult(r *component.Result) {
	if f := r.Failure; f != nil {
		for _, name := range []*string{&f.Document, &f.Path, &f.Phase, &f.Step, &f.Action} {
			*name = cut(*name, maxName)
		}
		f.Message, f.Stderr = cut(f.Message, maxText), cut(f.Stderr, maxText)
	}
	for i := range r.Documents {
		d := &r.Documents[i]
		d.Name = cut(d.Name, maxName)
		for j := range d.Steps {
			s := &d.Steps[j]
			s.Phase, s.Name, s.Action = cut(s.Phase, maxName), cut(s.Name, maxName), cut(s.Action, maxName)
			s.Message = cut(s.Message, maxText)
		}
	}
}

// cut shortens a text to at most limit bytes, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// tail keeps the last bytes of what nspawn and the agent complain.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = t.kept[over:]
	}
	return len(p), nil
}

// cause is the first line, which is where systemd-nspawn says what was wrong, to be put
// behind a sentence. What it cannot clear up is not what was wrong.
func (t *tail) cause() string {
	line, _, _ := strings.Cut(t.text(), "\n")
	if line == "" || strings.HasPrefix(line, "Attempted to remove disk file system") {
		return ""
	}
	return ": " + line
}

func (t *tail) text() string {
	return strings.ToValidUTF8(strings.TrimSpace(string(t.kept)), "\uFFFD")
}

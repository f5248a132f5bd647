package component

import (
	"bytes"
	"io"
	"strings"
)

const (
	maxCapture = 1 << 20 // of stdout, kept for chaining (inferred)
	maxTail    = 4 << 10 // of stderr, kept for the failure report
)

// capture keeps the beginning of a program's stdout.
type capture struct {
	buf  bytes.Buffer
	over bool
}

func (c *capture) Write(p []byte) (int, error) {
	room := maxCapture - c.buf.Len()
	if room < len(p) {
		c.over = true
		c.buf.Write(p[:room])
		return len(p), nil
	}
	c.buf.Write(p)
	return len(p), nil
}

// text is what was captured without the line ends at its end: it is used in paths.
func (c *capture) text() string { return strings.TrimRight(c.buf.String(), " \t\r\n") }

// tail keeps the end of a program's stderr.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p[max(0, len(p)-maxTail):]...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// lines is the tail from the first line that is whole.
func (t *tail) lines() string {
	text := string(t.buf)
	if len(text) == maxTail {
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return strings.ToValidUTF8(strings.TrimSpace(text), "\ufffd")
}

// outputs are the two streams of one program, each with whoever wants to see it.
type outputs struct {
	stdout, stderr *stream
	captured       capture
	last           tail
}

func (r *engine) newOutputs(at position) *outputs {
	pass := func(name string) *stream {
		return &stream{masker: r.masker, emit: func(text string) { r.output(at, name, text) }}
	}
	return &outputs{stdout: pass("stdout"), stderr: pass("stderr")}
}

func (o *outputs) writers() (stdout, stderr io.Writer) {
	return fan{o.stdout, &o.captured}, fan{o.stderr, &o.last}
}

// fan gives what is written to it to both of its writers, neither of which fails.
type fan [2]io.Writer

func (f fan) Write(p []byte) (int, error) {
	for _, w := range f {
		if n, err := w.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func (o *outputs) flush() {
	o.stdout.flush()
	o.stderr.flush()
}

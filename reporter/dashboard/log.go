package dashboard

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/reporter"
)

const (
	chunk       = 256 << 10 // bytes of log that are read at a time
	maxLine     = 4096      // bytes of a line; longer ones are broken
	shownLines  = 2000      // of a log, on a page
	linesBefore = 20        // the one that a link asks for
	maxLog      = 64 << 20  // bytes of log that are read for one page
)

// cursor is a place between two lines of a log.
type cursor struct {
	piece  int64 // everything up to this piece lies before
	offset int   // and so many bytes of the next
	line   int   // number of the line before
}

func (c cursor) String() string { return fmt.Sprintf("%d.%d.%d", c.piece, c.offset, c.line) }

func parseCursor(s string) (cursor, error) {
	var c cursor
	parts := strings.Split(s, ".")
	if len(s) > 60 || len(parts) != 3 {
		return c, errBadRequest{"That is not a place in a log."}
	}
	var err [3]error
	c.piece, err[0] = strconv.ParseInt(parts[0], 10, 64)
	c.offset, err[1] = strconv.Atoi(parts[1])
	c.line, err[2] = strconv.Atoi(parts[2])
	if err != [3]error{} || c.piece < 0 || c.offset < 0 || c.line < 0 {
		return cursor{}, errBadRequest{"That is not a place in a log."}
	}
	return c, nil
}

// logLine is one line of a log, safe to look at.
type logLine struct {
	Number  int
	Text    string
	Stderr  bool
	Section string // not empty where another stage, component or step begins
	Step    string // of that section
	after   cursor
}

// assembler makes lines of pieces, which may end anywhere. Two assemblers that
// start at the same cursor make the same lines.
type assembler struct {
	at      cursor // where pending begins
	last    int64  // the last piece that was added
	skip    int    // bytes of the next piece that lie before at
	pending string
	source  reporter.LogPiece // where pending comes from, without its text
	section string            // of the line before
}

func newAssembler(at cursor) *assembler {
	return &assembler{at: at, last: at.piece, skip: at.offset}
}

// add takes the next piece and returns the lines that are complete.
func (a *assembler) add(p reporter.LogPiece) []logLine {
	text := p.Text[min(a.skip, len(p.Text)):]
	used := min(a.skip, len(p.Text))
	a.skip = 0
	var lines []logLine
	if a.pending != "" && sectionOf(p) != sectionOf(a.source) {
		lines = a.flush()
	}
	for text != "" {
		if a.pending == "" {
			a.source = p
			a.source.Text = ""
		}
		n, complete := lineEnd(text, maxLine-len(a.pending))
		a.pending += text[:n]
		text = text[n:]
		used += n
		if !complete {
			break
		}
		end := cursor{piece: a.last, offset: used}
		if text == "" {
			end = cursor{piece: p.ID}
		}
		lines = append(lines, a.take(end))
	}
	a.last = p.ID
	return lines
}

// flush returns what is pending as a line, for there will be no more of it.
func (a *assembler) flush() []logLine {
	if a.pending == "" {
		return nil
	}
	return []logLine{a.take(cursor{piece: a.last})}
}

func (a *assembler) take(end cursor) logLine {
	end.line = a.at.line + 1
	line := logLine{
		Number: end.line,
		// What would break the line is shown within it.
		Text:   strings.ReplaceAll(reporter.Plain(strings.TrimRight(a.pending, "\r\n")), "\n", " "),
		Stderr: a.source.Stderr,
		after:  end,
	}
	if section := sectionOf(a.source); section != a.section && section != "" {
		a.section = section
		line.Section = reporter.Line(strings.TrimSpace(reporter.StageLabel(a.source.Stage)+" "+a.source.Name), 120)
		line.Step = reporter.Line(a.source.Step, 120)
	}
	a.at, a.pending = end, ""
	return line
}

func sectionOf(p reporter.LogPiece) string {
	if p.Stage == "" && p.Name == "" && p.Step == "" {
		return ""
	}
	return p.Stage + "\x00" + p.Name + "\x00" + p.Step
}

// lineEnd returns how much of text belongs to the line of which room bytes are
// left, and whether the line ends there.
func lineEnd(text string, room int) (n int, complete bool) {
	i := strings.IndexByte(text[:min(len(text), max(room, 1))], '\n')
	if i >= 0 {
		return i + 1, true
	}
	if len(text) < room {
		return len(text), false
	}
	n = max(room, 1)
	for n > 1 && n < len(text) && room-n < utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return n, true
}

// logView is a part of a log on a page.
type logView struct {
	Lines []logLine
	First int // number of the first line shown; 0: none
	More  int // lines after the last one shown
	Cut   bool
	end   cursor // after the last line read
}

// Before is how many lines come before the first one shown.
func (v logView) Before() int { return max(v.First-1, 0) }

// readLog reads the end of a build's log, or the part around line from.
func (h *handler) readLog(ctx context.Context, id int64, final bool, from int) (logView, error) {
	a := newAssembler(cursor{})
	var v logView
	read := 0
	for {
		pieces, err := h.Source.Log(ctx, id, a.last, chunk)
		if err != nil {
			return v, err
		}
		for _, p := range pieces {
			read += len(p.Text)
			v.keep(a.add(p), from)
		}
		if len(pieces) == 0 {
			break
		}
		if read > maxLog {
			v.Cut = true
			break
		}
	}
	if final {
		v.keep(a.flush(), from)
	}
	v.end = a.at
	if len(v.Lines) > shownLines {
		v.Lines = v.Lines[len(v.Lines)-shownLines:]
	}
	if len(v.Lines) > 0 {
		v.First = v.Lines[0].Number
	}
	return v, nil
}

// keep adds lines to those that a page may show.
func (v *logView) keep(lines []logLine, from int) {
	for _, line := range lines {
		switch {
		case from == 0:
			v.Lines = append(v.Lines, line)
			if len(v.Lines) >= 2*shownLines { // seldom, so that it costs little
				v.Lines = append([]logLine(nil), v.Lines[shownLines:]...)
			}
		case line.Number < from-linesBefore:
		case len(v.Lines) < shownLines:
			v.Lines = append(v.Lines, line)
		default:
			v.More++
		}
	}
}

// rawLog sends a log as it was printed.
func (h *handler) rawLog(w http.ResponseWriter, r *http.Request) {
	id, err := buildID(r)
	if err == nil {
		_, err = h.Source.Build(r.Context(), id)
	}
	if err != nil {
		status, _ := h.problem(r, err)
		writeText(w, status, http.StatusText(status)+"\n")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	control := http.NewResponseController(w)
	after := int64(0)
	for {
		pieces, err := h.Source.Log(r.Context(), id, after, chunk)
		if err != nil {
			h.Log.WithError(err).WithField("build", id).Error("dashboard: reading a log")
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
		if len(pieces) == 0 {
			return
		}
		// A server without deadlines is one that waits for ever, which is its owner's choice.
		_ = control.SetWriteDeadline(time.Now().Add(h.WriteTimeout))
		for _, p := range pieces {
			if _, err := io.WriteString(w, p.Text); err != nil {
				return // the client has gone
			}
			after = p.ID
		}
	}
}

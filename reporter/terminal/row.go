package terminal

import (
	"path"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// maxPending bounds what is kept of a line that has not ended, in bytes.
const maxPending = 8192

// row is one part of a build.
type row struct {
	stage, name string
	state       Kind
	step        string // that runs, or that failed; without its phase
	text        string
	since       time.Time
	elapsed     time.Duration

	pending string   // output whose line has not ended
	lines   []string // output not printed yet, of a plain display
	latest  string   // last line of output
}

// apply takes an update in.
func (r *row) apply(u Update, now time.Time) {
	switch {
	case u.Kind == Output:
		r.output(u.Text)
	case u.Kind == Warned:
		r.state, r.text = Warned, u.Text
	case u.Step != "":
		r.applyStep(u)
	default:
		r.state = u.Kind
		if u.Text != "" {
			r.text = u.Text
		}
		if u.Kind == Started {
			r.since = now
			return
		}
		r.elapsed = u.Elapsed
		if r.elapsed == 0 {
			r.elapsed = now.Sub(r.since)
		}
	}
}

func (r *row) applyStep(u Update) {
	switch u.Kind {
	case Started:
		r.step, r.latest = path.Base(u.Step), ""
	case Failed:
		r.step, r.text = path.Base(u.Step), u.Text
	}
}

func (r *row) output(text string) {
	r.pending += text
	for {
		line, rest, ended := strings.Cut(r.pending, "\n")
		if !ended && len(r.pending) < maxPending {
			break
		}
		r.lines = append(r.lines, line)
		r.pending = rest
	}
	// A display that redraws shows the last line only.
	last := r.pending
	if last == "" && len(r.lines) > 0 {
		last = r.lines[len(r.lines)-1]
	}
	if last = reporter.Line(last, 200); last != "" {
		r.latest = last
	}
	if most := 1000; len(r.lines) > 2*most {
		r.lines = append([]string(nil), r.lines[most:]...)
	}
}

// takeOutput returns the lines that have not been taken yet, safe to look at.
func (r *row) takeOutput(all bool) []string {
	lines := r.lines
	if all && r.pending != "" {
		lines = append(lines, r.pending)
		r.pending = ""
	}
	r.lines = nil
	for i, line := range lines {
		line = strings.ReplaceAll(reporter.Plain(strings.TrimRight(line, "\r")), "\n", " ")
		lines[i] = strings.ReplaceAll(line, "\t", "    ")
	}
	return lines
}

// title is what a row is about.
func (r *row) title() (kind, name string) {
	return reporter.StageLabel(r.stage), reporter.Line(r.name, 100)
}

// spinner turns while a row runs.
const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// mark is the sign at the beginning of a row, and its style.
func (r *row) mark(spin int) (string, style) {
	switch r.state {
	case Succeeded:
		return "✓", green
	case Failed:
		return "✗", red
	case Reused:
		return "↻", dim
	case Skipped:
		return "–", dim
	case Warned:
		return "!", yellow
	default:
		frames := []rune(spinner)
		return string(frames[spin%len(frames)]), cyan
	}
}

// note is what stands behind a row's title, and its style.
func (r *row) note() (string, style) {
	text := reporter.Line(r.text, 300)
	switch r.state {
	case Failed:
		if r.step != "" && !strings.Contains(text, r.step) {
			text = strings.TrimSuffix(reporter.Line(r.step, 80)+": "+text, ": ")
		}
		return text, red
	case Started:
		parts := []string{reporter.Line(r.step, 80), text}
		if r.latest != "" {
			parts[1] = r.latest
		}
		return strings.Trim(strings.Join(parts, " · "), " ·"), dim
	default:
		return text, dim
	}
}

// took is what stands at the end of a row.
func (r *row) took(now time.Time) string {
	switch r.state {
	case Reused:
		return "reused"
	case Skipped:
		return "skipped"
	case Started:
		return reporter.Elapsed(now.Sub(r.since))
	default:
		return reporter.Elapsed(r.elapsed)
	}
}

// line is a row on a terminal, at most width columns wide.
func (r *row) line(width int, color bool, spin int, now time.Time) string {
	mark, markStyle := r.mark(spin)
	note, noteStyle := r.note()
	if r.state == Warned {
		return render([]span{{normal, "    "}, {markStyle, mark + " "}, {yellow, note}}, width, color)
	}
	const right = 12
	kind, name := r.title()
	left := []span{{normal, " "}, {markStyle, mark}, {normal, " "}}
	if name == "" {
		left = append(left, span{normal, kind})
	} else {
		left = append(left, span{dim, kind + " "}, span{normal, name})
	}
	if note != "" {
		left = append(left, span{normal, "  "}, span{noteStyle, note})
	}
	used := 0
	for _, s := range left {
		used += columns(s.text)
	}
	gap := strings.Repeat(" ", max(width-right-used, 0))
	took := r.took(now)
	took = strings.Repeat(" ", max(right-columns(took), 1)) + took
	return render(left, width-right, color) + gap + render([]span{{dim, took}}, right, color)
}

// plainLine is what an update looks like where there is no terminal; empty: nothing.
func plainLine(r *row, u Update) string {
	kind, name := r.title()
	title := strings.TrimSpace(kind + " " + name)
	text := reporter.Line(u.Text, 300)
	note := func(word string) string {
		return title + ": " + strings.TrimSuffix(word+": "+text, ": ")
	}
	switch {
	case u.Kind == Warned:
		return note("warning")
	case u.Step != "" && u.Kind == Started:
		return title + ": step " + reporter.Line(u.Step, 120)
	case u.Step != "":
		return ""
	case u.Kind == Failed:
		failure, _ := r.note()
		return title + ": failed after " + r.took(r.since) + strings.TrimSuffix(": "+failure, ": ")
	case u.Kind == Succeeded:
		return note("done in " + r.took(r.since))
	default:
		return note(reporter.Line(string(u.Kind), 20))
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// table is what a part found. A row with fewer cells than others is filled up.
type table struct {
	head  []string
	rows  [][]string
	notes []string // below it, a line each
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }
func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// write prints the table: words to the left, figures to the right.
func (t table) write(w io.Writer) error {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for n, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line.WriteString("  " + cell + gap)
			} else {
				line.WriteString("  " + gap + cell)
			}
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if n == 0 {
			total := 2 * len(widths)
			for _, width := range widths {
				total += width
			}
			text.WriteString("  " + strings.Repeat("-", total-2) + "\n")
		}
	}
	for _, note := range t.notes {
		text.WriteString("  " + note + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// took shows a duration with three figures, as far as they mean anything.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < 100*time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
}

// size shows a number of bytes.
func size(bytes float64) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1e6:
		return fmt.Sprintf("%.3g kB", bytes/1e3)
	default:
		return fmt.Sprintf("%.3g MB", bytes/1e6)
	}
}

// ratio shows a by b: as a fraction where a is the smaller one by far.
func ratio(a, b float64) string {
	switch {
	case a <= 0 || b <= 0:
		return "-"
	case a*2 <= b:
		return fmt.Sprintf("1/%.3g", b/a)
	default:
		return fmt.Sprintf("%.2f", a/b)
	}
}

// goal says whether a figure is within its bound.
func goal(got, most float64, bound string) string {
	if got <= most {
		return "≤ " + bound + " met"
	}
	return "≤ " + bound + " MISSED"
}

// atLeast is goal for what is to be large.
func atLeast(got, least float64, bound string) string {
	if got >= least {
		return "≥ " + bound + " met"
	}
	return "≥ " + bound + " MISSED"
}

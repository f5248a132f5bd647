package builder

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Scan is what a scanner found, as a test reported it: see scanPrefix.
type Scan struct {
	Profile string // what the image was held against, and by which data; scans of one profile can be compared
	Score   float64
	Passed  int
	Failed  []Rule // worst first
	Omitted int    // how many more have failed
}

// Rule is a rule of a scanner's profile.
type Rule struct {
	ID       string
	Severity string // high, medium, low or unknown
	Title    string
}

// scanPrefix begins the lines of standard output with which a test reports a scan:
//
//	ingot:scan profile TEXT
//	ingot:scan score NUMBER           of 0 to 100; without it there is no scan
//	ingot:scan passed NUMBER
//	ingot:scan failed SEVERITY RULE TITLE
//
// A line that is none of these is shown as a warning and counts for nothing. What
// a test prints is hostile text like all output.
const scanPrefix = "ingot:scan "

// Limits of what a test reports.
const (
	maxScanLine  = 1 << 10 // bytes
	maxScanRules = 500
	maxScanWord  = 200 // characters of each text
)

var severities = []string{"high", "medium", "low", "unknown"}

// scanReader picks a scan out of output that arrives in pieces.
type scanReader struct {
	line   []byte // of the part that has no end yet
	long   bool   // that line is longer than any of ours
	scan   Scan
	scored bool
	wrong  string // the first line that could not be read, and why
}

func (r *scanReader) write(piece string) {
	for piece != "" {
		part, rest, ended := strings.Cut(piece, "\n")
		piece = rest
		if room := maxScanLine - len(r.line); len(part) > room {
			part, r.long = part[:room], true
		}
		r.line = append(r.line, part...)
		if ended {
			r.end()
		}
	}
}

// end takes in a whole line.
func (r *scanReader) end() {
	line, long := string(r.line), r.long
	r.line, r.long = r.line[:0], false
	text, ours := strings.CutPrefix(strings.TrimSpace(line), scanPrefix)
	if !ours {
		return
	}
	err := fmt.Errorf("it is longer than %d bytes", maxScanLine)
	if !long {
		err = r.read(text)
	}
	if err != nil && r.wrong == "" {
		r.wrong = fmt.Sprintf("the line %q is no part of a scan: %v", scanText(line, 80), err)
	}
}

func (r *scanReader) read(text string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "profile":
		r.scan.Profile = scanText(rest, maxScanWord)
	case "score":
		score, err := strconv.ParseFloat(rest, 64)
		if err != nil || math.IsNaN(score) || score < 0 || score > 100 {
			return fmt.Errorf("expected a score of 0 to 100")
		}
		r.scan.Score, r.scored = score, true
	case "passed":
		n, err := strconv.ParseUint(rest, 10, 31)
		if err != nil {
			return fmt.Errorf("expected how many rules passed")
		}
		r.scan.Passed = int(n)
	case "failed":
		return r.failed(rest)
	default:
		return fmt.Errorf("expected profile, score, passed or failed")
	}
	return nil
}

func (r *scanReader) failed(text string) error {
	severity, rest, _ := strings.Cut(text, " ")
	id, title, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if !slices.Contains(severities, severity) || id == "" {
		return fmt.Errorf("expected a severity (%s), the rule and its title", strings.Join(severities, ", "))
	}
	if len(r.scan.Failed) == maxScanRules {
		r.scan.Omitted++
		return nil
	}
	r.scan.Failed = append(r.scan.Failed, Rule{ID: scanText(id, maxScanWord), Severity: severity, Title: scanText(title, maxScanWord)})
	return nil
}

// result is the scan, if there was one.
func (r *scanReader) result() *Scan {
	if len(r.line) > 0 {
		r.end()
	}
	if !r.scored {
		return nil
	}
	slices.SortStableFunc(r.scan.Failed, func(a, b Rule) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	return &r.scan
}

// scanText is text as one line of at most limit characters that can be shown.
func scanText(text string, limit int) string {
	text = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsGraphic(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit])
	}
	return strings.TrimSpace(text)
}

// scanned is a runner whose standard output is searched for a scan.
type scanned struct {
	Runner
	into *scanReader
}

func (s scanned) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return s.Runner.Run(ctx, job, func(e component.Event) {
		if e.Kind == component.Output && e.Stream == "stdout" {
			s.into.write(e.Text)
		}
		emit(e)
	})
}

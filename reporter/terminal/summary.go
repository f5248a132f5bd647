package terminal

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// Summary renders how a build ended: image, size, tests and times, or what failed
// and how to see it again. Of the options only Color matters. It ends with a line feed.
func Summary(b reporter.Build, o Options) string {
	p := &page{color: o.Color}
	p.headline(b)
	p.image(b)
	p.tests(b.Tests)
	p.scans(b)
	p.times(b.Stages)
	p.findings(b.Findings)
	if b.Failure != nil {
		p.failure(*b.Failure)
	}
	return p.out.String()
}

// page collects lines.
type page struct {
	out   strings.Builder
	color bool
}

// line writes a line of any width: a terminal breaks it, and nothing is lost.
func (p *page) line(spans ...span) {
	p.out.WriteString(strings.TrimRight(render(spans, math.MaxInt, p.color), " ") + "\n")
}

// entry is a line with a word in front; the same word is not repeated.
func (p *page) entry(word string, spans ...span) {
	p.line(append([]span{{dim, "  " + pad(word, 8)}}, spans...)...)
}

func (p *page) headline(b reporter.Build) {
	title := strings.TrimSpace(reporter.Line(b.Recipe, 80) + " " + reporter.Line(b.Version, 30))
	took := reporter.Elapsed(b.Duration(b.Started))
	p.line()
	switch b.State {
	case reporter.Succeeded:
		p.line(span{green, "✓ "}, span{bold, title}, span{normal, " is ready"}, span{dim, "  " + took})
	case reporter.Failed:
		p.line(span{red, "✗ "}, span{bold, title}, span{normal, " failed"}, span{dim, "  " + took})
	case reporter.Errored:
		p.line(span{yellow, "! "}, span{bold, title}, span{normal, " was stopped by an error that is not the recipe's"}, span{dim, "  " + took})
	default:
		p.line(span{normal, "  "}, span{bold, title}, span{normal, " " + reporter.Line(string(b.State), 20)})
	}
	p.line()
}

func (p *page) image(b reporter.Build) {
	if b.Image == nil {
		return
	}
	image := []span{{normal, reporter.Line(b.Image.ID, 100)}}
	if b.Image.Name != "" {
		image = append(image, span{dim, "  " + reporter.Line(b.Image.Name, 100)})
	}
	p.entry("image", image...)
	if b.Image.Published != "" {
		p.entry("", span{dim, "published as "}, span{normal, reporter.Line(b.Image.Published, 100)})
	}
	size := []span{{normal, reporter.Bytes(b.Image.Size)}}
	if b.PreviousImage != nil {
		size = append(size, span{dim, "  " + reporter.SizeChange(b.PreviousImage.Size, b.Image.Size) + " against the last release"})
	}
	p.entry("size", size...)
}

func (p *page) tests(tests []reporter.Test) {
	names := 0
	for _, t := range tests {
		names = max(names, columns(reporter.Line(t.Name, 60)))
	}
	for i, t := range tests {
		mark := span{dim, "– "}
		switch t.State {
		case "succeeded":
			mark = span{green, "✓ "}
		case "failed":
			mark = span{red, "✗ "}
		}
		note := reporter.Elapsed(t.Duration)
		if t.Reused {
			note = "as tested before"
		}
		p.entry(first(i, "tests"), mark, span{normal, pad(reporter.Line(t.Name, 60), names)}, span{dim, "  " + note}, span{red, strings.TrimRight("  "+reporter.Line(t.Message, 300), " ")})
	}
}

// shownRules is how many of a list of rules a summary shows.
const shownRules = 10

// scans shows what scanners found: the rules that got worse, or else those that failed.
func (p *page) scans(b reporter.Build) {
	for i, c := range reporter.ScanChanges(b) {
		p.entry(first(i, "scans"), span{normal, reporter.Line(c.Test, 60) + ": " + c.Text()}, span{dim, "  " + reporter.Line(c.Now.Profile, 100)})
		rules, more := c.Worse, 0
		if c.Before == nil {
			rules, more = c.Now.Failed, c.Now.Omitted
		}
		for _, r := range rules[:min(shownRules, len(rules))] {
			p.entry("", span{yellow, "  " + reporter.Line(r.Severity, 20) + " "}, span{normal, reporter.Line(r.ID, 100)}, span{dim, "  " + reporter.Line(r.Title, 200)})
		}
		if more += max(0, len(rules)-shownRules); more > 0 {
			p.entry("", span{dim, fmt.Sprintf("  and %d more", more)})
		}
	}
}

// first is word for the first entry, and nothing for the others.
func first(i int, word string) string {
	if i == 0 {
		return word
	}
	return ""
}

// times sums up how long each stage took, in the order of the stages. Tests may
// run beside each other: the time of a stage is from its first start to its last end.
func (p *page) times(stages []reporter.Stage) {
	type extent struct {
		label       string
		first, last time.Time
	}
	var extents []*extent
	known := map[string]*extent{}
	for _, s := range stages {
		if s.Started.IsZero() || s.Finished.IsZero() || s.State == "reused" || s.State == "skipped" {
			continue
		}
		e := known[s.Stage]
		if e == nil {
			e = &extent{reporter.StageLabel(s.Stage), s.Started, s.Finished}
			known[s.Stage] = e
			extents = append(extents, e)
		}
		if s.Started.Before(e.first) {
			e.first = s.Started
		}
		if s.Finished.After(e.last) {
			e.last = s.Finished
		}
	}
	for i, e := range extents {
		p.entry(first(i, "times"), span{normal, pad(e.label, 14)}, span{dim, fmt.Sprintf("%10s", reporter.Elapsed(e.last.Sub(e.first)))})
	}
}

func (p *page) findings(findings []reporter.Finding) {
	for _, f := range findings {
		place := reporter.Line(f.File, 200)
		if f.Line > 0 {
			place += fmt.Sprintf(":%d:%d", f.Line, f.Column)
		}
		mark := yellow
		if f.Blocking {
			mark = red
		}
		p.line(span{mark, "  " + place + ": "}, span{normal, reporter.Line(f.Message, 600)})
		p.block(f.Excerpt, 5)
		if f.Expected != "" {
			p.line(span{dim, "    expected "}, span{normal, reporter.Line(f.Expected, 300)})
		}
	}
}

func (p *page) failure(f reporter.Failure) {
	where := strings.TrimSpace(reporter.StageLabel(f.Stage) + " " + reporter.Line(f.Name, 100))
	if f.Step != "" {
		where += ", step " + reporter.Line(f.Step, 120)
	}
	p.line(span{red, "  " + where + ": "}, span{normal, reporter.Line(f.Reason, 600)})
	if f.Output != "" {
		p.line()
		p.block(f.Output, 40)
	}
	p.line()
	if f.Hint != "" {
		p.line(span{bold, "  What to do: "}, span{normal, reporter.Line(f.Hint, 600)})
	}
	if f.Kept != nil {
		p.line(span{dim, "  " + f.Kept.Text() + " "}, span{normal, reporter.Line(f.Kept.Exec, 1000)})
	}
	if f.NotKept != "" {
		p.line(span{dim, "  " + reporter.Line(f.NotKept, 600)})
	}
	if f.Replay != "" {
		p.line(span{dim, "  The same again: "}, span{normal, reporter.Line(f.Replay, 1000)})
	}
}

// block shows the last lines of a foreign text.
func (p *page) block(text string, most int) {
	lines := strings.Split(strings.Trim(reporter.Plain(text), "\n"), "\n")
	for _, line := range lines[max(len(lines)-most, 0):] {
		p.line(span{dim, "    │ "}, span{normal, strings.ReplaceAll(line, "\t", "    ")})
	}
}

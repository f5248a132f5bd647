package dashboard

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// Most of what a build's page shows of each kind.
const (
	shownFindings = 100
	shownPackages = 300
	shownTests    = 500
	shownRules    = 200
)

// buildView is the page of one build.
type buildView struct {
	buildRow
	Author   string
	Action   string
	Previous string // version of the last release
	Release  bool
	Fork     bool
	Image    *imageRow
	Growth   string // of the image, against the last release
	Why      []string
	Failure  *failureView
	Findings []findingView
	Hidden   int // findings that are not shown
	Stages   []stageRow
	TestRows []testRow
	Scans    []scanView
	Packages *packagesView
	Waiting  string // why there is nothing to see yet
	Log      logView
	Check    bool   // nothing was built: there are documents to talk of, but no steps
	Live     string // address of the stream; empty: the page does not change
	Server   int64  // milliseconds since 1970 at which the page was made
}

func (v *buildView) template() (string, string) {
	return "build", strings.TrimSpace(v.Badge.Text + ": " + v.Recipe + " " + v.Version)
}

// failureView says why a build did not succeed.
type failureView struct {
	Where, Step, Reason, Hint, Output, Replay string
	Kept, Exec                                string // what is kept, and the command that looks into it
	NotKept                                   string // why nothing is
	Ours                                      bool
}

type findingView struct {
	Place                      link
	Excerpt, Message, Expected string
	Blocking                   bool
}

// stageRow is one row of the progress, with a bar on a scale of 1000.
type stageRow struct {
	Class, Mark string
	Label, Name string
	Text        string
	From, Width int // of the bar; Width 0: none
	Clock       *clock
	Reused      bool
}

type testRow struct {
	Class, Mark string
	Name        string
	Message     string
	Note        string
}

// scanView is what a scanner found.
type scanView struct {
	Test, Profile, Summary string
	Lists                  []ruleList
}

// ruleList is a folded list of rules.
type ruleList struct {
	Title  string
	Rules  []reporter.Rule
	Hidden int
}

type packagesView struct {
	Summary string
	Against string
	Rows    []packageRow
	Hidden  int
}

type packageRow struct{ Class, Change, Name, From, To string }

func (h *handler) buildView(b reporter.Build) *buildView {
	now := h.Now()
	v := &buildView{
		buildRow: h.buildRow(b),
		Author:   reporter.Line(b.Author, 60),
		Action:   actionText(b.Action),
		Release:  b.Release,
		Fork:     b.Fork,
		Failure:  failureOf(b),
		Stages:   stageRows(b, now),
		TestRows: testRows(b.Tests),
		Scans:    scansOf(b),
		Waiting:  waitingText(b),
		Check:    b.Action == reporter.ActionCheck && len(b.Stages) == 0,
		Server:   now.UnixMilli(),
	}
	if b.PreviousVersion != b.Version {
		v.Previous = reporter.Line(b.PreviousVersion, 30)
	}
	if b.Image != nil {
		row := h.imageRow(*b.Image)
		v.Image = &row
	}
	if b.Image != nil && b.PreviousImage != nil {
		v.Growth = reporter.SizeChange(b.PreviousImage.Size, b.Image.Size)
		v.Packages = packagesOf(b)
	}
	for _, reason := range b.Why {
		v.Why = append(v.Why, reporter.Line(reason, 200))
	}
	shown := b.Findings[:min(shownFindings, len(b.Findings))]
	v.Hidden = len(b.Findings) - len(shown)
	for _, f := range shown {
		v.Findings = append(v.Findings, h.findingOf(b, f))
	}
	return v
}

func actionText(a reporter.Action) string {
	switch a {
	case reporter.ActionTest:
		return "tests the image that exists"
	case reporter.ActionDistribute:
		return "distributes the image that exists"
	case reporter.ActionCheck:
		return "only checks the documents"
	default:
		return ""
	}
}

func waitingText(b reporter.Build) string {
	switch b.State {
	case reporter.Waiting:
		return "Waiting for the build of its parent image."
	case reporter.Approval:
		return "This commit comes from a fork. It is built once someone with write access approves it."
	case reporter.Queued:
		return "Waiting for a worker."
	case reporter.Superseded:
		return "A newer commit took its place before it ran."
	case reporter.Cancelled:
		return "Somebody cancelled it."
	default:
		return ""
	}
}

func failureOf(b reporter.Build) *failureView {
	f := b.Failure
	if f == nil {
		return nil
	}
	v := &failureView{
		Where:  strings.TrimSpace(reporter.StageLabel(f.Stage) + " " + reporter.Line(f.Name, 100)),
		Step:   reporter.Line(f.Step, 120),
		Reason: reporter.Line(f.Reason, 600),
		Hint:   reporter.Line(f.Hint, 600),
		Output: lastBytes(f.Output, 16<<10),
		Replay: reporter.Line(f.Replay, 1000),
		Ours:   b.State == reporter.Errored,
	}
	v.NotKept = reporter.Line(f.NotKept, 600)
	if f.Kept != nil {
		v.Kept, v.Exec = f.Kept.Text(), reporter.Line(f.Kept.Exec, 1000)
	}
	return v
}

// lastBytes is the end of a text, in whole lines where that is possible.
func lastBytes(s string, limit int) string {
	if len(s) > limit {
		s = s[len(s)-limit:]
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			s = s[i+1:]
		}
	}
	return strings.Trim(reporter.Plain(s), "\n")
}

func (h *handler) findingOf(b reporter.Build, f reporter.Finding) findingView {
	place := link{Text: reporter.Line(f.File, 200)}
	if b.Commit != "" && fs.ValidPath(f.File) {
		place.Href = h.codeHost(b.CodeHost, append([]string{"blob", b.Commit}, strings.Split(f.File, "/")...)...)
	}
	if f.Line > 0 {
		place.Text += fmt.Sprintf(":%d", f.Line)
		if f.Column > 0 {
			place.Text += fmt.Sprintf(":%d", f.Column)
		}
		if place.Href != "" {
			place.Href += fmt.Sprintf("#L%d", f.Line)
		}
	}
	return findingView{
		Place:    place,
		Excerpt:  lastBytes(f.Excerpt, 2000),
		Message:  reporter.Line(f.Message, 600),
		Expected: reporter.Line(f.Expected, 300),
		Blocking: f.Blocking,
	}
}

// stageRows lays the stages out on the time from the build's start to its end.
func stageRows(b reporter.Build, now time.Time) []stageRow {
	end := b.Finished
	if end.IsZero() {
		end = now
	}
	start := b.Started
	for _, s := range b.Stages { // a clock may have been set back
		if start.IsZero() || !s.Started.IsZero() && s.Started.Before(start) {
			start = s.Started
		}
		if s.Finished.After(end) {
			end = s.Finished
		}
	}
	total := max(end.Sub(start), time.Millisecond)
	rows := make([]stageRow, len(b.Stages))
	for i, s := range b.Stages {
		rows[i] = stageRowOf(s, b.State.Final(), now)
		if s.Started.IsZero() || rows[i].Reused {
			continue
		}
		until := s.Finished
		if until.IsZero() {
			until = end
		}
		rows[i].From = min(int(1000*s.Started.Sub(start)/total), 994)
		rows[i].Width = min(max(int(1000*until.Sub(s.Started)/total), 6), 1000-rows[i].From)
	}
	return rows
}

func stageRowOf(s reporter.Stage, final bool, now time.Time) stageRow {
	row := stageRow{Label: reporter.StageLabel(s.Stage), Name: reporter.Line(s.Name, 100), Text: reporter.Line(s.Text, 160)}
	step := reporter.Line(lastPart(s.Step), 80)
	finished := s.Finished
	switch s.State {
	case "succeeded":
		row.Class, row.Mark, step = "ok", "✓", ""
	case "failed":
		row.Class, row.Mark = "bad", "✗"
	case "reused":
		row.Class, row.Mark, row.Reused, step = "reused", "↻", true, ""
	case "skipped":
		row.Class, row.Mark, step = "idle", "–", ""
	default:
		row.Class, row.Mark = "run", "●"
		if final && finished.IsZero() { // it was running when the build was stopped
			row.Class, row.Mark = "idle", "–"
			finished = s.Started
		}
	}
	switch {
	case step != "" && row.Text != "":
		row.Text = step + ": " + row.Text
	case step != "":
		row.Text = step
	}
	if !row.Reused && s.State != "skipped" {
		row.Clock = clockOf(s.Started, finished, now)
	}
	return row
}

func testRows(tests []reporter.Test) []testRow {
	var rows []testRow
	for _, t := range tests[:min(shownTests, len(tests))] {
		row := testRow{Class: "idle", Mark: "–", Name: reporter.Line(t.Name, 100), Message: reporter.Line(t.Message, 600)}
		switch t.State {
		case "succeeded":
			row.Class, row.Mark = "ok", "✓"
		case "failed":
			row.Class, row.Mark = "bad", "✗"
		}
		var notes []string
		if t.Steps > 0 {
			notes = append(notes, reporter.Count(t.Steps, "step"))
		}
		switch {
		case t.Reused:
			notes = append(notes, "as tested before")
		case t.State == "skipped":
			notes = append(notes, "skipped")
		default:
			notes = append(notes, reporter.Elapsed(t.Duration))
		}
		row.Note = strings.Join(notes, " · ")
		rows = append(rows, row)
	}
	return rows
}

func scansOf(b reporter.Build) []scanView {
	var views []scanView
	for _, c := range reporter.ScanChanges(b) {
		v := scanView{Test: reporter.Line(c.Test, 100), Profile: reporter.Line(c.Now.Profile, 200), Summary: c.Text()}
		v.add("got worse", c.Worse, 0)
		v.add("failed", c.Now.Failed, c.Now.Omitted)
		views = append(views, v)
	}
	return views
}

func (v *scanView) add(what string, rules []reporter.Rule, omitted int) {
	if len(rules) == 0 {
		return
	}
	list := ruleList{Title: reporter.Count(len(rules)+omitted, "rule") + " " + what, Hidden: omitted + max(0, len(rules)-shownRules)}
	for _, r := range rules[:min(shownRules, len(rules))] {
		list.Rules = append(list.Rules, reporter.Rule{ID: reporter.Line(r.ID, 120), Severity: reporter.Line(r.Severity, 20), Title: reporter.Line(r.Title, 200)})
	}
	v.Lists = append(v.Lists, list)
}

func packagesOf(b reporter.Build) *packagesView {
	diff := reporter.PackageDiff(b.PreviousImage.Packages, b.Image.Packages)
	v := &packagesView{Against: reporter.Line(b.PreviousVersion, 30)}
	if diff.Total() == 0 {
		v.Summary = fmt.Sprintf("the same %d", len(b.Image.Packages))
		return v
	}
	v.Summary = fmt.Sprintf("%d updated, %d added, %d removed", len(diff.Changed), len(diff.Added), len(diff.Removed))
	for _, p := range diff.Changed {
		v.Rows = append(v.Rows, packageRow{"run", "updated", p.Name, p.From, p.To})
	}
	for _, p := range diff.Added {
		v.Rows = append(v.Rows, packageRow{"ok", "added", p.Name, "", p.Version})
	}
	for _, p := range diff.Removed {
		v.Rows = append(v.Rows, packageRow{"bad", "removed", p.Name, p.Version, ""})
	}
	v.Hidden = max(len(v.Rows)-shownPackages, 0)
	v.Rows = v.Rows[:len(v.Rows)-v.Hidden]
	for i, row := range v.Rows {
		row.Name, row.From, row.To = reporter.Line(row.Name, 100), reporter.Line(row.From, 80), reporter.Line(row.To, 80)
		v.Rows[i] = row
	}
	return v
}

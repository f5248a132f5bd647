package reporter

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MaxComment is the most that a comment may hold, in bytes.
const MaxComment = 65536

// PullRequestView is all that a pull request's comment tells.
type PullRequestView struct {
	Repository string // the name in the daemon's configuration
	Number     int
	Commit     string  // the head that the builds are of
	Builds     []Build // of a recipe that was built twice, the newest is told
	PublicURL  string  // of the dashboard; empty: no links
}

// Marker is the first line of a comment, by which it is found again. It cannot be
// seen, and differs between repositories of a daemon that share a code host's.
func Marker(repository string) string {
	if len(repository) > 200 {
		repository = fmt.Sprintf("%x", sha256.Sum256([]byte(repository)))
	}
	return "<!-- ingot:" + strings.ReplaceAll(url.PathEscape(repository), "--", "-%2D") + " -->"
}

// Comment renders a pull request's comment in Markdown, at most MaxComment bytes.
// What does not fit is left out by rank: first log lines, then the ends of lists,
// then details, then rows of the table. It ends with a line feed.
func Comment(view PullRequestView, now time.Time) string {
	builds := newestPerRecipe(view.Builds)
	for _, b := range budgets() {
		if text := commentWithin(view, builds, b, now); len(text) <= MaxComment {
			return text
		}
	}
	rows := len(builds)
	for {
		rows /= 2
		text := commentWithin(view, builds, budget{rows: rows}, now)
		if len(text) <= MaxComment || rows == 0 {
			return text
		}
	}
}

// budget is how much of everything a comment tells.
type budget struct {
	rows     int // of the table
	details  int // recipes with details; those that failed come first
	list     int // entries of a list
	logLines int
	logBytes int
}

// budgets are tried in order until the comment fits.
func budgets() []budget {
	const all = 1 << 20
	return []budget{
		{all, all, 50, 60, 8000},
		{all, all, 50, 30, 3000},
		{all, all, 50, 15, 1200},
		{all, all, 25, 10, 800},
		{all, all, 10, 10, 800},
		{all, all, 5, 5, 400},
		{all, all, 3, 3, 200},
		{all, 20, 5, 5, 400},
		{all, 5, 5, 5, 400},
		{all, 0, 0, 0, 0},
	}
}

// told is a build with what is worked out once, whatever the budget.
type told struct {
	Build
	packages PackageChanges // against the last release
}

func newestPerRecipe(builds []Build) []told {
	newest := make(map[string]Build, len(builds))
	for _, b := range builds {
		if have, ok := newest[b.Recipe]; !ok || b.ID > have.ID {
			newest[b.Recipe] = b
		}
	}
	out := make([]told, 0, len(newest))
	for _, b := range newest {
		t := told{Build: b}
		if b.Image != nil && b.PreviousImage != nil {
			t.packages = PackageDiff(b.PreviousImage.Packages, b.Image.Packages)
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b told) int { return cmp.Compare(a.Recipe, b.Recipe) })
	return out
}

func commentWithin(view PullRequestView, builds []told, limit budget, now time.Time) string {
	var out strings.Builder
	out.WriteString(Marker(view.Repository) + "\n")
	fmt.Fprintf(&out, "### %s\n\n", headline(builds))
	if len(builds) > 0 {
		writeTable(&out, view, builds, limit, now)
	}
	writeDetails(&out, builds, limit, now)
	fmt.Fprintf(&out, "<sub>ingot, at commit %s. This comment is kept up to date.</sub>\n", codeSpan(ShortCommit(view.Commit), 7))
	return out.String()
}

// headline sums up: "2 images ready, 1 failed, 1 in progress".
func headline(builds []told) string {
	var ready, failed, errored, stopped, open int
	for _, b := range builds {
		switch {
		case b.State == Succeeded:
			ready++
		case b.State == Failed:
			failed++
		case b.State == Errored:
			errored++
		case b.State.Final():
			stopped++
		default:
			open++
		}
	}
	var parts []string
	add := func(n int, text string) {
		if n > 0 {
			parts = append(parts, text)
		}
	}
	add(ready, Count(ready, "image")+" ready")
	add(failed, fmt.Sprintf("%d failed", failed))
	add(errored, fmt.Sprintf("%d stopped by an error that is not the recipe's", errored))
	add(stopped, fmt.Sprintf("%d not built", stopped))
	add(open, fmt.Sprintf("%d in progress", open))
	if len(parts) == 0 {
		return "No image has to be built"
	}
	return strings.Join(parts, ", ")
}

func writeTable(out *strings.Builder, view PullRequestView, builds []told, limit budget, now time.Time) {
	out.WriteString("| | Recipe | Version | Image | Tests | Size | Time |\n")
	out.WriteString("|---|---|---|---|---|---|---|\n")
	shown := builds[:min(limit.rows, len(builds))]
	for _, b := range shown {
		cells := []string{
			stateText(b.State),
			recipeCell(b.Build, view.PublicURL),
			versionCell(b.Build),
			imageCell(b.Build),
			testsCell(b.Build),
			sizeCell(b.Build),
			timeCell(b.Build, now),
		}
		out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	if more := len(builds) - len(shown); more > 0 {
		fmt.Fprintf(out, "\nand %d more\n", more)
	}
	out.WriteString("\n")
	writeEstimates(out, shown)
}

// writeEstimates tells what builds that cost money were expected to take, a line each.
func writeEstimates(out *strings.Builder, builds []told) {
	const longest = 400
	var any bool
	for _, b := range builds {
		if b.Estimate == "" || b.Action != ActionBuild && b.Action != ActionTest {
			continue
		}
		fmt.Fprintf(out, "- **Estimate** for %s: %s\n", codeSpan(b.Recipe, 60), prose(b.Estimate, longest))
		any = true
	}
	if any {
		out.WriteString("\n")
	}
}

func stateText(s State) string {
	switch s {
	case Succeeded:
		return "✅ ready"
	case Failed:
		return "❌ failed"
	case Errored:
		return "⚠️ error"
	case Running:
		return "🔨 running"
	case Approval:
		return "🔒 needs approval"
	case Waiting:
		return "⏳ waiting"
	case Queued:
		return "⏳ queued"
	case Cancelled:
		return "⏹️ cancelled"
	case Superseded:
		return "⏹️ superseded"
	default:
		return "unknown"
	}
}

func recipeCell(b Build, publicURL string) string {
	name := codeSpan(b.Recipe, 60)
	if address := BuildURL(publicURL, b.ID); address != "" {
		return name + " [details](<" + address + ">)"
	}
	return name
}

func versionCell(b Build) string {
	switch {
	case b.Version == "":
		return "—"
	case b.PreviousVersion == "":
		return codeSpan(b.Version, 40) + " (new)"
	case b.PreviousVersion == b.Version:
		return codeSpan(b.Version, 40)
	default:
		return codeSpan(b.PreviousVersion, 40) + " → " + codeSpan(b.Version, 40)
	}
}

func imageCell(b Build) string {
	if b.Image == nil {
		return "—"
	}
	text := codeSpan(b.Image.ID, 40)
	if b.Image.Published != "" {
		text += " as " + codeSpan(b.Image.Published, 40)
	}
	return text
}

func testsCell(b Build) string {
	if len(b.Tests) == 0 {
		return "—"
	}
	passed, _, _ := countTests(b.Tests)
	if passed == len(b.Tests) {
		return fmt.Sprintf("%d passed", passed)
	}
	return fmt.Sprintf("%d of %d passed", passed, len(b.Tests))
}

func sizeCell(b Build) string {
	if b.Image == nil {
		return "—"
	}
	text := Bytes(b.Image.Size)
	if b.PreviousImage != nil {
		text += " (" + SizeChange(b.PreviousImage.Size, b.Image.Size) + ")"
	}
	return text
}

// SizeChange writes what a size became for people: +3.1 MB, −12 MB, unchanged.
func SizeChange(from, to int64) string {
	switch diff := to - from; {
	case diff > 0:
		return "+" + Bytes(diff)
	case diff < 0:
		return Bytes(diff)
	default:
		return "unchanged"
	}
}

func timeCell(b Build, now time.Time) string {
	if b.Started.IsZero() || b.Action == ActionCheck {
		return "—"
	}
	return Elapsed(b.Duration(now))
}

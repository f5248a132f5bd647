package terminal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// published is the cell of what an image is published as.
func published(i *reporter.Image) span {
	if i == nil {
		return span{}
	}
	return span{normal, reporter.ShortImage(i.Published)}
}

// BuildsTable lists builds, one a line. On a terminal, lines are cut to its width.
func BuildsTable(builds []reporter.Build, now time.Time, o Options) string {
	rows := [][]span{{{dim, "BUILD"}, {dim, "STATE"}, {dim, "RECIPE"}, {dim, "VERSION"}, {dim, "IMAGE"}, {dim, publishedTitle}, {dim, "TESTS"}, {dim, "TIME"}, {dim, "WHEN"}, {dim, "COMMIT"}}}
	for _, b := range builds {
		image, took := "", ""
		if b.Image != nil {
			image = reporter.ShortImage(b.Image.ID)
		}
		if !b.Started.IsZero() && b.Action != reporter.ActionCheck {
			took = reporter.Elapsed(b.Duration(now))
		}
		rows = append(rows, []span{
			{normal, fmt.Sprint(b.ID)},
			{stateStyle(b.State), reporter.Line(string(b.State), 12)},
			{bold, reporter.Line(b.Recipe, 40)},
			{normal, reporter.Line(b.Version, 20)},
			{normal, image},
			published(b.Image),
			{normal, testCount(b.Tests)},
			{normal, took},
			{dim, reporter.Ago(now.Sub(b.Created))},
			{dim, strings.TrimSpace(reporter.Line(reporter.ShortCommit(b.Commit), 7) + " " + reporter.Line(b.Title, 100))},
		})
	}
	return table(withoutEmpty(rows), o)
}

// ImagesTable lists images, one a line. On a terminal, lines are cut to its width.
func ImagesTable(images []reporter.Image, now time.Time, o Options) string {
	rows := [][]span{{{dim, "IMAGE"}, {dim, publishedTitle}, {dim, "RECIPE"}, {dim, "VERSION"}, {dim, "SIZE"}, {dim, "BUILD"}, {dim, "MADE"}, {dim, "SYSTEM"}}}
	for _, i := range images {
		version := i.Version
		if i.Name != "" { // name/x.y.z/n
			version = strings.TrimPrefix(i.Name, i.Recipe+"/")
		}
		build := ""
		if i.Build != 0 {
			build = fmt.Sprint(i.Build)
		}
		rows = append(rows, []span{
			{normal, reporter.Line(i.ID, 80)},
			published(&i),
			{bold, reporter.Line(i.Recipe, 40)},
			{normal, reporter.Line(version, 30)},
			{normal, reporter.Bytes(i.Size)},
			{normal, build},
			{dim, reporter.Ago(now.Sub(i.Created))},
			{dim, reporter.Line(i.OS, 60)},
		})
	}
	return table(withoutEmpty(rows), o)
}

func stateStyle(s reporter.State) style {
	switch s {
	case reporter.Succeeded:
		return green
	case reporter.Failed:
		return red
	case reporter.Errored, reporter.Approval:
		return yellow
	case reporter.Running:
		return cyan
	default:
		return dim
	}
}

func testCount(tests []reporter.Test) string {
	if len(tests) == 0 {
		return ""
	}
	passed := 0
	for _, t := range tests {
		if t.State == "succeeded" {
			passed++
		}
	}
	return fmt.Sprintf("%d/%d", passed, len(tests))
}

// publishedTitle is the title of a column that is shown only where it says something:
// most images are published nowhere.
const publishedTitle = "PUBLISHED"

// withoutEmpty drops that column where it is empty.
func withoutEmpty(rows [][]span) [][]span {
	at := slices.IndexFunc(rows[0], func(c span) bool { return c.text == publishedTitle })
	if slices.ContainsFunc(rows[1:], func(row []span) bool { return row[at].text != "" }) {
		return rows
	}
	for i, row := range rows {
		rows[i] = slices.Delete(row, at, at+1)
	}
	return rows
}

// table aligns rows of equal length in columns.
func table(rows [][]span, o Options) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columns(cell.text))
		}
	}
	width := 1 << 20
	if o.TTY {
		width, _ = o.size()
	}
	var out strings.Builder
	for _, row := range rows {
		var line []span
		for i, cell := range row {
			line = append(line, cell)
			if i < len(row)-1 {
				line = append(line, span{normal, strings.Repeat(" ", widths[i]-columns(cell.text)+2)})
			}
		}
		out.WriteString(strings.TrimRight(render(line, width, o.Color), " ") + "\n")
	}
	return out.String()
}

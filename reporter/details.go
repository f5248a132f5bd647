package reporter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// writeDetails writes a folded block for each recipe that has something to tell;
// those that ask somebody to act come first, and unfolded.
func writeDetails(out *strings.Builder, builds []told, limit budget, now time.Time) {
	urgent := func(b told) int {
		switch b.State {
		case Failed:
			return 0
		case Errored:
			return 1
		default:
			return 2
		}
	}
	sorted := slices.SortedStableFunc(slices.Values(builds), func(a, b told) int { return cmp.Compare(urgent(a), urgent(b)) })
	for _, b := range sorted[:min(limit.details, len(sorted))] {
		if out.Len() > MaxComment {
			return // too long already: the next budget is smaller
		}
		body := detail(b, limit)
		if body == "" {
			continue
		}
		open := ""
		if urgent(b) < 2 {
			open = " open"
		}
		fmt.Fprintf(out, "<details%s><summary>%s: %s</summary>\n\n%s</details>\n\n", open, codeHTML(b.Recipe, 60), summaryText(b.Build, now), body)
	}
}

// summaryText is made of our own words alone.
func summaryText(b Build, now time.Time) string {
	switch {
	case b.State == Failed && b.Failure == nil:
		return Count(len(b.Findings), "problem") + " in its documents"
	case b.State == Failed:
		return "failed"
	case b.State == Errored:
		return "stopped by an error that is not the recipe's"
	case b.State == Succeeded:
		text := testsText(b.Tests)
		if scans := scanText(b); scans != "" {
			text += ", " + scans
		}
		return text + ", " + Elapsed(b.Duration(now))
	default:
		return string(b.State)
	}
}

func detail(b told, limit budget) string {
	var out strings.Builder
	if b.Failure != nil {
		writeFailure(&out, *b.Failure, limit)
	}
	writeFindings(&out, b.Findings, limit)
	writeTests(&out, b.Tests, limit)
	writeScans(&out, b.Build, limit)
	if b.Image != nil && b.PreviousImage != nil {
		writePackages(&out, b, limit)
	}
	writeWhy(&out, b.Why, limit)
	return out.String()
}

func writeFailure(out *strings.Builder, f Failure, limit budget) {
	out.WriteString("**Failed in** " + codeSpan(strings.TrimSpace(f.Stage+" "+f.Name), 100))
	if f.Step != "" {
		out.WriteString(", step " + codeSpan(f.Step, 120))
	}
	if f.Reason != "" {
		out.WriteString(": " + prose(f.Reason, 600))
	}
	out.WriteString("\n\n")
	if f.Hint != "" {
		out.WriteString("**What to do:** " + prose(f.Hint, 600) + "\n\n")
	}
	if output := lastLines(f.Output, limit.logLines, limit.logBytes); output != "" {
		out.WriteString("The last lines of its log:\n\n" + fence(output) + "\n")
	}
	if f.Kept != nil {
		out.WriteString(f.Kept.Text() + ":\n\n" + fence(Line(f.Kept.Exec, 1000)) + "\n")
	}
	if f.NotKept != "" {
		out.WriteString(prose(f.NotKept, 600) + "\n\n")
	}
	if replay := Line(f.Replay, 1000); replay != "" {
		out.WriteString("The same on your machine:\n\n" + fence(replay) + "\n")
	}
}

// lastLines is the end of a log: whole lines, except that very long ones are cut.
func lastLines(log string, lines, bytes int) string {
	if most := 8*bytes + 4096; len(log) > most {
		log = log[len(log)-most:]
	}
	all := strings.Split(strings.Trim(Plain(log), "\n"), "\n")
	left, first := bytes, len(all)
	for first > 0 && len(all)-first < lines {
		line := cutLine(all[first-1])
		if left -= len(line) + 1; left < 0 {
			break
		}
		first--
		all[first] = line
	}
	return strings.Join(all[first:], "\n")
}

func cutLine(line string) string {
	const limit = 300
	if len(line) <= limit {
		return line
	}
	return cut(line, limit)
}

func writeFindings(out *strings.Builder, findings []Finding, limit budget) {
	shown := findings[:min(limit.list, len(findings))]
	for _, f := range shown {
		weight := "**Note**"
		if f.Blocking {
			weight = "**Problem**"
		}
		out.WriteString(weight + " in " + codeSpan(findingPlace(f), 250) + ": " + prose(f.Message, 600))
		if f.Expected != "" {
			out.WriteString(" — expected " + prose(f.Expected, 300))
		}
		out.WriteString("\n\n")
		if excerpt := lastLines(f.Excerpt, 5, 1000); excerpt != "" {
			out.WriteString(fence(excerpt) + "\n")
		}
	}
	if more := len(findings) - len(shown); more > 0 {
		fmt.Fprintf(out, "and %s more\n\n", Count(more, "problem"))
	}
}

func writeTests(out *strings.Builder, tests []Test, limit budget) {
	if len(tests) == 0 {
		return
	}
	fmt.Fprintf(out, "**Tests:** %s\n\n", testsText(tests))
	var lines []string
	for _, t := range failedFirst(tests) {
		lines = append(lines, testLine(t))
	}
	writeList(out, lines, limit.list)
}

func failedFirst(tests []Test) []Test {
	rank := func(t Test) int {
		if t.State == "failed" {
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(tests), func(a, b Test) int { return cmp.Compare(rank(a), rank(b)) })
}

func testLine(t Test) string {
	mark := map[string]string{"succeeded": "✅", "failed": "❌"}[t.State]
	line := cmp.Or(mark, "➖") + " " + codeSpan(t.Name, 100)
	if t.Steps > 0 {
		line += ", " + Count(t.Steps, "step")
	}
	if t.Reused {
		line += ", as tested before"
	} else {
		line += ", " + Elapsed(t.Duration)
	}
	if t.Message != "" {
		line += ": " + prose(t.Message, 400)
	}
	return line
}

func writePackages(out *strings.Builder, b told, limit budget) {
	diff := b.packages
	against := ""
	if b.PreviousVersion != "" {
		against = " against " + codeSpan(b.PreviousVersion, 40)
	}
	if diff.Total() == 0 {
		fmt.Fprintf(out, "**Packages%s:** the same %d\n\n", against, len(b.Image.Packages))
		return
	}
	fmt.Fprintf(out, "**Packages%s:** %d updated, %d added, %d removed\n\n", against, len(diff.Changed), len(diff.Added), len(diff.Removed))
	var updated []string
	for _, p := range diff.Changed {
		updated = append(updated, "updated "+codeSpan(p.Name, 80)+" "+codeSpan(p.From, 60)+" → "+codeSpan(p.To, 60))
	}
	var lines []string
	for _, part := range [][]string{updated, packageLines("added", diff.Added), packageLines("removed", diff.Removed)} {
		lines = append(lines, capped(part, limit.list)...)
	}
	writeList(out, lines, len(lines))
}

func packageLines(verb string, packages []Package) []string {
	var lines []string
	for _, p := range packages {
		lines = append(lines, verb+" "+codeSpan(p.Name, 80)+" "+codeSpan(p.Version, 60))
	}
	return lines
}

func writeWhy(out *strings.Builder, why []string, limit budget) {
	if len(why) == 0 {
		return
	}
	out.WriteString("**Why it was built**\n\n")
	var lines []string
	for _, reason := range why {
		lines = append(lines, "Because "+prose(reason, 200))
	}
	writeList(out, lines, min(10, limit.list))
}

// writeList writes the first lines as a list and says how many more there are.
func writeList(out *strings.Builder, lines []string, limit int) {
	for _, line := range capped(lines, limit) {
		out.WriteString("- " + line + "\n")
	}
	out.WriteString("\n")
}

// capped keeps the first lines and says how many more there are.
func capped(lines []string, limit int) []string {
	if len(lines) <= limit {
		return lines
	}
	return append(slices.Clone(lines[:limit]), fmt.Sprintf("and %d more", len(lines)-limit))
}

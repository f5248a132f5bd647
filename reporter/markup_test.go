package reporter

import (
	"fmt"
	"regexp"
	"strings"
)

// checkComment reads a comment as a code host does, as far as needed, and returns
// what foreign text must never bring about. It knows fenced blocks, code spans,
// backslash escapes, and the HTML that comments of ours are made of.
func checkComment(text, publicURL string) error {
	if len(text) > MaxComment {
		return fmt.Errorf("%d bytes, at most %d fit", len(text), MaxComment)
	}
	lines := strings.Split(text, "\n")
	if !ourMarker.MatchString(lines[0]) || strings.Contains(strings.TrimSuffix(lines[0], "-->"), "--"+">") {
		return fmt.Errorf("first line %q", lines[0])
	}
	open, details := "", 0
	for i, line := range lines[1:] {
		switch marks := fences.FindString(line); {
		case open != "" && marks != "" && len(marks) >= len(open) && strings.Trim(line, "` \t") == "":
			open = ""
			continue
		case open != "":
			continue
		case marks != "":
			if line != marks+"text" {
				return fmt.Errorf("line %d: a block that is not ours: %q", i+2, line)
			}
			open = marks
			continue
		}
		own := withoutCodeSpans(line)
		details += strings.Count(own, "<details") - strings.Count(own, "</details>")
		if err := checkLine(line, publicURL); err != nil {
			return fmt.Errorf("line %d: %w: %q", i+2, err, line)
		}
	}
	if open != "" {
		return fmt.Errorf("a block is left open")
	}
	if details != 0 {
		return fmt.Errorf("%d details are left open", details)
	}
	return nil
}

var (
	ourMarker  = regexp.MustCompile(`^<!-- ingot:[^<>]* -->$`)
	escapedTag = regexp.MustCompile(`\\[<>]`)

	ourHTML = regexp.MustCompile(`<details( open)?><summary>|</summary>|</details>|</?sub>`)
	ourCode = regexp.MustCompile(`<code>[^<>]*</code>`)
	ourLink = regexp.MustCompile(`\[details\]\(<([^<>\s]*)>\)`)
	entity  = regexp.MustCompile(`&(lt|gt|amp|#124);`)
	links   = regexp.MustCompile(`(?i)@[^ ` + zeroWidth + `]|#[0-9]|gh-[0-9]|://|www\.|:[a-z_+-]+:|[<>|]|[\x00-\x08\x0b-\x1f\x7f]`)
	fences  = regexp.MustCompile("^`{3,}")
	escaped = regexp.MustCompile(`\\([[:punct:]])`)
	bidi    = regexp.MustCompile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u00ad\ufeff]")
)

func checkLine(line, publicURL string) error {
	if bidi.MatchString(line) {
		return fmt.Errorf("an invisible character")
	}
	if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 8 {
		return fmt.Errorf("a row with %d bars, want 8", strings.Count(line, "|"))
	}
	rest := withoutCodeSpans(line)
	if strings.HasPrefix(line, "<details") {
		// A line of raw HTML up to the next empty one.
		rest = ourCode.ReplaceAllString(line, "")
	}
	rest = ourHTML.ReplaceAllString(rest, "")
	for _, link := range ourLink.FindAllStringSubmatch(rest, -1) {
		if !strings.HasPrefix(link[1], publicURL) {
			return fmt.Errorf("a link to %q", link[1])
		}
	}
	rest = ourLink.ReplaceAllString(rest, "")
	if strings.HasPrefix(rest, "|") {
		rest = strings.ReplaceAll(rest, "|", "")
	}
	// Of what is escaped for Markdown, the characters stay for what comes after it.
	if bare := escaped.ReplaceAllString(rest, ""); strings.ContainsAny(strings.ReplaceAll(bare, "**", ""), "`*[]~") {
		return fmt.Errorf("unescaped markup")
	}
	rendered := escaped.ReplaceAllString(rest, "$1")
	shown := entity.ReplaceAllString(rendered, "")
	found := links.FindString(strings.NewReplacer(`<`, "", `>`, "").Replace(shown))
	if strings.ContainsAny(escapedTag.ReplaceAllString(rest, ""), "<>") {
		found = "<"
	}
	if found != "" {
		return fmt.Errorf("%q could become a link, a mention or a tag", found)
	}
	return nil
}

// withoutCodeSpans removes code spans as CommonMark finds them.
func withoutCodeSpans(line string) string {
	var out strings.Builder
	for i := 0; i < len(line); {
		if line[i] == '\\' && i+1 < len(line) {
			out.WriteString(line[i : i+2])
			i += 2
			continue
		}
		if line[i] != '`' {
			out.WriteByte(line[i])
			i++
			continue
		}
		n := runAt(line, i)
		end := closing(line, i+n, n)
		if end < 0 {
			out.WriteString(line[i : i+n])
			i += n
			continue
		}
		i = end
	}
	return out.String()
}

func runAt(s string, i int) int {
	n := 0
	for i+n < len(s) && s[i+n] == '`' {
		n++
	}
	return n
}

// closing returns the end of the next run of exactly n backticks; -1: none.
func closing(s string, i, n int) int {
	for i < len(s) {
		if s[i] != '`' {
			i++
			continue
		}
		run := runAt(s, i)
		i += run
		if run == n {
			return i
		}
	}
	return -1
}

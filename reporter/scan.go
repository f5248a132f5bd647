package reporter

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Scan is what a scanner found in an image, as a test reported it.
type Scan struct {
	Profile string  `json:"profile"` // what the image was held against; only scans of the same can be compared
	Score   float64 `json:"score"`   // 0 to 100
	Passed  int     `json:"passed"`  // rules
	Failed  []Rule  `json:"failed,omitempty"`
	Omitted int     `json:"omitted,omitempty"` // how many more have failed
}

// Rule is a rule of a scanner's profile.
type Rule struct {
	ID       string `json:"id"`
	Severity string `json:"severity"` // high, medium, low or unknown
	Title    string `json:"title,omitempty"`
}

// ScanChange is a scan beside that of the last release.
type ScanChange struct {
	Test   string
	Now    Scan
	Before *Scan  // of the same profile; nil: there is none
	Other  bool   // the last release was only held against another profile
	Worse  []Rule // that fail now and did not then
}

// ScanChanges compares the scans of a build with those of the last release, test
// by test.
func ScanChanges(b Build) []ScanChange {
	var changes []ScanChange
	for _, t := range b.Tests {
		if t.Scan == nil {
			continue
		}
		c := ScanChange{Test: t.Name, Now: *t.Scan}
		for _, old := range b.PreviousTests {
			switch {
			case old.Name != t.Name || old.Scan == nil:
			case old.Scan.Profile == t.Scan.Profile:
				c.Before = old.Scan
			default:
				c.Other = true
			}
		}
		if c.Before != nil {
			c.Other = false
			c.Worse = newlyFailed(*c.Before, c.Now)
		}
		changes = append(changes, c)
	}
	return changes
}

// newlyFailed lists rules that fail now and did not before. Where not all of those
// before are known, nothing can be said.
func newlyFailed(before, now Scan) []Rule {
	if before.Omitted > 0 {
		return nil
	}
	failed := make(map[string]bool, len(before.Failed))
	for _, r := range before.Failed {
		failed[r.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(now.Failed), func(r Rule) bool { return failed[r.ID] })
}

// failed is how many rules failed.
func (s Scan) failed() int { return len(s.Failed) + s.Omitted }

// Text sums up: score 61 → 88, 3 rules got worse. It is made of our own words alone.
func (c ScanChange) Text() string {
	switch {
	case c.Before == nil && c.Other:
		return fmt.Sprintf("score %s, %s failed, against other rules than the last release", scoreText(c.Now.Score, false), Count(c.Now.failed(), "rule"))
	case c.Before == nil:
		return fmt.Sprintf("score %s, %s failed", scoreText(c.Now.Score, false), Count(c.Now.failed(), "rule"))
	}
	text := "score " + scoreText(c.Now.Score, false) + " as before"
	if c.Before.Score != c.Now.Score {
		exact := scoreText(c.Before.Score, false) == scoreText(c.Now.Score, false)
		text = "score " + scoreText(c.Before.Score, exact) + " → " + scoreText(c.Now.Score, exact)
	}
	if c.Before.Omitted > 0 {
		return text
	}
	if len(c.Worse) == 0 {
		return text + ", no rule got worse"
	}
	return text + ", " + Count(len(c.Worse), "rule") + " got worse"
}

// scoreText rounds down, so that 100 is said only of all.
func scoreText(score float64, exact bool) string {
	if exact {
		return fmt.Sprintf("%.2f", math.Floor(score*100)/100)
	}
	return fmt.Sprintf("%.0f", math.Floor(score))
}

// scanText sums up the first scan of a build; empty: there is none.
func scanText(b Build) string {
	changes := ScanChanges(b)
	switch more := len(changes) - 1; {
	case more < 0:
		return ""
	case more == 0:
		return changes[0].Text()
	default:
		return changes[0].Text() + ", " + Count(more, "more scan")
	}
}

func writeScans(out *strings.Builder, b Build, limit budget) {
	changes := ScanChanges(b)
	for _, c := range changes[:min(10, limit.list, len(changes))] {
		fmt.Fprintf(out, "**Scan** %s: %s, held against %s\n\n", codeSpan(c.Test, 100), c.Text(), codeSpan(c.Now.Profile, 120))
		writeRules(out, Count(len(c.Worse), "rule")+" that got worse", c.Worse, 0, limit)
		writeRules(out, Count(c.Now.failed(), "rule")+" that failed", c.Now.Failed, c.Now.Omitted, limit)
	}
}

// writeRules writes a folded list of rules.
func writeRules(out *strings.Builder, title string, rules []Rule, omitted int, limit budget) {
	if len(rules) == 0 || limit.list == 0 {
		return
	}
	shown := rules[:min(limit.list, len(rules))]
	fmt.Fprintf(out, "<details><summary>%s</summary>\n\n", title)
	for _, r := range shown {
		line := "- " + codeSpan(r.ID, 120) + ", " + codeSpan(r.Severity, 20)
		if r.Title != "" {
			line += ": " + prose(r.Title, 200)
		}
		out.WriteString(line + "\n")
	}
	if more := len(rules) - len(shown) + omitted; more > 0 {
		fmt.Fprintf(out, "- and %d more\n", more)
	}
	out.WriteString("\n</details>\n\n")
}

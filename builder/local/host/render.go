package host

import (
	"fmt"
	"strings"
)

var marks = map[State]string{OK: "ok  ", Limited: "warn", Missing: "FAIL"}

// Lines renders the report for a terminal: a line for each check, and behind what
// is not well what it means and how to mend it. The last line is the verdict.
func (r Report) Lines() []string {
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	var lines []string
	for _, c := range r.Checks {
		lines = append(lines, fmt.Sprintf("%s  %-*s  %s", mark(c), width, c.Name, c.Detail))
		indent := strings.Repeat(" ", len(marks[OK])+2+width+2)
		if c.Without != "" {
			lines = append(lines, indent+"-> "+c.Without)
		}
		if c.Without != "" && c.Package != "" {
			lines = append(lines, indent+"-> apt-get install "+c.Package)
		}
	}
	if r.Ready() {
		return append(lines, "Local builds work here.")
	}
	return append(lines, "Local builds do not work here yet: see FAIL above.")
}

func mark(c Check) string {
	if c.State == Missing && !c.Needed {
		return marks[Limited]
	}
	return marks[c.State]
}

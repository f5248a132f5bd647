// Package yamldoc reads the YAML documents that users write, strictly, and says
// where each mistake is.
//
// Parse turns text into one node tree under limits (size, depth, aliases, UTF-8);
// Decode fills a struct from a node and reports every problem at once: unknown
// keys with a near miss, wrong types, missing required fields, each with file,
// line, column, the line itself and what was expected. Scalars keep their source
// text: "1.10" stays "1.10" and 0755 stays "0755".
//
// It knows nothing about recipes, components or configuration; those packages
// add their own rules with Document.Problem.
package yamldoc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one mistake at one place of a document.
type Problem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`   // from 1; 0 when the problem concerns the whole file
	Column   int    `json:"column"` // from 1, in characters
	Excerpt  string `json:"excerpt,omitempty"`
	Message  string `json:"message"`            // what is wrong: `unknown key "componets"`
	Expected string `json:"expected,omitempty"` // what would be right: `did you mean "components"?`
}

// Problems is all that is wrong with one or more documents; as an error it
// prints them all. An empty Problems must not be returned as an error: use Err.
type Problems []Problem

// Err returns nil when there is no problem, and p otherwise.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.String()
	}
	return strings.Join(texts, "\n")
}

// Sort orders problems by file, then by place.
func (p Problems) Sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// String prints the problem as compilers do, the offending line and a caret below.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(&b, ": %s", p.Message)
	if p.Expected != "" {
		fmt.Fprintf(&b, "; %s", p.Expected)
	}
	if p.Excerpt != "" {
		gutter := fmt.Sprintf("%5d | ", p.Line)
		fmt.Fprintf(&b, "\n%s%s", gutter, p.Excerpt)
		if p.Column <= utf8.RuneCountInString(p.Excerpt)+1 { // the excerpt of a long line ends before
			fmt.Fprintf(&b, "\n%s| %s^", strings.Repeat(" ", len(gutter)-2), strings.Repeat(" ", max(p.Column-1, 0)))
		}
	}
	return b.String()
}

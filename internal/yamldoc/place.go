package yamldoc

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxExcerpt is how much of a line is shown, in characters.
const maxExcerpt = 160

// Problem describes a mistake at a node, with its line. A nil node stands for the
// whole file.
func (d *Document) Problem(n *yaml.Node, message, expected string) Problem {
	if n == nil {
		return Problem{File: d.File, Message: message, Expected: expected}
	}
	return d.at(n.Line, n.Column, message, expected)
}

// Within returns a node for Problem at the place where text stands in a scalar, which
// may have many lines; where it is not written like that, the scalar itself.
func (d *Document) Within(n *yaml.Node, text string) *yaml.Node {
	if n == nil || n.Line < 1 || text == "" {
		return n
	}
	// Every further line of a scalar is a blank or a line end in its value.
	lines := 2 + strings.Count(n.Value, "\n") + strings.Count(n.Value, " ")
	for i := n.Line - 1; i < min(len(d.lines), n.Line-1+lines); i++ {
		line, skipped := d.lines[i], 0
		if i == n.Line-1 {
			for skipped < n.Column-1 && line != "" {
				_, size := utf8.DecodeRuneInString(line)
				line, skipped = line[size:], skipped+1
			}
		}
		if at := strings.Index(line, text); at >= 0 {
			found := *n
			found.Line, found.Column = i+1, skipped+utf8.RuneCountInString(line[:at])+1
			return &found
		}
	}
	return n
}

func (d *Document) at(line, column int, message, expected string) Problem {
	p := Problem{File: d.File, Line: line, Column: column, Message: message, Expected: expected}
	if line >= 1 && line <= len(d.lines) {
		p.Excerpt = excerpt(d.lines[line-1])
	}
	return p
}

// excerpt makes a line of a foreign file fit to be shown: cut, and without
// characters that move a terminal's cursor or hide text.
func excerpt(line string) string {
	line = strings.TrimRight(line, " \t\r")
	if utf8.RuneCountInString(line) > maxExcerpt {
		line = string([]rune(line)[:maxExcerpt]) + "…"
	}
	return printable(line)
}

// printable replaces each tab by a space and each character that cannot be seen
// by a mark, so that columns stay what they are.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		default:
			return r
		}
	}, text)
}

// splitLines splits where YAML does, so that line numbers agree with the parser's.
func splitLines(text string) []string {
	var lines []string
	start := 0
	for i, r := range text {
		switch r {
		case '\r':
			if strings.HasPrefix(text[i+1:], "\n") {
				continue
			}
		case '\n', 0x85, 0x2028, 0x2029:
		default:
			continue
		}
		lines = append(lines, text[start:i])
		start = i + utf8.RuneLen(r)
	}
	return append(lines, text[start:])
}

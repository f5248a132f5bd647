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

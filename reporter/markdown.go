package reporter

import (
	"html"
	"strings"
	"unicode"
)

// Foreign text reaches a comment in four ways, and in no other: as a code span, as
// a fenced block, as HTML code inside a summary, or as prose. In code nothing is
// linked and nobody is mentioned. Prose is escaped for Markdown and HTML, and
// what the code host would recognise after rendering (@somebody, #12, addresses,
// :emoji:) is broken by a zero-width space.

// zeroWidth is a zero-width space.
const zeroWidth = "\u200b"

// codeSpan renders one line of foreign text, at most limit characters, as a code span.
func codeSpan(s string, limit int) string {
	s = Line(s, limit)
	if s == "" {
		return "—"
	}
	// A pipe ends the cell of a table even inside code, and its escape is read
	// differently inside and outside tables.
	s = strings.ReplaceAll(s, "|", "¦")
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// codeHTML renders one line of foreign text for a line in which nothing is Markdown:
// one that begins with the tag of a block, such as <details>.
func codeHTML(s string, limit int) string {
	return "<code>" + html.EscapeString(Line(s, limit)) + "</code>"
}

// fence renders foreign text as a block that nothing inside can end.
func fence(s string) string {
	s = strings.Trim(Plain(s), "\n")
	marks := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return marks + "text\n" + s + "\n" + marks + "\n"
}

func longestRun(s string, b byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] == b {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}

// prose renders one line of foreign text, at most limit characters, as a sentence.
// It must not be the first thing on a line.
func prose(s string, limit int) string {
	runes := []rune(Line(s, limit))
	var out strings.Builder
	for i, r := range runes {
		switch {
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '&':
			out.WriteString("&amp;")
		case r == '|':
			out.WriteString("&#124;")
		case r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)):
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
		if i+1 < len(runes) && linksTo(runes, i) {
			out.WriteString(zeroWidth)
		}
	}
	return out.String()
}

// linksTo reports whether a code host might make a link, a mention or a picture
// of the characters around runes[i], were they left together with the next.
func linksTo(runes []rune, i int) bool {
	switch runes[i] {
	case '@', '#', '!':
		return runes[i+1] != ' '
	case ':':
		return runes[i+1] != ' ' && !unicode.IsDigit(runes[i+1])
	case 'w', 'W':
		return runes[i+1] == '.'
	case '-':
		return i >= 2 && strings.EqualFold(string(runes[i-2:i]), "GH")
	default:
		return false
	}
}

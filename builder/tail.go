package builder

import "strings"

// tail keeps the last lines of a text that arrives in pieces.
type tail struct {
	lines, bytes int
	text         string
}

func newTail(lines, bytes int) *tail { return &tail{lines: lines, bytes: bytes} }

func (t *tail) write(piece string) {
	t.text += piece
	if len(t.text) > 4*t.bytes { // trimmed now and then, not at each piece
		t.text = t.text[len(t.text)-t.bytes:]
	}
}

func (t *tail) String() string {
	text := t.text
	if len(text) > t.bytes {
		text = text[len(text)-t.bytes:]
	}
	return lastLines(text, t.lines)
}

// lastLines returns the last n lines of text, without a trailing line end.
func lastLines(text string, n int) string {
	text = strings.TrimRight(text, "\n")
	at := len(text)
	for range n {
		at = strings.LastIndexByte(text[:at], '\n')
		if at < 0 {
			return text
		}
	}
	return text[at+1:]
}

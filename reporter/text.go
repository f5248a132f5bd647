package reporter

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Plain makes foreign text safe to look at, line by line: escape sequences of
// terminals are removed, a carriage return starts its line afresh as it does on
// a terminal, control characters become U+FFFD, and characters that are invisible
// or change the direction of writing are spelled out, such as ⟨U+202E⟩.
// Line feeds and tabs stay.
func Plain(s string) string {
	if isPlain(s) {
		return s
	}
	s = stripEscapes(s)
	var out strings.Builder
	out.Grow(len(s))
	var line strings.Builder
	restart := false
	for _, r := range s {
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029':
			out.WriteString(line.String())
			out.WriteByte('\n')
			line.Reset()
			restart = false
			continue
		case r == '\r':
			restart = true
			continue
		}
		if restart {
			line.Reset()
			restart = false
		}
		line.WriteString(visible(r))
	}
	out.WriteString(line.String())
	return out.String()
}

// isPlain reports whether s is nothing but printable ASCII, tabs and line feeds.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\n' && c != '\t') || c > '~' {
			return false
		}
	}
	return true
}

// Line makes foreign text one line of at most limit characters, cut at a word
// where there is one near the end.
func Line(s string, limit int) string {
	// What is cut off anyway need not be looked at.
	if most := 16*limit + 4096; len(s) > most {
		s = s[:most]
	}
	return cut(strings.Join(strings.Fields(Plain(s)), " "), limit)
}

// cut shortens s to limit characters, the last of which is then an ellipsis.
func cut(s string, limit int) string {
	if limit <= 0 {
		return ""
	}
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)[:limit-1]
	end := len(runes)
	for i := end; i > limit/2; i-- {
		if runes[i-1] == ' ' {
			end = i - 1
			break
		}
	}
	return strings.TrimRight(string(runes[:end]), " ,;:") + "…"
}

func visible(r rune) string {
	switch {
	case r == '\t':
		return "\t"
	case unicode.IsControl(r):
		return "\uFFFD"
	case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return fmt.Sprintf("⟨U+%04X⟩", r)
	default:
		return string(r)
	}
}

// stripEscapes removes the escape sequences that terminals obey.
func stripEscapes(s string) string {
	if !strings.ContainsAny(s, "\x1b\u009b\u009d\u0090") {
		return s
	}
	var out strings.Builder
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		switch r {
		case '\x1b':
			s = s[size:]
			if s != "" {
				s = afterEscape(s)
			}
		case '\u009b':
			s = afterCSI(s[size:])
		case '\u009d', '\u0090':
			s = afterString(s[size:])
		default:
			out.WriteString(s[:size])
			s = s[size:]
		}
	}
	return out.String()
}

func afterEscape(s string) string {
	switch s[0] {
	case '[':
		return afterCSI(s[1:])
	case ']', 'P', 'X', '^', '_':
		return afterString(s[1:])
	case '\n':
		return s
	}
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f { // intermediate bytes
		i++
	}
	if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		i++
	}
	return s[i:]
}

func afterCSI(s string) string {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
		i++
	}
	if i < len(s) && s[i] >= 0x40 && s[i] <= 0x7e {
		i++
	}
	return s[i:]
}

// afterString skips a string that BEL or ST ends. A line feed ends it as well, so
// that an unfinished one does not swallow the rest of a log.
func afterString(s string) string {
	for i := range len(s) {
		switch {
		case s[i] == '\a':
			return s[i+1:]
		case s[i] == '\n':
			return s[i:]
		case s[i] == '\x1b' && i+1 < len(s) && s[i+1] == '\\':
			return s[i+2:]
		}
	}
	return ""
}

// Bytes writes a size for people: 612 MB.
func Bytes(n int64) string {
	if n < 0 {
		return "−" + Bytes(-max(n, -math.MaxInt64))
	}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		v /= 1000
		if v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// Elapsed writes a duration for people: 0.4 s, 17 s, 2 min 5 s, 1 h 3 min.
func Elapsed(d time.Duration) string {
	d = max(d, 0)
	switch s := d.Round(time.Second); {
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < time.Minute:
		return fmt.Sprintf("%d s", s/time.Second)
	case s < time.Hour:
		return fmt.Sprintf("%d min %d s", s/time.Minute, s%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %d min", s/time.Hour, s%time.Hour/time.Minute)
	}
}

// Count writes a number with its noun: 1 test, 4 tests.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ShortCommit is as much of an object name as people read.
func ShortCommit(commit string) string {
	return head(commit, 7)
}

// ShortImage is as much of an image id as people read: img-3f9a1c2b….
func ShortImage(id string) string {
	id = Line(id, 200)
	if utf8.RuneCountInString(id) <= 21 { // an AMI id in full
		return id
	}
	return head(id, 12) + "…"
}

func head(s string, n int) string {
	runes := []rune(s)
	return string(runes[:min(n, len(runes))])
}

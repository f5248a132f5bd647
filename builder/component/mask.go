package component

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// mark stands where a secret was.
const mark = "***"

// masker hides secrets in what is written. Longer secrets go first, so that one
// that contains another is hidden whole.
type masker struct {
	secrets  []string
	replacer *strings.Replacer
}

func newMasker(secrets []string) *masker {
	m := &masker{}
	m.add(secrets...)
	return m
}

// add hides more secrets from now on. Not while a stream is being masked.
func (m *masker) add(secrets ...string) {
	for _, s := range secrets {
		if s != "" && !slices.Contains(m.secrets, s) {
			m.secrets = append(m.secrets, s)
		}
	}
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(m.secrets))
	for _, s := range m.secrets {
		pairs = append(pairs, s, mark)
	}
	m.replacer = strings.NewReplacer(pairs...)
}

// learnt are the secrets beside those that the job came with.
func (m *masker) learnt(given []string) []string {
	return slices.DeleteFunc(slices.Clone(m.secrets), func(s string) bool { return slices.Contains(given, s) })
}

func (m *masker) text(s string) string {
	if len(m.secrets) == 0 {
		return s
	}
	return m.replacer.Replace(s)
}

// any masks every text in what is about to become JSON.
func (m *masker) any(v any) any {
	switch v := v.(type) {
	case string:
		return m.text(v)
	case []string:
		if v == nil {
			return v
		}
		out := make([]string, len(v))
		for i := range v {
			out[i] = m.text(v[i])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = m.any(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for key := range v {
			out[key] = m.any(v[key])
		}
		return out
	}
	return v
}

// entries masks what steps took or gave.
func (m *masker) entries(list []map[string]string) []map[string]string {
	out := make([]map[string]string, len(list))
	for i := range list {
		out[i] = map[string]string{}
		for key, value := range list[i] {
			out[i][key] = m.text(value)
		}
	}
	return out
}

// maxPiece is the largest piece of output that is passed on at once, in bytes.
const maxPiece = 32 << 10

// stream cuts what a program prints into pieces that can be passed on: at line
// ends where there are any, never inside a character, and never inside a secret,
// however the program's writes fall.
type stream struct {
	masker *masker
	held   []byte
	emit   func(string)
}

// Write takes output and passes on every line that is complete.
func (s *stream) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxPiece)
		s.held = append(s.held, rest[:n]...)
		rest = rest[n:]
		s.passOn(false)
	}
	return len(p), nil
}

// flush passes on what is left; the program has ended.
func (s *stream) flush() {
	s.passOn(true)
	if len(s.held) > 0 {
		s.emit(s.masker.text(string(s.held)))
		s.held = nil
	}
}

func (s *stream) passOn(end bool) {
	for {
		n := s.cut(end)
		if n == 0 {
			return
		}
		s.emit(s.masker.text(string(s.held[:n])))
		s.held = s.held[n:]
		if len(s.held) == 0 {
			s.held = nil
		}
	}
}

// cut decides how much of held can go now.
func (s *stream) cut(end bool) int {
	safe := len(s.held)
	if !end {
		safe -= s.undecided()
	}
	window := s.held[:min(safe, maxPiece)]
	n := bytes.LastIndexByte(window, '\n') + 1
	if n == 0 && len(window) == maxPiece {
		n = wholeRunes(window)
	}
	return s.outsideSecrets(n, safe)
}

// wholeRunes is the length of p without a character that is cut off at its end.
func wholeRunes(p []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if at := len(p) - i; utf8.RuneStart(p[at]) {
			if !utf8.FullRune(p[at:]) {
				return at
			}
			break
		}
	}
	return len(p)
}

// undecided is the length of the longest end of held that could become a secret.
func (s *stream) undecided() int {
	longest := 0
	for _, secret := range s.masker.secrets {
		for n := min(len(secret)-1, len(s.held)); n > longest; n-- {
			if string(s.held[len(s.held)-n:]) == secret[:n] {
				longest = n
				break
			}
		}
	}
	return longest
}

// outsideSecrets moves a cut that falls into a secret behind it, or before it
// where the rest is not certain yet. Secrets are looked for from the left, as the
// masker does: where one overlaps another or itself, the first counts.
func (s *stream) outsideSecrets(n, safe int) int {
	found := make(finds, len(s.masker.secrets))
	for at := 0; at < n; {
		start, stop := found.next(s.masker.secrets, s.held, at)
		switch {
		case start < 0 || start >= n:
			return n
		case stop > safe:
			return start
		}
		n, at = max(n, stop), stop
	}
	return n
}

// finds remembers for each secret where a text has it next, so that the text is gone
// through once; 0 stands for a place that was not looked for, 1 for the first.
type finds []int

// next finds the first secret from a place on; of several that begin there the
// longest, which comes first. start is negative where there is none.
func (f finds) next(secrets []string, text []byte, from int) (start, stop int) {
	start = -1
	for k, secret := range secrets {
		if f[k] <= from {
			f[k] = len(text) + 1
			if i := bytes.Index(text[from:], []byte(secret)); i >= 0 {
				f[k] = from + i + 1
			}
		}
		if at := f[k] - 1; at < len(text) && (start < 0 || at < start) {
			start, stop = at, at+len(secret)
		}
	}
	return start, stop
}

package reporter

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":                          "plain\ttext\n",
		"\x1b[1;31mred\x1b[0m":                   "red",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
		"\x1b]0;unfinished\nnext":                "\nnext",
		"\x1b(Bx\x1b":                            "x",
		"\u009b31mred":                           "red",
		"\x1b[31":                                "",
		"5%\r10%\r100%\r\nnext":                  "100%\nnext",
		"a\r":                                    "a",
		"a\x00b\x07":                             "a\ufffdb\ufffd",
		"\xff":                                   "\ufffd",
		"a\u202eb\u200b":                         "a⟨U+202E⟩b⟨U+200B⟩",
		"a\u2028b":                               "a\nb",
		"Grüße 東京 e\u0301":                       "Grüße 東京 e\u0301",
	} {
		if got := Plain(in); got != want {
			t.Errorf("Plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzPlainLeavesNothingToObey(f *testing.F) {
	for _, seed := range []string{"", "\x1b", "\x1b[", "\x1b\x1b[31m", "\x1b]\x1b[", "\u009b\u009b", "a\r\n\rb", "\x1bPq\x1b\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Cf, r) }) {
			t.Errorf("Plain(%q) = %q", text, got)
		}
		if line := Line(text, 20); utf8.RuneCountInString(line) > 20 || strings.ContainsAny(line, "\n\t") {
			t.Errorf("Line(%q, 20) = %q", text, line)
		}
	})
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		" a \n b ":                "a b",
		"twelve chars":            "twelve chars",
		"one two three four":      "one two…",
		"unbreakableunbreakable":  "unbreakable…",
		"ends with, a comma, etc": "ends with…",
	} {
		if got := Line(in, 12); got != want {
			t.Errorf("Line(%q, 12) = %q, want %q", in, got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949: "9.9 kB", 9_960: "10 kB", 612_345_678: "612 MB", 999_600_000: "1.0 GB", 5_400_000_000: "5.4 GB", -3_100_000: "−3.1 MB", -1 << 63: "−9.2 EB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0.0 s", 440 * time.Millisecond: "0.4 s", 9960 * time.Millisecond: "10 s", 59600 * time.Millisecond: "1 min 0 s", 125 * time.Second: "2 min 5 s", 3785 * time.Second: "1 h 3 min"} {
		if got := Elapsed(d); got != want {
			t.Errorf("Elapsed(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestPackageDiff(t *testing.T) {
	old := []Package{{"b", "1", "amd64"}, {"a", "1", "amd64"}, {"gone", "1", "all"}, {"kernel", "5", "x"}, {"kernel", "6", "x"}, {"same", "1", "all"}, {"multi", "1", "i386"}}
	now := []Package{{"a", "2", "amd64"}, {"b", "1", "amd64"}, {"new", "1", "all"}, {"kernel", "7", "x"}, {"kernel", "6", "x"}, {"kernel", "8", "x"}, {"same", "1", "all"}, {"multi", "1", "amd64"}}
	want := PackageChanges{
		Added:   []Package{{"kernel", "8", "x"}, {"multi", "1", "amd64"}, {"new", "1", "all"}},
		Removed: []Package{{"gone", "1", "all"}, {"multi", "1", "i386"}},
		Changed: []PackageChange{{"a", "amd64", "1", "2"}, {"kernel", "x", "5", "7"}},
	}
	if got := PackageDiff(old, now); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := PackageDiff(old, old); got.Total() != 0 {
		t.Errorf("an inventory against itself: %+v", got)
	}
}

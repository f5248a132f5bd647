package dashboard

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/reporter"
)

// pieces cuts texts into pieces of one step, with ids 10, 20, …
func pieces(texts ...string) []reporter.LogPiece {
	var out []reporter.LogPiece
	for i, text := range texts {
		out = append(out, reporter.LogPiece{ID: int64(10 * (i + 1)), Stage: "build", Name: "nginx", Text: text})
	}
	return out
}

func assemble(a *assembler, pieces []reporter.LogPiece, final bool) []logLine {
	var out []logLine
	for _, p := range pieces {
		if p.ID > a.last {
			out = append(out, a.add(p)...)
		}
	}
	if final {
		out = append(out, a.flush()...)
	}
	return out
}

func texts(lines []logLine) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestAssembler(t *testing.T) {
	other := func(text string) reporter.LogPiece {
		return reporter.LogPiece{ID: 100, Stage: "test", Name: "http", Text: text}
	}
	tests := []struct {
		name   string
		pieces []reporter.LogPiece
		final  bool
		want   []string
	}{
		{"whole lines", pieces("a\nb\n", "c\n"), false, []string{"a", "b", "c"}},
		{"cut lines", pieces("a", "b", "c\nd"), false, []string{"abc"}},
		{"cut lines at the end", pieces("a", "b", "c\nd"), true, []string{"abc", "d"}},
		{"empty lines", pieces("\n\n", "", "a\n\n"), false, []string{"", "", "a", ""}},
		{"carriage returns", pieces("1%\r2%\r", "\nx\r\n"), false, []string{"2%", "x"}},
		{"another step ends a line", append(pieces("half"), other("whole\n")), false, []string{"half", "whole"}},
		{"escapes and controls", pieces("\x1b[31mred\x1b[0m\x00\n"), false, []string{"red\ufffd"}},
		{"line separators", pieces("a\u2028b\n"), false, []string{"a b"}},
	}
	for _, tt := range tests {
		if got := texts(assemble(newAssembler(cursor{}), tt.pieces, tt.final)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAssemblerBreaksLongLines(t *testing.T) {
	long := strings.Repeat("é", maxLine)
	lines := assemble(newAssembler(cursor{}), pieces(long[:maxLine+1], long[maxLine+1:], "\n"), true)
	if got := strings.Join(texts(lines), ""); got != long || len(lines) != 3 {
		t.Errorf("%d lines of %d bytes, want 3 of %d", len(lines), len(got), len(long))
	}
	for _, line := range lines {
		if len(line.Text) > maxLine || !utf8.ValidString(line.Text) {
			t.Errorf("a line of %d bytes", len(line.Text))
		}
	}
}

func TestSectionsBeginWhereTheStepChanges(t *testing.T) {
	a := newAssembler(cursor{})
	lines := assemble(a, []reporter.LogPiece{
		{ID: 1, Stage: "launch", Text: "x\n"}, {ID: 2, Stage: "build", Name: "nginx", Step: "build/A", Text: "1\n2\n"}, {ID: 3, Stage: "build", Name: "nginx", Step: "build/B", Stderr: true, Text: "3\n"},
	}, true)
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprintf("%d %s|%s|%v", l.Number, l.Section, l.Step, l.Stderr))
	}
	want := []string{"1 Launch||false", "2 Build nginx|build/A|false", "3 ||false", "4 Build nginx|build/B|true"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzAssemblerContinuesAnywhere(f *testing.F) {
	f.Add("a\nb", "c\n\nd", "e\n")
	f.Add("", "\n", "\r\n")
	f.Add(strings.Repeat("x", 5000), strings.Repeat("é", 5000)+"\n", "é")
	f.Fuzz(func(t *testing.T, one, two, three string) {
		log := pieces(one, two, three)
		log[1].Step = two[:min(1, len(two)/3)]
		all := assemble(newAssembler(cursor{}), log, true)
		for i, line := range all {
			if line.Number != i+1 {
				t.Fatalf("line %d has number %d", i+1, line.Number)
			}
			at, err := parseCursor(line.after.String())
			if err != nil {
				t.Fatal(err)
			}
			rest := assemble(newAssembler(at), log, true)
			if !reflect.DeepEqual(texts(rest), texts(all[i+1:])) {
				t.Fatalf("after line %d at %s: %q, want %q", i+1, at, texts(rest), texts(all[i+1:]))
			}
		}
	})
}

func TestPartsOfALongLog(t *testing.T) {
	source := sampleSource()
	source.logs[41] = nil
	for i := range 5 * shownLines {
		source.print(41, reporter.LogPiece{Text: fmt.Sprintf("text %d\n", i+1)})
	}
	h := testHandler(Config{Source: source})
	tests := []struct {
		path        string
		first, last int
		says        string
	}{
		{"/builds/41", 4*shownLines + 1, 5 * shownLines, fmt.Sprintf("%d earlier lines", 4*shownLines)},
		{"/builds/41?line=1", 1, shownLines, fmt.Sprintf("%d later lines", 4*shownLines)},
		{"/builds/41?line=5000", 5000 - linesBefore, 4999 - linesBefore + shownLines, "4979 earlier lines"},
		{"/builds/41?line=999999999", 0, 0, "Nothing has been printed"},
	}
	for _, tt := range tests {
		_, body := get(t, h, tt.path)
		if tt.first > 0 && (!strings.Contains(body, fmt.Sprintf(`id="L%d"`, tt.first)) || strings.Contains(body, fmt.Sprintf(`id="L%d"`, tt.first-1))) {
			t.Errorf("%s does not begin with line %d", tt.path, tt.first)
		}
		if tt.last > 0 && (!strings.Contains(body, fmt.Sprintf("text %d<", tt.last)) || strings.Contains(body, fmt.Sprintf(`id="L%d"`, tt.last+1))) {
			t.Errorf("%s does not end with line %d", tt.path, tt.last)
		}
		if !strings.Contains(body, tt.says) {
			t.Errorf("%s does not say %q", tt.path, tt.says)
		}
	}
}

func TestParseCursor(t *testing.T) {
	for _, bad := range []string{"", "1", "1.2", "1.2.3.4", "a.b.c", "-1.0.0", "0.-1.0", "0.0.-1", strings.Repeat("9", 80) + ".0.0", "1.2.x"} {
		if c, err := parseCursor(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, c)
		}
	}
}

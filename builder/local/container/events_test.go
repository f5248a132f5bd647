package container

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-6db18919/ingot/builder/component"
)

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"kind":"output","text":"hello"}`+"\n"), 3)
	f.Add([]byte(`{"kind":"finished","result":{"status":"failed","failure":{"step":"x"},"documents":[{"name":"d","steps":[{"name":"s"}]}]}}`+"\n"), 1)
	f.Add([]byte("{}\nnull\n[]\n\"\n\x00\xff\n"), 2)
	f.Fuzz(func(t *testing.T, out []byte, piece int) {
		var got []component.Event
		r := newEventReader(func(e component.Event) { got = append(got, e) })
		for piece = max(1, piece); len(out) > 0; out = out[min(piece, len(out)):] {
			if n, err := r.Write(out[:min(piece, len(out))]); err != nil || n != min(piece, len(out)) {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		for _, e := range got {
			if !known(e.Kind) || len(e.Text) > maxText || len(e.Step) > maxName || !utf8.ValidString(e.Text) {
				t.Errorf("let through: %+v", e)
			}
		}
	})
}

func TestLongTextsAreCut(t *testing.T) {
	var got component.Event
	r := newEventReader(func(e component.Event) { got = e })
	line := `{"kind":"output","step":"` + strings.Repeat("é", maxName) + `","text":"` + strings.Repeat("x", 2*maxText) + "\"}\n"
	if _, err := r.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if len(got.Text) != maxText || got.Step != strings.Repeat("é", maxName/2) {
		t.Errorf("text has %d bytes, step %d", len(got.Text), len(got.Step))
	}
}

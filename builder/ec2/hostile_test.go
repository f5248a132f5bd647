package ec2

import (
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

func TestNotesOfAnInstanceAreChecked(t *testing.T) {
	text := strings.Join([]string{
		`{"event":{"kind":"output","text":"heard"}}`,
		`no JSON`, `{}`, `[]`, `{"event":"text"}`,
		`{"event":{"kind":"finished","result":{"status":"success"}}}`, // only Done ends an operation
		`{"event":{"kind":"output","text":"` + strings.Repeat("x", 2*maxEventText) + `"}}`,
		`{"done":{"error":"over"}}`,
		`{"event":{"kind":"output","te`,
	}, "\n")
	notes := parseNotes([]byte(text))
	if len(notes) != 3 || notes[0].Event.Text != "heard" || notes[2].Done.Error != "over" {
		t.Fatalf("%d notes: %+v", len(notes), notes)
	}
	if n := len(notes[1].Event.Text); n > maxEventText+len("…") {
		t.Errorf("a text of %d bytes", n)
	}
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte(`{"event":{"kind":"output","text":"heard"}}` + "\n" + `{"done":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, n := range parseNotes(text) {
			switch {
			case n.Event == nil && n.Done == nil:
				t.Error("a note that says nothing")
			case n.Event != nil && (n.Event.Kind == component.Finished || len(n.Event.Text) > maxEventText+len("…")):
				t.Errorf("%+v", n.Event)
			}
		}
	})
}

func TestInventoryIsParsed(t *testing.T) {
	got := parseInventory("os\tDebian GNU/Linux 12\nkernel\t6.1.0\n" +
		"package\tinstalled\tbash\t5.2\tamd64\npackage\tconfig-files\tgone\t1\tamd64\n" +
		"package\tinstalled\tapt\t2.6\x1b[31m\tamd64\nnoise\npackage\tinstalled\t\t1\tamd64\n")
	if got.OS != "Debian GNU/Linux 12" || got.Kernel != "6.1.0" || len(got.Packages) != 2 ||
		got.Packages[0].Name != "apt" || got.Packages[0].Version != "2.6[31m" || got.Packages[1].Name != "bash" {
		t.Errorf("%+v", got)
	}
}

func FuzzInventory(f *testing.F) {
	f.Add("os\tx\npackage\tinstalled\tbash\t5\tamd64\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range parseInventory(text).Packages {
			if p.Name == "" || strings.ContainsAny(p.Name+p.Version+p.Architecture, "\x00\x1b\n\t") {
				t.Errorf("%q", p)
			}
		}
	})
}

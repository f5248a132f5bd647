package component

import (
	"strings"
	"testing"
)

var offered = []windowsUpdate{
	{"00000000-0000-0000-0000-000000000001", "2026-11 Cumulative Update for Windows Server (KB5000001)", []string{"5000001"}},
	{"00000000-0000-0000-0000-000000000002", "Security Intelligence Update - KB2267602", []string{"2267602"}},
	{"00000000-0000-0000-0000-000000000003", "Security Update for Acme*", []string{"KB5000003", "5000004"}},
	{"00000000-0000-0000-0000-000000000004", "Acme - Driver", nil},
}

func TestChoiceOfWindowsUpdates(t *testing.T) {
	for _, c := range []struct {
		include, exclude string
		want             string // last digits
	}{
		{"", "", "1234"},
		{"KB5000001", "", "1"},
		{"5000001 kb2267602", "", "12"},
		{"5000004", "", "3"},
		{"500000", "", ""},
		{"Security*", "", "23"},
		{"security*", "", "23"},
		{"*Security*", "", "23"},
		{"*update*", "*cumulative*", "23"},
		{"", "*Security* KB5000001", "4"},
		{"Security", "", ""},
		{"KB5000001", "5000001", ""},
		{"*KB5*", "", "1"},
	} {
		got := ""
		for _, u := range chooseUpdates(offered, strings.Fields(c.include), strings.Fields(c.exclude)) {
			got += u.ID[len(u.ID)-1:]
		}
		if got != c.want {
			t.Errorf("include %q, exclude %q: %s, want %s", c.include, c.exclude, got, c.want)
		}
	}
}

func TestAnswersOfTheUpdateAgent(t *testing.T) {
	good := `[{"id":"6f4d4e6a-8d0c-4b4b-9a3c-0123456789ab","title":"A","kb":["1"]}]`
	if got, err := parseUpdates(good); err != nil || len(got) != 1 || got[0].Title != "A" || got[0].KB[0] != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := parseUpdates("[]"); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `[{"title":"A"}]`, `[{"id":"-Command"}]`, `[{"id":"6f4d4e6a-8d0c-4b4b-9a3c-0123456789ab","kb":"1"}]`} {
		if got, err := parseUpdates(bad); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

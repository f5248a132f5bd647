package reporter

import (
	"slices"
	"testing"
)

func TestScansAreComparedWithTheLastRelease(t *testing.T) {
	rule := func(ids ...string) []Rule {
		var rules []Rule
		for _, id := range ids {
			rules = append(rules, Rule{ID: id, Severity: "low"})
		}
		return rules
	}
	test := func(name string, scan *Scan) Test { return Test{Name: name, Scan: scan} }
	tests := []struct {
		name   string
		now    Test
		before []Test
		text   string
		worse  int
	}{
		{"first release", test("scan", &Scan{Profile: "p", Score: 88.9, Failed: rule("a"), Omitted: 2}), nil, "score 88, 3 rules failed", 0},
		{"other test", test("scan", &Scan{Profile: "p", Score: 88}), []Test{test("other", &Scan{Profile: "p", Score: 1})}, "score 88, 0 rules failed", 0},
		{"other profile", test("scan", &Scan{Profile: "p", Score: 88, Failed: rule("a")}), []Test{test("scan", &Scan{Profile: "q", Score: 1})},
			"score 88, 1 rule failed, against other rules than the last release", 0},
		{"one of several profiles", test("scan", &Scan{Profile: "p", Score: 88}), []Test{test("scan", &Scan{Profile: "p", Score: 61}), test("scan", &Scan{Profile: "q", Score: 1})},
			"score 61 → 88, no rule got worse", 0},
		{"worse", test("scan", &Scan{Profile: "p", Score: 60, Failed: rule("a", "b", "c")}), []Test{test("scan", &Scan{Profile: "p", Score: 61, Failed: rule("b", "d")})},
			"score 61 → 60, 2 rules got worse", 2},
		{"close", test("scan", &Scan{Profile: "p", Score: 61.339, Failed: rule("a")}), []Test{test("scan", &Scan{Profile: "p", Score: 61.1})}, "score 61.10 → 61.33, 1 rule got worse", 1},
		{"the same", test("scan", &Scan{Profile: "p", Score: 99.99, Failed: rule("a")}), []Test{test("scan", &Scan{Profile: "p", Score: 99.99, Failed: rule("a")})},
			"score 99 as before, no rule got worse", 0},
		{"not all known before", test("scan", &Scan{Profile: "p", Score: 5, Failed: rule("a")}), []Test{test("scan", &Scan{Profile: "p", Score: 4, Omitted: 1})}, "score 4 → 5", 0},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			changes := ScanChanges(Build{Tests: []Test{{Name: "boot"}, c.now}, PreviousTests: slices.Concat([]Test{{Name: "boot"}, {Name: "scan"}}, c.before)})
			if len(changes) != 1 || changes[0].Text() != c.text || len(changes[0].Worse) != c.worse {
				t.Errorf("%+v: %q, want %q", changes, changes[0].Text(), c.text)
			}
		})
	}
}

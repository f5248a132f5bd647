package builder

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanIsReadFromOutput(t *testing.T) {
	const head = "ingot:scan profile high of data 1\n"
	many := strings.Repeat("ingot:scan failed low rule-x Title\n", maxScanRules+7)
	tests := []struct {
		name  string
		text  string
		want  *Scan
		wrong string
	}{
		{"nothing", "hello\nscan score 5\n", nil, ""},
		{"without a score", head + "ingot:scan passed 3\n", nil, ""},
		{"score alone", "ingot:scan score 61.5\n", &Scan{Score: 61.5}, ""},
		{"complete", "noise\n" + head + "ingot:scan score 88\r\n  ingot:scan passed 3\ningot:scan failed low b Second  one\ningot:scan failed high a\n",
			&Scan{Profile: "high of data 1", Score: 88, Passed: 3, Failed: []Rule{{"a", "high", ""}, {"b", "low", "Second  one"}}}, ""},
		{"last line without an end", "ingot:scan score 1", &Scan{Score: 1}, ""},
		{"score out of bounds", "ingot:scan score 101\n", nil, "a score of 0 to 100"},
		{"score that is none", "ingot:scan score NaN\n", nil, "a score of 0 to 100"},
		{"negative", "ingot:scan score 1\ningot:scan passed -1\n", &Scan{Score: 1}, "how many rules passed"},
		{"severity", "ingot:scan score 1\ningot:scan failed awful r\n", &Scan{Score: 1}, "expected a severity (high, medium, low, unknown)"},
		{"unknown word", "ingot:scan scores 1\n", nil, "expected profile, score, passed or failed"},
		{"long line", "ingot:scan profile " + strings.Repeat("x", 2000) + "\ningot:scan score 2\n", &Scan{Score: 2}, "longer than 1024 bytes"},
		{"hostile text", "ingot:scan score 3\ningot:scan failed high r\x1b[31m ti\u202etle\xff\n", &Scan{Score: 3, Failed: []Rule{{"r[31m", "high", "title"}}}, ""},
		{"long text", "ingot:scan score 3\ningot:scan profile " + strings.Repeat("é", 300) + "\n", &Scan{Score: 3, Profile: strings.Repeat("é", maxScanWord)}, ""},
		{"too many rules", "ingot:scan score 4\n" + many, &Scan{Score: 4, Failed: rules(maxScanRules), Omitted: 7}, ""},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(c.text)} {
				var r scanReader
				for at := 0; at < len(c.text); at += size {
					r.write(c.text[at:min(at+size, len(c.text))])
				}
				if got := r.result(); !reflect.DeepEqual(got, c.want) {
					t.Errorf("pieces of %d: %+v, want %+v", size, got, c.want)
				}
				if !strings.Contains(r.wrong, c.wrong) || (c.wrong == "") != (r.wrong == "") {
					t.Errorf("pieces of %d: says %q, want %q", size, r.wrong, c.wrong)
				}
			}
		})
	}
}

func rules(n int) []Rule {
	list := make([]Rule, n)
	for i := range list {
		list[i] = Rule{ID: "rule-x", Severity: "low", Title: "Title"}
	}
	return list
}

func FuzzScan(f *testing.F) {
	f.Add("ingot:scan profile p\ningot:scan score 50\ningot:scan passed 1\ningot:scan failed high r t\n", 3)
	f.Add("ingot:scan failed \ningot:scan\ningot:scan score 1e999\n", 1)
	f.Add(strings.Repeat("ingot:scan failed low r \xff\x00", 100), 1024)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size%2048)
		var r, whole scanReader
		for at := 0; at < len(text); at += size {
			r.write(text[at:min(at+size, len(text))])
		}
		whole.write(text)
		got := r.result()
		if want := whole.result(); !reflect.DeepEqual(got, want) {
			t.Fatalf("pieces of %d give %+v, the whole gives %+v", size, got, want)
		}
		if got == nil {
			return
		}
		if got.Score < 0 || got.Score > 100 || len(got.Failed) > maxScanRules {
			t.Errorf("out of bounds: %+v", got)
		}
		for _, rule := range append(got.Failed, Rule{ID: "x", Title: got.Profile}) {
			for _, s := range []string{rule.ID, rule.Title} {
				if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxScanWord || strings.ContainsAny(s, "\x00\x1b\n\r\u202e") {
					t.Errorf("text %s is not fit to be shown", fmt.Sprintf("%q", s))
				}
			}
		}
	})
}

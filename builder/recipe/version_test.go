package recipe

import "testing"

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"1.4.0": "1.4.0", "2026.08.01": "2026.8.1", "0.0.0": "0.0.0", "1073741823.0.1": "1073741823.0.1",
		"1.4":                      `"1.4" is not a version: expected x.y.z, such as 1.4.0`,
		"1.4.0.1":                  `"1.4.0.1" is not a version: expected x.y.z, such as 1.4.0`,
		"v1.4.0":                   `"v1.4.0" is not a version: "v1" is not a number`,
		"1.-4.0":                   `"1.-4.0" is not a version: "-4" is not a number`,
		"1..0":                     `"1..0" is not a version: a number is missing`,
		"1.4.1073741824":           `"1.4.1073741824" is not a version: 1073741824 is larger than 1073741823`,
		"99999999999999999999.0.0": `"99999999999999999999.0.0" is not a version: 99999999999999999999 is larger than 1073741823`,
		"1.x.x":                    `"1.x.x" is not a version: "x" is not a number`,
	} {
		v, err := ParseVersion(text)
		got := v.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ParseVersion(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	ordered := []string{"0.0.9", "0.1.0", "1.0.0", "1.9.0", "1.10.0", "1.10.2", "2026.8.1"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := mustVersion(t, a).Compare(mustVersion(t, b)), min(1, max(-1, i-j)); got != want {
				t.Errorf("%s compared with %s: %d, want %d", a, b, got, want)
			}
		}
	}
	if got := (Version{1, 2, maxNode}).NextPatch(); got != (Version{1, 3, 0}) {
		t.Errorf("after the largest patch: %v", got)
	}
	if got := (Version{1, 2, 3}).NextPatch(); got != (Version{1, 2, 4}) {
		t.Errorf("NextPatch: %v", got)
	}
}

func mustVersion(t *testing.T, text string) Version {
	t.Helper()
	v, err := ParseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPattern(t *testing.T) {
	versions := []Version{{1, 6, 2}, {1, 10, 0}, {2, 0, 1}, {1, 6, 10}}
	for text, want := range map[string]string{
		"x.x.x": "2.0.1", "1.x.x": "1.10.0", "1.6.x": "1.6.10", "1.6.2": "1.6.2",
		"3.x.x": "none", "1.7.x": "none", "1.6.3": "none",
	} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if v, ok := p.Newest(versions); ok {
			got = v.String()
		}
		if got != want || p.String() != text || p.Open() != (text[len(text)-1] == 'x') {
			t.Errorf("%s picks %s, want %s (prints as %s)", text, got, want, p)
		}
	}
	for _, text := range []string{"x.2.x", "1.x.8", "x", "1.6", "*.*.*", "X.x.x", "", "1.6.x.x"} {
		if p, err := ParsePattern(text); err == nil {
			t.Errorf("ParsePattern(%q) = %v, want an error", text, p)
		}
	}
}

package disk

import (
	"slices"
	"strings"
	"testing"
)

const release = `-----BEGIN PGP SIGNED MESSAGE-----
Date: %s
SHA256:
 1111111111111111111111111111111111111111111111111111111111111111  8800000 main/binary-amd64/Packages
 2222222222222222222222222222222222222222222222222222222222222222  1800000 main/binary-amd64/Packages.xz
 3333333333333333333333333333333333333333333333333333333333333333  8800000 main/binary-arm64/Packages
 4444444444444444444444444444444444444444444444444444444444444444    12000 main/i18n/Translation-de
 5555555555555555555555555555555555555555555555555555555555555555      120 main/binary-all/Packages.gz
`

func TestPackageLists(t *testing.T) {
	got, err := packageLists(strings.NewReader(release))
	want := []string{
		strings.Repeat("1", 64) + " main/binary-amd64/Packages",
		strings.Repeat("2", 64) + " main/binary-amd64/Packages.xz",
		strings.Repeat("5", 64) + " main/binary-all/Packages.gz",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func FuzzPackageLists(f *testing.F) {
	f.Add(release)
	f.Fuzz(func(t *testing.T, text string) {
		lists, err := packageLists(strings.NewReader(text))
		for _, line := range lists {
			if err == nil && !strings.Contains(text, line[:64]) {
				t.Fatalf("%q is not in the text", line)
			}
		}
	})
}

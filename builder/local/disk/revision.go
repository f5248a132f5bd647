package disk

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

// Revision names the packages that Debian would find right now. It fetches only
// the signed lists of lists of the suite, of its updates and of its security
// updates (a few hundred kB, about a second), from where Debian would.
//
// It is a hash over the names and hashes of the package lists: a mirror signs its
// lists anew several times a day, mostly without any change in them. The error is
// Transient when the mirror is not reached.
func Revision(ctx context.Context, spec DebianSpec) (revision string, err error) {
	suite, ok := Suite(spec.Suite)
	if !ok {
		return "", unknownSuite(spec.Suite)
	}
	work, err := os.MkdirTemp("", "ingot-revision-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := unpack(embedded, "hooks/revision", work); err != nil {
		return "", err
	}
	args := []string{
		"--mode=root", "--format=null", "--variant=custom", "--architectures=amd64",
		"--skip=update", "--hook-directory=" + work, suite, "/dev/null",
	}
	if err := (command{name: "mmdebstrap", args: append(args, spec.Mirrors...), ownMounts: true}.run(ctx, nil)); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", unreachable(err, suite)
	}
	return hashReleases(work)
}

func unknownSuite(name string) error {
	return refuse("Use debian-12 or debian-13.", "no parent image is known under the name %q", name)
}

// maxRelease bounds one list of lists, in bytes; the largest have some 200 kB.
const maxRelease = 8 << 20

func hashReleases(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*Release"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fail(builder.Transient, builder.StageResolve, nil, "Check the mirror.", "the Debian mirror has no release file")
	}
	hash := sha256.New()
	for _, path := range slices.Sorted(slices.Values(files)) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		lists, err := packageLists(io.LimitReader(f, maxRelease))
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s\n%s\n", filepath.Base(path), strings.Join(lists, "\n"))
	}
	return "debian:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// listLine is a line such as " 64 hex digits  12345 main/binary-amd64/Packages".
var listLine = regexp.MustCompile(`^ ([0-9a-f]{64}) +\d+ (\S+/binary-(?:amd64|all)/Packages(?:\.\w+)?)$`)

func packageLists(r io.Reader) ([]string, error) {
	var lists []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := listLine.FindStringSubmatch(lines.Text()); m != nil {
			lists = append(lists, m[1]+" "+m[2])
		}
	}
	return lists, lines.Err()
}

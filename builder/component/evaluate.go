package component

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/big"
	"os"
	"regexp"
	"strings"
)

// number is what a numeric operator takes for a number.
var number = regexp.MustCompile(`^[-+]?([0-9]+[.])?[0-9]+$`)

// maxDigits bounds the numbers that are compared; longer text is none.
const maxDigits = 1000

// holds evaluates a condition: value OP baseline, whatever order the keys have.
// and and or stop at the first part that decides.
func (c *Condition) holds(s *scope) (bool, error) {
	switch c.operator {
	case "and", "or":
		for _, part := range c.parts {
			is, err := part.holds(s)
			if err != nil || is == (c.operator == "or") {
				return is, err
			}
		}
		return c.operator == "and", nil
	case "not":
		is, err := c.parts[0].holds(s)
		return !is && err == nil, err
	}
	baseline, err := s.expand(scalar(c.baseline))
	if err != nil {
		return false, err
	}
	var value string
	if c.value != nil {
		if value, err = s.expand(scalar(c.value)); err != nil {
			return false, err
		}
	}
	return s.env.compare(s.job.WorkingDir, c.operator, value, baseline)
}

// compare applies one operator; dir is what relative paths begin at.
func (e Env) compare(dir, operator, value, baseline string) (bool, error) {
	switch {
	case strings.HasPrefix(operator, "number"):
		return compareNumbers(strings.TrimPrefix(operator, "number"), value, baseline), nil
	case strings.HasPrefix(operator, "file") && strings.HasSuffix(operator, "Equals"):
		algorithm := strings.TrimSuffix(strings.TrimPrefix(operator, "file"), "Equals")
		sum, err := fileDigest(within(dir, value), algorithm)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return strings.EqualFold(sum, baseline), err
	}
	switch operator {
	case "stringIsEmpty":
		return baseline == "", nil
	case "stringIsWhitespace":
		return baseline != "" && strings.TrimSpace(baseline) == "", nil
	case "stringEquals":
		return strings.EqualFold(value, baseline), nil // like patterns: without case (inferred)
	case "patternMatches":
		pattern, err := regexp.Compile("(?i)" + baseline)
		if err != nil {
			return false, fmt.Errorf("patternMatches: %w", err)
		}
		return pattern.MatchString(value), nil
	case "binaryExists":
		_, err := lookPath(baseline, dir, e.Environ)
		return err == nil, nil
	case "fileExists":
		info, err := os.Stat(within(dir, baseline))
		return err == nil && info.Mode().IsRegular(), nil
	case "folderExists":
		info, err := os.Stat(within(dir, baseline))
		return err == nil && info.IsDir(), nil
	}
	return ordered(strings.TrimPrefix(operator, "string"), compareFolded(value, baseline)), nil
}

// compareFolded orders without regard to case first: general text of the
// original says so. Its examples tell upper from lower case, hence the tie-break
// (inferred).
func compareFolded(a, b string) int {
	if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// compareNumbers is false where an operand is no number: that is no error.
func compareNumbers(operator, value, baseline string) bool {
	a, ok := parseNumber(value)
	b, ok2 := parseNumber(baseline)
	return ok && ok2 && ordered(operator, a.Cmp(b))
}

func parseNumber(text string) (*big.Rat, bool) {
	if len(text) > maxDigits || !number.MatchString(text) {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// ordered applies the end of an operator's name to the result of a comparison.
func ordered(operator string, c int) bool {
	switch operator {
	case "Equals":
		return c == 0
	case "LessThan":
		return c < 0
	case "LessThanEquals":
		return c <= 0
	case "GreaterThan":
		return c > 0
	default: // GreaterThanEquals
		return c >= 0
	}
}

func newHash(algorithm string) hash.Hash {
	switch strings.ToUpper(algorithm) {
	case "MD5":
		return md5.New()
	case "SHA1":
		return sha1.New()
	case "SHA512":
		return sha512.New()
	default:
		return sha256.New()
	}
}

// fileDigest is the digest of a file in hexadecimal.
func fileDigest(path, algorithm string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := newHash(algorithm)
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

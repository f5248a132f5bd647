package component

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Types of values that the registry of Windows can hold, as documents name them.
const (
	registryBinary      = "BINARY"
	registryDWord       = "DWORD"
	registryQWord       = "QWORD"
	registryText        = "SZ"
	registryExpandable  = "EXPAND_SZ"
	registryTexts       = "MULTI_SZ"
	maxRegistryKeyName  = 255   // characters of one element of a path
	maxRegistryName     = 16383 // characters of the name of a value
	maxRegistryElements = 512   // of a path
)

// registryHives are the beginnings of a path: the short form of each to the long.
var registryHives = map[string]string{
	"HKCR": "HKEY_CLASSES_ROOT",
	"HKU":  "HKEY_USERS",
	"HKLM": "HKEY_LOCAL_MACHINE",
	"HKCC": "HKEY_CURRENT_CONFIG",
	"HKCU": "HKEY_CURRENT_USER",
}

// registryKey is a key, by the long name of its hive and the path below it.
type registryKey struct{ hive, path string }

func (k registryKey) String() string { return k.hive + `\` + k.path }

// registryValue is what one name in a key is to hold; which field counts is the
// kind's to say.
type registryValue struct {
	kind   string
	text   string
	texts  []string
	number uint64
	data   []byte
}

// registryWriter writes values; missing keys are made.
type registryWriter interface {
	set(key registryKey, name string, value registryValue) error
}

// parseRegistryKey reads a path such as HKLM:\SOFTWARE\Acme. Beyond what is
// documented, the hive is known in any case of letters and with or without its
// colon, and backslashes that are written twice or at the end count once or not
// at all (inferred). A slash is part of a name.
func parseRegistryKey(path string) (registryKey, error) {
	hive, rest, _ := strings.Cut(path, `\`)
	name := strings.ToUpper(strings.TrimSuffix(hive, ":"))
	if long, ok := registryHives[name]; ok {
		name = long
	} else if !slices.Contains(registryHiveNames(), name) {
		return registryKey{}, fmt.Errorf("%.100q: a path begins with one of HKCR:, HKU:, HKLM:, HKCC: and HKCU:, or its long name such as HKEY_LOCAL_MACHINE", path)
	}
	elements := strings.FieldsFunc(rest, func(r rune) bool { return r == '\\' })
	switch {
	case len(elements) == 0:
		return registryKey{}, fmt.Errorf("%.100q names no key below %s", path, name)
	case len(elements) > maxRegistryElements:
		return registryKey{}, fmt.Errorf("%.100q… is more than %d keys deep", path, maxRegistryElements)
	}
	for _, e := range elements {
		if strings.ContainsRune(e, 0) || !utf8.ValidString(e) || utf8.RuneCountInString(e) > maxRegistryKeyName {
			return registryKey{}, fmt.Errorf("%.100q: %.50q is no name of a key: it is text of up to %d characters", path, e, maxRegistryKeyName)
		}
	}
	return registryKey{name, strings.Join(elements, `\`)}, nil
}

func registryHiveNames() []string {
	var names []string
	for _, long := range registryHives {
		names = append(names, long)
	}
	return names
}

// newRegistryValue converts what a document says to what the registry holds. text
// counts unless list is true.
func newRegistryValue(kind, text string, texts []string, list bool) (registryValue, error) {
	v := registryValue{kind: strings.ToUpper(kind)}
	var err error
	if list && v.kind != registryTexts && v.kind != registryBinary {
		return v, fmt.Errorf("a value of type %s is no list", v.kind)
	}
	switch v.kind {
	case registryText, registryExpandable:
		v.text, err = registryString(text)
	case registryTexts:
		if !list {
			texts = []string{text} // one line of text is a list of one (inferred)
		}
		v.texts, err = registryStrings(texts)
	case registryDWord:
		v.number, err = registryNumber(text, math.MaxUint32)
	case registryQWord:
		v.number, err = registryNumber(text, math.MaxUint64)
	case registryBinary:
		v.data, err = registryBytes(text, texts, list)
	default:
		err = fmt.Errorf("%q is no type of value", kind)
	}
	return v, err
}

func registryString(text string) (string, error) {
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return "", fmt.Errorf("%.100q is no text", text)
	}
	return text, nil
}

// registryStrings: the end of the list is an empty text, so none can be in it.
func registryStrings(texts []string) ([]string, error) {
	for i, text := range texts {
		if _, err := registryString(text); err != nil {
			return nil, err
		}
		if text == "" {
			return nil, fmt.Errorf("entry %d is empty, which %s cannot hold", i, registryTexts)
		}
	}
	return texts, nil
}

// registryNumber reads decimal digits, or hexadecimal ones after 0x. A printed
// example gives a DWORD the value 1.1: that is an error (inferred), as is a
// negative number.
func registryNumber(text string, most uint64) (uint64, error) {
	digits, base := strings.TrimSpace(text), 10
	if after, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = after, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil || n > most {
		return 0, fmt.Errorf("%.100q is no whole number from 0 to %d", text, most)
	}
	return n, nil
}

// registryBytes: how BINARY is written is not documented. Text is pairs of
// hexadecimal digits, with blanks, commas or nothing between them and 0x before
// the first or not, as registry files and editors have it; a list is one number
// for each byte (both inferred).
func registryBytes(text string, numbers []string, list bool) ([]byte, error) {
	if !list {
		digits := strings.NewReplacer(" ", "", ",", "").Replace(text)
		data, err := hex.DecodeString(strings.TrimPrefix(strings.TrimPrefix(digits, "0x"), "0X"))
		if err != nil {
			return nil, fmt.Errorf("%.100q: %s is written as pairs of hexadecimal digits, such as 0a1b2c", text, registryBinary)
		}
		return data, nil
	}
	data := make([]byte, len(numbers))
	for i, number := range numbers {
		n, err := registryNumber(number, math.MaxUint8)
		if err != nil {
			return nil, err
		}
		data[i] = byte(n)
	}
	return data, nil
}

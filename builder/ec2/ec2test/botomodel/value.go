package botomodel

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// text checks a value that is written as text: in a form, a header or an address.
func (r *report) text(path string, s *shape, value string) {
	switch s.Type {
	case "string":
		r.string(path, s, value)
	case "integer", "long":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			r.add(path, "%q is no %s", value, s.Type)
			return
		}
		r.number(path, s, float64(n))
	case "float", "double":
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			r.add(path, "%q is no %s", value, s.Type)
			return
		}
		r.number(path, s, n)
	case "boolean":
		if value != "true" && value != "false" {
			r.add(path, "%q is no boolean", value)
		}
	case "timestamp":
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			r.add(path, "%q is no time", value)
		}
	case "blob":
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			r.add(path, "no Base64: %v", err)
			return
		}
		r.bounds(path, s, "bytes", float64(len(decoded)))
	default:
		r.add(path, "a %s, written as text", s.Type)
	}
}

func (r *report) string(path string, s *shape, value string) {
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		r.add(path, "%q is not one of its %d values", value, len(s.Enum))
	}
	r.bounds(path, s, "characters", float64(utf8.RuneCountInString(value)))
	if s.pattern != nil && !s.pattern.MatchString(value) {
		r.add(path, "%q does not match %s", value, s.Pattern)
	}
}

func (r *report) number(path string, s *shape, n float64) { r.bounds(path, s, "", n) }

// bounds checks a number, a length or a count.
func (r *report) bounds(path string, s *shape, unit string, n float64) {
	if unit != "" {
		unit = " " + unit
	}
	if s.Min != nil && n < *s.Min {
		r.add(path, "%v%s, at least %v", n, unit, *s.Min)
	}
	if s.Max != nil && n > *s.Max {
		r.add(path, "%v%s, at most %v", n, unit, *s.Max)
	}
}

// required checks that a structure has what it must have.
func (r *report) required(path string, s *shape, has func(name string) bool) {
	for _, name := range s.Required {
		if !has(name) {
			r.add(path, "%s is missing", name)
		}
	}
}

func at(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func item(path string, n int) string { return fmt.Sprintf("%s[%d]", path, n) }

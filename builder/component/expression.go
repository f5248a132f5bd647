package component

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxReference bounds the text between braces; anything longer is not ours.
const maxReference = 512

// reference is what stands between {{ and }}, if it has one of the known forms.
type reference struct {
	kind  referenceKind
	text  string // trimmed
	name  string // of a variable; the loop's name, or "loop", of an iteration; the parameter of ssm
	phase string
	step  string
	side  string // inputs or outputs
	index int    // 0 when none was written
	field string // of chaining; index or value of an iteration
}

type referenceKind int

const (
	plainText      referenceKind = iota
	variable                     // {{ Name }}
	chained                      // {{ phase.step.inputs[0].field }}
	iteration                    // {{ loop.index }}
	parameterStore               // {{ aws:ssm:/path }} and {{ aws:ssm:resolve(X) }}
)

var (
	variablePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{3,128}$`)
	chainPattern    = regexp.MustCompile(`^(.+)\.(inputs|outputs)(?:\[(\d{1,6})\])?\.([A-Za-z0-9_-]+)$`)
	loopPattern     = regexp.MustCompile(`^(.+)\.(index|value)$`)
	resolvePattern  = regexp.MustCompile(`^aws:ssm:resolve\(\s*(.+?)\s*\)$`)
)

// expand replaces every reference in text by what lookup says. Text in braces
// that lookup does not know (ok is false) stays as it is: scripts are full of
// braces that belong to somebody else. Values are inserted raw and are not
// looked at again, so that nothing in a value is ever taken for a reference (both
// inferred).
func expand(text string, lookup func(inner string) (value string, ok bool, err error)) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	var b strings.Builder
	for {
		open := strings.Index(text, "{{")
		if open < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		b.WriteString(text[:open])
		text = text[open:]
		inner, length := braces(text)
		value, ok, err := "", false, error(nil)
		if length > 0 {
			value, ok, err = lookup(strings.TrimSpace(inner))
		}
		if err != nil {
			return "", err
		}
		if !ok {
			b.WriteByte('{')
			text = text[1:]
			continue
		}
		b.WriteString(value)
		text = text[length:]
	}
}

// braces returns what stands between the {{ that text begins with and the next
// }}, and the length of it all; length is 0 where that cannot be a reference.
func braces(text string) (inner string, length int) {
	window := text[:min(len(text), maxReference+4)]
	end := strings.Index(window, "}}")
	if end < 2 {
		return "", 0
	}
	inner = window[2:end]
	if strings.ContainsAny(inner, "{}\n\r") {
		return "", 0
	}
	return inner, end + 2
}

// soleReference reports whether text is one reference and nothing else.
func (d *Document) soleReference(text string) (reference, bool) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{{") {
		return reference{}, false
	}
	inner, length := braces(text)
	if length == 0 || length != len(text) {
		return reference{}, false
	}
	return d.parseReference(strings.TrimSpace(inner)), true
}

// parseReference tells the known forms apart. Which names exist decides where a
// phase ends and a step begins, since both may contain dots and blanks.
func (d *Document) parseReference(inner string) reference {
	r := reference{text: inner}
	if rest, ok := strings.CutPrefix(inner, "aws:ssm:"); ok {
		r.kind, r.name = parameterStore, "aws:ssm:"+rest
		if !strings.HasPrefix(rest, "/") && !resolvePattern.MatchString(inner) {
			r.kind = plainText
		}
		return r
	}
	if m := chainPattern.FindStringSubmatch(inner); m != nil {
		if phase, step, ok := d.cutStep(m[1]); ok {
			r.kind, r.phase, r.step, r.side, r.field = chained, phase, step, m[2], m[4]
			r.index, _ = strconv.Atoi(m[3])
		}
		return r
	}
	if m := loopPattern.FindStringSubmatch(inner); m != nil {
		r.kind, r.name, r.field = iteration, m[1], m[2]
		return r
	}
	if variablePattern.MatchString(inner) {
		r.kind, r.name = variable, inner
	}
	return r
}

// cutStep splits "phase.step". A phase that neither exists nor has a well-known
// name makes the text somebody else's: ${{ steps.x.outputs.y }} is not ours.
func (d *Document) cutStep(text string) (phase, step string, ok bool) {
	for _, p := range d.Phases {
		if rest, found := strings.CutPrefix(text, p.Name+"."); found && rest != "" {
			return p.Name, rest, true
		}
	}
	for _, name := range []string{PhaseBuild, PhaseValidate, PhaseTest} {
		if rest, found := strings.CutPrefix(text, name+"."); found && rest != "" {
			return name, rest, true
		}
	}
	return "", "", false
}

// references calls each for the references in text that have a known form.
func (d *Document) references(text string, each func(reference)) {
	d.braces(text, func(r reference) {
		if r.kind != plainText {
			each(r)
		}
	})
}

// braces calls each for all text in braces, also where it is no reference.
func (d *Document) braces(text string, each func(reference)) {
	// lookup never fails here, so neither does expand.
	_, _ = expand(text, func(inner string) (string, bool, error) {
		r := d.parseReference(inner)
		each(r)
		return "", r.kind != plainText, nil
	})
}

// variables are the names of all parameters and constants.
func (d *Document) variables() []string {
	var names []string
	for _, p := range d.Parameters {
		names = append(names, p.Name)
	}
	for _, c := range d.Constants {
		names = append(names, c.Name)
	}
	return names
}

// String is the reference as its author would write it.
func (r reference) String() string { return fmt.Sprintf("{{ %s }}", r.text) }

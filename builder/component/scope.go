package component

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// scope is what the references of one step can see.
type scope struct {
	*engine
	ctx      context.Context // of the attempt; a scope lives no longer
	document int
	state    *documentState
	loop     *iterationScope // nil outside of a loop
}

type iterationScope struct {
	name  string
	index int
	value string
}

// expand replaces the references in text.
func (s *scope) expand(text string) (string, error) { return expand(text, s.lookup) }

// expandList replaces the references in an entry of a list. One that is nothing but
// a reference to a stored list stands for all entries of that (inferred); within
// other text a list is its entries joined by commas.
func (s *scope) expandList(text string) ([]string, error) {
	if r, ok := s.documents[s.document].soleReference(text); ok && r.kind == parameterStore {
		value, err := s.stored(r)
		if err != nil || value.List != nil {
			return value.List, err
		}
		return []string{value.Text}, nil
	}
	expanded, err := s.expand(text)
	return []string{expanded}, err
}

func (s *scope) lookup(inner string) (string, bool, error) {
	r := s.documents[s.document].parseReference(inner)
	switch r.kind {
	case variable:
		value, ok := s.variable(r.name)
		return value, ok, nil
	case iteration:
		value, ok := s.iteration(r)
		return value, ok, nil
	case chained:
		value, err := s.chained(r)
		return value, err == nil, err
	case parameterStore:
		value, err := s.stored(r)
		return value.Text, err == nil, err
	}
	return "", false, nil
}

func (s *scope) variable(name string) (string, bool) {
	d := s.documents[s.document]
	for _, c := range d.Constants {
		if c.Name == name {
			return c.Value, true
		}
	}
	p, ok := d.Parameter(name)
	if !ok {
		return "", false
	}
	if value, given := s.job.Documents[s.document].Parameters[name]; given {
		return value, true
	}
	return p.Default, true
}

// iteration: outside of its loop, such text is left as it is.
func (s *scope) iteration(r reference) (string, bool) {
	if s.loop == nil || (r.name != "loop" && r.name != s.loop.name) {
		return "", false
	}
	if r.field == "index" {
		return strconv.Itoa(s.loop.index), true
	}
	return s.loop.value, true
}

// chained looks up what an earlier step took or gave. A skipped step gave
// nothing, which is the empty text; of one that failed nothing can be expected
// (inferred).
func (s *scope) chained(r reference) (string, error) {
	record := s.record(r.phase, r.step)
	switch {
	case record == nil:
		return "", fmt.Errorf("%s: step %s has not run", r, r.step)
	case record.Status == Skipped:
		return "", nil
	case r.side == "outputs" && record.Status != Success:
		return "", fmt.Errorf("%s: step %s failed, so it has no outputs", r, r.step)
	case r.side == "outputs" && record.Cut:
		return "", fmt.Errorf("%s: step %s printed more than the %d bytes that are kept", r, r.step, maxCapture)
	}
	entries := record.Inputs
	if r.side == "outputs" {
		entries = record.Outputs
	}
	if r.index >= len(entries) {
		return "", fmt.Errorf("%s: step %s has %d %s", r, r.step, len(entries), r.side)
	}
	return entries[r.index][r.field], nil
}

func (s *scope) record(phase, step string) *stepRecord {
	p := s.state.phase(phase)
	if p == nil {
		return nil
	}
	for _, record := range p.Steps {
		if record.Name == step {
			return record
		}
	}
	return nil
}

// stored asks the parameter store. In resolve(X), X is a parameter of the
// document that holds the name, or the name itself.
func (s *scope) stored(r reference) (StoredValue, error) {
	name := strings.TrimPrefix(r.name, "aws:ssm:")
	if m := resolvePattern.FindStringSubmatch(r.text); m != nil {
		name = strings.TrimPrefix(m[1], "aws:ssm:")
		if value, ok := s.variable(m[1]); ok {
			name = strings.TrimPrefix(value, "aws:ssm:")
		}
	}
	if s.env.Store == nil {
		return StoredValue{}, fmt.Errorf("%s: %w", r, errNoStore)
	}
	value, err := s.env.Store.Parameter(s.ctx, name)
	if err != nil {
		return StoredValue{}, fmt.Errorf("%s: %w", r, err)
	}
	if value.Secret {
		s.masker.add(append(value.List, value.Text)...)
	}
	return value, nil
}

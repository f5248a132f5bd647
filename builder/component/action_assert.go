package component

import (
	"context"
	"errors"
)

// assert fails unless the condition that is the whole of its inputs holds.
func assert(ctx context.Context, c *call) (map[string]string, error) {
	s := &source{yaml: c.documents[c.at.document].source.yaml}
	condition := s.condition(c.values["condition"].node, false)
	if err := s.problems.Err(); err != nil {
		return nil, err
	}
	c.scope.ctx = ctx
	holds, err := condition.holds(&c.scope)
	if err != nil {
		return nil, err
	}
	if !holds {
		return nil, errors.New("the condition does not hold")
	}
	return nil, nil
}

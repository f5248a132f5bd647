package component

import (
	"context"
	"fmt"
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
		return nil, fmt.Errorf("the condition does not hold: %s", compact(c.masker.any(c.values["condition"].shown)))
	}
	return nil, nil
}

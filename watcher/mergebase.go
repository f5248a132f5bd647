package watcher

import (
	"container/heap"
	"context"

	"github.com/go-git/go-git/v5/plumbing"
)

// MergeBase returns the newest commit that both a and b reach: where a branch
// left the other one. It is empty when they share no history.
func (m *Mirror) MergeBase(ctx context.Context, a, b string) (string, error) {
	for _, hash := range []string{a, b} {
		if _, err := m.commit(ctx, hash); err != nil {
			return "", err
		}
	}
	const fromA, fromB = 1, 2
	objs := m.reader()
	reached := map[plumbing.Hash]int{}
	queue := &commitQueue{}
	reach := func(hash plumbing.Hash, from int) error {
		before := reached[hash]
		if before|from == before {
			return nil
		}
		reached[hash] |= from
		c, err := objs.commit(hash)
		if err != nil {
			return m.missing(err)
		}
		heap.Push(queue, queuedCommit{hash, c})
		return nil
	}
	if err := reach(plumbing.NewHash(a), fromA); err != nil {
		return "", err
	}
	if err := reach(plumbing.NewHash(b), fromB); err != nil {
		return "", err
	}
	for queue.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		next := heap.Pop(queue).(queuedCommit)
		sides := reached[next.hash]
		if sides == fromA|fromB {
			return next.hash.String(), nil
		}
		for _, parent := range next.commit.parents {
			if err := reach(parent, sides); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

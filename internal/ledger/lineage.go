package ledger

import (
	"context"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
)

// Epoch names the line of results that a build goes on with: the last fresh build
// of its recipe that was released, or the build itself when it is to reuse
// nothing. 0: there was never a fresh one.
//
// Results of different epochs are never taken for each other, so that what a
// calendar built with newer packages is not undone by the next push.
func (l *Ledger) Epoch(ctx context.Context, build int64) (int64, error) {
	epoch, found, err := one(ctx, l.db, value[int64], `SELECT CASE WHEN b.fresh THEN b.id ELSE
			COALESCE((SELECT MAX(f.id) FROM builds AS f WHERE f.repository = b.repository AND f.recipe = b.recipe
				AND f.fresh AND f.release AND f.state = 'succeeded'), 0) END
		FROM builds AS b WHERE b.id = $1`, build)
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("epoch of build %d: %w", build, err)
	}
	return epoch, nil
}

// ParentImage returns the image of the build that this one had to wait for; false
// when it waited for none.
func (l *Ledger) ParentImage(ctx context.Context, build int64) (builder.Image, bool, error) {
	image, found, err := one(ctx, l.db, scanDriverImage, "SELECT "+driverColumns+` FROM builds AS b
		JOIN builds AS parent ON parent.id = b.after_build JOIN images AS i ON i.id = parent.image_id WHERE b.id = $1`, build)
	if err != nil {
		return image, false, fmt.Errorf("parent image of build %d: %w", build, err)
	}
	return image, found, nil
}

// DependencyState returns what every recipe of a repository was last released
// from: the revision of its parent image.
func (l *Ledger) DependencyState(ctx context.Context, repository string) (map[string]string, error) {
	type dependency struct{ recipe, revision string }
	found, err := collect(ctx, l.db, func(s scanner) (dependency, error) {
		var d dependency
		return d, s.Scan(&d.recipe, &d.revision)
	}, `SELECT r.recipe, i.revision FROM releases AS r JOIN images AS i ON i.id = r.image_id WHERE r.repository = $1
		AND r.build = (SELECT MAX(newer.build) FROM releases AS newer WHERE newer.repository = r.repository AND newer.recipe = r.recipe)`, repository)
	if err != nil {
		return nil, fmt.Errorf("dependencies of %s: %w", repository, err)
	}
	state := make(map[string]string, len(found))
	for _, d := range found {
		state[d.recipe] = d.revision
	}
	return state, nil
}

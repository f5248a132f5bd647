package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/seed-6db18919/ingot/reporter"
)

// addBuilds inserts builds, replaces older ones of the same ref and queues what
// can start. A push replaces whatever its ref had; with only, a commit, nothing but
// that commit's builds are replaced, so that a rebuild of an old commit never
// takes the place of a newer one.
func addBuilds(ctx context.Context, t tx, s Source, builds []NewBuild, only string) ([]int64, error) {
	ids := make([]int64, len(builds))
	byRecipe := make(map[string]int64, len(builds))
	for i, b := range builds {
		id, err := insertBuild(ctx, t, s, b)
		if err != nil {
			return nil, err
		}
		ids[i], byRecipe[b.Recipe] = id, id
	}
	for i, b := range builds {
		if err := linkParent(ctx, t, ids[i], byRecipe[b.After]); err != nil {
			return nil, err
		}
		if err := supersede(ctx, t, s, b, ids[i], only); err != nil {
			return nil, err
		}
	}
	for i, b := range builds {
		if err := start(ctx, t, ids[i], b.State); err != nil {
			return nil, err
		}
		if err := oweStatus(ctx, t, s, b.Recipe); err != nil {
			return nil, err
		}
	}
	return ids, oweComment(ctx, t, s, len(builds) > 0)
}

func insertBuild(ctx context.Context, t tx, s Source, b NewBuild) (int64, error) {
	state := cmp.Or(b.State, reporter.Queued)
	if !slices.Contains([]reporter.State{reporter.Queued, reporter.Approval, reporter.Failed}, state) {
		return 0, fmt.Errorf("recipe %q: a build does not begin as %s", b.Recipe, state)
	}
	var finished int64
	if state.Final() {
		finished = now()
	}
	why, err := toJSON(&b.Why)
	if err != nil {
		return 0, err
	}
	findings, err := toJSON(&b.Findings)
	if err != nil {
		return 0, err
	}
	failure, err := toJSON(b.Failure)
	if err != nil {
		return 0, err
	}
	return value[int64](t.row(ctx, `INSERT INTO builds (
			repository, code_host, ref, commit_id, title, author, pull_request, fork,
			trigger_kind, release, recipe, recipe_path, version, previous_version,
			action, why, findings, fresh, state, failure, created, finished, estimate)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		RETURNING id`,
		s.Repository, s.CodeHost, s.Ref, s.Commit, s.Title, s.Author, s.PullRequest, s.Fork,
		string(b.Trigger), b.Release, b.Recipe, b.RecipePath, b.Version, b.PreviousVersion,
		string(b.Action), why, findings, b.Fresh, string(state), failure, now(), finished, b.Estimate))
}

// linkParent makes a build wait for another one. Approval comes before waiting.
func linkParent(ctx context.Context, t tx, id, parent int64) error {
	if parent == 0 {
		return nil
	}
	_, err := t.exec(ctx, `UPDATE builds SET after_build = $2, state = CASE state WHEN 'queued' THEN 'waiting' ELSE state END WHERE id = $1`, id, parent)
	return err
}

// supersede ends the builds that a new one replaces. What waits for them waits
// for the new one instead.
func supersede(ctx context.Context, t tx, s Source, b NewBuild, id int64, only string) error {
	old, err := collect(ctx, t, value[int64],
		"SELECT id FROM builds WHERE repository = $1 AND recipe = $2 AND ref = $3 AND id < $4 AND ($5 = '' OR commit_id = $5) AND "+
			inStates(cameFrom[reporter.Superseded]...)+" ORDER BY id",
		s.Repository, b.Recipe, s.Ref, id, only)
	if err != nil {
		return err
	}
	for _, before := range old {
		_, moved, err := move(ctx, t, before, anyRun, reporter.Superseded)
		if err != nil {
			return err
		}
		if !moved {
			continue // a worker was faster
		}
		if err := inherit(ctx, t, before, id); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE builds SET after_build = $2 WHERE after_build = $1 AND state IN ('waiting', 'approval')", before, id); err != nil {
			return err
		}
		if err := oweReports(ctx, t, before); err != nil {
			return err
		}
	}
	return nil
}

// inherit hands the larger action of a superseded build to its successor: an image
// that was never built cannot be tested or distributed.
func inherit(ctx context.Context, t tx, from, to int64) error {
	_, err := t.exec(ctx, `UPDATE builds SET
			fresh = fresh OR (SELECT old.fresh FROM builds AS old WHERE old.id = $1),
			action = CASE
				WHEN action = 'check' THEN action
				WHEN (SELECT old.action FROM builds AS old WHERE old.id = $1) = 'build' THEN 'build'
				WHEN action = 'distribute' AND (SELECT old.action FROM builds AS old WHERE old.id = $1) = 'test' THEN 'test'
				ELSE action END
		WHERE id = $2`, from, to)
	return err
}

// start takes a build that was just added as far as it can go.
func start(ctx context.Context, t tx, id int64, asked reporter.State) error {
	state, err := value[string](t.row(ctx, "SELECT state FROM builds WHERE id = $1", id))
	if err != nil {
		return err
	}
	switch reporter.State(state) {
	case reporter.Queued:
		return enqueueBuild(ctx, t, id, 0, 0)
	case reporter.Failed:
		if asked == reporter.Failed {
			return settleDependents(ctx, t, id, reporter.Failed)
		}
	}
	return nil // waiting or for approval; or failed with its parent a moment ago
}

package ledger

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

// defaultLimit is how many rows a list has where its filter does not say.
const defaultLimit = 50

// Filter chooses builds. Empty fields choose all.
type Filter struct {
	Repository  string
	Recipe      string
	State       reporter.State
	Commit      string
	PullRequest int
	Before      int64 // only builds older than this one: the next page
	Limit       int   // default 50
}

// ImageFilter chooses images. Empty fields choose all.
type ImageFilter struct {
	ID         string
	Repository string
	Recipe     string
	Released   bool  // only those that went out under a version
	Before     int64 // only images of builds older than this one: the next page
	Limit      int   // default 50
}

const buildColumns = `id, repository, code_host, ref, commit_id, title, author, pull_request, fork, trigger_kind, release,
	recipe, recipe_path, version, previous_version, number, action, why, findings, state, tests, failure, image_id, created, started, finished, estimate`

// buildRow is a build with what has to be read from other tables.
type buildRow struct {
	reporter.Build
	image string
}

func scanBuild(s scanner) (buildRow, error) {
	var b buildRow
	var why, findings, tests, failure string
	var created, started, finished int64
	err := s.Scan(&b.ID, &b.Repository, &b.CodeHost, &b.Ref, &b.Commit, &b.Title, &b.Author, &b.PullRequest, &b.Fork,
		(*string)(&b.Trigger), &b.Release, &b.Recipe, &b.RecipePath, &b.Version, &b.PreviousVersion, &b.Number,
		(*string)(&b.Action), &why, &findings, (*string)(&b.State), &tests, &failure, &b.image, &created, &started, &finished, &b.Estimate)
	if err != nil {
		return b, err
	}
	b.Created, b.Started, b.Finished = fromMillis(created), fromMillis(started), fromMillis(finished)
	if b.Why, err = list[string](why); err != nil {
		return b, err
	}
	if b.Findings, err = list[reporter.Finding](findings); err != nil {
		return b, err
	}
	if b.Tests, err = list[reporter.Test](tests); err != nil {
		return b, err
	}
	b.Failure, err = fromJSON[reporter.Failure](failure)
	return b, err
}

// show gives a build its image, under the version that it has here: a candidate's
// image may have gone out later, from another build.
func (b *buildRow) show(image reporter.Image) {
	image.Version, image.Name = b.Version, imageName(b.Recipe, b.Version, b.Number)
	b.Image = &image
}

func list[T any](text string) ([]T, error) {
	l, err := fromJSON[[]T](text)
	if l == nil {
		return nil, err
	}
	return *l, err
}

// Build returns everything about a build: its stages, its image and the last
// release before it, both with their packages.
func (l *Ledger) Build(ctx context.Context, id int64) (reporter.Build, error) {
	b, found, err := one(ctx, l.db, scanBuild, "SELECT "+buildColumns+" FROM builds WHERE id = $1", id)
	if err == nil && !found {
		err = ErrNotFound
	}
	if err == nil {
		err = l.complete(ctx, &b)
	}
	if err != nil {
		return reporter.Build{}, fmt.Errorf("build %d: %w", id, err)
	}
	return b.Build, nil
}

func (l *Ledger) complete(ctx context.Context, b *buildRow) (err error) {
	if b.Stages, err = stagesOf(ctx, l.db, b.ID); err != nil {
		return err
	}
	if b.PreviousImage, err = releaseBefore(ctx, l.db, b.Repository, b.Recipe, b.ID); err != nil {
		return err
	}
	if b.PreviousTests, err = testsBefore(ctx, l.db, b.Repository, b.Recipe, b.ID); err != nil || b.image == "" {
		return err
	}
	image, found, err := one(ctx, l.db, scanImage,
		"SELECT "+imageColumns+", i.recipe, i.version, 0 FROM images AS i WHERE i.id = $1", b.image)
	if found {
		b.show(image)
	}
	return err
}

// Builds lists builds, newest first, without their stages and the packages of
// their images.
func (l *Ledger) Builds(ctx context.Context, f Filter) ([]reporter.Build, error) {
	var w where
	w.add(f.Repository != "", "repository = ", f.Repository)
	w.add(f.Recipe != "", "recipe = ", f.Recipe)
	w.add(f.State != "", "state = ", string(f.State))
	w.add(f.Commit != "", "commit_id = ", f.Commit)
	w.add(f.PullRequest != 0, "pull_request = ", f.PullRequest)
	w.add(f.Before != 0, "id < ", f.Before)
	found, err := collect(ctx, l.db, scanBuild, "SELECT "+buildColumns+" FROM builds"+w.text()+" ORDER BY id DESC"+w.limit(f.Limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	return l.withImages(ctx, found)
}

// withImages adds the images of listed builds with one query.
func (l *Ledger) withImages(ctx context.Context, found []buildRow) ([]reporter.Build, error) {
	var ids where
	for _, b := range found {
		ids.add(b.image != "", "i.id = ", b.image)
	}
	images := make(map[string]reporter.Image)
	if len(ids.args) > 0 {
		list, err := collect(ctx, l.db, scanImage,
			"SELECT "+l.lightColumns()+", i.recipe, i.version, 0 FROM images AS i WHERE "+strings.Join(ids.terms, " OR "), ids.args...)
		if err != nil {
			return nil, fmt.Errorf("images of builds: %w", err)
		}
		for _, i := range list {
			images[i.ID] = i
		}
	}
	builds := make([]reporter.Build, len(found))
	for i := range found {
		b := &found[i]
		if image, ok := images[b.image]; ok {
			b.show(image)
		}
		builds[i] = b.Build
	}
	return builds, nil
}

// PullRequestBuilds returns the commit that a pull request points at and the
// newest build of each recipe there, complete, ordered by recipe. A pull request
// that is gone has the commit of its last builds.
func (l *Ledger) PullRequestBuilds(ctx context.Context, repository string, pullRequest int) (builds []reporter.Build, commit string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("builds of pull request %d of %s: %w", pullRequest, repository, err)
		}
	}()
	commit, found, err := one(ctx, l.db, value[string],
		"SELECT commit_id FROM heads WHERE repository = $1 AND pull_request = $2 ORDER BY moved DESC LIMIT 1", repository, pullRequest)
	if err == nil && !found {
		commit, found, err = one(ctx, l.db, value[string],
			"SELECT commit_id FROM builds WHERE repository = $1 AND pull_request = $2 ORDER BY id DESC LIMIT 1", repository, pullRequest)
	}
	if err != nil || !found {
		return nil, commit, err
	}
	ids, err := collect(ctx, l.db, value[int64],
		"SELECT MAX(id) FROM builds WHERE repository = $1 AND pull_request = $2 AND commit_id = $3 GROUP BY recipe ORDER BY recipe",
		repository, pullRequest, commit)
	if err != nil {
		return nil, commit, err
	}
	for _, id := range ids {
		b, err := l.Build(ctx, id)
		if err != nil {
			return nil, commit, err
		}
		builds = append(builds, b)
	}
	return builds, commit, nil
}

const (
	imageColumns = "i.id, i.repository, i.driver, i.ref, i.size, i.virtual, i.inventory, i.build, i.created, " + publishedColumn

	publishedColumn = "COALESCE((SELECT p.id FROM published AS p WHERE p.image_id = i.id), '')"
)

// lightColumns are imageColumns without the packages.
func (l *Ledger) lightColumns() string {
	return strings.Replace(imageColumns, "i.inventory", l.db.only("os", "i.inventory"), 1)
}

// scanImage reads imageColumns or lightColumns, then recipe, version and number.
func scanImage(s scanner) (reporter.Image, error) {
	var i reporter.Image
	var inventory string
	var created int64
	var number int
	err := s.Scan(&i.ID, &i.Repository, &i.Driver, &i.Ref, &i.Size, &i.Virtual, &inventory, &i.Build, &created, &i.Published, &i.Recipe, &i.Version, &number)
	if err != nil {
		return i, err
	}
	i.Created, i.Name = fromMillis(created), imageName(i.Recipe, i.Version, number)
	installed, err := fromJSON[builder.Inventory](inventory)
	if err != nil || installed == nil {
		return i, err
	}
	i.OS = installed.OS
	for _, p := range installed.Packages {
		i.Packages = append(i.Packages, reporter.Package(p))
	}
	return i, nil
}

// imageName is name/x.y.z/n, or nothing for a candidate.
func imageName(recipe, version string, number int) string {
	if number == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%s/%d", recipe, version, number)
}

// Images lists images, newest first, each under its last release. Packages are
// there when one image is asked for by its ID.
func (l *Ledger) Images(ctx context.Context, f ImageFilter) ([]reporter.Image, error) {
	columns := l.lightColumns()
	if f.ID != "" {
		columns = imageColumns
	}
	var w where
	w.add(f.ID != "", "i.id = ", f.ID)
	w.add(f.Repository != "", "i.repository = ", f.Repository)
	w.add(f.Recipe != "", "i.recipe = ", f.Recipe)
	w.add(f.Before != 0, "i.build < ", f.Before)
	if f.Released {
		w.terms = append(w.terms, "r.number IS NOT NULL")
	}
	images, err := collect(ctx, l.db, scanImage, "SELECT "+columns+`, i.recipe, COALESCE(r.version, i.version), COALESCE(r.number, 0)
		FROM images AS i LEFT JOIN releases AS r ON r.image_id = i.id
			AND r.build = (SELECT MAX(newest.build) FROM releases AS newest WHERE newest.image_id = i.id)`+
		w.text()+" ORDER BY i.build DESC, i.created DESC, i.id"+w.limit(f.Limit), w.args...)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return images, nil
}

// where collects conditions and their arguments.
type where struct {
	terms []string
	args  []any
}

func (w *where) add(wanted bool, term string, arg any) {
	if wanted {
		w.args = append(w.args, arg)
		w.terms = append(w.terms, fmt.Sprintf("%s$%d", term, len(w.args)))
	}
}

func (w *where) text() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

func (w *where) limit(n int) string { return fmt.Sprintf(" LIMIT %d", cmp.Or(max(n, 0), defaultLimit)) }

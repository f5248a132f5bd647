package ledger

import (
	"context"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

// SaveImage records an image that a build made. Saving it again updates what the
// driver says of it; whose build made it stays.
func (l *Ledger) SaveImage(ctx context.Context, build int64, image builder.Image) error {
	err := l.db.inTx(ctx, func(t tx) error { return saveImage(ctx, t, build, image) })
	if err != nil {
		return fmt.Errorf("save image %s of build %d: %w", image.ID, build, err)
	}
	return nil
}

// ByHand stands for the build in what nobody but a command by hand has asked for.
const ByHand = 0

// SaveImageByHand records an image that no build of the ledger made. The first build
// that uses it becomes the one that made it.
func (l *Ledger) SaveImageByHand(ctx context.Context, recipe, version string, image builder.Image) error {
	inventory, err := toJSON(&image.Inventory)
	if err != nil {
		return err
	}
	err = l.db.inTx(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO images (id, build, repository, recipe, version, driver, build_key, ref, digest, size, virtual, revision, inventory, created)
			VALUES ($1, 0, '', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING`,
			image.ID, recipe, version, image.Driver, image.Key, image.Ref, image.Digest, image.Size, image.Virtual, image.Revision, inventory, millis(image.Created))
		return err
	})
	if err != nil {
		return fmt.Errorf("save image %s: %w", image.ID, err)
	}
	return nil
}

// SavePublished records as what an image was published, by that build or ByHand. Of an
// image that was published again, the last time counts.
func (l *Ledger) SavePublished(ctx context.Context, build int64, image string, published builder.Image) error {
	err := l.db.inTx(ctx, func(t tx) error { return savePublished(ctx, t, build, image, published) })
	if err != nil {
		return fmt.Errorf("save that image %s is published as %s: %w", image, published.ID, err)
	}
	return nil
}

func savePublished(ctx context.Context, t tx, build int64, image string, published builder.Image) error {
	_, err := t.exec(ctx, `INSERT INTO published (image_id, id, driver, build, created) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (image_id) DO UPDATE SET id = excluded.id, driver = excluded.driver, build = excluded.build, created = excluded.created`,
		image, published.ID, published.Driver, build, millis(published.Created))
	return err
}

// PublishedAs returns the id under which an image was published, empty when it was not.
func (l *Ledger) PublishedAs(ctx context.Context, image string) (string, error) {
	id, _, err := one(ctx, l.db, value[string], "SELECT id FROM published WHERE image_id = $1", image)
	if err != nil {
		return "", fmt.Errorf("as what image %s is published: %w", image, err)
	}
	return id, nil
}

// PublishedTo returns the id under which an image was published to a driver, empty when
// it was not.
func (l *Ledger) PublishedTo(ctx context.Context, image, driver string) (string, error) {
	id, _, err := one(ctx, l.db, value[string], "SELECT id FROM published WHERE image_id = $1 AND driver = $2", image, driver)
	if err != nil {
		return "", fmt.Errorf("as what image %s is published to %s: %w", image, driver, err)
	}
	return id, nil
}

func saveImage(ctx context.Context, t tx, build int64, image builder.Image) error {
	inventory, err := toJSON(&image.Inventory)
	if err != nil {
		return err
	}
	saved, err := t.exec(ctx, `INSERT INTO images (id, build, repository, recipe, version, driver, build_key, ref, digest, size, virtual, revision, inventory, created)
		SELECT $2, id, repository, recipe, version, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM builds WHERE id = $1
		ON CONFLICT (id) DO UPDATE SET ref = excluded.ref, digest = excluded.digest, size = excluded.size,
			virtual = excluded.virtual, revision = excluded.revision, inventory = excluded.inventory,
			repository = CASE images.build WHEN 0 THEN excluded.repository ELSE images.repository END,
			recipe = CASE images.build WHEN 0 THEN excluded.recipe ELSE images.recipe END,
			version = CASE images.build WHEN 0 THEN excluded.version ELSE images.version END,
			build = CASE images.build WHEN 0 THEN excluded.build ELSE images.build END`,
		build, image.ID, image.Driver, image.Key, image.Ref, image.Digest, image.Size, image.Virtual, image.Revision, inventory, millis(image.Created))
	if err == nil && saved == 0 {
		return ErrNotFound
	}
	return err
}

const driverColumns = "i.id, i.build_key, i.driver, i.ref, i.digest, i.size, i.virtual, i.revision, i.inventory, i.created"

func scanDriverImage(s scanner) (builder.Image, error) {
	var i builder.Image
	var inventory string
	var created int64
	if err := s.Scan(&i.ID, &i.Key, &i.Driver, &i.Ref, &i.Digest, &i.Size, &i.Virtual, &i.Revision, &inventory, &created); err != nil {
		return i, err
	}
	i.Created = fromMillis(created)
	installed, err := fromJSON[builder.Inventory](inventory)
	if installed != nil {
		i.Inventory = *installed
	}
	return i, err
}

// ImageByKey returns the newest image that a driver made under a build key.
func (l *Ledger) ImageByKey(ctx context.Context, driver, key string) (builder.Image, bool, error) {
	image, found, err := one(ctx, l.db, scanDriverImage,
		"SELECT "+driverColumns+" FROM images AS i WHERE i.driver = $1 AND i.build_key = $2 ORDER BY i.build DESC, i.created DESC LIMIT 1", driver, key)
	if err != nil {
		return image, false, fmt.Errorf("image of key %s: %w", key, err)
	}
	return image, found, nil
}

// SaveTests keeps the outcome of tests under their test key.
func (l *Ledger) SaveTests(ctx context.Context, testKey string, tests []reporter.Test) error {
	text, err := toJSON(&tests)
	if err != nil {
		return err
	}
	err = l.db.inTx(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO test_results (test_key, tests, created) VALUES ($1, $2, $3)
			ON CONFLICT (test_key) DO UPDATE SET tests = excluded.tests, created = excluded.created`, testKey, text, now())
		return err
	})
	if err != nil {
		return fmt.Errorf("save tests of key %s: %w", testKey, err)
	}
	return nil
}

// TestsByKey returns the last outcome of tests under a test key.
func (l *Ledger) TestsByKey(ctx context.Context, testKey string) ([]reporter.Test, bool, error) {
	text, found, err := one(ctx, l.db, value[string], "SELECT tests FROM test_results WHERE test_key = $1", testKey)
	if err != nil {
		return nil, false, fmt.Errorf("tests of key %s: %w", testKey, err)
	}
	if !found {
		return nil, false, nil
	}
	tests, err := fromJSON[[]reporter.Test](text)
	if err != nil || tests == nil {
		return nil, found, err
	}
	return *tests, true, nil
}

// Release is an image that went out under a version.
type Release struct {
	Repository string
	Recipe     string
	Version    string
	Number     int // n of name/x.y.z/n
	Build      int64
	Image      builder.Image
}

// Releases calls for the releases of a recipe by its name, whichever repository
// it is in, newest first, limit at most. Whoever has to match a version pattern
// does so with these.
func (l *Ledger) Releases(ctx context.Context, recipe string, limit int) ([]Release, error) {
	releases, err := collect(ctx, l.db, func(s scanner) (Release, error) {
		var r Release
		var err error
		r.Image, err = scanDriverImage(prefixed{s, []any{&r.Repository, &r.Recipe, &r.Version, &r.Number, &r.Build}})
		return r, err
	}, "SELECT r.repository, r.recipe, r.version, r.number, r.build, "+driverColumns+
		" FROM releases AS r JOIN images AS i ON i.id = r.image_id WHERE r.recipe = $1 ORDER BY r.build DESC LIMIT $2", recipe, limit)
	if err != nil {
		return nil, fmt.Errorf("releases of %s: %w", recipe, err)
	}
	return releases, nil
}

// prefixed scans leading columns of its own before those of another scan.
type prefixed struct {
	scanner
	first []any
}

func (p prefixed) Scan(into ...any) error { return p.scanner.Scan(append(p.first, into...)...) }

// Released returns the version of the last release of every recipe of a repository.
func (l *Ledger) Released(ctx context.Context, repository string) (map[string]string, error) {
	type release struct{ recipe, version string }
	found, err := collect(ctx, l.db, func(s scanner) (release, error) {
		var r release
		return r, s.Scan(&r.recipe, &r.version)
	}, `SELECT recipe, version FROM releases WHERE repository = $1
		AND build = (SELECT MAX(newer.build) FROM releases AS newer WHERE newer.repository = releases.repository AND newer.recipe = releases.recipe)`,
		repository)
	if err != nil {
		return nil, fmt.Errorf("releases of %s: %w", repository, err)
	}
	versions := make(map[string]string, len(found))
	for _, r := range found {
		versions[r.recipe] = r.version
	}
	return versions, nil
}

// ReleasedVersion returns the version of the last release of one recipe, empty when
// there is none.
func (l *Ledger) ReleasedVersion(ctx context.Context, repository, recipe string) (string, error) {
	version, _, err := one(ctx, l.db, value[string], "SELECT version FROM releases WHERE repository = $1 AND recipe = $2 ORDER BY build DESC LIMIT 1", repository, recipe)
	if err != nil {
		return "", fmt.Errorf("last release of %s: %w", recipe, err)
	}
	return version, nil
}

// LastRelease returns the last image that a recipe released, or nil.
func (l *Ledger) LastRelease(ctx context.Context, repository, recipe string) (*reporter.Image, error) {
	image, err := releaseBefore(ctx, l.db, repository, recipe, 1<<62)
	if err != nil {
		return nil, fmt.Errorf("last release of %s: %w", recipe, err)
	}
	return image, nil
}

// releaseBefore returns the last image released by a build older than one.
func releaseBefore(ctx context.Context, q querier, repository, recipe string, build int64) (*reporter.Image, error) {
	image, found, err := one(ctx, q, scanImage,
		"SELECT "+imageColumns+", r.recipe, r.version, r.number FROM releases AS r JOIN images AS i ON i.id = r.image_id"+
			" WHERE r.repository = $1 AND r.recipe = $2 AND r.build < $3 ORDER BY r.build DESC LIMIT 1", repository, recipe, build)
	if err != nil || !found {
		return nil, err
	}
	return &image, nil
}

// testsBefore returns the tests of the last release by a build older than one.
func testsBefore(ctx context.Context, q querier, repository, recipe string, build int64) ([]reporter.Test, error) {
	text, found, err := one(ctx, q, value[string],
		"SELECT b.tests FROM releases AS r JOIN builds AS b ON b.id = r.build"+
			" WHERE r.repository = $1 AND r.recipe = $2 AND r.build < $3 ORDER BY r.build DESC LIMIT 1", repository, recipe, build)
	if err != nil || !found {
		return nil, err
	}
	return list[reporter.Test](text)
}

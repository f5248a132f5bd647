package component

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxObjects is how many objects one S3Download of a prefix may fetch, as the
// original has it.
const maxObjects = 1000

// s3Download fetches one object into a file, or all below a prefix into a folder.
// The folder, and the one of a single file, have to be there.
func s3Download(ctx context.Context, c *call) (map[string]string, error) {
	source, err := parseObject(c.text("source"), c.text("expectedBucketOwner"))
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if c.env.Objects == nil {
		return nil, errNoObjects
	}
	destination := c.path("destination")
	if prefix, all := strings.CutSuffix(source.Key, "*"); all && (prefix == "" || strings.HasSuffix(prefix, "/")) {
		source.Key = prefix
		return nil, c.fetchBelow(ctx, source, destination)
	}
	switch info, err := os.Stat(destination); {
	case strings.Contains(source.Key, "*"):
		return nil, fmt.Errorf("source %s: a * can only follow the last /, and stands for all below it", source)
	case source.Key == "" || strings.HasSuffix(source.Key, "/"):
		return nil, fmt.Errorf("source %s names no object; end it in /* for all below it", source)
	case isFolder(destination) || err == nil && info.IsDir():
		return nil, fmt.Errorf("destination %s is a folder; S3Download needs the name of the file, too", destination)
	}
	return nil, c.fetchTo(ctx, source, destination)
}

// fetchBelow fetches every object below a prefix. What was fetched before an
// error stays. The folders between the prefix and an object are made (inferred);
// the destination is not.
func (c *call) fetchBelow(ctx context.Context, prefix Object, destination string) error {
	if err := mustBe(destination, true); err != nil {
		return err
	}
	keys, err := c.env.Objects.List(ctx, prefix, maxObjects+1)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", prefix, err)
	case len(keys) == 0: // an error, as for other sources that match nothing (inferred)
		return fmt.Errorf("there is no object below %s", prefix)
	case len(keys) > maxObjects:
		return fmt.Errorf("there are more than %d objects below %s", maxObjects, prefix)
	}
	for _, key := range keys {
		below := strings.TrimPrefix(key, prefix.Key)
		if below == "" {
			continue // the mark that some tools leave for an empty folder
		}
		target, err := insideFolder(destination, below)
		if err != nil {
			return fmt.Errorf("%s%s: %w", prefix, below, err)
		}
		folder := filepath.Dir(target)
		if strings.HasSuffix(below, "/") {
			folder = target
		}
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return err
		}
		if folder == target {
			continue
		}
		if err := c.fetchTo(ctx, Object{Bucket: prefix.Bucket, Key: key, Owner: prefix.Owner}, target); err != nil {
			return err
		}
	}
	return nil
}

// insideFolder is where an object goes that lies at a path below the prefix. Keys
// are free text and must not lead out of the folder.
func insideFolder(folder, below string) (string, error) {
	local := filepath.FromSlash(strings.TrimSuffix(below, "/"))
	if !filepath.IsLocal(local) {
		return "", errors.New("its key does not make a path inside of the destination")
	}
	return filepath.Join(folder, local), nil
}

func (c *call) fetchTo(ctx context.Context, o Object, target string) error {
	if err := c.replaceable(target); err != nil {
		return err
	}
	if err := c.fetchObject(ctx, o, target); err != nil {
		return err
	}
	c.logs.note("%s: %s", target, o)
	return nil
}

// s3Upload copies a file to an object, files that a pattern matches to a prefix,
// or with recurse a folder to a prefix. What was sent before an error stays.
func s3Upload(ctx context.Context, c *call) (map[string]string, error) {
	destination, err := parseObject(c.text("destination"), c.text("expectedBucketOwner"))
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	if c.env.Objects == nil {
		return nil, errNoObjects
	}
	source := c.path("source")
	paths, wild, err := matches(source)
	if err != nil {
		return nil, err
	}
	if !wild {
		return nil, c.sendPath(ctx, filepath.Clean(source), destination)
	}
	sent := 0
	for _, name := range paths {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if info.IsDir() && !c.bool("recurse") {
			continue
		}
		if err := c.sendTree(ctx, filepath.Dir(name), name, asPrefix(destination)); err != nil {
			return nil, err
		}
		sent++
	}
	if sent == 0 {
		return nil, fmt.Errorf("%s matches no file", source)
	}
	return nil, nil
}

// sendPath sends what a source without a pattern means.
func (c *call) sendPath(ctx context.Context, source string, destination Object) error {
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return err
	case info.IsDir() && !c.bool("recurse"):
		return fmt.Errorf("%s is a folder; set recurse to send what is in it", source)
	case info.IsDir(): // its contents, not the folder itself (inferred)
		return c.sendTree(ctx, source, source, asPrefix(destination))
	case destination.Key == "" || strings.HasSuffix(destination.Key, "/"): // a folder, as for other actions (inferred)
		destination.Key += filepath.Base(source)
	}
	return c.put(ctx, source, destination)
}

// asPrefix: several files go below a destination whether it ends in / or not (inferred).
func asPrefix(o Object) Object {
	if o.Key != "" && !strings.HasSuffix(o.Key, "/") {
		o.Key += "/"
	}
	return o
}

// sendTree sends a file, or a folder with all in it, with its path below root as the
// rest of the key.
func (c *call) sendTree(ctx context.Context, root, name string, destination Object) error {
	return filepath.WalkDir(name, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		below, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			c.warn(c.at, "%s is a link to a folder and was not sent", file)
			return nil
		}
		o := destination
		o.Key = path.Join(o.Key, filepath.ToSlash(below))
		return c.put(ctx, file, o)
	})
}

// put sends one regular file; a link sends what it leads to.
func (c *call) put(ctx context.Context, name string, o Object) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.env.Objects.Put(ctx, o, f); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	c.logs.note("%s: %s", o, name)
	return nil
}

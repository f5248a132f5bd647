package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Revision implements builder.Driver. A file of the repository moves only with a
// commit, and another recipe's image only with a build; neither is asked for here.
func (d *Driver) Revision(ctx context.Context, p recipe.Parent) (string, error) {
	switch p.Kind {
	case recipe.ParentAlias:
		spec, err := d.debian(p)
		if err != nil {
			return "", err
		}
		return disk.Revision(ctx, spec)
	case recipe.ParentURL:
		return p.Checksum, nil
	case recipe.ParentFile:
		if !filepath.IsAbs(p.Name) {
			return "repository:" + p.Name, nil
		}
		file, err := d.hostFile(p)
		if err != nil {
			return "", err
		}
		return stamp(file)
	case recipe.ParentRecipe:
		return p.Name + "/" + p.Version, nil
	}
	return "", unusable(p)
}

// Resolve implements builder.Driver. A parent that is in the cache is used as it is,
// unless p.Refresh asks for a newer one; it is made once, however many builds wait for it.
func (d *Driver) Resolve(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	base, err := d.resolve(ctx, p, log)
	if err != nil {
		return builder.Base{}, atStage(builder.StageResolve, "the parent image "+p.Text+" could not be made ready", err)
	}
	base.Platform = "Linux"
	return base, nil
}

func (d *Driver) resolve(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	switch p.Kind {
	case recipe.ParentAlias:
		return d.resolveAlias(ctx, p, log)
	case recipe.ParentURL:
		return d.resolveURL(ctx, p, log)
	case recipe.ParentFile:
		if filepath.IsAbs(p.Name) {
			return d.resolveHostFile(ctx, p, log)
		}
		return d.resolveTreeFile(ctx, p, log)
	case recipe.ParentRecipe:
		return d.resolveImage(p)
	}
	return builder.Base{}, unusable(p.Parent)
}

// unusable is the answer to a parent that lives elsewhere.
func unusable(p recipe.Parent) error {
	return &builder.Error{
		Fault: builder.Author, Stage: builder.StageResolve,
		Reason: fmt.Sprintf("the local driver can't start from %s", p.Text),
		Hint:   "name debian-12, debian-13, another recipe, or a disk file or URL; for an AMI set infrastructure.driver: ec2",
	}
}

func (d *Driver) debian(p recipe.Parent) (disk.DebianSpec, error) {
	suite, ok := disk.Suite(p.Name)
	if !ok {
		return disk.DebianSpec{}, &builder.Error{
			Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("there is no parent image %q", p.Name),
			Hint:   "the local driver knows debian-12 and debian-13",
		}
	}
	spec := disk.DebianSpec{Suite: suite}
	if d.cfg.Mirror != "" {
		spec.Mirrors = []string{d.cfg.Mirror}
	}
	return spec, nil
}

func (d *Driver) resolveAlias(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	spec, err := d.debian(p.Parent)
	if err != nil {
		return builder.Base{}, err
	}
	c := cached{dir: d.parents(), name: p.Name + "-v" + disk.DebianVersion, log: log}
	return c.get(ctx, source{
		// Asked only when the cache can't answer: it takes a second, and a network.
		revision: func(ctx context.Context) (string, error) { return disk.Revision(ctx, spec) },
		refresh:  p.Refresh,
		make: func(ctx context.Context, out string) (string, error) {
			if err := disk.Debian(ctx, spec, out, log); err != nil {
				return "", err
			}
			return hashFile(ctx, out)
		},
	})
}

func (d *Driver) resolveURL(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	c := cached{dir: d.parents(), name: "url-" + plain(p.Checksum), log: log}
	return c.get(ctx, source{
		revision: known(p.Checksum),
		make: func(ctx context.Context, out string) (string, error) {
			file := out + ".download"
			defer os.Remove(file)
			if err := disk.Download(ctx, disk.DownloadSpec{URL: p.Name, Checksum: p.Checksum, Client: d.cfg.Client}, file, log); err != nil {
				return "", err
			}
			return p.Checksum, d.importDisk(ctx, file, out, log)
		},
	})
}

func (d *Driver) resolveHostFile(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	file, err := d.hostFile(p.Parent)
	if err != nil {
		return builder.Base{}, err
	}
	revision, err := stamp(file)
	if err != nil {
		return builder.Base{}, err
	}
	c := cached{dir: d.parents(), name: "file-" + shortHash(revision), log: log}
	return c.get(ctx, source{
		revision: known(revision),
		make: func(ctx context.Context, out string) (string, error) {
			digest, err := hashFile(ctx, file)
			if err != nil {
				return "", err
			}
			return digest, d.importDisk(ctx, file, out, log)
		},
	})
}

func (d *Driver) resolveTreeFile(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	if p.Tree == nil {
		return builder.Base{}, fmt.Errorf("no repository is given to read %s from", p.Name)
	}
	content, err := p.Tree.Hash(p.Name)
	if err != nil {
		return builder.Base{}, err
	}
	c := cached{dir: d.parents(), name: "tree-" + shortHash(content), log: log}
	return c.get(ctx, source{
		revision: known("repository:" + p.Name),
		make: func(ctx context.Context, out string) (string, error) {
			file := out + ".source"
			defer os.Remove(file)
			digest, err := copyFromTree(ctx, p.Tree, p.Name, file)
			if err != nil {
				return "", err
			}
			return digest, d.importDisk(ctx, file, out, log)
		},
	})
}

// importDisk makes a foreign disk one of ours. Its filesystem is checked here, once,
// because the kernel will mount it.
func (d *Driver) importDisk(ctx context.Context, file, out string, log func(string)) (err error) {
	if err := disk.Import(ctx, disk.ImportSpec{Source: file}, out, log); err != nil {
		return err
	}
	w, err := d.newWorkspace(ctx, "import")
	if err != nil {
		return err
	}
	defer func() { err = w.finish(err) }()
	dir, err := w.folder("mount-1")
	if err != nil {
		return err
	}
	if err := os.Chmod(out, 0o600); err != nil {
		return err
	}
	return mount.Check(ctx, mount.Spec{Disk: out, Dir: dir, Env: w.env()})
}

// resolveImage starts from the top layer of another recipe's image.
func (d *Driver) resolveImage(p builder.ParentSource) (builder.Base, error) {
	if p.Image == nil {
		return builder.Base{}, fmt.Errorf("no image is given for the parent %s", p.Text)
	}
	if p.Image.Driver != Name {
		return builder.Base{}, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("the image of %s was made by driver %s and is not on this host", p.Name, p.Image.Driver),
			Hint:   "build both recipes with the same driver"}
	}
	img, err := d.store.Image(p.Image.Key)
	if err != nil {
		return builder.Base{}, fmt.Errorf("image %s: %w", p.Image.ID, err)
	}
	return builder.Base{Ref: img.Ref, Digest: img.Digest, Revision: img.Digest}, nil
}

// hostFile is the real path of a file that the operator lets recipes start from.
func (d *Driver) hostFile(p recipe.Parent) (string, error) {
	refused := &builder.Error{
		Fault: builder.Author, Stage: builder.StageResolve,
		Reason: fmt.Sprintf("the parent image %s is not in a folder that recipes may take parents from", p.Name),
		Hint:   "put the file into the repository, give an https URL with a checksum, or ask the operator to allow the folder",
	}
	file, err := filepath.EvalSymlinks(p.Name)
	if err != nil {
		return "", refused // also when it does not exist: what is on the host is not for everybody
	}
	for _, dir := range d.cfg.ParentDirs {
		allowed, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(allowed, file); err == nil && filepath.IsLocal(rel) {
			return file, nil
		}
	}
	return "", refused
}

// stamp changes whenever the file is written or replaced.
func stamp(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", file)
	}
	return strings.Join([]string{file, fmt.Sprint(info.Size()), info.ModTime().UTC().Format("2006-01-02T15:04:05.999999999")}, " "), nil
}

// parents is the folder of parents that are ready.
func (d *Driver) parents() string { return filepath.Join(d.cfg.CacheDir, "bases") }

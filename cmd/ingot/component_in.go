package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/reporter"
)

const (
	insideWorkingDir = "/tmp"                     // as in a build
	insideLogs       = "/var/log/ingot-component" // of a machine whose log is wanted
	closeLimit       = time.Minute                // to take a machine down after the run has ended
)

// copier is an instance that hands out folders.
type copier interface {
	CopyOut(ctx context.Context, from, to string) error
}

// throwAway is the machine of one run, made of a parent image.
type throwAway struct {
	*componentRun
	cfg    config.Config
	log    *logrus.Logger
	driver driver
	parent builder.ParentSource
}

// runIn runs a job in a machine of its own, of which nothing is left.
func (r *componentRun) runIn(ctx context.Context, job component.Job) (err error) {
	if job.ID == "" {
		job.ID = newID()
	}
	if slices.Contains(job.Phases, component.PhaseTest) && r.options.isolation == string(recipe.Container) {
		r.live.say("warning: services do not run in a container, which some tests need; --isolation vm boots the image")
	}
	m := &throwAway{componentRun: r}
	if err := m.open(ctx); err != nil {
		return err
	}
	instance, err := m.launch(ctx, job)
	if err != nil {
		return withHint(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if closeErr := instance.Close(ctx); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("the machine could not be taken down completely: %w", closeErr))
		}
	}()
	job.WorkingDir = insideWorkingDir
	if r.options.logDirectory != "" {
		job.LogDir = insideLogs
	}
	result, err := instance.Run(ctx, job, r.live.observe)
	folder, copyErr := "", error(nil)
	if ctx.Err() == nil {
		folder, copyErr = m.copyLogs(ctx, instance, job)
	}
	return r.conclude(ctx, job.ID, folder, result, errors.Join(withHint(err), copyErr))
}

// open finds out what the machine is made of, and where.
func (m *throwAway) open(ctx context.Context) error {
	var err error
	if m.cfg, err = (&globals{config: m.options.ingotConfig}).load(); err != nil {
		return err
	}
	name := m.options.in
	if path := diskPath(name); path != "" {
		if name, err = filepath.Abs(path); err != nil {
			return err
		}
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return fmt.Errorf("--in: %w", err)
		}
		// Whoever runs the command may read the file, or could not name it.
		m.cfg.Local.ParentDirs = append(m.cfg.Local.ParentDirs, filepath.Dir(name))
	}
	if err := asRoot(); err != nil {
		return err
	}
	if m.log, err = newLog(os.Stderr, config.Log{Level: "warn", Format: m.cfg.Log.Format}); err != nil {
		return err
	}
	if m.driver, err = openDriver(m.cfg, m.log); err != nil {
		return err
	}
	if m.parent, err = m.source(ctx, name); err != nil {
		return fmt.Errorf("--in %s: %w", m.options.in, err)
	}
	// There may be no daemon that does this.
	if _, err := m.driver.Sweep(ctx); err != nil {
		return fmt.Errorf("remove what an earlier process left: %w", err)
	}
	return nil
}

// diskPath is the path of what is named like a disk file, or empty.
func diskPath(name string) string {
	if strings.Contains(name, "://") {
		return ""
	}
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		return name
	}
	return ""
}

// source is what the machine is made of: an image of this installation by its id, a
// release of a recipe, or any other parent that a recipe can name.
func (m *throwAway) source(ctx context.Context, name string) (builder.ParentSource, error) {
	if strings.HasPrefix(name, "img-") {
		images, err := m.driver.Images()
		if err != nil {
			return builder.ParentSource{}, err
		}
		for _, img := range images {
			if img.ID == name {
				return builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentRecipe, Name: name, Text: name}, Image: &img}, nil
			}
		}
		return builder.ParentSource{}, fmt.Errorf("there is no such image in %s; `ingot images` lists them", m.cfg.DataDir)
	}
	p, err := recipe.ReadParent(name, recipeOptions())
	if err != nil {
		return builder.ParentSource{}, err
	}
	source := builder.ParentSource{Parent: p}
	if p.Kind == recipe.ParentRecipe {
		source.Image, err = m.release(ctx, p)
	}
	return source, err
}

// release is the newest image of a recipe.
func (m *throwAway) release(ctx context.Context, p recipe.Parent) (img *builder.Image, err error) {
	parts, err := openParts(ctx, m.cfg, m.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, parts.close()) }()
	releases, err := parts.ledger.Releases(ctx, p.Name, 200)
	if err != nil {
		return nil, err
	}
	if img = newestRelease(releases, p.Version); img == nil {
		return nil, errors.New("nothing of that name and version was released here; `ingot images --released` lists what was")
	}
	return img, nil
}

func (m *throwAway) launch(ctx context.Context, job component.Job) (builder.Instance, error) {
	m.live.say("%s: a %s is made of it", m.options.in, machineWord(m.options.isolation))
	base, err := m.driver.Resolve(ctx, m.parent, func(line string) { m.live.printed(time.Now(), line) })
	if err != nil {
		return nil, err
	}
	return m.driver.Launch(ctx, builder.LaunchSpec{
		Build: fmt.Sprintf("component-%d", time.Now().UnixMicro()), Base: base,
		Isolation: recipe.Isolation(m.options.isolation), WorkingDir: insideWorkingDir,
		AWS: job.NeedsAWS(),
	})
}

func machineWord(isolation string) string {
	if isolation == string(recipe.VM) {
		return "virtual machine"
	}
	return "container"
}

// copyLogs brings the run's folder to the host, where it was asked for.
func (m *throwAway) copyLogs(ctx context.Context, instance builder.Instance, job component.Job) (string, error) {
	if job.LogDir == "" {
		return "", nil
	}
	from, ok := instance.(copier)
	if !ok {
		return "", fmt.Errorf("--log-directory: the driver %s cannot bring the log out of its machines", local.Name)
	}
	to, err := filepath.Abs(m.options.logDirectory)
	if err != nil {
		return "", err
	}
	if err := from.CopyOut(ctx, job.LogDir, to); err != nil {
		return "", fmt.Errorf("--log-directory: %w", withHint(err))
	}
	return newestFolder(to, job.ID), nil
}

// withHint adds what an error of the builder advises to do: whoever runs the command is
// the operator as well.
func withHint(err error) error {
	var known *builder.Error
	if err == nil || !errors.As(err, &known) {
		return err
	}
	if known.Hint != "" {
		err = fmt.Errorf("%w; %s", err, reporter.Line(known.Hint, 500))
	}
	return err
}

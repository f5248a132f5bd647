package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/examples"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/reporter/terminal"
)

func demoCommand() *cobra.Command {
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show how a commit becomes a tested image",
		Long: `Makes a sample repository, starts the daemon on it with the embedded defaults, and pushes three commits:
the first becomes an image, the second changes the last component, the third breaks a test.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d := &demo{out: c.OutOrStdout(), options: terminalOptions(c.OutOrStdout())}
			return d.run(c.Context(), once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end after the three commits, with exit code 0 only if each did what it should")
	return c
}

// demo is a daemon on a repository of its own, and somebody who commits to it.
type demo struct {
	out     io.Writer
	options terminal.Options
	cache   string // outlives the demonstration
	dir     string // does not
	repo    *sampleRepository
	daemon  *daemon
}

func (d *demo) run(ctx context.Context, once bool) error {
	user, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	d.cache = filepath.Join(user, "ingot")
	d.dir = filepath.Join(d.cache, "demo")
	// The lock lies beside the folder that is removed while it is held.
	lock, err := lockDir(ctx, d.cache)
	if err != nil {
		return fmt.Errorf("the folder of the demonstration: %w", err)
	}
	return errors.Join(d.runAlone(ctx, once), lock.Release())
}

// runAlone is run in a folder that no other demonstration uses.
func (d *demo) runAlone(ctx context.Context, once bool) (err error) {
	cfg, err := d.config()
	if err != nil {
		return err
	}
	if err := d.clear(ctx, cfg); err != nil {
		return fmt.Errorf("remove what a killed demonstration left in %s: %w", d.dir, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	if d.repo, err = newSampleRepository(d.repositoryDir()); err != nil {
		return err
	}
	logFile, err := os.Create(filepath.Join(d.dir, "daemon.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	log, err := newLog(logFile, cfg.Log)
	if err != nil {
		return err
	}
	if d.daemon, err = openDaemon(ctx, cfg, log); err != nil {
		return err
	}
	return d.whileUp(ctx, func(ctx context.Context) error {
		fmt.Fprintf(d.out, "dashboard   %s\nrepository  %s\ndaemon log  %s\n", cfg.Server.PublicURL, d.repo.dir, logFile.Name())
		passed := d.acts(ctx)
		if once || passed != nil {
			return passed
		}
		fmt.Fprintf(d.out, "\nThe daemon stays up: commit to %s and watch %s. Ctrl-C ends it and removes both.\n", d.repo.dir, cfg.Server.PublicURL)
		<-ctx.Done()
		return nil
	})
}

func (d *demo) repositoryDir() string { return filepath.Join(d.dir, "golden-images") }

// clear empties the folder, in which one that was killed may have left images
// mounted.
func (d *demo) clear(ctx context.Context, cfg config.Config) error {
	log := logrus.New()
	log.SetOutput(io.Discard)
	driver, err := openDriver(cfg, log)
	if err != nil {
		return err
	}
	if _, err := driver.Sweep(ctx); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(cfg.DataDir), os.RemoveAll(d.repositoryDir()))
}

// whileUp runs the daemon around work, and stops it in order.
func (d *demo) whileUp(ctx context.Context, work func(context.Context) error) error {
	daemonCtx, stop := context.WithCancel(ctx)
	defer stop()
	workCtx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	ended := make(chan error, 1)
	go func() {
		err := d.daemon.Run(daemonCtx)
		abandon(fmt.Errorf("the daemon ended: %w", errors.Join(err, context.Canceled)))
		ended <- err
	}()
	err := work(workCtx)
	if err != nil && workCtx.Err() != nil && ctx.Err() == nil {
		err = errors.Join(err, context.Cause(workCtx))
	}
	stop()
	return errors.Join(err, <-ended)
}

// config is the smallest configuration that works, as a user would write it. The
// parent images outlive the demonstration: making one takes half a minute.
func (d *demo) config() (config.Config, error) {
	listen, err := freeAddress("127.0.0.1:8080")
	if err != nil {
		return config.Config{}, err
	}
	text := fmt.Sprintf(`dataDir: %s
cacheDir: %s
server: {listen: %q}
repositories:
  - {name: golden-images, url: %s, paths: [recipes/web], pollInterval: 1s}
`, filepath.Join(d.dir, "data"), d.cache, listen, d.repositoryDir())
	return config.Read(filepath.Join(d.dir, defaultConfig), []byte(text), func(string) string { return "" })
}

// freeAddress is the wanted address, or another one where it is taken.
func freeAddress(wanted string) (string, error) {
	for _, address := range []string{wanted, "127.0.0.1:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String(), nil
	}
	return "", errors.New("no free port on the loopback interface")
}

// act is one commit of the demonstration, and what has to come of it.
type act struct {
	title, message string
	edit           func(*sampleRepository) error
	check          func(reporter.Build) error
}

var acts = []act{
	{
		title:   "1. A commit becomes a tested image",
		message: "Add the web server image",
		edit:    func(r *sampleRepository) error { return r.copy() },
		check: func(b reporter.Build) error {
			return all(inState(b, reporter.Succeeded), hasTests(b), stageIs(b, "build", "site", "succeeded"))
		},
	},
	{
		title:   "2. The last component changes: only that one is built again",
		message: "Greet everybody",
		edit: func(r *sampleRepository) error {
			return r.replace("recipes/web/site.yaml", "<h1>{{ Greeting }}</h1>", "<h1>{{ Greeting }}, everybody</h1>")
		},
		check: func(b reporter.Build) error {
			return all(inState(b, reporter.Succeeded), hasTests(b), stageIs(b, "build", "nginx", "reused"), stageIs(b, "build", "site", "succeeded"))
		},
	},
	{
		title:   "3. A test breaks: nothing is built, and its author sees why",
		message: "Expect another title",
		edit: func(r *sampleRepository) error {
			return r.replace("recipes/web/tests/http.yaml", "<title>ingot sample</title>", "<title>another page</title>")
		},
		check: func(b reporter.Build) error {
			return all(inState(b, reporter.Failed), stageIs(b, "image", "", "reused"), stageIs(b, "test", "http", "failed"))
		},
	},
}

func (d *demo) acts(ctx context.Context) error {
	for _, a := range acts {
		fmt.Fprintf(d.out, "\n%s\n%s\n", a.title, strings.Repeat("─", len(a.title)))
		if err := a.edit(d.repo); err != nil {
			return err
		}
		commit, err := d.repo.commit(a.message)
		if err != nil {
			return err
		}
		pushed := time.Now()
		fmt.Fprintf(d.out, "commit %.10s  %s\n", commit, a.message)
		b, err := d.watch(ctx, commit)
		if err != nil {
			return err
		}
		fmt.Fprint(d.out, terminal.Summary(b, d.options))
		status := reporter.StatusOf(b, d.daemon.cfg.Server.PublicURL, time.Now())
		fmt.Fprintf(d.out, "\nstatus      %s  %s: %s\n            %s\nin all      %s from commit to status\n",
			status.Context, status.State, status.Description, status.URL, reporter.Elapsed(time.Since(pushed)))
		if err := a.check(b); err != nil {
			return fmt.Errorf("%s: %w", a.title, err)
		}
	}
	return nil
}

// watch shows the build of a commit until it has ended.
func (d *demo) watch(ctx context.Context, commit string) (reporter.Build, error) {
	l := d.daemon.parts.ledger
	b, err := waitForBuild(ctx, l, commit)
	if err != nil {
		return b, err
	}
	show := terminal.New(d.out, d.options)
	if err := followStages(ctx, l, b.ID, show); err != nil {
		return b, errors.Join(err, show.Close())
	}
	if err := show.Close(); err != nil {
		return b, err
	}
	return l.Build(ctx, b.ID)
}

// waitForBuild waits until the daemon has noticed a commit.
func waitForBuild(ctx context.Context, l *ledger.Ledger, commit string) (reporter.Build, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		builds, err := l.Builds(ctx, ledger.Filter{Commit: commit, Limit: 1})
		if err != nil {
			return reporter.Build{}, err
		}
		if len(builds) == 1 {
			return builds[0], nil
		}
		select {
		case <-ctx.Done():
			return reporter.Build{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// followStages shows every change of a build's stages.
func followStages(ctx context.Context, l *ledger.Ledger, build int64, show *terminal.Display) error {
	shown := make(map[string]reporter.Stage)
	for progress, err := range l.Follow(ctx, build, 0) {
		if err != nil {
			return err
		}
		for _, s := range progress.Stages {
			key := s.Stage + "\x00" + s.Name
			was, known := shown[key]
			if known && was.State == s.State && was.Step == s.Step {
				continue
			}
			shown[key] = s
			if !known && s.State != string(terminal.Reused) && s.State != string(terminal.Started) {
				show.Update(terminal.Update{Kind: terminal.Started, Stage: s.Stage, Name: s.Name})
			}
			show.Update(stageUpdate(s))
		}
	}
	return ctx.Err()
}

func stageUpdate(s reporter.Stage) terminal.Update {
	u := terminal.Update{Kind: terminal.Kind(s.State), Stage: s.Stage, Name: s.Name, Text: s.Text}
	if s.Finished.IsZero() {
		u.Step = s.Step
	} else if !s.Started.IsZero() {
		u.Elapsed = s.Finished.Sub(s.Started)
	}
	return u
}

// The checks say what an act should have shown.

func all(errs ...error) error { return errors.Join(errs...) }

func inState(b reporter.Build, want reporter.State) error {
	if b.State != want {
		return fmt.Errorf("build %d is %s, not %s", b.ID, b.State, want)
	}
	return nil
}

func hasTests(b reporter.Build) error {
	if len(b.Tests) == 0 {
		return fmt.Errorf("build %d has run no test", b.ID)
	}
	return nil
}

func stageIs(b reporter.Build, stage, name, want string) error {
	for _, s := range b.Stages {
		if s.Stage == stage && s.Name == name {
			if s.State != want {
				return fmt.Errorf("%s %s is %s, not %s", stage, name, s.State, want)
			}
			return nil
		}
	}
	return fmt.Errorf("%s %s is missing, it should be %s", stage, name, want)
}

// sampleRepository is a Git repository that is made from the examples.
type sampleRepository struct {
	dir  string
	repo *git.Repository
}

func newSampleRepository(dir string) (*sampleRepository, error) {
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{
		InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName("main")},
	})
	return &sampleRepository{dir: dir, repo: repo}, err
}

// copy writes all examples into the working tree.
func (r *sampleRepository) copy() error { return os.CopyFS(r.dir, examples.Recipes()) }

// replace changes a text that is in a file.
func (r *sampleRepository) replace(path, old, now string) error {
	file := filepath.Join(r.dir, path)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), old) {
		return fmt.Errorf("%s does not say %q", path, old)
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, now)), 0o644)
}

// commit commits the whole working tree and returns the commit's name.
func (r *sampleRepository) commit(message string) (string, error) {
	tree, err := r.repo.Worktree()
	if err != nil {
		return "", err
	}
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return "", err
	}
	hash, err := tree.Commit(message, &git.CommitOptions{
		Author: &object.Signature{Name: "Demo", Email: "demo@example.com", When: time.Now()},
	})
	return hash.String(), err
}

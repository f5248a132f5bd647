package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/gallery"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter/terminal"
)

// globals are the flags of every command.
type globals struct{ config string }

// defaultConfig is what a command finds without -c.
const defaultConfig = "ingot.yaml"

// load reads the configuration. Commands by hand work without one.
func (o *globals) load() (config.Config, error) {
	path := o.config
	if path == "" {
		path = defaultConfig
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			defaults := []byte("repositories: []\n")
			return config.Read(filepath.Join(stateHome(), defaultConfig), defaults, os.Getenv)
		}
	}
	return config.Load(path, os.Getenv)
}

// stateHome is where commands by hand keep their state when no configuration says.
func stateHome() string {
	if os.Geteuid() == 0 {
		return "/var/lib/ingot"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "ingot")
	}
	return filepath.Join(os.Getenv("HOME"), ".local/share/ingot")
}

// open connects what commands by hand need.
func (o *globals) open(ctx context.Context) (*parts, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	log, err := newLog(os.Stderr, config.Log{Level: "warn", Format: cfg.Log.Format})
	if err != nil {
		return nil, err
	}
	return openParts(ctx, cfg, log)
}

// asRoot is asked before anything is built.
func asRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("images are built as root: disks are mounted and containers started; `ingot doctor` says what this host can do")
	}
	return nil
}

// driver is where images are made.
type driver interface {
	builder.Driver
	Images() ([]builder.Image, error)
	// Warm does ahead what the first build would wait for.
	Warm(ctx context.Context) error
	// Prune removes layers that no image needs and no build uses.
	Prune(ctx context.Context, keep store.Keep) (keys []string, err error)
}

// parts are the ledger and the drivers, which almost every command needs.
type parts struct {
	ledger *ledger.Ledger
	driver driver
	cloud  *cloud // nil: not configured

	keep config.Builds // of which instances of failed builds are kept, and how long
}

func openDriver(cfg config.Config, log logrus.FieldLogger) (driver, error) {
	agent, err := agentPath()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	made, err := local.New(local.Config{
		Dir: filepath.Join(cfg.DataDir, local.Name), CacheDir: cfg.CacheDir, AgentPath: agent, AWSAgent: beside(agent, "ingot-agent-aws"),
		Mirror: cfg.Local.Mirror, ParentDirs: cfg.Local.ParentDirs,
		MemoryMiB: cfg.Local.MemoryMiB, CPUs: cfg.Local.CPUs, Accelerator: accelerator(cfg.Local.Accelerator),
		Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("local driver: %w", err)
	}
	return made, nil
}

func openParts(ctx context.Context, cfg config.Config, log logrus.FieldLogger) (*parts, error) {
	made, err := openDriver(cfg, log)
	if err != nil {
		return nil, err
	}
	id, err := workerID(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(ctx, ledger.Options{URL: cfg.Database.Reveal(), Log: log, WorkerID: id})
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	far, err := openCloudOf(ctx, cfg, l, log)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &parts{ledger: l, driver: made, cloud: far, keep: cfg.Builds}, nil
}

// openCloudOf is openCloud for the builds of a ledger that is open.
func openCloudOf(ctx context.Context, cfg config.Config, l *ledger.Ledger, log logrus.FieldLogger) (*cloud, error) {
	id, err := l.ID(ctx)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return openCloud(ctx, cfg, id, log)
}

func (p *parts) close() error {
	p.cloud.close()
	return p.ledger.Close()
}

// accelerator puts the configuration's word into the driver's.
func accelerator(word string) string {
	if word == "auto" {
		return ""
	}
	return word
}

// agentPath finds the agent, which is installed beside this program.
func agentPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "ingot-agent")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the agent has to be installed beside ingot: %w", err)
	}
	return path, nil
}

// beside is the path of another program in the same folder, or empty where it is
// not installed.
func beside(program, name string) string {
	path := filepath.Join(filepath.Dir(program), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// workerID names this data folder for ever: a restarted daemon finds by it what
// it was doing.
func workerID(dir string) (string, error) {
	path := filepath.Join(dir, "worker-id")
	known, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(known)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	random, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(random))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return workerID(dir) // another process was first
	}
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(id + "\n")
	return id, errors.Join(err, f.Sync(), f.Close())
}

// takeover is how long a daemon waits for the one before it: one that was killed while
// it started a program leaves its lock to that for a moment.
const takeover = 2 * time.Second

// lockDir keeps a second daemon out of a data folder.
func lockDir(ctx context.Context, dir string) (*store.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, takeover, fmt.Errorf("another daemon uses %s; give each its own dataDir", dir))
	defer cancel()
	lock, err := store.Acquire(limited, filepath.Join(dir, "daemon.lock"))
	if err != nil && limited.Err() == nil {
		return nil, fmt.Errorf("dataDir: %w", err)
	}
	return lock, err
}

// recipeOptions are what recipes may refer to, with this program.
func recipeOptions() recipe.Options {
	return recipe.Options{Gallery: gallery.New(), Aliases: parentAliases()}
}

// recipeOptionsOf add what a configuration says.
func recipeOptionsOf(cfg config.Config) recipe.Options {
	options := recipeOptions()
	if cfg.AWS.Region != "" {
		options.Regions = []string{cfg.AWS.Region}
		options.Infrastructures = slices.Sorted(maps.Keys(cfg.AWS.Infrastructures))
	}
	return options
}

// recipeOptions are those of the configuration that was named. What is checked by hand
// needs none, and may be meant for a daemon on another machine.
func (o *globals) recipeOptions() (recipe.Options, error) {
	if o.config == "" {
		return recipeOptions(), nil
	}
	cfg, err := o.load()
	return recipeOptionsOf(cfg), err
}

func sortedRecipes(set *recipe.Set) []*recipe.Recipe {
	out := make([]*recipe.Recipe, 0, len(set.Recipes))
	for _, name := range slices.Sorted(maps.Keys(set.Recipes)) {
		out = append(out, set.Recipes[name])
	}
	return out
}

func newLog(w io.Writer, c config.Log) (*logrus.Logger, error) {
	log := logrus.New()
	log.SetOutput(w)
	level, err := logrus.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	log.SetLevel(level)
	if c.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	}
	return log, nil
}

// terminalOptions looks at what is written to: a person or a file.
func terminalOptions(w io.Writer) terminal.Options {
	if r, ok := w.(reader); ok {
		return terminal.Detect(r.File, os.Getenv)
	}
	return terminal.Options{}
}

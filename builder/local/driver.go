// Package local is the driver that builds on this machine, without any account:
// images are chains of qcow2 overlays with a layer per component, components run
// natively in a container over the mounted disk or in a booted guest, and tests
// always in a booted guest of the finished image.
//
// Its parts are packages of their own: store keeps layers and images, mount attaches
// a disk, container and guest run the agent, disk makes and imports parents. This
// one ties them to the builder.Driver contract, gives every instance a workspace
// to make things in, keeps those of failed builds for a while where that is asked
// for, and sweeps up the workspaces of processes that died.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// Name is what recipes call this driver.
const Name = "local"

// Config is what the driver needs to know.
type Config struct {
	Dir        string   // state: layers, images, workspaces
	CacheDir   string   // parents that were made or downloaded; may be removed when no layer is left
	AgentPath  string   // the agent, a static program for Linux
	AWSAgent   string   // the agent that reaches AWS; empty: documents that need it find out
	Mirror     string   // where Debian parents are made from, as mmdebstrap takes it; empty: its default
	ParentDirs []string // folders of the host from which recipes may take parents by absolute path

	MemoryMiB   int    // of a guest; 0: 1024
	CPUs        int    // of a guest; 0: 2
	Accelerator string // of guests: kvm or tcg; empty: what a probe finds

	Client *http.Client       // fetches parents by https; nil: http.DefaultClient
	Log    logrus.FieldLogger // nil: nothing is logged
}

// Driver builds on this machine. Any number of goroutines may use it, and any
// number of processes the same folders.
type Driver struct {
	cfg   Config
	log   logrus.FieldLogger
	store *store.Store
	accel accelOnce
}

var _ builder.Driver = (*Driver)(nil)

// New opens the state folders, making what is missing. It removes nothing: call
// Sweep before work is taken.
func New(cfg Config) (*Driver, error) {
	for name, value := range map[string]string{"Dir": cfg.Dir, "CacheDir": cfg.CacheDir, "AgentPath": cfg.AgentPath} {
		if value == "" {
			return nil, fmt.Errorf("the local driver needs %s", name)
		}
	}
	var err error
	for _, path := range []*string{&cfg.CacheDir, &cfg.AgentPath} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if err := checkAgent(cfg.AgentPath); err != nil {
		return nil, err
	}
	if cfg.AWSAgent != "" {
		if cfg.AWSAgent, err = filepath.Abs(cfg.AWSAgent); err != nil {
			return nil, err
		}
		if err := checkAgent(cfg.AWSAgent); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.CacheDir, 0o700); err != nil {
		return nil, err
	}
	s, err := store.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		log = quiet
	}
	return &Driver{cfg: cfg, log: log, store: s}, nil
}

// checkAgent finds out at the start what would otherwise fail every build.
func checkAgent(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the agent that runs components: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("the agent %s is not an executable file", path)
	}
	return nil
}

// agent is the program for documents that need AWS, or do not. The larger one
// travels only where it has to.
func (d *Driver) agent(aws bool) string {
	if aws && d.cfg.AWSAgent != "" {
		return d.cfg.AWSAgent
	}
	return d.cfg.AgentPath
}

// Name implements builder.Driver.
func (d *Driver) Name() string { return Name }

// Image implements builder.Driver.
func (d *Driver) Image(_ context.Context, key string) (builder.Image, bool, error) {
	img, err := d.store.Image(key)
	if errors.Is(err, store.ErrNotFound) {
		return builder.Image{}, false, nil
	}
	return img, err == nil, err
}

// Images lists every image that is kept.
func (d *Driver) Images() ([]builder.Image, error) { return d.store.Images() }

// RemoveImage forgets an image; its disk goes with the next Prune, unless something
// is built on it.
func (d *Driver) RemoveImage(key string) error { return d.store.RemoveImage(key) }

// Prune removes layers that no image needs and no build uses, as far as keep asks
// for it, and returns their keys.
func (d *Driver) Prune(ctx context.Context, keep store.Keep) ([]string, error) {
	return d.store.Prune(ctx, keep)
}

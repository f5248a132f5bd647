package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/reporter/dashboard"
	"github.com/seed-6db18919/ingot/watcher"
	"github.com/seed-6db18919/ingot/watcher/calendar"
	"github.com/seed-6db18919/ingot/watcher/github"
)

func daemonCommand(o *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "Watch repositories, build what changes, report",
		Long: `Watches the configured repositories until it is told to stop. SIGTERM or SIGINT: no more work is
taken, reports go out, running builds go back to the queue. A second signal ends the process at once; what it
leaves behind is found by the next start.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if len(cfg.Repositories) == 0 {
				return errors.New("no repositories are configured, so there is nothing to watch: name a configuration with -c, or write ingot.yaml")
			}
			log, err := newLog(c.ErrOrStderr(), cfg.Log)
			if err != nil {
				return err
			}
			d, err := openDaemon(c.Context(), cfg, log)
			if err != nil {
				return err
			}
			return d.Run(c.Context())
		},
	}
}

// daemon is everything that runs until it is told to stop.
type daemon struct {
	cfg      config.Config
	log      *logrus.Logger
	parts    *parts
	lock     *store.Lock
	hosts    hosts
	desks    map[string]*desk
	group    *watcher.Group
	calendar *calendar.Loop
	metrics  *metrics
	listener net.Listener
}

// openDaemon connects everything that a configuration asks for; nothing runs yet.
func openDaemon(ctx context.Context, cfg config.Config, log *logrus.Logger) (*daemon, error) {
	if err := asRoot(); err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	p, err := openParts(ctx, cfg, log)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	h, err := newHosts(cfg)
	if err != nil {
		return nil, errors.Join(err, p.close(), lock.Release())
	}
	return newDaemon(cfg, log, lock, p, h)
}

// newDaemon puts a daemon together, which takes possession of what it is given.
// Close gives it back when Run is never called.
func newDaemon(cfg config.Config, log *logrus.Logger, lock *store.Lock, p *parts, h hosts) (*daemon, error) {
	d := &daemon{cfg: cfg, log: log, lock: lock, parts: p, hosts: h, desks: make(map[string]*desk), metrics: newMetrics(p.ledger)}
	d.calendar = calendar.NewLoop(calendar.LoopConfig{Entries: d.calendarEntries, Fire: d.fire, Log: log.WithField("part", "calendar")})
	err := d.watch()
	if err == nil {
		if d.listener, err = net.Listen("tcp", cfg.Server.Listen); err != nil {
			err = fmt.Errorf("server.listen: %w", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close gives back what newDaemon took.
func (d *daemon) Close() error {
	var errs []error
	if d.listener != nil {
		if err := d.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, d.parts.close(), d.lock.Release())...)
}

// watch makes a watcher and a desk for every repository.
func (d *daemon) watch() error {
	transport := watcher.NewTransport()
	var watchers []*watcher.Watcher
	for _, r := range d.cfg.Repositories {
		log := d.log.WithField("repo", r.Name)
		options := recipeOptionsOf(d.cfg)
		options.Paths, options.ParentDirs = r.Paths, d.cfg.Local.ParentDirs
		k := &desk{
			name: r.Name, codeHost: r.GitHub, branch: "refs/heads/" + r.Branch, options: options,
			ledger: d.parts.ledger, changed: d.calendar.Changed, estimates: newEstimator(d.cfg.AWS, d.parts.ledger), keep: d.cfg.Builds, log: log,
		}
		wc := watcher.Config{
			Name: r.Name, URL: r.URL, Branch: r.Branch, Interval: r.PollInterval,
			Auth:      d.hosts.auth(r),
			MirrorDir: filepath.Join(d.cfg.DataDir, "mirrors"),
			Known:     func(ctx context.Context) (map[string]string, error) { return d.parts.ledger.Heads(ctx, r.Name) },
			Accept:    k.accept,
			Transport: transport,
			Log:       log,
		}
		if r.GitHub != "" && r.PullRequests.Enabled && d.hosts.read != nil {
			repository, err := d.hosts.read.Repository(r.GitHub, r.Branch)
			if err != nil {
				return err
			}
			wc.PullRequests = repository
			if r.PullRequests.Forks == "approval" {
				k.approvals = repository
			}
		}
		w, err := watcher.New(wc)
		if err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		k.mirror = w.Mirror()
		d.desks[r.Name] = k
		watchers = append(watchers, w)
	}
	var err error
	d.group, err = watcher.NewGroup(watcher.GroupConfig{Watchers: watchers, Observe: d.observe, Log: d.log})
	return err
}

// observe remembers how a look at a repository went, for the dashboard.
func (d *daemon) observe(o watcher.Observation) {
	d.metrics.polled(o)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.parts.ledger.NotePoll(ctx, o.Repository, o.Err); err != nil {
		d.log.WithError(err).WithField("repo", o.Repository).Warn("the outcome of a poll could not be noted")
	}
}

// Run works until ctx ends, and stops in order: first what brings new work, then
// the work itself and its reports, last the pages that show it.
func (d *daemon) Run(ctx context.Context) error {
	defer d.Close()
	removed, err := d.parts.driver.Sweep(ctx)
	if err != nil {
		return fmt.Errorf("remove what earlier builds left: %w", err)
	}
	if len(removed) > 0 {
		d.log.WithField("removed", len(removed)).Warn("an earlier process left things behind; they are removed")
	}
	pagesCtx, stopPages := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPages()
	served := make(chan error, 1)
	go func() { served <- d.serve(pagesCtx) }()

	err = d.work(ctx)
	stopPages()
	return errors.Join(err, <-served)
}

// work runs everything but the pages.
func (d *daemon) work(ctx context.Context) error {
	if err := d.parts.ledger.Start(ctx, d.workers()); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it began
		}
		return err
	}
	d.log.WithFields(logrus.Fields{"listen": d.listener.Addr().String(), "repositories": len(d.desks), "version": version}).Info("ingot is up")
	err := supervise(ctx,
		service{"watcher", d.group.Run},
		service{"calendar", d.calendar.Run},
		service{"approvals", d.watchApprovals},
		service{"house", d.keepHouse},
	)
	d.log.Info("stopping: running builds go back to the queue, reports go out")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, d.parts.ledger.Stop(stopCtx))
}

// stopTimeout bounds how long the daemon takes to stop: builds give their
// instances back, and reports go out.
const stopTimeout = time.Minute

func (d *daemon) workers() ledger.Workers {
	shop := &workshop{
		desks: d.desks, ledger: d.parts.ledger, parts: d.parts,
		limit: d.cfg.Builds.Timeout, log: d.log,
	}
	post := &messenger{ledger: d.parts.ledger, host: d.hosts.write, publicURL: d.cfg.Server.PublicURL}
	return ledger.Workers{Build: shop.build, Report: post.deliver, MaxBuilds: d.cfg.Builds.Workers}
}

// keepHouse does ahead what the first build would wait for, then removes now and
// then what crashed processes left on this host, and layers that nobody needs.
func (d *daemon) keepHouse(ctx context.Context) error {
	if err := d.parts.driver.Warm(ctx); err != nil && ctx.Err() == nil {
		d.log.WithError(err).Warn("how guests run on this host could not be found out")
	}
	sweep, prune := time.NewTicker(5*time.Minute), time.NewTicker(6*time.Hour)
	defer sweep.Stop()
	defer prune.Stop()
	for {
		var removed []string
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			removed, err = d.sweep(ctx)
		case <-prune.C:
			removed, err = d.parts.driver.Prune(ctx, store.Keep{Age: layerAge})
		}
		switch {
		case err != nil:
			d.log.WithError(err).Warn("what is not needed any more could not be removed")
		case len(removed) > 0:
			d.log.WithField("removed", len(removed)).Info("removed what is not needed any more")
		}
	}
}

// sweep removes what builds that have ended left on this host, and in the account.
func (d *daemon) sweep(ctx context.Context) ([]string, error) {
	removed, err := d.parts.driver.Sweep(ctx)
	if d.parts.cloud == nil {
		return removed, err
	}
	left, farErr := d.parts.cloud.leftovers(ctx, d.parts.ledger)
	if farErr == nil {
		left, farErr = d.parts.cloud.driver.Reap(ctx, left)
	}
	for _, l := range left {
		removed = append(removed, l.ID)
	}
	return removed, errors.Join(err, farErr)
}

// layerAge is how long a layer is kept that no image is made of: the build after a
// failed one wants it.
const layerAge = 14 * 24 * time.Hour

// serve answers the dashboard, health checks, metrics and webhooks until ctx ends.
func (d *daemon) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/", dashboard.Handler(dashboard.Config{
		Source:      &pages{ledger: d.parts.ledger, repositories: d.configured()},
		Ready:       d.parts.ledger.Ping,
		Metrics:     d.metrics.handler(),
		PublicURL:   d.cfg.Server.PublicURL,
		CodeHostURL: d.hosts.webURL,
		Version:     version,
		Log:         d.log.WithField("part", "dashboard"),
	}))
	if secret := d.cfg.GitHub.WebhookSecret.Reveal(); secret != "" {
		hook, err := github.Handler([]byte(secret), d.nudge)
		if err != nil {
			return err
		}
		mux.Handle("POST /webhooks/github", hook)
	}
	server := &http.Server{
		Handler:           mux,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err := server.Shutdown(down)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close() // a client that dawdles is not waited for
		}
		closed <- err
	})
	defer stop()
	if err := server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server: %w", err)
	}
	return <-closed
}

// configured lists the repositories as people see them.
func (d *daemon) configured() []reporter.Repository {
	out := make([]reporter.Repository, len(d.cfg.Repositories))
	for i, r := range d.cfg.Repositories {
		out[i] = reporter.Repository{Name: r.Name, URL: r.URL, CodeHost: r.GitHub, Branch: r.Branch}
	}
	return out
}

// nudge has the repositories of a code-host name looked at now.
func (d *daemon) nudge(codeHost string) {
	for name, k := range d.desks {
		if k.codeHost == codeHost {
			d.group.Nudge(name)
		}
	}
}

// service is something that runs until its context ends.
type service struct {
	name string
	run  func(context.Context) error
}

// supervise runs every service and returns when all have returned. The first to
// fail, or the end of ctx, stops the rest.
func supervise(ctx context.Context, services ...service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, len(services))
	for i, s := range services {
		wg.Go(func() {
			if err := s.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
				stop()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

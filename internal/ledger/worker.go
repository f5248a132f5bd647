package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/reporter"
)

const (
	queueBuilds  = "builds"
	queueReports = "reports"

	// fetchCooldown bounds how often a queue is asked for jobs, and with it the
	// latency of one that has just been queued.
	fetchCooldown = 5 * time.Millisecond
	// fetchPoll finds what a notification did not tell of: one that came within the
	// cooldown of another, or while the connection was down.
	fetchPoll = 250 * time.Millisecond

	maxReports = 4

	// reportTimeout ends a delivery that hangs. stuckReport is when River gives the
	// report of a daemon that died to another one; both leave a code host ample time.
	reportTimeout = 2 * time.Minute
	stuckReport   = 3 * time.Minute

	// rescueEvery is how often the builds of dead daemons are looked for.
	rescueEvery = 15 * time.Second
	// watchEvery is how soon a cancellation asked for in another process is noticed.
	watchEvery = time.Second
)

// Workers is what the daemon does with what the ledger holds. MaxBuilds is how
// many builds run here at the same time; at least 1.
type Workers struct {
	// Build runs a build. Its context ends with ErrStopping, ErrCancelled or ErrLost
	// as cause, and Build then returns soon, with an error. An error that is
	// builder.Transient is tried again, up to three times.
	Build func(ctx context.Context, b reporter.Build) (Outcome, error)

	// Report tells the code host what the ledger says now. externalID, where it is
	// not empty, is kept and comes back with the next delivery. An error with
	// RetryAfter() time.Duration is tried again after that time, one with
	// Permanent() bool is not, and every other one is, for ever.
	Report func(ctx context.Context, r Report) (externalID string, err error)

	MaxBuilds int
}

// worker is what exists between Start and Stop.
type worker struct {
	l       *Ledger
	do      Workers
	client  workers
	release func() error // of the lock on the worker's id
	watch   context.CancelFunc
	watched sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	running  map[int64]*running
}

// running is a build that this process runs.
type running struct {
	run    int64
	cancel context.CancelCauseFunc
	seen   time.Time // when its lease was last renewed
}

// Start takes up work until Stop. What this worker was doing when it died, if it
// did, goes back to the queue first. ctx bounds the start alone, except that its
// values reach the functions in Workers.
func (l *Ledger) Start(ctx context.Context, do Workers) error {
	if l.options.WorkerID == "" {
		return errors.New("start the ledger: no worker id")
	}
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	if l.worker.Load() != nil {
		return errors.New("start the ledger: it runs already")
	}
	release, err := l.lockID(ctx)
	if err != nil {
		return err
	}
	w := &worker{l: l, do: do, release: release, running: make(map[int64]*running)}
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("start the ledger: %w", errors.Join(err, release()))
	}
	l.worker.Store(w)
	return nil
}

// lockID sees to it that no two processes work under one name: each would take
// the other's builds for its own that it had left behind. The wait is for a
// predecessor whose death the database has yet to notice.
func (l *Ledger) lockID(ctx context.Context) (func() error, error) {
	waiting, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	release, err := l.db.lock(waiting, "worker "+l.options.WorkerID)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, fmt.Errorf("worker id %q is in use by another process: give each daemon its own", l.options.WorkerID)
	}
	return release, err
}

func (w *worker) start(ctx context.Context) error {
	if err := w.recover(ctx); err != nil {
		return err
	}
	bundle := river.NewWorkers()
	river.AddWorker(bundle, &buildWorker{w: w})
	river.AddWorker(bundle, &reportWorker{w: w})
	river.AddWorker(bundle, &rescueWorker{w: w})
	client, err := w.l.db.workers(&river.Config{
		ID:                   w.l.options.WorkerID,
		Logger:               riverLog(w.l.log.WithField("worker", w.l.options.WorkerID)),
		Workers:              bundle,
		FetchCooldown:        fetchCooldown,
		FetchPollInterval:    fetchPoll,
		JobTimeout:           reportTimeout,
		RescueStuckJobsAfter: stuckReport,
		SoftStopTimeout:      w.l.options.Drain, // then a delivery that hangs is cancelled
		// What a job did is in our own tables; its row is only worth a look while fresh.
		CompletedJobRetentionPeriod: time.Hour,
		Queues: map[string]river.QueueConfig{
			queueReports: {MaxWorkers: maxReports},
		},
		PeriodicJobs: []*river.PeriodicJob{river.NewPeriodicJob(
			river.PeriodicInterval(min(rescueEvery, w.l.options.Lease)),
			func() (river.JobArgs, *river.InsertOpts) { return rescueArgs{}, rescueOpts() },
			&river.PeriodicJobOpts{ID: "rescue"},
		)},
	})
	if err != nil {
		return err
	}
	// River would end its work with ctx, which may be a start-up's; Stop ends it here.
	lasting := context.WithoutCancel(ctx)
	watching, stop := context.WithCancel(lasting)
	err = client.Start(lasting)
	if err == nil {
		// Stop removes this queue before the other, and a queue that was there at
		// Start must not go before River has come up, which it does in its own time.
		err = client.Queues().Add(queueBuilds, river.QueueConfig{MaxWorkers: max(w.do.MaxBuilds, 1)})
	}
	if err != nil {
		stop()
		return errors.Join(err, client.StopAndCancel(ctx))
	}
	w.client, w.watch = client, stop
	w.watched.Go(func() { w.keepWatch(watching) })
	return nil
}

// Stop takes no more work, interrupts running builds with ErrStopping and puts
// them back into the queue, lets reports go out for Options.Drain at most, and
// returns when nothing of this ledger runs any more. When ctx ends before that,
// what still runs is cancelled and Stop returns its error; the jobs left behind
// are found by the next start. Stop without Start does nothing.
func (l *Ledger) Stop(ctx context.Context) error {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	w := l.worker.Load()
	if w == nil {
		return nil
	}
	defer l.worker.Store(nil)
	return w.stop(ctx)
}

func (w *worker) stop(ctx context.Context) error {
	w.interruptAll(ErrStopping)
	err := w.client.Queues().Remove(ctx, queueBuilds)
	if err == nil {
		w.drain(ctx)
		err = w.client.Stop(ctx)
	}
	if err != nil {
		// The caller's patience is over; a moment more lets cancelled work let go.
		last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		err = errors.Join(err, w.client.StopAndCancel(last))
	}
	w.watch()
	w.watched.Wait()
	if err != nil {
		// Work that does not listen may still run: its name stays taken until the
		// process ends, or the next one would take it for dead.
		return fmt.Errorf("stop the ledger: %w", err)
	}
	return w.release()
}

// drain waits until no report is due. Those that wait for a code host to come
// back do so in the database as well.
func (w *worker) drain(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, w.l.options.Drain)
	defer done()
	// The deliveries of other daemons count too, so only the table can be asked.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		due, err := value[int](w.l.db.row(ctx, "SELECT COUNT(*) FROM reports WHERE wanted > sent AND next_at <= $1", now()))
		if err != nil || due == 0 {
			return // an error is the end of ctx, or one that the queue meets as well and says
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// begin registers a build that starts here. Its context ends early when the
// worker is stopping already.
func (w *worker) begin(ctx context.Context, id, run int64) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[id] = &running{run: run, cancel: cancel, seen: time.Now()}
	if w.stopping {
		cancel(ErrStopping)
	}
	return ctx, cancel
}

func (w *worker) done(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, id)
}

func (w *worker) interruptAll(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
	for _, r := range w.running {
		r.cancel(cause)
	}
}

// interrupt saves the watch a round when the build is one of ours.
func (l *Ledger) interrupt(build int64) {
	w := l.worker.Load()
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.running[build]; r != nil {
		r.cancel(ErrCancelled)
	}
}

// keepWatch renews the leases of the builds that run here and looks whether
// somebody wants them cancelled. The row is the only messenger that both
// databases have and that no lost connection can lose.
func (w *worker) keepWatch(ctx context.Context) {
	tick := time.NewTicker(min(watchEvery, w.l.options.Lease/6))
	defer tick.Stop()
	var renewed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		renew := time.Since(renewed) >= w.l.options.Lease/6
		if err := w.look(ctx, renew); err != nil && ctx.Err() == nil {
			w.l.log.WithError(err).Warn("cannot renew the leases of running builds")
		} else if renew {
			renewed = time.Now()
		}
		w.giveUpLapsed()
	}
}

// held is a build as the database sees it.
type held struct {
	id, run int64
	cancel  bool
}

func scanHeld(s scanner) (held, error) {
	var h held
	return h, s.Scan(&h.id, &h.run, &h.cancel)
}

// look does one round of the watch.
func (w *worker) look(ctx context.Context, renew bool) error {
	mine := w.runs()
	if len(mine) == 0 {
		return nil
	}
	before := time.Now()
	var found []held
	var err error
	if renew {
		found, err = w.renew(ctx)
	} else {
		found, err = collect(ctx, w.l.db, scanHeld,
			"SELECT id, run, cancel_requested FROM builds WHERE state = 'running' AND worker = $1", w.l.options.WorkerID)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, run := range mine {
		r := w.running[id]
		if r == nil || r.run != run {
			continue // it ended meanwhile
		}
		i := slices.IndexFunc(found, func(h held) bool { return h.id == id && h.run == run })
		switch {
		case i < 0:
			r.cancel(ErrLost)
		case found[i].cancel:
			r.cancel(ErrCancelled)
		case renew:
			r.seen = before
		}
	}
	return nil
}

func (w *worker) renew(ctx context.Context) (found []held, err error) {
	err = w.l.db.inTx(ctx, func(t tx) error {
		found, err = collect(ctx, t, scanHeld, "UPDATE builds SET lease = "+w.l.db.clock()+
			" + $2 WHERE state = 'running' AND worker = $1 RETURNING id, run, cancel_requested",
			w.l.options.WorkerID, w.l.options.Lease.Milliseconds())
		return err
	})
	return found, err
}

// giveUpLapsed interrupts builds whose lease could not be renewed for so long that
// another daemon may soon take them.
func (w *worker) giveUpLapsed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.running {
		if time.Since(r.seen) > w.l.options.Lease*2/3 {
			r.cancel(ErrLost)
		}
	}
}

func (w *worker) runs() map[int64]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	runs := make(map[int64]int64, len(w.running))
	for id, r := range w.running {
		runs[id] = r.run
	}
	return runs
}

func (w *worker) logOf(build int64) logrus.FieldLogger { return w.l.log.WithField("build", build) }

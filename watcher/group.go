package watcher

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// pollsPerHost bounds how many repositories of one server are asked at once:
	// a server that hangs holds up nobody else's.
	pollsPerHost = 8
	// takesAtOnce bounds how many repositories are fetched at once, over all servers.
	takesAtOnce = 4

	lookTimeout = time.Minute
	takeTimeout = 30 * time.Minute
)

// GroupConfig is what a Group watches.
type GroupConfig struct {
	Watchers []*Watcher
	// Observe, when not nil, hears of every look, from one goroutine. It must not block.
	Observe func(Observation)
	Log     logrus.FieldLogger
}

// Observation is the outcome of one look at a repository.
type Observation struct {
	Repository string
	At         time.Time
	Polled     Polled
	Err        error     // nil: everything could be seen and handed on
	Next       time.Time // when it is looked at again
}

// Group looks at many repositories, each at its own interval. A repository that
// fails is asked less and less often; neither that nor a slow fetch delays the
// others. One that waits costs no goroutine.
type Group struct {
	log     logrus.FieldLogger
	observe func(Observation)
	members map[string]*member
	events  chan event

	mu     sync.Mutex
	nudged map[*member]bool
	wake   chan struct{} // holds one token while nudged has something
}

// phase is where a member stands.
type phase int

const (
	resting phase = iota // until member.next
	looking              // or waiting for its server's turn to be asked
	taking               // or waiting for its turn to fetch
)

// member is a repository in a Group. Only the goroutine of Run touches it.
type member struct {
	watcher *Watcher
	phase   phase
	next    time.Time
	index   int  // in the queue of those that rest
	again   bool // somebody asked for a look while one was under way
	seen    sighting

	repository trouble
	pulls      trouble
	pullsNext  time.Time // not before, after a failure
}

// event is the end of a member's look or take.
type event struct {
	member *member
	seen   sighting // of a look
	news   bool     // of a look: there is something to take
	taken  taken    // of a take
}

// NewGroup makes a Group. Repositories need different names.
func NewGroup(c GroupConfig) (*Group, error) {
	g := &Group{
		log:     c.Log,
		observe: c.Observe,
		members: map[string]*member{},
		events:  make(chan event),
		nudged:  map[*member]bool{},
		wake:    make(chan struct{}, 1),
	}
	for _, w := range c.Watchers {
		if g.members[w.Name()] != nil {
			return nil, errors.New("two repositories have the name " + w.Name())
		}
		g.members[w.Name()] = &member{watcher: w}
	}
	return g, nil
}

// Nudge has a repository looked at now: a webhook knows of news. It returns false
// when the group does not watch it.
func (g *Group) Nudge(repository string) bool {
	m := g.members[repository]
	if m == nil {
		return false
	}
	g.mu.Lock()
	g.nudged[m] = true
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default: // it is awake already
	}
	return true
}

// Run watches until ctx ends; then it waits for what is under way, which ctx ends
// too, and returns nil. The first look at every repository comes at once.
func (g *Group) Run(ctx context.Context) error {
	r := &round{
		group: g,
		hosts: map[string]*turns{},
		takes: &turns{most: takesAtOnce},
	}
	now := time.Now()
	for _, m := range g.members {
		m.phase, m.next = resting, now
		heap.Push(&r.rest, m)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		r.startDue(ctx)
		timer.Reset(r.untilNext())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.wake:
			r.nudge()
		case e := <-g.events:
			r.ended(ctx, e)
		}
	}
	r.finish()
	return nil
}

// round is what one Run keeps.
type round struct {
	group   *Group
	rest    restQueue
	hosts   map[string]*turns
	takes   *turns
	running int
}

// turns hands out a bounded number of turns, first come, first served.
type turns struct {
	most    int
	running int
	waiting []*member
}

// next returns who has a turn now, or nil.
func (t *turns) next() *member {
	if t.running >= t.most || len(t.waiting) == 0 {
		return nil
	}
	m := t.waiting[0]
	t.waiting = t.waiting[1:]
	t.running++
	return m
}

func (r *round) host(m *member) *turns {
	name := m.watcher.address.host()
	t := r.hosts[name]
	if t == nil {
		t = &turns{most: pollsPerHost}
		r.hosts[name] = t
	}
	return t
}

// startDue starts looks at the members whose time has come.
func (r *round) startDue(ctx context.Context) {
	now := time.Now()
	for len(r.rest) > 0 && !r.rest[0].next.After(now) {
		m := heap.Pop(&r.rest).(*member)
		m.phase = looking
		host := r.host(m)
		host.waiting = append(host.waiting, m)
		r.looks(ctx, host)
	}
}

// looks starts as many looks at a host as it has turns for.
func (r *round) looks(ctx context.Context, host *turns) {
	for m := host.next(); m != nil; m = host.next() {
		withPulls := !time.Now().Before(m.pullsNext)
		r.start(func() event {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			seen := m.watcher.look(ctx, withPulls)
			return event{member: m, seen: seen, news: m.watcher.news(seen)}
		})
	}
}

// startTakes starts as many takes as there are turns for.
func (r *round) startTakes(ctx context.Context) {
	for m := r.takes.next(); m != nil; m = r.takes.next() {
		r.start(func() event {
			ctx, cancel := context.WithTimeout(ctx, takeTimeout)
			defer cancel()
			return event{member: m, taken: m.watcher.take(ctx, m.seen)}
		})
	}
}

// start runs f beside the others; Run hears of its end.
func (r *round) start(f func() event) {
	r.running++
	go func() { r.group.events <- f() }()
}

// ended goes on with a member whose look or take has come to its end.
func (r *round) ended(ctx context.Context, e event) {
	r.running--
	m := e.member
	if m.phase == taking {
		r.takes.running--
		r.startTakes(ctx)
		r.settle(m, e.taken)
		return
	}
	host := r.host(m)
	host.running--
	r.looks(ctx, host)
	m.seen = e.seen
	if e.news {
		m.phase = taking
		r.takes.waiting = append(r.takes.waiting, m)
		r.startTakes(ctx)
		return
	}
	r.settle(m, taken{Polled: m.seen.polled()})
}

// settle decides when a member is looked at again, and lets it rest until then.
func (r *round) settle(m *member, t taken) {
	now := time.Now()
	log := r.group.log.WithField("repository", m.watcher.Name())
	interval := m.watcher.config.Interval
	wait := interval
	seen := m.seen
	m.seen = sighting{}
	if failure := errors.Join(seen.err, t.err); failure != nil {
		wait = m.repository.failed(now, interval, failure, log)
	} else {
		m.repository.over(now, log)
	}
	log = log.WithField("of", "pull requests")
	if failure := errors.Join(seen.pullsErr, t.pullsErr); failure != nil {
		m.pullsNext = now.Add(jitter(m.pulls.failed(now, interval, failure, log)))
	} else if !seen.noPulls {
		m.pulls.over(now, log)
	}
	m.next = now.Add(jitter(wait))
	if m.again {
		m.again, m.next, m.pullsNext = false, now, time.Time{}
	}
	m.phase = resting
	heap.Push(&r.rest, m)
	if r.group.observe != nil {
		r.group.observe(Observation{
			Repository: m.watcher.Name(),
			At:         now,
			Polled:     t.Polled,
			Err:        errors.Join(seen.err, seen.pullsErr, t.err, t.pullsErr),
			Next:       m.next,
		})
	}
}

// nudge makes the nudged members due.
func (r *round) nudge() {
	r.group.mu.Lock()
	nudged := r.group.nudged
	r.group.nudged = map[*member]bool{}
	r.group.mu.Unlock()
	for m := range nudged {
		if m.phase != resting {
			m.again = true
			continue
		}
		m.next = time.Now()
		heap.Fix(&r.rest, m.index)
	}
}

// untilNext is how long nobody is due.
func (r *round) untilNext() time.Duration {
	if len(r.rest) == 0 {
		return time.Hour // all are at work: an event comes first
	}
	return time.Until(r.rest[0].next)
}

// finish waits for what is under way.
func (r *round) finish() {
	for range r.running {
		<-r.group.events
	}
}

// restQueue is a heap of the members that rest, by the time of their next look.
type restQueue []*member

func (q restQueue) Len() int           { return len(q) }
func (q restQueue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }

func (q restQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *restQueue) Push(x any) {
	m := x.(*member)
	m.index = len(*q)
	*q = append(*q, m)
}

func (q *restQueue) Pop() any {
	old := *q
	m := old[len(old)-1]
	*q = old[:len(old)-1]
	return m
}

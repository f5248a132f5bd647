package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// standIn is a remote without a server: what it answers is settable.
type standIn struct {
	mu    sync.Mutex
	looks int
	err   error
	heads map[string]string
	hang  bool          // answer only when the context ends
	takes time.Duration // how long an answer takes
	most  *gauge
}

// gauge knows how many run at once.
type gauge struct {
	mu       sync.Mutex
	now, top int
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.top = max(g.top, g.now)
}

func (s *standIn) ask(ctx context.Context, _ []string) (map[string]string, error) {
	s.mu.Lock()
	s.looks++
	err, heads, hang, takes := s.err, s.heads, s.hang, s.takes
	s.mu.Unlock()
	if s.most != nil {
		s.most.add(1)
		defer s.most.add(-1)
	}
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(takes)
	return heads, err
}

func (s *standIn) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *standIn) set(f func(*standIn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// asRemote gives a standIn the method names of a remote.
type asRemote struct{ *standIn }

func (r asRemote) heads(ctx context.Context, refs []string) (map[string]string, error) {
	return r.ask(ctx, refs)
}

func (r asRemote) pack(context.Context, []string, []string, func(io.Reader) error) error {
	return errors.New("there is nothing to fetch")
}

// standInWatcher watches a standIn at a host; it knows its head already.
func standInWatcher(t *testing.T, name, host string, s *standIn) *Watcher {
	t.Helper()
	head := strings.Repeat("a", 40)
	if s.heads == nil {
		s.heads = map[string]string{"refs/heads/main": head}
	}
	b := &book{known: map[string]string{"refs/heads/main": head}}
	c := testConfig(t, "https://"+host+"/"+name+".git", b)
	c.Name, c.Interval = name, time.Minute
	w := mustNew(t, c)
	w.remote = asRemote{s}
	return w
}

// runGroup runs a group in a bubble while script goes on.
func runGroup(t *testing.T, c GroupConfig, script func(*Group)) {
	t.Helper()
	if c.Log == nil {
		c.Log = testLog(t)
	}
	g, err := NewGroup(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	script(g)
	stop()
	if err := <-done; err != nil {
		t.Fatalf("Run after its context ended: %v, want nil", err)
	}
}

// between fails unless low <= n <= high: the intervals have jitter.
func between(t *testing.T, what string, n, low, high int) {
	t.Helper()
	if n < low || n > high {
		t.Errorf("%s: %d, want %d to %d", what, n, low, high)
	}
}

func TestGroupBacksOffAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &standIn{}, &standIn{err: errors.New("connection refused")}
		log := &buffer{}
		logger := logrus.New()
		logger.SetOutput(log)
		c := GroupConfig{
			Watchers: []*Watcher{standInWatcher(t, "good", "one.example", good), standInWatcher(t, "bad", "one.example", bad)},
			Log:      logger,
		}
		runGroup(t, c, func(g *Group) {
			time.Sleep(time.Hour)
			synctest.Wait()
			between(t, "looks at the good one in an hour", good.count(), 55, 67)
			between(t, "looks at the bad one in an hour", bad.count(), 8, 10) // after 0, 2, 6, 14, 24, 34, 44, 54 minutes
			between(t, "lines about it", strings.Count(log.String(), "cannot be looked at"), 7, 9)

			bad.set(func(s *standIn) { s.err = nil })
			before := bad.count()
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			between(t, "looks once it works", bad.count()-before, 18, 33)
			if n := strings.Count(log.String(), "works again"); n != 1 {
				t.Errorf("the recovery was logged %d times, want once:\n%s", n, log)
			}
		})
	})
}

func TestGroupLogsALastingFailureSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &buffer{}
		logger := logrus.New()
		logger.SetOutput(log)
		var tr trouble
		for range 600 {
			tr.failed(time.Now(), time.Second, errors.New("no"), logger)
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "cannot be looked at"); n != 2 {
			t.Errorf("ten minutes of failures, one a second, were logged %d times, want 2", n)
		}
		if !strings.Contains(log.String(), "failures=301") {
			t.Errorf("the second line does not count:\n%s", log)
		}
	})
}

func TestGroupHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{err: &Error{URL: "x", Problem: "429", RetryAfter: 40 * time.Minute}}
		runGroup(t, GroupConfig{Watchers: []*Watcher{standInWatcher(t, "a", "one.example", s)}}, func(*Group) {
			time.Sleep(35 * time.Minute)
			synctest.Wait()
			if s.count() != 1 {
				t.Errorf("%d looks within the time asked for, want 1", s.count())
			}
		})
	})
}

func TestGroupIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, good := &standIn{hang: true}, &standIn{}
		var watchers []*Watcher
		for i := range 100 {
			watchers = append(watchers, standInWatcher(t, fmt.Sprintf("hanging%d", i), "hanging.example", hanging))
		}
		watchers = append(watchers, standInWatcher(t, "good", "good.example", good))
		runGroup(t, GroupConfig{Watchers: watchers}, func(*Group) {
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			between(t, "looks at the good one in half an hour", good.count(), 27, 34)
		})
	})
}

func TestGroupAsksAHostFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := &gauge{}
		var watchers []*Watcher
		var all []*standIn
		for i := range 50 {
			s := &standIn{takes: time.Second, most: most}
			all = append(all, s)
			watchers = append(watchers, standInWatcher(t, fmt.Sprintf("r%d", i), "one.example", s))
		}
		runGroup(t, GroupConfig{Watchers: watchers}, func(*Group) {
			time.Sleep(30 * time.Second)
			synctest.Wait()
			for i, s := range all {
				between(t, fmt.Sprintf("looks at r%d", i), s.count(), 1, 1)
			}
			if most.top != pollsPerHost {
				t.Errorf("%d at once, want %d", most.top, pollsPerHost)
			}
		})
	})
}

func TestGroupNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{takes: time.Second}
		runGroup(t, GroupConfig{Watchers: []*Watcher{standInWatcher(t, "a", "one.example", s)}}, func(g *Group) {
			step := func(d time.Duration, want int) {
				t.Helper()
				time.Sleep(d)
				synctest.Wait()
				if s.count() != want {
					t.Fatalf("%d looks, want %d", s.count(), want)
				}
			}
			step(10*time.Second, 1)
			if !g.Nudge("a") || g.Nudge("unknown") {
				t.Error("Nudge does not know whom it watches")
			}
			step(500*time.Millisecond, 2)
			g.Nudge("a") // during a look: one more follows it
			g.Nudge("a")
			step(10*time.Second, 3)
			step(30*time.Second, 3)
		})
	})
}

func TestGroupKeepsPullRequestsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{}
		w := standInWatcher(t, "a", "one.example", s)
		host := &countingPulls{err: errors.New("the code host is down")}
		w.config.PullRequests = host
		var seen []Observation
		c := GroupConfig{Watchers: []*Watcher{w}, Observe: func(o Observation) { seen = append(seen, o) }}
		runGroup(t, c, func(*Group) {
			time.Sleep(time.Hour)
			synctest.Wait()
			between(t, "looks at the branch", s.count(), 55, 67)
			between(t, "looks at pull requests", host.asked, 7, 10)
			if len(seen) != s.count() || !errors.Is(seen[0].Err, host.err) || seen[1].Err != nil {
				t.Errorf("%d observations of %d looks; the first: %v", len(seen), s.count(), seen[0].Err)
			}
		})
	})
}

type countingPulls struct {
	asked int
	err   error
}

func (p *countingPulls) Open(context.Context) ([]PullRequest, error) {
	p.asked++
	return nil, p.err
}

func TestGroupEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{hang: true}
		runGroup(t, GroupConfig{Watchers: []*Watcher{standInWatcher(t, "a", "one.example", s)}}, func(*Group) { synctest.Wait() })
		if s.count() != 1 {
			t.Errorf("%d looks, want 1", s.count())
		}
	})
}

func TestGroupRefusesTwins(t *testing.T) {
	w := standInWatcher(t, "a", "one.example", &standIn{})
	if _, err := NewGroup(GroupConfig{Watchers: []*Watcher{w, w}, Log: testLog(t)}); err == nil {
		t.Fatal("two repositories of one name: no error")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"name", func(c *Config) { c.Name = "../x" }, "name: letters"},
		{"branch", func(c *Config) { c.Branch = "refs/heads/main" }, "short name"},
		{"interval", func(c *Config) { c.Interval = time.Millisecond }, "below the minimum"},
		{"url", func(c *Config) { c.URL = "ftp://x/y" }, "https, ssh"},
		{"ssh without a key", func(c *Config) { c.URL = "git@host:x" }, "private key"},
		{"ssh without known hosts", func(c *Config) { c.URL, c.Auth.SSHKeyFile = "git@host:x", "k" }, "known_hosts"},
	} {
		c := testConfig(t, "/srv/x.git", &book{})
		tt.change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

package guest

import (
	"context"
	"sync"
)

// status is what is known of a machine.
type status struct {
	login     bool   // a prompt was seen in this boot
	agent     bool   // the agent holds its port open
	stopping  bool   // we asked it to end
	offReason string // why QEMU is about to end, in its words
	off       bool   // it has, and QEMU ended well
	failure   error  // the first one; it stays
}

// state is a status that can be waited on. The console, the control channel and
// the process's owner change it.
type state struct {
	mu      sync.Mutex
	status  status
	changed chan struct{} // closed and replaced at every change
	failed  func(error)   // called once, without the lock
}

func newState(failed func(error)) *state {
	return &state{changed: make(chan struct{}), failed: failed}
}

func (s *state) update(change func(*status)) {
	s.mu.Lock()
	before := s.status.failure
	change(&s.status)
	failure := s.status.failure
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if before == nil && failure != nil {
		s.failed(failure)
	}
}

// fail records why the machine is of no use any more, unless that is known already.
func (s *state) fail(err error) {
	s.update(func(st *status) {
		if st.failure == nil {
			st.failure = err
		}
	})
}

// restarted forgets what was true of the last boot.
func (s *state) restarted() {
	s.update(func(st *status) { st.login, st.agent = false, false })
}

// heard records what the console showed. After a login prompt only what the kernel
// itself says is believed: the rest may be a program's own words.
func (s *state) heard(f finding, lastLines func() string) {
	if f.login {
		s.update(func(st *status) { st.login = true })
		return
	}
	switch {
	case s.get().login && !f.failure.always:
	case f.failure.nobody:
		s.fail(transientError(nil, lastLines(), "%s", f.failure.reason))
	default:
		s.fail(bootError(nil, f.failure.hint, lastLines(), "%s", f.failure.reason))
	}
}

func (s *state) get() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// await returns nil when done says so, the machine's failure, or ctx's end.
func (s *state) await(ctx context.Context, done func(status) bool) error {
	for {
		s.mu.Lock()
		now, changed := s.status, s.changed
		s.mu.Unlock()
		switch {
		case now.failure != nil:
			return now.failure
		case done(now):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

package ledger

import "sync"

// hub wakes those in this process who follow a build. The zero value is ready.
type hub struct {
	mu     sync.Mutex
	builds map[int64]chan struct{}
}

// next returns a channel that is closed at the next change of a build. Who asks
// before reading the ledger misses nothing.
func (h *hub) next(build int64) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.builds == nil {
		h.builds = make(map[int64]chan struct{})
	}
	if h.builds[build] == nil {
		h.builds[build] = make(chan struct{})
	}
	return h.builds[build]
}

func (h *hub) tell(build int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.builds[build]; c != nil {
		close(c)
		delete(h.builds, build)
	}
}

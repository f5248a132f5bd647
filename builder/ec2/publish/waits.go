package publish

import (
	"context"
	"sync"
)

// Waits knows which builds of a process wait for which import: several may want the
// same one. It is begun once, has the tag of one that waits for it, and is ended by the
// last, when that ends for good. The zero value is for use.
type Waits struct {
	mu      sync.Mutex
	imports map[string]*shared // by their tokens
	disks   map[Source]int     // how many wait for an import of each
}

// shared is an import that builds wait for. The lock of Waits guards what has no turn.
type shared struct {
	turn    chan struct{} // full while somebody begins or ends it, or takes over what it has made
	taken   string        // what was taken over of it; for whoever has the turn
	uses    int           // until the last has left and ended it
	waiting int
	builds  map[string]int // how often each waits for it; 0: not any more
	owner   string         // the build whose tag it has; empty: none that waits
}

// place is that of one who waits for an import.
type place struct {
	*shared
	all   *Waits
	token string
	disk  Source
	build string
}

func (w *Waits) join(token string, disk Source, build string) *place {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.imports == nil {
		w.imports, w.disks = map[string]*shared{}, map[Source]int{}
	}
	s := w.imports[token]
	if s == nil {
		s = &shared{turn: make(chan struct{}, 1), builds: map[string]int{}}
		w.imports[token] = s
	}
	s.uses++
	s.waiting++
	s.builds[build]++
	w.disks[disk]++
	return &place{shared: s, all: w, token: token, disk: disk, build: build}
}

// leave ends a wait. What the last one does is followed by forget.
func (p *place) leave() (last bool) {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.waiting--
	p.all.disks[p.disk]--
	if p.builds[p.build]--; p.builds[p.build] == 0 && p.owner == p.build {
		p.owner = ""
	}
	return p.waiting == 0
}

func (p *place) forget() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if p.uses--; p.uses == 0 {
		delete(p.all.imports, p.token)
	}
	if p.all.disks[p.disk] == 0 {
		delete(p.all.disks, p.disk)
	}
}

// take waits for the turn.
func (p *place) take(ctx context.Context) (release func(), err error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// wanted says whether somebody waits for the import, and whether for its disk.
func (p *place) wanted() (made, disk bool) {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	return p.waiting > 0, p.all.disks[p.disk] > 0
}

// has says whether a build waits for the import in this process, or did.
func (p *place) has(build string) bool {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	_, known := p.builds[build]
	return known
}

// tagged notes whose tag the import has.
func (p *place) tagged(build string) {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if p.owner = ""; p.builds[build] > 0 {
		p.owner = build
	}
}

// claim says whether the import is to have the tag of this build: it has that of none
// which waits.
func (p *place) claim() bool {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if p.build == "" || p.owner != "" {
		return false
	}
	p.owner = p.build
	return true
}

package builder

import (
	"context"
	"sync"
	"time"
)

// clock is the time that a recipe gives its build. It stands still while somebody works
// whom the recipe's author cannot make faster.
type clock struct {
	mu    sync.Mutex
	timer *time.Timer
	left  time.Duration // when it was started last
	since time.Time     // then
	held  int           // by how many
}

type clockKey struct{}

// withLimit returns a context that ends with that cause when the limit is used up.
func withLimit(ctx context.Context, limit time.Duration, cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &clock{left: limit, since: time.Now(), timer: time.AfterFunc(limit, func() { cancel(cause) })}
	return context.WithValue(ctx, clockKey{}, c), func() {
		c.timer.Stop()
		cancel(nil)
	}
}

// Hold stops the clock of the build that ctx is of, until the function is called that it
// returns. It is for drivers that wait for a service as long as what the service does
// moves: how long that takes depends on the size of disks and on who else is served,
// and says nothing of the recipe. Whoever holds the clock has a limit of its own.
func Hold(ctx context.Context) (release func()) {
	c, ok := ctx.Value(clockKey{}).(*clock)
	if !ok {
		return func() {}
	}
	c.hold()
	return sync.OnceFunc(c.release)
}

func (c *clock) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held++; c.held == 1 {
		c.timer.Stop()
		c.left -= time.Since(c.since)
	}
}

func (c *clock) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held--; c.held == 0 {
		c.since = time.Now()
		c.timer.Reset(c.left)
	}
}

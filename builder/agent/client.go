package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

const (
	redialPause  = 200 * time.Millisecond // between two tries to reach an agent that is not there yet
	helloPause   = 500 * time.Millisecond // before hello is said again: a port drops what nobody reads
	cancelLimit  = 30 * time.Second       // for the agent to say that the tree of a canceled run is dead
	chunkSize    = 256 << 10
	maxEventText = 64 << 10
)

// Client is the host's end of the wire to an agent in a guest. Calls wait for an
// agent that is not there yet, and repeat what a lost connection interrupted,
// until their context ends. One call runs at a time; others wait for it.
type Client struct {
	open func(context.Context) (io.ReadWriteCloser, error)
	turn chan struct{} // holds a token while a call runs

	last uint64 // id of the last request
	link *link  // nil when there is no connection
}

// NewClient returns a client; open makes a new connection each time it is called.
func NewClient(open func(context.Context) (io.ReadWriteCloser, error)) *Client {
	return &Client{open: open, turn: make(chan struct{}, 1)}
}

// link is one connection on which the agent has answered.
type link struct {
	wire  io.ReadWriteCloser
	out   *writer
	in    chan response
	gone  chan struct{} // closed by close
	once  sync.Once
	ended sync.WaitGroup
	hello Hello
}

func newLink(wire io.ReadWriteCloser) *link {
	l := &link{wire: wire, out: &writer{w: wire}, in: make(chan response), gone: make(chan struct{})}
	l.ended.Go(l.receive)
	return l
}

// receive reads until the connection ends, which closes in.
func (l *link) receive() {
	defer close(l.in)
	in := newReader(l.wire)
	for {
		message, err := in.next()
		if err != nil {
			return
		}
		var r response
		if json.Unmarshal(message, &r) != nil {
			continue // noise of the wire
		}
		select {
		case l.in <- r:
		case <-l.gone:
			return
		}
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.gone)
		// The connection is of no use any more, whatever closing it says.
		_ = l.wire.Close()
	})
	l.ended.Wait()
}

var errLost = errors.New("the connection to the agent is lost")

// wait returns the next answer to a request.
func (l *link) wait(ctx context.Context, id uint64) (response, error) {
	for {
		select {
		case r, ok := <-l.in:
			if !ok {
				return response{}, errLost
			}
			if r.ID == id {
				return r, nil
			}
		case <-ctx.Done():
			return response{}, context.Cause(ctx)
		}
	}
}

// send writes a request. A wire that does not take it within ctx is cut.
func (l *link) send(ctx context.Context, q request) error {
	stop := context.AfterFunc(ctx, func() { _ = l.wire.Close() })
	defer stop()
	if q.Op == opHello {
		if err := l.out.resync(); err != nil {
			return errLost
		}
	}
	if err := l.out.send(q); err != nil {
		return errLost
	}
	return nil
}

// begin takes the turn; end gives it back.
func (c *Client) begin(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client) end() { <-c.turn }

func (c *Client) drop() {
	if c.link != nil {
		c.link.close()
		c.link = nil
	}
}

// Close ends the connection. What runs inside goes on.
func (c *Client) Close() error {
	if err := c.begin(context.Background()); err != nil {
		return err
	}
	defer c.end()
	c.drop()
	return nil
}

// connect returns a connection on which the agent answers, however long that takes.
func (c *Client) connect(ctx context.Context) (*link, error) {
	var last error
	for c.link == nil {
		wire, err := c.open(ctx)
		if err == nil {
			l := newLink(wire)
			if err = c.greet(ctx, l); err == nil {
				c.link = l
				break
			}
			l.close()
		}
		if ctx.Err() == nil {
			last = err
		}
		if pauseErr := pause(ctx, redialPause); pauseErr != nil {
			return nil, fmt.Errorf("no agent answers: %w", errors.Join(pauseErr, last))
		}
	}
	return c.link, nil
}

// greet says hello until the agent answers this very greeting. All that comes
// before belongs to somebody else.
func (c *Client) greet(ctx context.Context, l *link) error {
	c.last++
	q := request{ID: c.last, Op: opHello, Nonce: rand.Text()}
	for {
		limited, cancel := context.WithTimeout(ctx, helloPause)
		err := l.greetOnce(limited, q)
		cancel()
		if err == nil || errors.Is(err, errLost) || ctx.Err() != nil {
			return err
		}
	}
}

func (l *link) greetOnce(ctx context.Context, q request) error {
	if err := l.send(ctx, q); err != nil {
		return err
	}
	for {
		r, err := l.wait(ctx, q.ID)
		if err != nil {
			return err
		}
		if r.Nonce == q.Nonce && r.Hello != nil {
			l.hello = *r.Hello
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Hello waits until the agent answers and returns what it says about itself.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	if err := c.begin(ctx); err != nil {
		return Hello{}, err
	}
	defer c.end()
	c.drop() // an old answer says nothing about now
	l, err := c.connect(ctx)
	if err != nil {
		return Hello{}, err
	}
	return l.hello, nil
}

// call makes a request that may be repeated, until it is answered.
func (c *Client) call(ctx context.Context, q request) error {
	for {
		l, err := c.connect(ctx)
		if err != nil {
			return err
		}
		c.last++
		q.ID = c.last
		err = l.send(ctx, q)
		var r response
		if err == nil {
			r, err = l.wait(ctx, q.ID)
		}
		switch {
		case errors.Is(err, errLost) && ctx.Err() == nil:
			c.drop()
		case err != nil:
			c.drop()
			return err
		case r.Error != "":
			return errors.New(clip(r.Error))
		default:
			return nil
		}
	}
}

// File says where and how Put writes.
type File struct {
	Path  string      // absolute, on the instance; missing folders are made
	Mode  fs.FileMode // permission bits
	Owner string      // name or number; empty: the agent's own
	Group string
}

// Put writes a file onto the instance. It is there, complete, when Put returns.
func (c *Client) Put(ctx context.Context, file File, content io.Reader) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	buf := make([]byte, chunkSize)
	for offset, last := int64(0), false; !last; {
		n, err := io.ReadFull(content, buf)
		last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		err = c.call(ctx, request{Op: opPut, Chunk: &chunk{
			Path: file.Path, Mode: uint32(file.Mode.Perm()), Owner: file.Owner, Group: file.Group,
			Offset: offset, Data: buf[:n], Last: last,
		}})
		if err != nil {
			return fmt.Errorf("put %s: %w", file.Path, err)
		}
		offset += int64(n)
	}
	return nil
}

// Reboot restarts the machine and returns when the agent answers from a new start of it.
func (c *Client) Reboot(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	l, err := c.connect(ctx)
	if err != nil {
		return err
	}
	before := l.hello.BootID
	if err := c.power(ctx, opReboot); err != nil {
		return err
	}
	return c.rebooted(ctx, before)
}

// Poweroff asks the machine to stop, and returns when the request was taken.
func (c *Client) Poweroff(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	defer c.drop()
	return c.power(ctx, opPoweroff)
}

// power: a connection that ends after the request was sent is an answer too.
func (c *Client) power(ctx context.Context, op operation) error {
	l, err := c.connect(ctx)
	if err != nil {
		return err
	}
	c.last++
	id := c.last
	if err := l.send(ctx, request{ID: id, Op: op}); err != nil {
		return err
	}
	r, err := l.wait(ctx, id)
	if err == nil && r.Error != "" {
		return errors.New(clip(r.Error))
	}
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// rebooted waits for an agent in another start of the machine.
func (c *Client) rebooted(ctx context.Context, before string) error {
	for {
		c.drop()
		l, err := c.connect(ctx)
		if err != nil {
			return fmt.Errorf("wait for the instance to come back: %w", err)
		}
		if l.hello.BootID != before {
			return nil
		}
		if err := pause(ctx, redialPause); err != nil {
			return fmt.Errorf("wait for the instance to come back: %w", err)
		}
	}
}

// clip bounds text that an instance sent.
func clip(text string) string {
	if len(text) > maxEventText {
		return text[:maxEventText] + "…"
	}
	return text
}

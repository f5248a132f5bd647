package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// qmpLine bounds one message of QEMU's control channel, in bytes.
const qmpLine = 1 << 20

// errHungUp is what calls on a closed control channel return.
var errHungUp = errors.New("QEMU closed its control channel")

// qmp is a client of QEMU's control channel. The machine's owner runs it; any
// goroutine may execute commands.
type qmp struct {
	conn  net.Conn
	event func(qmpEvent) // called by run, in order; must not block
	gone  chan struct{}  // closed when run has ended

	mu      sync.Mutex
	last    int                      // id of the last command; never 0, which the greeting and stray errors have
	pending map[int]chan<- qmpAnswer // who waits, by id; every channel has room for its answer
}

type qmpCommand struct {
	Execute string `json:"execute"`
	ID      int    `json:"id"`
}

type qmpEvent struct {
	Event string `json:"event"`
	Data  struct {
		ID     string `json:"id"`     // of VSERPORT_CHANGE
		Open   bool   `json:"open"`   // of VSERPORT_CHANGE
		Reason string `json:"reason"` // of SHUTDOWN
	} `json:"data"`
}

type qmpAnswer struct {
	ID    int `json:"id"`
	Error *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

func newQMP(conn net.Conn, event func(qmpEvent)) *qmp {
	return &qmp{conn: conn, event: event, gone: make(chan struct{}), pending: map[int]chan<- qmpAnswer{}}
}

// run reads until QEMU hangs up, or says something that is no message.
func (q *qmp) run() {
	defer close(q.gone)
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, qmpLine)
	for lines.Scan() {
		var m struct {
			qmpEvent
			qmpAnswer
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return
		}
		if m.Event != "" {
			q.event(m.qmpEvent)
			continue
		}
		q.deliver(m.qmpAnswer)
	}
}

// deliver hands an answer to whoever waits for it. The greeting has no id and is
// waited for by nobody: the first command may be sent before it comes.
func (q *qmp) deliver(a qmpAnswer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.pending[a.ID]; ok {
		delete(q.pending, a.ID)
		c <- a
	}
}

// execute runs a command without arguments and waits for the answer.
func (q *qmp) execute(ctx context.Context, command string) error {
	id, answer, err := q.send(ctx, command)
	if err != nil {
		return err
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return fmt.Errorf("%s: %s: %s", command, a.Error.Class, a.Error.Desc)
		}
		return nil
	case <-q.gone:
		return fmt.Errorf("%s: %w", command, errHungUp)
	case <-ctx.Done():
		q.mu.Lock()
		delete(q.pending, id)
		q.mu.Unlock()
		return fmt.Errorf("%s: %w", command, context.Cause(ctx))
	}
}

// send writes a command; commands of several goroutines do not mix.
func (q *qmp) send(ctx context.Context, command string) (int, <-chan qmpAnswer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	line, err := json.Marshal(qmpCommand{Execute: command, ID: q.last})
	if err != nil {
		return 0, nil, err
	}
	deadline, _ := ctx.Deadline() // zero: none
	if err := q.conn.SetWriteDeadline(deadline); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", command, err)
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", command, err)
	}
	answer := make(chan qmpAnswer, 1)
	q.pending[q.last] = answer
	return q.last, answer, nil
}

package ec2test

import (
	"slices"
	"sync"
	"time"
)

// Call is one call that came.
type Call struct {
	Service, Operation string
	At                 time.Time
	Status             int // of HTTP; 0 while it runs and when the connection broke
}

// Log are calls in the order in which they came.
type Log []Call

// Of are the calls of one operation; an empty name stands for each.
func (l Log) Of(service, operation string) Log {
	return slices.DeleteFunc(slices.Clone(l), func(c Call) bool {
		return service != "" && c.Service != service || operation != "" && c.Operation != operation
	})
}

// Between are the calls that came from one moment on and before another.
func (l Log) Between(from, to time.Time) Log {
	return slices.DeleteFunc(slices.Clone(l), func(c Call) bool { return c.At.Before(from) || !c.At.Before(to) })
}

// Counts is how often each operation was called, as service:Operation.
func (l Log) Counts() map[string]int {
	counts := map[string]int{}
	for _, c := range l {
		counts[c.Service+":"+c.Operation]++
	}
	return counts
}

type callLog struct {
	mu    sync.Mutex
	calls Log
}

// begin notes a call; done says how it ended.
func (l *callLog) begin(r *Request) (done func(status int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.calls)
	l.calls = append(l.calls, Call{Service: r.Service, Operation: r.Operation, At: time.Now()})
	return func(status int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls[at].Status = status
	}
}

// Calls are all calls so far.
func (c *Cloud) Calls() Log {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	return slices.Clone(c.calls.calls)
}

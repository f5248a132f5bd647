package ec2test

import (
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault is a rule by which calls go wrong.
type Fault struct {
	Service, Operation string              // empty: each
	Where              func(*Request) bool // nil: always
	From               int                 // the first of the calls that fit which it hits; 0 and 1: the first
	Times              int                 // how many it hits; 0: all
	Chance             float64             // with which it hits one of them; 0: certain
	Seed               uint64              // of Chance
	Effect             Effect

	mu     sync.Mutex
	random *rand.Rand
	seen   int
	hits   int
}

// Hits is how many calls the fault has hit.
func (f *Fault) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// Faults are the rules of a Cloud, none at first. Every rule that fits a call has its
// effect on it, in the order in which they were added.
type Faults struct {
	mu    sync.Mutex
	rules []*Fault
}

// Add adds a rule, which holds from now on, and returns it.
func (f *Faults) Add(rule *Fault) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	rule.random = rand.New(rand.NewPCG(rule.Seed, 0))
	f.rules = append(f.rules, rule)
	return rule
}

// Clear removes all rules.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// matching are the effects on a request.
func (f *Faults) matching(r *Request) []Effect {
	f.mu.Lock()
	rules := slices.Clone(f.rules)
	f.mu.Unlock()
	var effects []Effect
	for _, rule := range rules {
		if rule.hit(r) {
			effects = append(effects, rule.Effect)
		}
	}
	return effects
}

func (f *Fault) hit(r *Request) bool {
	if f.Service != "" && f.Service != r.Service || f.Operation != "" && f.Operation != r.Operation || f.Where != nil && !f.Where(r) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen++; f.seen < f.From || f.Times > 0 && f.hits >= f.Times || f.Chance > 0 && f.random.Float64() >= f.Chance {
		return false
	}
	f.hits++
	return true
}

// Effect is what a fault does to a call.
type Effect struct {
	before func(c *Cloud, w http.ResponseWriter, r *Request) (answered bool)
	lose   bool // the answer does not come back
	after  func(c *Cloud, r *Request)
}

// Refuse answers with an error of the service, and the call has no effect.
func Refuse(status int, code string) Effect {
	return Effect{before: func(_ *Cloud, w http.ResponseWriter, r *Request) bool {
		drain(r)
		refuse(r.Service, status, code, "a fault of the test").write(w)
		return true
	}}
}

// KeepObjects answers as S3 does when a call that deletes objects succeeds, and none of
// them may be deleted: it says so of each.
func KeepObjects(code string) Effect {
	return Effect{before: func(_ *Cloud, w http.ResponseWriter, r *Request) bool {
		var in struct {
			Keys []string `xml:"Object>Key"`
		}
		if err := xml.NewDecoder(r.http.Body).Decode(&in); err != nil {
			refuse(r.Service, http.StatusBadRequest, "MalformedXML", err.Error()).write(w)
			return true
		}
		drain(r)
		var each []*tree
		for _, key := range in.Keys {
			each = append(each, element("Error", value("Key", key), value("Code", code), value("Message", "a fault of the test")))
		}
		answer{status: http.StatusOK, kind: "application/xml", body: element("DeleteResult", each...).bytes()}.write(w)
		return true
	}}
}

// Throttle answers as each service does when it is asked too often.
func Throttle() Effect {
	return Effect{before: func(_ *Cloud, w http.ResponseWriter, r *Request) bool {
		drain(r)
		switch r.Service {
		case "ec2":
			refuse(r.Service, http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.").write(w)
		case "s3":
			refuse(r.Service, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.").write(w)
		default:
			refuse(r.Service, http.StatusBadRequest, "ThrottlingException", "Rate exceeded").write(w)
		}
		return true
	}}
}

// ServerError answers that the service has a problem.
func ServerError() Effect { return Refuse(http.StatusInternalServerError, "InternalError") }

// NoCapacity answers that there is no room for such an instance.
func NoCapacity() Effect {
	return Refuse(http.StatusInternalServerError, "InsufficientInstanceCapacity")
}

// NoAgent lets the agents of the instances that a call launches never answer.
func NoAgent() Effect { return Before(func(r *Request) { r.noAgent = true }) }

// NoImage lets the images that a call makes end as failed ones, which keep their names.
func NoImage() Effect { return Before(func(r *Request) { r.noImage = true }) }

// Disconnect closes the connection before the call has an effect.
func Disconnect() Effect {
	return Effect{before: func(*Cloud, http.ResponseWriter, *Request) bool { panic(http.ErrAbortHandler) }}
}

// LoseAnswer closes the connection after the call took effect.
func LoseAnswer() Effect { return Effect{lose: true} }

// Hang answers nothing, and does nothing, until the client gives up.
func Hang() Effect {
	return Effect{before: func(_ *Cloud, _ http.ResponseWriter, r *Request) bool {
		drain(r) // only then is the end of the connection noticed
		<-r.http.Context().Done()
		panic(http.ErrAbortHandler)
	}}
}

// HangAfter is Hang for a call that takes effect.
func HangAfter() Effect {
	return Effect{lose: true, after: func(_ *Cloud, r *Request) { <-r.http.Context().Done() }}
}

// Delay makes a call wait before it takes effect.
func Delay(by time.Duration) Effect {
	return Effect{before: func(_ *Cloud, _ http.ResponseWriter, r *Request) bool {
		wait := time.NewTimer(by)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.http.Context().Done():
			panic(http.ErrAbortHandler)
		}
		return false
	}}
}

// Before does something when a call comes, before it takes effect.
func Before(do func(*Request)) Effect {
	return Effect{before: func(_ *Cloud, _ http.ResponseWriter, r *Request) bool { do(r); return false }}
}

// After does something when a call was answered.
func After(do func(*Request)) Effect {
	return Effect{after: func(_ *Cloud, r *Request) { do(r) }}
}

func drain(r *Request) { _, _ = io.Copy(io.Discard, r.http.Body) }

// afterwards is the writer for an answer that may have to be lost.
func afterwards(w http.ResponseWriter, faults []Effect) http.ResponseWriter {
	if slices.ContainsFunc(faults, func(f Effect) bool { return f.lose }) {
		return &loser{header: http.Header{}}
	}
	return w
}

// loser takes an answer that nobody gets.
type loser struct{ header http.Header }

func (l *loser) Header() http.Header         { return l.header }
func (l *loser) WriteHeader(int)             {}
func (l *loser) Write(p []byte) (int, error) { return len(p), nil }

// String is for messages of tests.
func (f *Fault) String() string {
	return fmt.Sprintf("fault on %s %s, %d hits", f.Service, f.Operation, f.Hits())
}

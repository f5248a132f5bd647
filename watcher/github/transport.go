package github

import (
	"bytes"
	"container/list"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// maxCached is how many bytes of answers are kept for conditional requests.
	maxCached = 32 << 20
	// maxAnswer is how large an answer may be at all.
	maxAnswer = 32 << 20
)

// conditional adds If-None-Match to every GET whose answer it has seen, and turns
// "not modified" back into that answer. It always asks: nothing is ever answered
// without GitHub having said that it is still true.
type conditional struct {
	next http.RoundTripper
	most int // bytes kept

	mu     sync.Mutex
	kept   map[string]*list.Element
	recent *list.List // of *answer, the most recently used first
	size   int
}

// answer is a kept answer.
type answer struct {
	key    string
	etag   string
	header http.Header
	body   []byte
}

func newConditional(next http.RoundTripper, most int) *conditional {
	return &conditional{next: next, most: most, kept: map[string]*list.Element{}, recent: list.New()}
}

func (c *conditional) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return c.next.RoundTrip(req)
	}
	key := req.Header.Get("Accept") + " " + req.URL.String()
	had := c.get(key)
	if had != nil {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", had.etag)
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if had != nil && resp.StatusCode == http.StatusNotModified {
		return had.again(resp), nil
	}
	return c.keep(key, resp)
}

func (c *conditional) get(key string) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[key]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*answer)
}

// keep remembers an answer that can be asked for conditionally.
func (c *conditional) keep(key string, resp *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // all was read, or reading failed
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	etag := resp.Header.Get("ETag")
	if resp.StatusCode != http.StatusOK || etag == "" {
		return resp, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.kept[key])
	c.kept[key] = c.recent.PushFront(&answer{key: key, etag: etag, header: resp.Header.Clone(), body: body})
	c.size += len(body)
	for c.size > c.most {
		c.drop(c.recent.Back())
	}
	return resp, nil
}

// drop forgets an answer. c.mu is held.
func (c *conditional) drop(e *list.Element) {
	if e == nil {
		return
	}
	a := c.recent.Remove(e).(*answer)
	delete(c.kept, a.key)
	c.size -= len(a.body)
}

// again is the kept answer, with what "not modified" said about limits.
func (a *answer) again(notModified *http.Response) *http.Response {
	_ = notModified.Body.Close() // it has none
	resp := *notModified
	resp.Status, resp.StatusCode = "200 OK", http.StatusOK
	resp.Header = a.header.Clone()
	for name, values := range notModified.Header {
		if name != "Content-Length" && name != "Content-Type" {
			resp.Header[name] = values
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(a.body))
	resp.ContentLength = int64(len(a.body))
	return &resp
}

// LimitError says that GitHub wants to be left alone.
type LimitError struct {
	Until time.Time
}

func (e *LimitError) Error() string {
	return "GitHub's rate limit is used up until " + e.Until.UTC().Format(time.RFC3339)
}

// wait is how long that still is; never nothing, so that it counts as a wish.
func (e *LimitError) wait() time.Duration {
	return max(time.Until(e.Until), time.Second)
}

// limiter stops asking when GitHub says so, with 403 or 429, for as long as it says.
type limiter struct {
	next http.RoundTripper

	mu    sync.Mutex
	until time.Time
}

func (l *limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	until := l.until
	l.mu.Unlock()
	if time.Now().Before(until) {
		return nil, &LimitError{Until: until}
	}
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	wait := limitOf(resp, time.Now())
	if wait == 0 {
		return resp, nil
	}
	_ = resp.Body.Close() // only the headers matter
	until = time.Now().Add(wait)
	l.mu.Lock()
	l.until = until
	l.mu.Unlock()
	return nil, &LimitError{Until: until}
}

// limitOf reads from an answer how long GitHub wants no more questions; 0: it is
// not about limits.
func limitOf(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	const longest = time.Hour // what the primary limit waits at most
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if resp.Header.Get("X-RateLimit-Remaining") == "0" {
		reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
		if err == nil {
			return min(max(time.Unix(reset, 0).Sub(now), time.Second), longest)
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return time.Minute // what GitHub asks for when it gives no time
	}
	return 0
}

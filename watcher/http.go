package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxRefBytes bounds a ref list: about four million refs.
	maxRefBytes  = 256 << 20
	maxRedirects = 3

	requestType = "application/x-git-upload-pack-request"
	resultType  = "application/x-git-upload-pack-result"
	advertType  = "application/x-git-upload-pack-advertisement"
)

// httpRemote speaks the smart HTTP protocol. The first request finds out where
// the repository is and which version the server speaks; from then on a version 2
// server is asked with one small POST.
type httpRemote struct {
	origin  *url.URL // as configured
	user    string
	token   func(ctx context.Context) (string, error) // nil: no credentials
	client  *http.Client
	maxPack int64

	base atomic.Pointer[url.URL] // of a server known to speak version 2
}

func newHTTPRemote(a address, auth Auth, transport http.RoundTripper, maxPack int64) *httpRemote {
	h := &httpRemote{
		origin:  a.url,
		user:    orDefault(auth.User, "x-access-token"),
		token:   auth.Token,
		maxPack: maxPack,
	}
	if password, ok := a.user.Password(); ok && h.token == nil {
		h.user = a.user.Username()
		h.token = func(context.Context) (string, error) { return password, nil }
	}
	h.client = &http.Client{Transport: transport, CheckRedirect: h.checkRedirect}
	return h
}

func (h *httpRemote) heads(ctx context.Context, refs []string) (map[string]string, error) {
	if base := h.base.Load(); base != nil {
		heads, err := h.lsRefs(ctx, base, refs)
		if err == nil || !movedAway(err) {
			return heads, err
		}
		h.base.Store(nil)
	}
	adv, base, err := h.discover(ctx, refs)
	if err != nil || !adv.v2 {
		return adv.heads, err
	}
	heads, err := h.lsRefs(ctx, base, refs)
	if err == nil {
		h.base.Store(base)
	}
	return heads, err
}

// movedAway reports whether a server that has answered before now does so in
// another way, so that it is worth finding out again what it speaks and where.
func movedAway(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.RetryAfter == 0 && (e.Err == nil || errors.Is(err, errPktLine))
}

// discover asks who is there, and follows redirects.
func (h *httpRemote) discover(ctx context.Context, refs []string) (advertisement, *url.URL, error) {
	at := *h.origin
	at.Path += "/info/refs"
	at.RawQuery = "service=git-upload-pack"
	req, err := h.request(ctx, http.MethodGet, &at, nil)
	if err != nil {
		return advertisement{}, nil, err
	}
	resp, err := h.do(req, advertType)
	if err != nil {
		return advertisement{}, nil, err
	}
	defer drain(resp.Body)
	adv, err := readAdvertisement(newPktReader(&limitedReader{r: resp.Body, left: maxRefBytes}), refs)
	if err != nil {
		return advertisement{}, nil, h.fail("reading its refs", err)
	}
	base := *resp.Request.URL
	base.RawQuery = ""
	base.Path = strings.TrimSuffix(base.Path, "/info/refs")
	return adv, &base, nil
}

// lsRefs asks a version 2 server.
func (h *httpRemote) lsRefs(ctx context.Context, base *url.URL, refs []string) (map[string]string, error) {
	resp, err := h.post(ctx, base, lsRefsRequest(refs), true)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	heads, err := readLsRefs(newPktReader(&limitedReader{r: resp.Body, left: maxRefBytes}), refs)
	if err != nil {
		return nil, h.fail("reading its refs", err)
	}
	return heads, nil
}

func (h *httpRemote) pack(ctx context.Context, wants, haves []string, read func(io.Reader) error) error {
	base, v2 := h.base.Load(), true
	if base == nil {
		adv, found, err := h.discover(ctx, nil)
		if err != nil {
			return err
		}
		base, v2 = found, adv.v2
	}
	body, find := fetchRequest(wants, haves), packOfFetch
	if !v2 {
		body, find = uploadRequest(wants, haves), packOfUpload
	}
	resp, err := h.post(ctx, base, body, v2)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	pack, err := find(newPktReader(&limitedReader{r: resp.Body, left: h.maxPack}))
	if err == nil {
		err = read(pack)
	}
	if err != nil {
		return h.fail("fetching", err)
	}
	return nil
}

func (h *httpRemote) post(ctx context.Context, base *url.URL, body []byte, v2 bool) (*http.Response, error) {
	at := *base
	at.Path += "/git-upload-pack"
	req, err := h.request(ctx, http.MethodPost, &at, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", requestType)
	req.Header.Set("Accept", resultType)
	if !v2 {
		req.Header.Del("Git-Protocol")
	}
	return h.do(req, resultType)
}

// request makes a request with our credentials.
func (h *httpRemote) request(ctx context.Context, method string, at *url.URL, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, h.fail("asking", err)
	}
	req.Header.Set("Git-Protocol", "version=2")
	req.Header.Set("User-Agent", "git/2 (ingot)") // some hosts show a web page to anything else
	if h.token == nil {
		return req, nil
	}
	token, err := h.token(ctx)
	if err != nil {
		return nil, h.fail("getting the token for it", err)
	}
	if token != "" {
		req.SetBasicAuth(h.user, token)
	}
	return req, nil
}

// checkRedirect follows a moved repository on the same host. Credentials go
// nowhere else, and nothing leaves the protection of TLS.
func (h *httpRemote) checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case req.Method != http.MethodGet || !strings.HasSuffix(req.URL.Path, "/info/refs"):
		return http.ErrUseLastResponse // only the first question may be redirected
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("it redirects to a place without TLS, " + req.URL.Redacted())
	case h.token != nil && req.URL.Host != via[0].URL.Host:
		return fmt.Errorf("it redirects to %s, which must not see the credentials of %s", req.URL.Host, via[0].URL.Host)
	}
	return nil
}

// do sends a request and returns the answer when it is one of Git.
func (h *httpRemote) do(req *http.Request, want string) (*http.Response, error) {
	resp, err := h.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its text repeats the address
		}
		return nil, h.fail("asking", err)
	}
	got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && got == want {
		return resp, nil
	}
	drain(resp.Body)
	if resp.StatusCode == http.StatusOK {
		return nil, &Error{
			URL:     h.origin.String(),
			Problem: fmt.Sprintf("it answers with %q, not as a Git server", printable([]byte(got))),
			Hint:    "is the url the one that git clone takes, and is there a login page in between?",
		}
	}
	return nil, h.refused(resp)
}

func (h *httpRemote) refused(resp *http.Response) *Error {
	e := &Error{URL: h.origin.String(), Problem: resp.Status, RetryAfter: retryAfter(resp.Header, time.Now())}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		e.Hint = "it wants credentials: give a token that may read this repository"
		if h.token != nil {
			e.Hint = "the token was refused: has it expired, and may it read this repository?"
		}
	case http.StatusForbidden:
		e.Hint = "the token may not read this repository"
	case http.StatusNotFound:
		e.Hint = "it does not exist, or the token may not see it"
	}
	return e
}

// retryAfter reads how long a server asks to be left alone: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), time.Hour)
	}
	return 0
}

// fail makes an Error of a cause, unless the caller gave up: then the cause is
// not the server's.
func (h *httpRemote) fail(doing string, err error) error {
	return &Error{URL: h.origin.String(), Problem: doing, Err: err}
}

// drain reads what little may be left, so that the connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4096) // a longer rest is not worth waiting for
	_ = body.Close()                        // nothing was written: closing loses nothing
}

// limitedReader fails, rather than ends, when too much comes.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// errTooLarge ends an answer that goes beyond what was allowed for it.
var errTooLarge = errors.New("the answer is larger than allowed")

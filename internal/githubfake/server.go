// Package githubfake is a GitHub for tests: a stateful HTTP server that keeps
// pull requests, reviews, comments and statuses as GitHub does, and is strict
// about what it is asked. A request that GitHub would not understand fails the
// test that made it.
//
//	gh := githubfake.New(t)
//	gh.AddRepository("acme/images")
//	gh.OpenPull("acme/images", githubfake.Pull{Number: 7, Head: commit})
//	client := ... gh.APIURL(), githubfake.Token ...
//
// The server answers under / as api.github.com does and under /api/v3/ as GitHub
// Enterprise does. It keeps a primary rate limit, answers conditional requests
// with 304 without counting them, pages its lists, and can be told to misbehave:
// see Limit and Fault. It says nothing about Git itself.
package githubfake

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Token is a token that a new Server accepts.
const Token = "ghp_fake"

// maxBody is more than GitHub takes for anything that this fake knows.
const maxBody = 1 << 20

// Server is the fake. Its methods may be used from several goroutines.
type Server struct {
	t    testing.TB
	http *httptest.Server
	mux  *http.ServeMux

	mu       sync.Mutex
	repos    map[string]*repository
	tokens   map[string]bool
	apps     map[int64]app
	clock    time.Time // of what is created; moves a second with everything
	lastID   int64
	limit    *Limit
	fault    Fault
	requests []Request
	used     int // requests that counted against the primary rate limit
}

// repository is everything that the fake keeps of one owner/name.
type repository struct {
	name        string
	permissions map[string]string
	pulls       map[int]*Pull
	reviews     map[int][]Review
	statuses    map[string][]Status // of a commit, oldest first
	comments    map[int][]Comment   // of an issue or pull request, oldest first
}

// Request is one request that the server saw.
type Request struct {
	Method      string
	Path        string // without /api/v3
	Query       url.Values
	Conditional bool // it carried If-None-Match
	Status      int  // of the answer
	Counted     bool // against the primary rate limit
	Body        string
}

// Limit refuses requests as GitHub does when it has had enough.
type Limit struct {
	Status     int           // 403 or 429
	RetryAfter time.Duration // sent as Retry-After, when not zero: a secondary limit
	Reset      time.Time     // sent as X-RateLimit-Reset with 0 remaining, when not zero: the primary limit
	Only       string        // method and beginning of the path, as "POST /repos/a/b/"; empty: everything
}

// Fault may answer a request in place of the server; it returns true when it did.
// It runs before authentication and may also break the connection by panicking
// with http.ErrAbortHandler.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t:      t,
		mux:    http.NewServeMux(),
		repos:  map[string]*repository{},
		tokens: map[string]bool{Token: true},
		apps:   map[int64]app{},
		clock:  time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	s.routePulls()
	s.routeStatuses()
	s.routeComments()
	s.routeApps()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.t.Errorf("githubfake: %s %s: there is no such endpoint", r.Method, r.URL.Path)
		writeError(w, http.StatusNotFound, "Not Found")
	})
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// APIURL is what a configuration calls github.apiURL; it ends with a slash.
func (s *Server) APIURL() string { return s.http.URL + "/" }

// EnterpriseURL is the same server as a GitHub Enterprise installation shows it.
func (s *Server) EnterpriseURL() string { return s.http.URL + "/api/v3/" }

// AddRepository makes an empty owner/name.
func (s *Server) AddRepository(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repos[name] = &repository{
		name:        name,
		permissions: map[string]string{},
		pulls:       map[int]*Pull{},
		reviews:     map[int][]Review{},
		statuses:    map[string][]Status{},
		comments:    map[int][]Comment{},
	}
}

// AddToken makes another token valid.
func (s *Server) AddToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = true
}

// RevokeToken makes a token invalid.
func (s *Server) RevokeToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// SetLimit makes the server refuse requests until SetLimit(nil).
func (s *Server) SetLimit(l *Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = l
}

// SetFault puts f in front of every request until SetFault(nil).
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests returns what was asked so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Used is how many requests have counted against the primary rate limit.
func (s *Server) Used() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// tick returns the next time of creation and the next id. s.mu is held.
func (s *Server) tick() (time.Time, int64) {
	s.clock = s.clock.Add(time.Second)
	s.lastID++
	return s.clock, s.lastID
}

// serve is what every request goes through, whatever it asks for.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, http.StatusRequestEntityTooLarge, "body too large")
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	r.URL.Path = "/" + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v3"), "/")

	rec := httptest.NewRecorder()
	s.answer(rec, r)
	status, counted := condition(r, rec)
	s.record(r, string(body), status, counted)

	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
	if status != http.StatusNotModified {
		_, _ = w.Write(rec.Body.Bytes()) // the client may have gone, which is its right
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault, limit := s.fault, s.limit
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	if limit.refuse(w, r) {
		return
	}
	if isAppRequest(r) {
		s.mux.ServeHTTP(w, r) // authenticated by a signed assertion of its own
		return
	}
	if !s.authenticated(r) {
		writeError(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) authenticated(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[token]
}

// refuse answers in the server's place while a limit holds.
func (l *Limit) refuse(w http.ResponseWriter, r *http.Request) bool {
	if l == nil || !strings.HasPrefix(r.Method+" "+r.URL.Path, l.Only) {
		return false
	}
	message := "API rate limit exceeded"
	if l.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((l.RetryAfter+time.Second-1)/time.Second)))
		message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
	}
	if !l.Reset.IsZero() {
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(l.Reset.Unix(), 10))
	}
	writeError(w, l.Status, message)
	return true
}

// condition gives a successful answer to a GET its ETag and decides whether the
// client has it already. Such an answer is not counted.
func condition(r *http.Request, rec *httptest.ResponseRecorder) (status int, counted bool) {
	if r.Method != http.MethodGet || rec.Code != http.StatusOK {
		return rec.Code, true
	}
	sum := sha256.Sum256(append(rec.Body.Bytes(), rec.Header().Get("Link")...))
	etag := `W/"` + hex.EncodeToString(sum[:]) + `"`
	rec.Header().Set("ETag", etag)
	rec.Header().Set("Cache-Control", "private, max-age=60, s-maxage=60")
	if r.Header.Get("If-None-Match") == etag {
		return http.StatusNotModified, false
	}
	return rec.Code, true
}

func (s *Server) record(r *http.Request, body string, status int, counted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counted {
		s.used++
	}
	s.requests = append(s.requests, Request{
		Method:      r.Method,
		Path:        r.URL.Path,
		Query:       r.URL.Query(),
		Conditional: r.Header.Get("If-None-Match") != "",
		Status:      status,
		Counted:     counted,
		Body:        body,
	})
}

// inRepository wraps a handler of a path with {owner} and {repo}: it finds the
// repository, holds the lock, and answers with the status and value returned.
func (s *Server) inRepository(h func(repo *repository, r *http.Request) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		repo := s.repos[r.PathValue("owner")+"/"+r.PathValue("repo")]
		if repo == nil {
			writeError(w, http.StatusNotFound, "Not Found")
			return
		}
		status, value := h(repo, r)
		if list, ok := value.(listing); ok {
			value = list.page(w, r)
		}
		writeJSON(w, status, value)
	}
}

// listing is a value that is answered page by page.
type listing []any

func list[T any](items []T) listing {
	out := make(listing, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

// page cuts out what ?page= and ?per_page= ask for and links its neighbours.
func (l listing) page(w http.ResponseWriter, r *http.Request) listing {
	query := r.URL.Query()
	size := number(query.Get("per_page"), 30)
	size = min(size, 100)
	page := number(query.Get("page"), 1)
	from := min((page-1)*size, len(l))
	to := min(from+size, len(l))
	var links []string
	link := func(n int, rel string) {
		query.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf(`<http://%s%s?%s>; rel="%s"`, r.Host, r.URL.Path, query.Encode(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
	}
	if to < len(l) {
		link(page+1, "next")
		link((len(l)+size-1)/size, "last")
	}
	if links != nil {
		w.Header().Set("Link", strings.Join(links, ", "))
	}
	return l[from:to]
}

func number(s string, otherwise int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

// decode reads a JSON body into v and fails the test on anything unexpected:
// a client that sends what GitHub does not know is wrong.
func (s *Server) decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		s.t.Errorf("githubfake: %s %s: %v", r.Method, r.URL.Path, err)
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		s.t.Errorf("githubfake: %s %s: something follows the JSON value", r.Method, r.URL.Path)
		return errors.New("trailing data")
	}
	return nil
}

// apiError is GitHub's error body.
type apiError struct {
	Message          string `json:"message"`
	DocumentationURL string `json:"documentation_url"`
}

// problem is the value of an answer that is an error.
func problem(message string) apiError {
	return apiError{Message: message, DocumentationURL: "https://docs.github.com/rest"}
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, problem(message))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // into a recorder: cannot fail
}

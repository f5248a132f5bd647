// Package dashboard shows builds and images as web pages: what is watched, what
// is being built right now, step by step and line by line, and why something failed.
//
// Pages are rendered by the server and say everything without JavaScript; one
// small script keeps the page of a running build up to date through server-sent
// events. Whatever comes out of a build is hostile: it is escaped by html/template,
// made visible by reporter.Plain, and the Content-Security-Policy lets no inline
// script or style run.
//
// The package only reads, through Source, and knows no users: who may see the
// pages is decided by what stands in front of it.
package dashboard

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/reporter"
)

// Source is what the pages show. Its methods are called by many requests at a time.
// Build and Image answer reporter.ErrNotFound for what does not exist.
type Source interface {
	Repositories(ctx context.Context) ([]reporter.Repository, error)

	// Builds lists builds, the newest first.
	Builds(ctx context.Context, filter reporter.BuildFilter) ([]reporter.Build, error)
	Build(ctx context.Context, id int64) (reporter.Build, error)

	// Images lists images, the newest first; their packages may be left out.
	Images(ctx context.Context, filter reporter.ImageFilter) ([]reporter.Image, error)
	Image(ctx context.Context, id string) (reporter.Image, error)

	// Log returns the pieces of a build's log whose ids are above after, in order:
	// at least one if there is one, and about limit bytes in all.
	Log(ctx context.Context, build, after int64, limit int) ([]reporter.LogPiece, error)

	// Changed returns a channel that is closed soon after the build or its log
	// next changes. Changes made by other processes may close none; a nil channel
	// is allowed. It is asked for before the build is read.
	Changed(build int64) <-chan struct{}
}

// Config is what a Handler needs. Source must be set.
type Config struct {
	Source      Source
	Ready       func(context.Context) error // why work cannot be done; nil: always ready
	Metrics     http.Handler                // for /metrics; nil: none
	PublicURL   string                      // its path, if any, is put before all links
	CodeHostURL string                      // default https://github.com
	Version     string                      // of the daemon, for the foot of the pages
	Log         logrus.FieldLogger          // default: nothing is logged
	Now         func() time.Time            // default time.Now

	Refresh      time.Duration // how often a stream looks by itself; default 2 s
	Heartbeat    time.Duration // how often an idle stream shows that it lives; default 15 s
	WriteTimeout time.Duration // after which a client that does not read is dropped; default 30 s
	MaxStreams   int           // at a time; default 200
}

// handler is a Config with its defaults, and what is shared by all requests.
type handler struct {
	Config
	base    string // the path before all links, without a slash at its end
	pages   pages
	streams atomic.Int64
}

// Handler makes the dashboard.
func Handler(c Config) http.Handler {
	h := &handler{Config: c}
	h.CodeHostURL = strings.TrimRight(cmp.Or(c.CodeHostURL, "https://github.com"), "/")
	h.Refresh = cmp.Or(c.Refresh, 2*time.Second)
	h.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	h.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	h.MaxStreams = cmp.Or(c.MaxStreams, 200)
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		h.Log = silent
	}
	if u, err := url.Parse(c.PublicURL); err == nil {
		h.base = strings.TrimRight(u.Path, "/")
	}
	h.pages = newPages()
	return h.routes()
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page(h.repositories))
	mux.HandleFunc("GET /builds", h.page(h.builds))
	mux.HandleFunc("GET /builds/{id}", h.page(h.build))
	mux.HandleFunc("GET /builds/{id}/log", h.rawLog)
	mux.HandleFunc("GET /builds/{id}/events", h.events)
	mux.HandleFunc("GET /images", h.page(h.images))
	mux.HandleFunc("GET /images/{id}", h.page(h.image))
	mux.HandleFunc("GET /static/{name}", h.static)
	mux.HandleFunc("GET /healthz", h.healthz)
	mux.HandleFunc("GET /readyz", h.readyz)
	if h.Metrics != nil {
		mux.Handle("GET /metrics", h.Metrics)
	}
	mux.HandleFunc("GET /", h.page(func(*http.Request) (view, error) { return nil, reporter.ErrNotFound }))
	return secured(mux)
}

// secured lets pages use only what comes from here, and nobody frame them.
func secured(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// healthz says that the process answers.
func (h *handler) healthz(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok\n")
}

// readyz says whether work can be done, and if not, why.
func (h *handler) readyz(w http.ResponseWriter, r *http.Request) {
	if h.Ready != nil {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		if err := h.Ready(ctx); err != nil {
			writeText(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
			return
		}
	}
	writeText(w, http.StatusOK, "ready\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that has gone needs no answer
}

package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// settle is the least time between two looks at a build, so that a build with
// much to say is shown in steps that people can follow.
const settle = 200 * time.Millisecond

// events streams what changes on a build's page: event "state" carries the upper
// part of the page, "log" the lines that came, "end" says that nothing will follow.
// The id of a "log" event is the place in the log from which a stream continues.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	id, at, err := h.eventsRequest(r)
	if err != nil {
		status, _ := h.problem(r, err)
		writeText(w, status, http.StatusText(status)+"\n")
		return
	}
	if h.streams.Add(1) > int64(h.MaxStreams) {
		h.streams.Add(-1)
		w.Header().Set("Retry-After", "30")
		writeText(w, http.StatusServiceUnavailable, "too many pages are being kept up to date\n")
		return
	}
	defer h.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect them
	s := &stream{handler: h, id: id, out: w, control: http.NewResponseController(w), log: newAssembler(at)}
	err = s.run(r.Context())
	if err != nil && r.Context().Err() == nil && !errors.Is(err, errClientGone) {
		h.Log.WithError(err).WithField("build", id).Error("dashboard: following a build")
	}
}

func (h *handler) eventsRequest(r *http.Request) (id int64, at cursor, err error) {
	if id, err = buildID(r); err != nil {
		return 0, at, err
	}
	place := r.Header.Get("Last-Event-ID")
	if place == "" {
		place = r.URL.Query().Get("after")
	}
	if place != "" {
		if at, err = parseCursor(place); err != nil {
			return 0, at, err
		}
	}
	_, err = h.Source.Build(r.Context(), id)
	return id, at, err
}

// errClientGone ends a stream that nobody reads any more.
var errClientGone = errors.New("the client has gone")

// stream is one client that watches one build.
type stream struct {
	*handler
	id      int64
	out     http.ResponseWriter
	control *http.ResponseController
	log     *assembler
	shown   [sha256.Size]byte // what the last state event was made of
}

// run sends events until the build has ended, the client goes, or ctx ends.
func (s *stream) run(ctx context.Context) error {
	heartbeat := time.NewTicker(s.Heartbeat)
	defer heartbeat.Stop()
	refresh := time.NewTicker(s.Refresh)
	defer refresh.Stop()
	if err := s.send("retry: 1000\n\n"); err != nil {
		return err
	}
	for {
		changed := s.Source.Changed(s.id)
		ended, err := s.look(ctx)
		if err != nil || ended {
			return err
		}
		if err := s.wait(ctx, changed, refresh.C, heartbeat.C); err != nil {
			return err
		}
	}
}

// wait returns when it is time to look again.
func (s *stream) wait(ctx context.Context, changed <-chan struct{}, refresh, heartbeat <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return pause(ctx, settle)
		case <-refresh:
			return nil
		case <-heartbeat:
			if err := s.send(": still here\n\n"); err != nil {
				return err
			}
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
		return ctx.Err()
	}
}

// look sends what is new. The build is read before its log, so that the log of a
// build that has ended is whole.
func (s *stream) look(ctx context.Context) (ended bool, err error) {
	b, err := s.Source.Build(ctx, s.id)
	if err != nil {
		return false, err
	}
	if err := s.sendLog(ctx, b.State.Final()); err != nil {
		return false, err
	}
	if err := s.sendState(b); err != nil {
		return false, err
	}
	if b.State.Final() {
		return true, s.send("event: end\ndata: " + string(b.State) + "\n\n")
	}
	return false, nil
}

func (s *stream) sendLog(ctx context.Context, final bool) error {
	for {
		pieces, err := s.Source.Log(ctx, s.id, s.log.last, chunk)
		if err != nil {
			return err
		}
		var lines []logLine
		for _, p := range pieces {
			lines = append(lines, s.log.add(p)...)
		}
		if len(pieces) == 0 && final {
			lines = s.log.flush()
		}
		if err := s.sendLines(lines); err != nil {
			return err
		}
		if len(pieces) == 0 {
			return nil
		}
	}
}

// sendLines sends lines in events of moderate size.
func (s *stream) sendLines(lines []logLine) error {
	const most = 500
	for len(lines) > 0 {
		part := lines[:min(most, len(lines))]
		lines = lines[len(part):]
		if err := s.sendTemplate("log", part[len(part)-1].after.String(), "log-lines", part); err != nil {
			return err
		}
	}
	return nil
}

// sendState sends the upper part of the page where it has changed.
func (s *stream) sendState(b reporter.Build) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if sum == s.shown {
		return nil
	}
	s.shown = sum
	f := frame{Base: s.base, Now: s.Now(), View: s.buildView(b)}
	return s.sendTemplate("state", "", "build-state", f)
}

func (s *stream) sendTemplate(event, id, name string, value any) error {
	var html bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&html, name, value); err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "event: %s\n", event)
	if id != "" {
		fmt.Fprintf(&out, "id: %s\n", id)
	}
	for line := range strings.Lines(html.String()) {
		out.WriteString("data: " + strings.TrimRight(line, "\r\n") + "\n")
	}
	return s.send(out.String() + "\n")
}

// send writes at once, and gives up on a client that does not read.
func (s *stream) send(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.WriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.out.Write([]byte(text)); err != nil {
		return errClientGone
	}
	if err := s.control.Flush(); err != nil {
		return errClientGone
	}
	return nil
}

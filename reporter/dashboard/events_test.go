package dashboard

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// event is one server-sent event.
type event struct{ name, id, data string }

// readEvents reads events, and comments as events named ":", until the stream ends.
func readEvents(body *bufio.Scanner) func() (event, bool) {
	body.Buffer(nil, 1<<20)
	return func() (event, bool) {
		var e event
		for body.Scan() {
			line := body.Text()
			field, value, _ := strings.Cut(line, ": ")
			switch {
			case line == "" && e != (event{}):
				return e, true
			case strings.HasPrefix(line, ":"):
				e.name = ":"
			case field == "event":
				e.name = value
			case field == "id":
				e.id = value
			case field == "data":
				e.data += value + "\n"
			}
		}
		return e, false
	}
}

// follow opens the stream of a build.
func follow(t *testing.T, ctx context.Context, url, lastID string) func() (event, bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %v", url, resp.Status, resp.Header)
	}
	return readEvents(bufio.NewScanner(resp.Body))
}

func TestStreamOfAFinishedBuild(t *testing.T) {
	server := serve(t, Config{Source: sampleSource()})
	next := follow(t, t.Context(), server.URL+"/builds/41/events?after=3.0.1", "")
	var names []string
	var log, id string
	for e, ok := next(); ok; e, ok = next() {
		names = append(names, e.name)
		if e.name == "log" {
			log += e.data
			id = e.id
		}
	}
	if got := strings.Join(names, " "); got != "log state end" {
		t.Errorf("events %q", got)
	}
	if strings.Contains(log, `id="L1"`) || !strings.Contains(log, `id="L2"`) || !strings.Contains(log, `id="L12"`) || id != "21.0.12" {
		t.Errorf("up to %s:\n%s", id, log)
	}

	next = follow(t, t.Context(), server.URL+"/builds/41/events?after=3.0.1", id)
	if e, _ := next(); e.name != "state" {
		t.Errorf("after the last line: %+v", e)
	}
}

func TestStreamTellsWhatHappens(t *testing.T) {
	source := sampleSource()
	server := serve(t, Config{Source: source, Refresh: time.Hour})
	next := follow(t, t.Context(), server.URL+"/builds/42/events?after=3.0.2", "")
	if e, _ := next(); e.name != "state" || !strings.Contains(e.data, "sshd") {
		t.Fatalf("first %+v", e)
	}
	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Text: "no line yet"})
	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Text: ", now <b>\n"})
	if e, _ := next(); e.name != "log" || !strings.Contains(e.data, "no line yet, now &lt;b&gt;") || e.id != "9.0.3" {
		t.Fatalf("then %+v", e)
	}
	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Text: "the end"})
	source.change(42, func(b *reporter.Build) { b.State, b.Finished = reporter.Failed, at(40) })
	var rest []event
	for e, ok := next(); ok; e, ok = next() {
		rest = append(rest, e)
	}
	if len(rest) != 3 || !strings.Contains(rest[0].data, "the end") || !strings.Contains(rest[1].data, "Failed") || rest[2].name != "end" || rest[2].data != "failed\n" {
		t.Errorf("at last %+v", rest)
	}
}

func TestStreamsEndWithTheirClients(t *testing.T) {
	source := sampleSource()
	server := serve(t, Config{Source: source, Refresh: time.Hour, MaxStreams: 1})
	ctx, leave := context.WithCancel(t.Context())
	next := follow(t, ctx, server.URL+"/builds/42/events", "")
	next()

	resp, err := http.Get(server.URL + "/builds/42/events")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %s, %v", resp.Status, err)
	}

	leave()
	server.Close() // waits for the handlers
}

func TestStreamsEndWithTheDaemon(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewUnstartedServer(testHandler(Config{Source: sampleSource(), Refresh: time.Hour}))
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	next := follow(t, t.Context(), server.URL+"/builds/42/events", "")
	next()
	stop()
	for _, ok := next(); ok; _, ok = next() {
	}
	if err := server.Config.Shutdown(t.Context()); err != nil {
		t.Errorf("a stream holds the server up: %v", err)
	}
	server.Close()
}

func TestAClientThatDoesNotReadIsDropped(t *testing.T) {
	source := sampleSource()
	source.print(42, reporter.LogPiece{Text: strings.Repeat(strings.Repeat("x", 1000)+"\n", 20_000)})
	server := serve(t, Config{Source: source, WriteTimeout: 100 * time.Millisecond, Refresh: time.Hour})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /builds/42/events HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(server.Close) // waits for the handlers, without closing the connection of a running one
	ended.Wait()
}

// recorder is a client whose writes are never slow.
type recorder struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ResponseRecorder.Write(p)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Body.String()
}

func TestIdleStreamBeatsAndLooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := sampleSource()
		h := testHandler(Config{Source: silentSource{source}, Refresh: 2 * time.Second, Heartbeat: 15 * time.Second})
		ctx, leave := context.WithCancel(t.Context())
		rec := &recorder{ResponseRecorder: httptest.NewRecorder()}
		var wg sync.WaitGroup
		wg.Go(func() {
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/builds/42/events?after=3.0.2", nil).WithContext(ctx))
		})
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if got := rec.text(); strings.Count(got, "event: ") != 1 || strings.Count(got, ": still here") != 1 {
			t.Errorf("after 16 idle seconds:\n%s", got)
		}
		source.print(42, reporter.LogPiece{Text: "made by another process\n"})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := rec.text(); !strings.Contains(got, "made by another process") {
			t.Errorf("3 s after a change that nobody told of:\n%s", got)
		}
		leave()
		wg.Wait()
	})
}

// silentSource tells nobody of changes.
type silentSource struct{ *memorySource }

func (silentSource) Changed(int64) <-chan struct{} { return nil }

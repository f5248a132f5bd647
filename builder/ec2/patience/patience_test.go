package patience

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestRequestsThatStandStillAreGivenUp, wherever they do, and no others.
func TestRequestsThatStandStillAreGivenUp(t *testing.T) {
	const quiet = time.Second
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(w).Flush
		switch r.URL.Path {
		case "/silent":
			_, _ = io.Copy(io.Discard, r.Body)
			<-release
		case "/deaf": // takes nothing of a large object
			<-release
		case "/breaks":
			_, _ = w.Write([]byte("begun"))
			_ = flush()
			<-release
		case "/slow": // but moves, for longer than the patience
			for range 8 {
				_, _ = w.Write([]byte("piece"))
				_ = flush()
				time.Sleep(quiet / 6) // what is tested is time that passes
			}
		}
	}))
	defer server.Close()
	defer close(release)
	client := Bound(nil, quiet)
	ask := func(ctx context.Context, path string, body []byte) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, server.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		return io.ReadAll(res.Body)
	}
	large := make([]byte, 64<<20)
	for path, body := range map[string][]byte{"/silent": []byte("asked"), "/deaf": large, "/breaks": nil} {
		begin := time.Now()
		_, err := ask(t.Context(), path, body)
		var wire net.Error
		if !errors.As(err, &wire) || !wire.Timeout() || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want an error that passes", path, err)
		}
		if took := time.Since(begin); took < quiet || took > 20*quiet {
			t.Errorf("%s: given up after %s", path, took)
		}
	}
	if text, err := ask(t.Context(), "/slow", nil); err != nil || len(text) != 8*len("piece") {
		t.Errorf("/slow: %q, %v", text, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(quiet/3, cancel)
	if _, err := ask(ctx, "/silent", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that its caller ended: %v", err)
	}
}

package relay

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// TestPutFetchesAgainWhatBreaksOff has the first transfer of an archive end in its
// midst, or before it.
func TestPutFetchesAgainWhatBreaksOff(t *testing.T) {
	content := pack(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o644})
	reset := func(*http.Request) { panic(http.ErrAbortHandler) }
	standStill := func(r *http.Request) { <-r.Context().Done() }
	for name, k := range map[string]struct {
		sent   int
		breaks func(*http.Request)
	}{
		"reset": {len(content) / 2, reset}, "reset at once": {0, reset},
		"stands still": {len(content) / 2, standStill}, "stands still at once": {0, standStill},
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int32
			files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				if served.Add(1) > 1 {
					_, _ = w.Write(content)
					return
				}
				_, _ = w.Write(content[:k.sent])
				_ = http.NewResponseController(w).Flush()
				k.breaks(r)
			}))
			defer files.Close()
			s, a := newStore(t), newAgent(t)
			a.Root, a.Client.stall = t.TempDir(), 300*time.Millisecond
			r := Request{ID: "put", Op: Put, Archive: &Source{URL: files.URL, SHA256: Digest(content), Size: int64(len(content))}}
			if err := a.Do(t.Context(), s.request(t, r, "x")); err != nil {
				t.Fatal(err)
			}
			if done, _ := s.outcome(t, "x"); done.Error != "" {
				t.Fatal(done.Error)
			}
			if text, err := os.ReadFile(filepath.Join(a.Root, "a")); string(text) != "content of a" || served.Load() < 2 {
				t.Errorf("%q, %v, after %d transfers", text, err, served.Load())
			}
		})
	}
}

// TestTransfersHaveLimits fetches, in a time that nobody waits for, from a store that
// is slow or broken.
func TestTransfersHaveLimits(t *testing.T) {
	const object = "half and half"
	reset := iotest.ErrReader(errors.New("connection reset"))
	half := func() io.Reader { return strings.NewReader(object[:6]) }
	buffer := func() io.Writer { return new(bytes.Buffer) }
	for name, k := range map[string]struct {
		body      func(ctx context.Context, transfer int) io.Reader
		out       func() io.Writer
		want      string
		transfers int
	}{
		"a slow one comes": {func(ctx context.Context, _ int) io.Reader { return slow{ctx, strings.NewReader(object)} }, buffer, "", 1},
		"a slow one breaks": {func(ctx context.Context, transfer int) io.Reader {
			if transfer > 1 {
				return strings.NewReader(object)
			}
			return io.MultiReader(slow{ctx, strings.NewReader(object[:12])}, reset) // for longer than patience
		}, buffer, "", 2},
		"all break": {func(context.Context, int) io.Reader { return io.MultiReader(half(), reset) },
			buffer, "broke off after 6 of 13 bytes: connection reset", maxBroken},
		"all stand still": {func(ctx context.Context, _ int) io.Reader { return io.MultiReader(half(), still{ctx}) },
			buffer, "nothing has come for 1m0s", maxBroken},
		"the disk is full": {func(context.Context, int) io.Reader { return half() },
			func() io.Writer { return full{} }, "no space left", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transfers := 0
				c := Client{HTTP: &http.Client{Transport: transport(func(ctx context.Context) io.Reader {
					transfers++
					return k.body(ctx, transfers)
				})}}
				source := Source{URL: "http://store", SHA256: Digest([]byte(object)), Size: int64(len(object))}
				err := c.fetch(t.Context(), source, func() (io.Writer, error) { return k.out(), nil })
				if (err == nil) != (k.want == "") || err != nil && !strings.Contains(err.Error(), k.want) || transfers != k.transfers {
					t.Errorf("%v after %d transfers, want %q after %d", err, transfers, k.want, k.transfers)
				}
			})
		})
	}
}

// transport answers every request with a body.
type transport func(context.Context) io.Reader

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(t(r.Context())), Request: r}, nil
}

// slow brings a byte shortly before it would count as standing still.
type slow struct {
	ctx context.Context
	io.Reader
}

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(requestLimit - time.Second)
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p[:1])
}

// still brings nothing.
type still struct{ context.Context }

func (s still) Read([]byte) (int, error) {
	<-s.Done()
	return 0, s.Err()
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 1<<14)

func sumOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func serve(t *testing.T, handler http.HandlerFunc) (url string, client *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/disk.qcow2?token=secret", server.Client()
}

// TestDownloadResumes breaks the first transfer in its middle.
func TestDownloadResumes(t *testing.T) {
	var requests atomic.Int32
	var second string
	url, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			w.Write(content[:len(content)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		second = r.Header.Get("Range")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	out := filepath.Join(t.TempDir(), "disk")
	spec := DownloadSpec{URL: url, Checksum: sumOf(content), Client: client}
	if err := Download(t.Context(), spec, out, func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(second, "bytes=") || !bytes.Equal(read(t, out), content) {
		t.Errorf("second request asked for %q", second)
	}
	onlyFile(t, out)
}

func TestDownloadErrors(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	whole := func(w http.ResponseWriter, r *http.Request) { w.Write(content) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		spec    DownloadSpec
		message string
	}{
		"other checksum": {whole, DownloadSpec{Checksum: sumOf(nil)}, "not the given one"},
		"no checksum":    {whole, DownloadSpec{Checksum: "sha256:12"}, "is not a checksum"},
		"md5":            {whole, DownloadSpec{Checksum: "md5:d41d8cd98f00b204e9800998ecf8427e"}, "is not a checksum"},
		"not there":      {http.NotFound, DownloadSpec{Checksum: sumOf(content)}, "404"},
		"too large":      {whole, DownloadSpec{Checksum: sumOf(content), MaxBytes: 1000}, "larger than"},
		"without https":  {whole, DownloadSpec{Checksum: sumOf(content), URL: plain.URL}, "over https only"},
		"no address":     {whole, DownloadSpec{Checksum: sumOf(content), URL: "disk.qcow2"}, "is not an address"},
		"size only counted": {
			func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); w.Write(content) },
			DownloadSpec{Checksum: sumOf(content), MaxBytes: 1000}, "larger than",
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, client := serve(t, c.handler)
			c.spec.Client = client
			if c.spec.URL == "" {
				c.spec.URL = url
			}
			dir := t.TempDir()
			err := Download(t.Context(), c.spec, filepath.Join(dir, "disk"), func(string) {})
			wantFault(t, err, builder.Author, c.message)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the address's secret: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "disk")); err == nil {
				t.Error("a file appeared in spite of the error")
			}
		})
	}
}

// TestDownloadStaysOnHTTPS checks one attempt: a redirect is not tried again by us.
func TestDownloadStaysOnHTTPS(t *testing.T) {
	url, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	d := &download{spec: DownloadSpec{URL: url, Client: client}, partial: filepath.Join(t.TempDir(), "part"), log: func(string) {}}
	err := d.attempt(t.Context())
	if err == nil || !strings.Contains(err.Error(), "redirected from https to http") {
		t.Errorf("got %v", err)
	}
}

func TestServerErrorsAreTransient(t *testing.T) {
	url, client := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) })
	d := &download{spec: DownloadSpec{URL: url, Client: client}, partial: filepath.Join(t.TempDir(), "part"), log: func(string) {}}
	wantFault(t, d.attempt(t.Context()), builder.Transient, "could not be fetched")
}

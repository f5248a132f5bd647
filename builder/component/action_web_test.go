package component

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// site is a web server with the cases that matter.
func site(t *testing.T) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "content")
	})
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 4 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "at last")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		if asked.Add(1) > 1 {
			w.Header().Set("Content-Length", "5")
		}
		fmt.Fprint(w, "whole")
	})
	mux.HandleFunc("/partial", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusPartialContent)
	})
	mux.Handle("/moved", http.RedirectHandler("/file", http.StatusFound))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, &asked
}

func download(entries ...string) string {
	return "- name: Get\n  action: WebDownload\n  inputs:\n" + indent("- "+strings.Join(entries, "\n- "), "    ")
}

func TestWebDownloadMakesFoldersAndNamesFiles(t *testing.T) {
	server, _ := site(t)
	b := newBench(t, oneStep(download(
		"{source: '"+server.URL+"/file', destination: new/folder/}",
		"{source: '"+server.URL+"/moved', destination: other/name}")+
		bash("Show", "echo '{{ build.Get.outputs.destination }}'")))
	b.ok()
	if want := filepath.Join(b.dir, "new/folder/file") + "\n" + filepath.Join(b.dir, "other/name") + "\n"; b.printed() != want {
		t.Errorf("printed %q, want %q", b.printed(), want)
	}
	if b.read("new/folder/file") != "content" || b.read("other/name") != "content" {
		t.Error("the content is wrong")
	}
	if info, err := os.Stat(filepath.Join(b.dir, "other/name")); err != nil || info.Mode().Perm() != 0o666&^umask() {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTrap16WebDownloadTriesFiveTimesAndTakesOnly200(t *testing.T) {
	server, asked := site(t)
	b := newBench(t, oneStep(download("{source: '"+server.URL+"/flaky', destination: f}")))
	b.ok()
	if b.read("f") != "at last" || asked.Load() != 4 {
		t.Errorf("%q after %d tries", b.read("f"), asked.Load())
	}
	for path, want := range map[string]string{"/partial": "206", "/none": "404"} {
		asked.Store(0)
		b = newBench(t, oneStep(download("{source: '"+server.URL+path+"', destination: f}")))
		b.fails(want)
		if path == "/partial" && asked.Load() != downloadTries {
			t.Errorf("%d tries", asked.Load())
		}
		left, err := os.ReadDir(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			if e.Name() != "log" && e.Name() != "state" {
				t.Errorf("%s is left", e.Name())
			}
		}
	}
	asked.Store(0)
	b = newBench(t, oneStep(download("{source: '"+server.URL+"/cut', destination: f}")))
	b.ok()
	if b.read("f") != "whole" {
		t.Errorf("a download that was cut off counts: %q", b.read("f"))
	}
}

func TestWebDownloadChecksums(t *testing.T) {
	server, asked := site(t)
	sum := sha256.Sum256([]byte("content"))
	right := strings.ToUpper(hex.EncodeToString(sum[:]))
	entry := func(sum, more string) string {
		return "{source: '" + server.URL + "/file', destination: f, checksum: '" + sum + "', algorithm: SHA256" + more + "}"
	}
	b := newBench(t, oneStep(download(entry(right, ""), entry(right, ""))))
	b.ok()
	if asked.Load() != 1 {
		t.Errorf("a file that was there already was fetched %d times", asked.Load())
	}
	b = newBench(t, oneStep(download(entry("00", ""))))
	b.fails("not 00")
	b = newBench(t, oneStep(download(entry(right, "")+"\n- "+entry(right, ", overwrite: false"))))
	b.fails("overwrite is false")
}

func TestWebDownloadVerifiesCertificatesUnlessAsked(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of clients that refuse its certificate
	server.StartTLS()
	t.Cleanup(server.Close)
	b := newBench(t, oneStep(download("{source: '"+server.URL+"/f', destination: f}")))
	b.fails("certificate")
	b = newBench(t, oneStep(download("{source: '"+server.URL+"/f', destination: f, ignoreCertificateErrors: true}")))
	b.ok()
	b = newBench(t, oneStep(download("{source: '"+server.URL+"/', destination: folder/, ignoreCertificateErrors: 'true'}")))
	b.fails("names no file")
}

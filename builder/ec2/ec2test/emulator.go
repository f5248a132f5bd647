package ec2test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var listening = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// emulator is a moto server of one test.
type emulator struct {
	url    *url.URL
	client *http.Client
}

// answer is a whole response.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
	err    error // it did not come
}

func startEmulator(t testing.TB, program string) *emulator {
	t.Helper()
	images := filepath.Join(t.TempDir(), "images.json")
	text, err := json.Marshal(parentsForEmulator())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(images, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), "MOTO_AMIS_PATH="+images, "MOTO_ENABLE_AMI_VALIDATION=true", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	address := make(chan string, 1)
	reader.Go(func() { scanForAddress(out, address) })
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		_ = in.Close()
		reader.Wait()
	})
	select {
	case found := <-address:
		at, err := url.Parse(found)
		if err != nil {
			t.Fatal(err)
		}
		return &emulator{url: at, client: &http.Client{Transport: transport}}
	case <-time.After(time.Minute):
		t.Fatalf("%s does not listen", program)
		return nil
	}
}

// scanForAddress reads to the end, so that the server is never held up by what it says.
func scanForAddress(out io.Reader, address chan<- string) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			address <- found[1]
		}
	}
}

// proxy passes requests on as they are.
func (e *emulator) proxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		// The host stays: moto makes addresses of it.
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(e.url); r.Out.Host = r.In.Host },
		Transport: e.client.Transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the client went away, or the test is over
		},
	}
}

// ask sends a request that nobody signed. moto takes the service and the region from
// the signature and does not look at the rest of it.
func (e *emulator) ask(ctx context.Context, method, path, service, body string) answer {
	r, err := http.NewRequestWithContext(ctx, method, e.url.String()+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20300101/"+Region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	if service == "ec2" || service == "iam" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := e.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, kind: response.Header.Get("Content-Type"), body: text, err: err}
}

// form calls an operation of the query protocol.
func (e *emulator) form(ctx context.Context, service string, parameters url.Values) answer {
	return e.ask(ctx, http.MethodPost, "/", service, parameters.Encode())
}

func (e *emulator) must(t testing.TB, a answer) {
	t.Helper()
	if a.err != nil || a.status != http.StatusOK {
		t.Fatalf("moto: status %d %s %v", a.status, a.body, a.err)
	}
}

func (a answer) ok() bool { return a.err == nil && a.status == http.StatusOK }

func (a answer) write(w http.ResponseWriter) {
	if a.err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

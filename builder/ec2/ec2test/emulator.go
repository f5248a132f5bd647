package ec2test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test/botomodel"
	"github.com/seed-6db18919/ingot/internal/mototest"
)

// shared is the server of a package whose TestMain calls Main.
var shared *server

// server is a running moto, in which each Cloud has an account.
type server struct {
	*mototest.Server
	url      *url.URL
	models   map[string]*botomodel.Model
	accounts atomic.Int64
}

// Main runs the tests of a package with one moto server for all of them, which
// TestMain calls; starting one takes seconds. The tests stay apart from each other,
// for each Cloud has an account of its own. It returns the status to exit with.
func Main(m *testing.M) int {
	if program := mototest.Program(); program != "" {
		dir, err := os.MkdirTemp("", "ec2test-")
		if err == nil {
			defer os.RemoveAll(dir)
			shared, err = startServer(program, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer shared.Stop()
	}
	return m.Run()
}

// startServer starts moto; dir is for its files.
func startServer(program, dir string) (_ *server, err error) {
	s := &server{}
	if s.models, err = openModels(program); err != nil {
		return nil, err
	}
	images := filepath.Join(dir, "images.json")
	text, err := json.Marshal(parentsForEmulator())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(images, text, 0o600); err != nil {
		return nil, err
	}
	s.Server, err = mototest.Start(program, "MOTO_AMIS_PATH="+images, "MOTO_ENABLE_AMI_VALIDATION=true", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=true")
	if err != nil {
		return nil, err
	}
	if s.url, err = url.Parse(s.URL); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// emulator is an account of a server.
type emulator struct {
	server  *server
	account string
	client  *http.Client
}

// borrowEmulator gives a test an account, of the shared server if there is one.
func borrowEmulator(t testing.TB, program string) *emulator {
	t.Helper()
	from := shared
	if from == nil {
		var err error
		if from, err = startServer(program, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(from.Stop)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	account := fmt.Sprint(123456789012 + from.accounts.Add(1))
	return &emulator{server: from, account: account, client: &http.Client{Transport: transport}}
}

// answer is a whole response.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
	err    error // it did not come
}

// accountHeader tells moto whose a request is.
const accountHeader = "X-Moto-Account-Id"

// proxy passes requests on as they are.
func (e *emulator) proxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		// The host stays: moto makes addresses of it.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(e.server.url)
			r.Out.Host = r.In.Host
			r.Out.Header.Set(accountHeader, e.account)
		},
		Transport: e.client.Transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the client went away, or the test is over
		},
	}
}

// ask sends a request that nobody signed. moto takes the service and the region from
// the signature and does not look at the rest of it.
func (e *emulator) ask(ctx context.Context, method, path, service, body string) answer {
	r, err := http.NewRequestWithContext(ctx, method, e.server.url.String()+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20300101/"+Region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	r.Header.Set(accountHeader, e.account)
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

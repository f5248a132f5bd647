package aws

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var motoAddress = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// moto is the one server of this package's tests; each test begins with it empty.
var moto struct {
	once sync.Once
	url  string
	err  error
	stop func()
}

func TestMain(m *testing.M) {
	status := m.Run()
	if moto.stop != nil {
		moto.stop()
	}
	os.Exit(status)
}

// startMoto starts the server on a free port of the loopback address.
func startMoto(program string) {
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", "0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if moto.err = cmd.Start(); moto.err != nil {
		return
	}
	var reader sync.WaitGroup
	moto.stop = func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		_ = in.Close()
		reader.Wait()
	}
	address := make(chan string, 1)
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if found := motoAddress.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			}
		}
	})
	select {
	case moto.url = <-address:
	case <-time.After(time.Minute):
		moto.err = context.DeadlineExceeded
	}
}

func motoServer(t *testing.T, program string) server {
	t.Helper()
	moto.once.Do(func() { startMoto(program) })
	if moto.err != nil {
		t.Fatalf("%s: %v", program, moto.err)
	}
	ask(t, http.MethodPost, "/moto-api/reset", "", "", "")
	call := func(service, target string, in map[string]any) {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, http.MethodPost, "/", service, target, string(text))
	}
	return server{
		url: moto.url,
		bucket: func(name string) {
			ask(t, http.MethodPut, "/"+name, "s3", "", "<CreateBucketConfiguration><LocationConstraint>"+region+"</LocationConstraint></CreateBucketConfiguration>")
		},
		parameter: func(name, kind, value string) {
			call("ssm", "AmazonSSM.PutParameter", map[string]any{"Name": name, "Type": kind, "Value": value})
		},
		secret: func(name, value string) {
			call("secretsmanager", "secretsmanager.CreateSecret", map[string]any{"Name": name, "SecretString": value})
		},
	}
}

// ask sends a request that this package has no code for. moto takes the service
// and the region from the signature and does not look at the rest of that.
func ask(t *testing.T, method, path, service, target, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, moto.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if service != "" {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20300101/"+region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	}
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %s: %s %s %v", method, path, target, response.Status, answer, err)
	}
}

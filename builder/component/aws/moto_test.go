package aws

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/internal/mototest"
)

// moto is the one server of this package's tests; each test begins with it empty.
var moto *mototest.Server

func TestMain(m *testing.M) { os.Exit(mototest.Main(m, &moto)) }

func motoServer(t *testing.T) server {
	t.Helper()
	ask(t, http.MethodPost, "/moto-api/reset", "", "", "")
	call := func(service, target string, in map[string]any) {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, http.MethodPost, "/", service, target, string(text))
	}
	return server{
		url: moto.URL,
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
	r, err := http.NewRequestWithContext(t.Context(), method, moto.URL+path, strings.NewReader(body))
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

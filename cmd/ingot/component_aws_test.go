package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

// account is as much of AWS as a run of documents can meet. It refuses the rest.
type account struct {
	*testing.T
	objects map[string]string // by bucket/key
	owner   string            // of the buckets

	mu  sync.Mutex
	put []string
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.Error(err)
	}
	at := strings.TrimPrefix(r.URL.Path, "/")
	owner := r.Header.Get("X-Amz-Expected-Bucket-Owner")
	switch {
	case r.Header.Get("X-Amz-Target") == "AmazonSSM.GetParameter" && strings.Contains(string(body), `"/app/name"`):
		fmt.Fprint(w, `{"Parameter":{"Type":"String","Value":"from the parameter store"}}`)
	case at == "GetComponent" && r.URL.Query().Get("componentBuildVersionArn") == exampleARN:
		must(a.T, json.NewEncoder(w).Encode(map[string]any{"component": map[string]string{"data": a.objects["component"]}}))
	case owner != "" && owner != a.owner:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	case r.Method == http.MethodGet && a.objects[at] != "":
		fmt.Fprint(w, a.objects[at])
	case r.Method == http.MethodPut && strings.HasPrefix(at, "logs/"):
		a.mu.Lock()
		a.put = append(a.put, at)
		a.mu.Unlock()
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchKey</Code><Message>nothing is there</Message></Error>`)
	}
}

func (a *account) sent() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.put)
}

const exampleARN = "arn:aws:imagebuilder:eu-west-1:123456789012:component/from-the-account/1.0.0/1"

// TestComponentsFromAnAccount runs documents that lie in AWS, and one that refers to it,
// and sends the log there.
func TestComponentsFromAnAccount(t *testing.T) {
	if testing.Short() {
		t.Skip("links the AWS SDK: over ten seconds")
	}
	echo := func(what string) string {
		return "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: ExecuteBash, inputs: {commands: [\"echo '" + what + "'\"]}}]}]\n"
	}
	a := &account{T: t, owner: "123456789012", objects: map[string]string{
		"documents/folder/web.yaml": echo("web says {{ aws:ssm:/app/name }}"),
		"component":                 echo("the account says hello"),
		"documents/run.json":        `{"documents": [{"path": "s3://documents/folder/web.yaml"}], "logS3BucketName": "logs", "logS3KeyPrefix": "runs/of/today"}`,
	}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ingot := filepath.Join(dir, "bin", "ingot")
	must(t, os.Mkdir(filepath.Dir(ingot), 0o700))
	for _, name := range []string{"ingot", "ingot-agent"} {
		must(t, os.Link(filepath.Join(filepath.Dir(program(t)), name), filepath.Join(filepath.Dir(ingot), name)))
	}
	build := exec.Command("go", "build", "-trimpath", "-o", ingot+"-agent-aws", "../ingot-agent-aws")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run := func(args ...string) (runSummary, string, int) {
		cmd := exec.Command(ingot, append([]string{"component", "run", "-s", "state"}, args...)...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "AWS_ENDPOINT_URL=" + server.URL, "AWSTOE_IMAGEBUILDER_ENDPOINT=" + server.URL, "AWS_REGION=eu-west-1",
			"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true", "TMPDIR=" + dir,
		}
		var out, shown strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &shown
		err := cmd.Run()
		if _, ended := err.(*exec.ExitError); err != nil && !ended {
			t.Fatal(err)
		}
		var s runSummary
		if out.Len() > 0 {
			s = resultIn(t, out.String())
		}
		return s, shown.String(), cmd.ProcessState.ExitCode()
	}

	s, shown, code := run("-c", "s3://documents/run.json")
	if code != exitOK || s.Status != component.Success || !strings.Contains(shown, "| web says from the parameter store\n") {
		t.Errorf("%d, %+v\n%s", code, s, shown)
	}
	if !strings.HasPrefix(s.LogURL, "s3://logs/runs/of/today/TOE_") {
		t.Errorf("the log is in %s", s.LogURL)
	}
	for _, file := range []string{"console.log", "detailedoutput.json", "document.yaml"} {
		if sent := a.sent(); !slices.Contains(sent, strings.TrimPrefix(s.LogURL, "s3://")+file) {
			t.Errorf("%s was not sent: %v", file, sent)
		}
	}
	s, shown, code = run(exampleARN, "--document-s3-bucket-owner", a.owner, "-d", "s3://documents/folder/web.yaml")
	if code != exitOK || s.Executed != 2 || !strings.Contains(shown, "from-the-account\n  build/A: ExecuteBash\n  | the account says hello\n") {
		t.Errorf("%d, %+v\n%s", code, s, shown)
	}
	for args, want := range map[string]string{
		"s3://documents/none.yaml": "s3://documents/none.yaml: ",
		"--document-s3-bucket-owner 210987654321 s3://documents/folder/web.yaml": "AccessDenied",
		exampleARN + "0": "GetComponent",
	} {
		if _, shown, code := run(strings.Fields(args)...); code != exitOurs || !strings.Contains(shown, want) {
			t.Errorf("%s: %d, %s", args, code, shown)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "ingot-component-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

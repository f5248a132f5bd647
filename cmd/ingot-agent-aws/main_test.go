package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

// maxSize is what the stripped program may have, in bytes: it is still copied into
// instances.
const maxSize = 16 << 20

// The program as a release has it runs a document that reads a parameter, with
// nothing but its environment to find AWS by.
func TestTheProgramReachesAWS(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ingot-agent-aws")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the agent for AWS has %d bytes", info.Size())
	if info.Size() > maxSize {
		t.Errorf("the agent for AWS has %d bytes, more than %d", info.Size(), maxSize)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Amz-Target") != "AmazonSSM.GetParameter" || !strings.Contains(string(body), `"/app/name"`) {
			t.Errorf("unexpected %s %s %v", r.Header.Get("X-Amz-Target"), body, err)
		}
		fmt.Fprint(w, `{"Parameter":{"Type":"SecureString","Value":"hunter2"}}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	job := component.Job{ID: "job", LogDir: dir, StateDir: dir, Documents: []component.JobDocument{{
		Name: "d", Path: "d.yaml", Text: "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: A, action: ExecuteBash, inputs: {commands: [\"[ '{{ aws:ssm:/app/name }}' = hunter2 ] && echo '{{ aws:ssm:/app/name }}'\"]}}\n",
	}}}
	cmd := exec.Command(program, "run", "--attended")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_ENDPOINT_URL=" + server.URL, "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var printed strings.Builder
	result, err := agent.Exec(ctx, cmd, job, func(e component.Event) {
		if e.Kind == component.Output {
			printed.WriteString(e.Text)
		}
	})
	if err != nil || result.Status != component.Success || printed.String() != "***\n" {
		t.Errorf("%+v, %v, printed %q", result, err, printed.String())
	}
}

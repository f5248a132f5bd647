package local

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
)

// A document reads a parameter from inside of its container, with what the image
// knows of AWS; a build that does not need it gets the smaller agent.
func TestDocumentsReachAWSFromTheInstance(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"/app/name"`) || !strings.Contains(r.Header.Get("Authorization"), "Credential=OFTHEIMAGE/") {
			t.Errorf("unexpected %s by %s, %v", body, r.Header.Get("Authorization"), err)
		}
		fmt.Fprint(w, `{"Parameter":{"Type":"String","Value":"web"}}`)
	}))
	t.Cleanup(server.Close)
	// What the daemon has is not what its builds have.
	t.Setenv("AWS_ACCESS_KEY_ID", "OFTHEHOST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")

	d := newDriver(t)
	d.cfg.AWSAgent = filepath.Join(t.TempDir(), "ingot-agent-aws")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", d.cfg.AWSAgent, "github.com/seed-6db18919/ingot/cmd/ingot-agent-aws")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const settings = "[default]\\nregion = eu-west-1\\nendpoint_url = %s\\naws_access_key_id = OFTHEIMAGE\\naws_secret_access_key = x\\n"
	i := launch(t, d, builder.LaunchSpec{Build: "aws", Base: base(t, d), AWS: true})
	execute(t, i, "mkdir -p /root/.aws && printf '"+fmt.Sprintf(settings, server.URL)+"' > /root/.aws/config")
	if got := execute(t, i, "echo name {{ aws:ssm:/app/name }}"); got != "name web\n" {
		t.Errorf("printed %q", got)
	}
	closeIt(t, i)

	i = launch(t, d, builder.LaunchSpec{Build: "plain", Base: base(t, d)})
	result, err := i.Run(t.Context(), bash("echo {{ aws:ssm:/app/name }}"), func(component.Event) {})
	if err != nil || result.Failure == nil || !strings.Contains(result.Failure.Message, "no access to a parameter store here") {
		t.Errorf("%+v, %v", result.Failure, err)
	}
}

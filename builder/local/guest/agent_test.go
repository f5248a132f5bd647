package guest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

// realAgent builds the agent as it is shipped.
func realAgent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ingot-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/seed-6db18919/ingot/cmd/ingot-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// restart proves that it ran on both sides of a reboot, in two boots of one
// machine, and that the machine has an address but reaches nothing of the host.
const restart = `name: restart
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: Before
        action: ExecuteBash
        inputs:
          commands:
            - cp /proc/sys/kernel/random/boot_id /root/before
            - systemctl is-active ingot-agent.service
      - name: Restart
        action: Reboot
      - name: After
        action: ExecuteBash
        inputs:
          commands:
            - "! cmp /proc/sys/kernel/random/boot_id /root/before"
            - systemctl is-system-running --wait
            - echo back again
      - name: Isolation
        action: ExecuteBash
        timeoutSeconds: 300
        inputs:
          commands:
            - until hostname -I | grep -F 10.0.2.; do sleep 1; done
            - "! timeout 10 bash -c 'exec 3<>/dev/tcp/10.0.2.2/PORT'"
`

func TestAgentRunsAJobAcrossAReboot(t *testing.T) {
	boots(t)
	disk := overlay(t)
	program := realAgent(t)
	var injected *Injected
	edit(t, disk, func(root *os.Root) (err error) {
		injected, err = Inject(root, program)
		return err
	})
	host := httptest.NewServer(http.NotFoundHandler()) // what only this machine may reach
	defer host.Close()
	port := host.Listener.Addr().(*net.TCPAddr).Port
	begin := time.Now()
	m := start(t, Spec{Disk: disk})
	ctx, stop := m.Watch(patient(t))
	defer stop()
	client := agent.NewClient(func(ctx context.Context) (io.ReadWriteCloser, error) { return m.Dial(ctx) })
	defer client.Close()

	first, err := client.Hello(ctx)
	if err != nil {
		t.Fatalf("Hello: %v", err)
	}
	t.Logf("agent after %v", time.Since(begin).Round(100*time.Millisecond))
	if err := m.WaitLogin(ctx); err != nil {
		t.Fatalf("WaitLogin: %v", err)
	}
	t.Logf("login after %v", time.Since(begin).Round(100*time.Millisecond))
	if !strings.Contains(m.Console(), "login:") {
		t.Error("the console's text has no login prompt")
	}
	var said strings.Builder
	result, err := client.Run(ctx, component.Job{
		ID:        "restart",
		Documents: []component.JobDocument{{Name: "restart", Path: "restart.yaml", Text: strings.ReplaceAll(restart, "PORT", strconv.Itoa(port))}},
		Phases:    []string{"test"},
	}, func(e component.Event) { said.WriteString(e.Text) })
	if err != nil || result.Status != component.Success || !strings.Contains(said.String(), "back again") {
		t.Fatalf("Run: %+v, %v\n%s", result, err, said.String())
	}
	if err := m.WaitLogin(ctx); err != nil {
		t.Fatalf("WaitLogin after the reboot: %v", err)
	}
	if again, err := client.Hello(ctx); err != nil || again.BootID == first.BootID {
		t.Errorf("Hello after the reboot: %+v, %v; first %+v", again, err, first)
	}
	if err := client.Poweroff(ctx); err != nil {
		t.Fatalf("Poweroff: %v", err)
	}
	if err := m.WaitOff(patient(t)); err != nil {
		t.Fatalf("WaitOff: %v", err)
	}
	edit(t, disk, func(root *os.Root) error {
		if err := injected.Eject(root); err != nil {
			return err
		}
		for _, name := range []string{agentFolder, unitFile, wantsLink} {
			if _, err := root.Lstat(name); err == nil {
				t.Errorf("%s is still there", name)
			}
		}
		return nil
	})
}

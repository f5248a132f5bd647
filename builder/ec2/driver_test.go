package ec2

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/drivertest"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/patience"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// hurry is for a cloud in which nothing takes long.
var hurry = pace{
	inbox: 50 * time.Millisecond, states: 100 * time.Millisecond, quiet: 5 * time.Second,
	online: time.Minute, visible: 10 * time.Second, stopping: time.Minute,
}

// realAgent builds the agent as it is shipped.
func realAgent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ingot-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/seed-6db18919/ingot/cmd/ingot-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// testLog writes what the driver says into the test's log.
func testLog(t *testing.T) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.AddHook(hook{t})
	return log
}

type hook struct{ t *testing.T }

func (hook) Levels() []logrus.Level { return logrus.AllLevels }

func (h hook) Fire(e *logrus.Entry) error {
	h.t.Log(e.Level, e.Message, e.Data)
	return nil
}

func configOf(t *testing.T, c *ec2test.Cloud, agent string) Config {
	return Config{
		Services: Connect(lastingConfig(c.Config(), 300*time.Millisecond, patience.Usual)), Region: ec2test.Region, Owner: "test", Ledger: "ours", Bucket: c.Bucket, Prefix: "ingot/",
		Infrastructure: Infrastructure{InstanceProfile: ec2test.Profile, InstanceTypes: []string{"t3.small", "t3.medium"}}, Agent: agent, Log: testLog(t), pace: hurry,
	}
}

func newDriver(t *testing.T, cfg Config) *Driver {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func parentOf(text string) builder.ParentSource {
	return builder.ParentSource{Parent: recipe.Parent{Text: text}}
}

func TestDriverConforms(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	d := newDriver(t, configOf(t, c, realAgent(t)))
	drivertest.Run(t, drivertest.Setup{
		Driver: d, Parent: parentOf(ec2test.Parents[0].ID), Isolation: recipe.Container,
		Leftovers: func() []string { return running(t, c) },
	})
}

// running are the instances that were not ended.
func running(t *testing.T, c *ec2test.Cloud) []string {
	t.Helper()
	client := ec2.NewFromConfig(c.Config())
	out, err := client.DescribeInstances(context.WithoutCancel(t.Context()), &ec2.DescribeInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if !over(i) {
				ids = append(ids, fmt.Sprintf("%s (%s of %s)", aws.ToString(i.InstanceId), i.State.Name, tagOf(i.Tags, tagBuild)))
			}
		}
	}
	return ids
}

func jobOf(id string, commands ...string) component.Job {
	text := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: Step\n        action: ExecuteBash\n        inputs:\n          commands:\n            - |\n              " +
		strings.Join(commands, "\n              ") + "\n"
	return component.Job{ID: id, Phases: []string{"build"}, Documents: []component.JobDocument{{Name: "case", Path: "case.yaml", Text: text}}}
}

func TestMain(m *testing.M) { os.Exit(ec2test.Main(m)) }

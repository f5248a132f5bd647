package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/reporter"
)

// TestDaemonOnAWSOutlivesSignals takes one build on EC2 through the ends of its daemon,
// a process of its own: killed while a component runs, told to stop there, killed while
// the image is made and while its tests run. The build goes on with the instance that
// it has, no component runs twice, and in the end there is one image and nothing else.
func TestDaemonOnAWSOutlivesSignals(t *testing.T) {
	skipIfShort(t)
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	s := newIngotProcess(t)
	s.onEC2(c)
	commit, err := s.repo.commit("Add an image")
	must(t, err)

	t.Log("killed while a component runs")
	s.start()
	held := s.awaitHold()
	s.kill()
	s.start()
	s.awaitLog("is taken up")

	t.Log("told to stop while a component runs")
	s.signal(syscall.SIGTERM)
	if state := s.wait(); state.ExitCode() != 0 {
		t.Fatalf("after SIGTERM: %v\n%s", state, s.log)
	}
	s.onlyBuild(commit, reporter.Queued)
	if now := s.holder(); now != held {
		t.Errorf("the component is process %d, want %d: it was not left alone", now, held)
	}

	t.Log("killed while the image is made")
	made := make(chan struct{})
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateImage", Times: 1, Effect: ec2test.After(func(*ec2test.Request) { close(made) })})
	s.start()
	s.endHold()
	s.eventually("the image to be begun", func() bool {
		select {
		case <-made:
			return true
		default:
			return false
		}
	})
	s.kill()
	if images := c.Leftovers(t.Context()).Images; len(images) != 1 || images[0].State != "pending" {
		t.Fatalf("images %v, want one that is pending", images)
	}

	t.Log("killed while a test runs")
	s.start()
	held = s.awaitHold()
	s.kill()

	t.Log("finished by the next")
	s.start()
	s.awaitLog("is taken up")
	if now := s.holder(); now != held {
		t.Errorf("the test is process %d, want %d: it was not left alone", now, held)
	}
	s.endHold()
	s.eventually("the end of the build", func() bool { return s.builds()[0].State.Final() })
	if b := s.onlyBuild(commit, reporter.Succeeded); b.Number != 1 {
		t.Errorf("the release has the number %d, want 1: %+v", b.Number, b)
	}
	if images := s.ingot("images", "--released", "--json"); strings.Count(images, "\n") != 1 {
		t.Errorf("released more than once: %s", images)
	}
	left := c.Leftovers(context.WithoutCancel(t.Context()))
	if len(left.Images) != 1 || left.Images[0].State != "available" || left.Images[0].Tags["ingot:image"] == "" {
		t.Errorf("images %v, want one that is complete", left.Images)
	}
	if left.Images = nil; left.String() != "" {
		t.Errorf("left behind: %v", left)
	}
	launched := slices.DeleteFunc(c.Calls().Of("ec2", "RunInstances"), func(call ec2test.Call) bool { return call.Status != 200 })
	if len(launched) != 2 {
		t.Errorf("%d instances were launched, want one for the build and one for its tests", len(launched))
	}
	s.signal(syscall.SIGTERM)
	s.wait()
}

// onEC2 has the recipe built in that account. Its component must have run once, says
// its test, and both run until they are let go.
func (s *ingotProcess) onEC2(c *ec2test.Cloud) {
	s.Helper()
	s.env = append(s.env, "AWS_ENDPOINT_URL="+c.URL, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	for key, value := range c.Environment() {
		s.env = append(s.env, key+"="+value)
	}
	config, err := os.ReadFile(s.config)
	must(s.T, err)
	s.write(s.config, string(config)+fmt.Sprintf("aws: {region: %s, bucket: %s, instanceProfile: %s}\n", ec2test.Region, c.Bucket, ec2test.Profile))
	s.write(filepath.Join(s.repo.dir, "recipe.yaml"), fmt.Sprintf(`apiVersion: ingot/v1
kind: ImageRecipe
name: held
version: 1.0.0
parentImage: %s
infrastructure: {driver: ec2}
components: [{component: ./hold.yaml}]
tests: [{component: ./ran-once.yaml}]
`, ec2test.Parents[0].ID))
	s.write(filepath.Join(s.repo.dir, "hold.yaml"), fmt.Sprintf(`name: hold
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Hold
        action: ExecuteBash
        inputs: {commands: ["echo ran >>/etc/ran; sleep %s || echo told to go on"]}
`, s.hold))
	s.write(filepath.Join(s.repo.dir, "ran-once.yaml"), fmt.Sprintf(`name: ran-once
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: RanOnce
        action: ExecuteBash
        inputs: {commands: ["test \"$(cat /etc/ran)\" = ran", "sleep %s || true"]}
`, s.hold))
}

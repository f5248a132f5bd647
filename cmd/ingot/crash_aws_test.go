package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/reporter"
)

// TestDaemonOnAWSOutlivesSignals takes builds on EC2 through the ends of their daemon, a
// process of its own that is killed at one stage after the other. Each build goes on with
// the instance that it has, no component runs twice, and in the end there is one image
// and nothing else.
func TestDaemonOnAWSOutlivesSignals(t *testing.T) {
	skipIfShort(t)
	// A build may lose its daemon ten times: two builds share the stages.
	t.Run("until the image", func(t *testing.T) {
		t.Parallel()
		s := newProcessOnAWS(t)
		commit := s.buildOnEC2(s.sleep())
		s.diesAt(
			death{at: "its parent is looked up", call: "ssm:GetParameter"},
			death{at: "the instance is launched", call: "ec2:RunInstances"},
			death{at: "the instance has been launched", call: "ec2:RunInstances", after: true},
			death{at: "Systems Manager is waited for", call: "ssm:DescribeInstanceInformation"},
			death{at: "the agent is delivered", call: "s3:PutObject", where: func(r *ec2test.Request) bool { return strings.Contains(r.Path, "/agents/") }},
			death{at: "files are being put", call: "ssm:SendCommand", where: commanded("put 001"), after: true},
		)

		t.Log("a component runs")
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
		s.endHeld(held)

		s.diesAt(
			death{at: "packages are listed", call: "ssm:SendCommand", where: commanded("run 003"), after: true},
			death{at: "it is cleaned up", call: "ssm:SendCommand", where: commanded("clean 004"), after: true},
			death{at: "the agent is about to go", call: "ec2:CreateTags", where: mentions("ingot:clean"), after: true},
		)
		s.start()
		s.endsWell(commit, 2)
	})
	t.Run("from the image on", func(t *testing.T) {
		t.Parallel()
		s := newProcessOnAWS(t)
		commit := s.buildOnEC2("true")
		s.diesAt(
			death{at: "the instance has been told to stop", call: "ec2:StopInstances", after: true},
			death{at: "the image is made", call: "ec2:CreateImage"},
			death{at: "the image has been made", call: "ec2:CreateImage", after: true},
			death{at: "the image is marked as complete", call: "ec2:CreateTags", where: mentions("ingot:image")},
			death{at: "the instance is ended", call: "ec2:TerminateInstances"},
			death{at: "the test instance is launched", call: "ec2:RunInstances", where: mentions("test")},
			death{at: "the test instance has been launched", call: "ec2:RunInstances", where: mentions("test"), after: true},
		)

		t.Log("a test runs")
		s.start()
		held := s.awaitHold()
		s.kill()
		s.endHeld(held)

		s.diesAt(
			death{at: "the test instance is ended", call: "ec2:TerminateInstances"},
			death{at: "the test instance has been ended", call: "ec2:TerminateInstances", after: true},
		)
		t.Log("the outcome is told")
		told := s.holdStatus("success")
		s.start()
		s.endHold() // how the tests ended went with the daemon: they are run again
		s.reaches(told)
		s.kill()
		s.github.SetFault(nil)
		s.start()
		s.endsWell(commit, 3)
	})
}

// death is where a daemon is killed.
type death struct {
	at    string
	call  string                      // as service:Operation
	where func(*ec2test.Request) bool // nil: the first one of a life
	from  int                         // the first of those that fit; 0 and 1: the first
	after bool                        // the call has taken effect, and its answer is lost
}

// commanded tells a command by how the account's list shows it.
func commanded(what string) func(*ec2test.Request) bool {
	return func(r *ec2test.Request) bool { return strings.Contains(fmt.Sprint(r.JSON["Comment"]), what) }
}

// mentions tells a call of EC2 by one of its values.
func mentions(word string) func(*ec2test.Request) bool {
	return func(r *ec2test.Request) bool {
		for _, values := range r.Form {
			if values[0] == word {
				return true
			}
		}
		return false
	}
}

// processOnAWS is a daemon with an account and a code host.
type processOnAWS struct {
	*ingotProcess
	cloud  *ec2test.Cloud
	github *githubfake.Server

	mu       sync.Mutex
	launched []ec2test.Launch // instances, in order
}

func newProcessOnAWS(t *testing.T) *processOnAWS {
	t.Helper()
	s := &processOnAWS{}
	machines := ec2test.ContainerMachines(t) // before the cloud, which it outlasts
	s.cloud = startAWS(t, ec2test.Options{Polls: -1, Machine: func(l ec2test.Launch) ec2test.Machine {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.launched = append(s.launched, l)
		l.Root = nil // what is uploaded here is compared, and no system
		return machines(l)
	}})
	s.github = githubfake.New(t)
	s.github.AddRepository(ownerRepo)
	s.ingotProcess = newIngotProcess(t)
	s.finds(s.cloud)
	s.env = append(s.env, "INGOT_GITHUB_TOKEN="+githubfake.Token)
	config, err := os.ReadFile(s.config)
	must(t, err)
	s.write(s.config, strings.Replace(string(config), "pollInterval", "github: "+ownerRepo+", pollInterval", 1)+fmt.Sprintf(
		"github: {apiURL: %s}\naws: {region: %s, bucket: %s, instanceProfile: %s}\n", s.github.APIURL(), ec2test.Region, s.cloud.Bucket, ec2test.Profile))
	return s
}

// sleep is a command that runs until it is let go.
func (s *processOnAWS) sleep() string { return "sleep " + s.hold + " || echo told to go on" }

// commit commits the recipe and tells the code host of it.
func (s *processOnAWS) commit(recipe string) string {
	s.Helper()
	s.write(filepath.Join(s.repo.dir, "recipe.yaml"), recipe)
	commit, err := s.repo.commit("Add an image")
	must(s.T, err)
	s.github.AddCommit(ownerRepo, commit)
	return commit
}

// buildOnEC2 has a recipe built in the account. Its component ends with a command, must
// have run once, says its test, and the test ends when it is let go.
func (s *processOnAWS) buildOnEC2(command string) (commit string) {
	s.Helper()
	s.write(filepath.Join(s.repo.dir, "motd"), "hello\n")
	s.write(filepath.Join(s.repo.dir, "hold.yaml"), fmt.Sprintf(`name: hold
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Run
        action: ExecuteBash
        inputs: {commands: ["echo ran >>/etc/ran; %s"]}
`, command))
	test := s.sleep()
	if command == test {
		test = "true"
	}
	s.write(filepath.Join(s.repo.dir, "ran-once.yaml"), fmt.Sprintf(`name: ran-once
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: RanOnce
        action: ExecuteBash
        inputs: {commands: ["test \"$(cat /etc/ran)\" = ran", "grep -x hello /etc/motd", "%s"]}
`, test))
	return s.commit(fmt.Sprintf(`apiVersion: ingot/v1
kind: ImageRecipe
name: held
version: 1.0.0
parentImage: ssm:%s
infrastructure: {driver: ec2}
files: [{source: motd, destination: /etc/motd}]
components: [{component: ./hold.yaml}]
tests: [{component: ./ran-once.yaml}]
`, ec2test.Parents[0].Parameter))
}

// endHeld lets a document go on while there is no daemon.
func (s *processOnAWS) endHeld(held int) {
	s.Helper()
	if now := s.holder(); now != held {
		s.Fatalf("what was held is process %d, want %d: it was not left alone", now, held)
	}
	must(s.T, syscall.Kill(held, syscall.SIGTERM))
}

// diesAt starts the daemon and kills it, once at each of the places.
func (s *processOnAWS) diesAt(all ...death) {
	s.Helper()
	for _, d := range all {
		s.Log(d.at)
		reached := make(chan struct{})
		service, operation, _ := strings.Cut(d.call, ":")
		meets := func(effect ec2test.Effect) {
			s.cloud.Faults.Add(&ec2test.Fault{Service: service, Operation: operation, Where: d.where, From: d.from, Times: 1, Effect: effect})
		}
		if d.after {
			meets(ec2test.After(func(*ec2test.Request) { close(reached) }))
			meets(ec2test.HangAfter())
		} else {
			meets(ec2test.Before(func(*ec2test.Request) { close(reached) }))
			meets(ec2test.Hang())
		}
		s.start()
		s.reaches(reached)
		s.kill()
		s.cloud.Faults.Clear()
	}
}

// reaches waits until the daemon is where it is to be killed.
func (s *processOnAWS) reaches(reached <-chan struct{}) {
	s.Helper()
	s.eventually("the place where it is killed", func() bool {
		select {
		case <-reached:
			return true
		default:
			return false
		}
	})
}

// holdStatus has the code host answer nothing to a commit status of that state.
func (s *processOnAWS) holdStatus(state string) (reached <-chan struct{}) {
	came := make(chan struct{})
	var once sync.Once
	s.github.SetFault(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.Error(err)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if !strings.Contains(string(body), `"state":"`+state+`"`) {
			return false
		}
		once.Do(func() { close(came) })
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	return came
}

// ofBuilds are the objects of builds on EC2 that stay for a while.
var ofBuilds = regexp.MustCompile(`^ingot/(agents|builds|files|images|inbox)/`)

// endsWell waits for the end of the only build, and sees that it has made one release, of
// so many instances, and that nothing else is left.
func (s *processOnAWS) endsWell(commit string, instances int) {
	s.Helper()
	success := func() (n int) {
		for _, status := range s.github.Statuses(ownerRepo, commit) {
			if status.State == "success" {
				n++
			}
		}
		return n
	}
	s.eventually("the end of the build", func() bool { return s.builds()[0].State.Final() })
	if b := s.onlyBuild(commit, reporter.Succeeded); b.Number != 1 {
		s.Errorf("the release has the number %d, want 1: %+v", b.Number, b)
	}
	s.eventually("the commit's status", func() bool { return success() > 0 })
	s.signal(syscall.SIGTERM)
	s.wait()
	if n := success(); n != 1 {
		s.Errorf("success was told %d times", n)
	}
	if images := s.ingot("images", "--released", "--json"); strings.Count(images, "\n") != 1 {
		s.Errorf("released, not once: %s", images)
	}
	left := s.cloud.Leftovers(context.WithoutCancel(s.Context()))
	if len(left.Images) != 1 || left.Images[0].State != "available" || left.Images[0].Tags["ingot:build"] != "1" {
		s.Errorf("images %v, want one that is complete", left.Images)
	}
	if left.Images = nil; left.String() != "" {
		s.Errorf("left behind: %v", left)
	}
	// The bucket's rules see to what a daemon has not read, and to a build's memory.
	if objects := slices.DeleteFunc(s.cloud.Objects(s.Context(), ""), ofBuilds.MatchString); len(objects) > 0 {
		s.Errorf("left in the bucket: %v", objects)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.launched) != instances {
		s.Errorf("%d instances were launched, want %d", len(s.launched), instances)
	}
}

// finds has the process find that account as it would find AWS.
func (s *ingotProcess) finds(c *ec2test.Cloud) {
	s.env = append(s.env, "AWS_ENDPOINT_URL="+c.URL, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	for key, value := range c.Environment() {
		s.env = append(s.env, key+"="+value)
	}
}

// onEC2 has the recipe built in that account. Its component must have run once, says
// its test, and both run until they are let go.
func (s *ingotProcess) onEC2(c *ec2test.Cloud) {
	s.Helper()
	s.finds(c)
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

package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/patience"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// wire is the way to AWS of a process that can be killed: afterwards nothing of it
// gets there, whatever it does.
type wire struct {
	next aws.HTTPClient
	dead atomic.Bool
}

var errDead = errors.New("the process is dead")

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	if w.dead.Load() {
		return nil, &aws.RequestCanceledError{Err: errDead}
	}
	res, err := w.next.Do(r)
	if w.dead.Load() { // and no answer reaches it
		if err == nil {
			err = errors.Join(errDead, res.Body.Close())
		}
		return nil, &aws.RequestCanceledError{Err: err}
	}
	return res, err
}

// mortal is a process with a build, or something to publish.
type mortal struct {
	*wire
	ctx  context.Context
	kill func()
	sdk  aws.Config
	cfg  Config
}

func newMortal(t *testing.T, c *ec2test.Cloud, cfg Config) *mortal {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	sdk := c.Config()
	p := &mortal{wire: &wire{next: sdk.HTTPClient}, ctx: ctx}
	sdk.HTTPClient = p.wire
	p.sdk = sdk
	cfg.Services = Connect(lastingConfig(sdk, 100*time.Millisecond, patience.Usual))
	p.cfg = cfg
	p.kill = func() {
		p.dead.Store(true)
		cancel()
	}
	return p
}

func (p *mortal) build(t *testing.T, request builder.Request) (builder.Result, error) {
	t.Helper()
	d, err := New(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return builder.New(d, forgetful{}).Build(p.ctx, request, func(builder.Event) {})
}

// acts are the calls that make, change or remove something.
var acts = []string{
	"ec2:RunInstances", "ec2:StopInstances", "ec2:CreateImage", "ec2:CreateTags", "ec2:TerminateInstances",
	"ssm:SendCommand", "s3:PutObject", "s3:DeleteObjects",
}

// killable is a cloud with a build to be killed in.
type killable struct {
	*ec2test.Cloud
	cfg     Config
	request builder.Request
}

func newKillable(t *testing.T, spot bool) *killable {
	t.Helper()
	c, cfg := promptCloud(t)
	k := &killable{Cloud: c, cfg: cfg}
	k.cfg.pace.grace, k.cfg.Spot = time.Nanosecond, spot
	ami := ec2test.Parents[0].ID
	k.request = builder.Request{Build: "killed", Tree: treeOf(t), Recipe: &recipe.Recipe{
		Name: "killed", Parent: recipe.Parent{Kind: recipe.ParentAMI, Name: ami, Text: ami},
		Files:      []recipe.Files{{Source: "motd", Destination: "/etc/motd", Entries: []recipe.File{{Path: "motd", Target: "/etc/motd", Mode: 0o644, Size: 6}}}},
		Components: []recipe.Use{useOf(t, "once", "build", "true")}, Tests: []recipe.Use{useOf(t, "tested", "test", "true")},
		Infrastructure: recipe.Infrastructure{TimeoutMinutes: 5},
	}}
	return k
}

// TestKilledAtEveryCallABuildIsTakenUp kills the process of a build at its calls that
// have an effect: before that, or after it with its answer lost. The next process ends
// the build, with one image, and leaves nothing else behind.
func TestKilledAtEveryCallABuildIsTakenUp(t *testing.T) {
	t.Run("on demand", func(t *testing.T) { killedEverywhere(t, false, acts) })
	// Spot differs in how it is launched, and how its image is made.
	t.Run("spot", func(t *testing.T) {
		killedEverywhere(t, true, []string{"ec2:RunInstances", "ec2:CreateImage", "ec2:CreateTags", "ec2:TerminateInstances"})
	})
}

func killedEverywhere(t *testing.T, spot bool, acts []string) {
	t.Helper()
	whole := newKillable(t, spot)
	if result, err := newMortal(t, whole.Cloud, whole.cfg).build(t, whole.request); err != nil || !result.Passed() {
		t.Fatalf("%+v, %v", result, err)
	}
	counts := whole.Calls().Counts()
	for call := range counts {
		if !spot && acting(call) && !slices.Contains(acts, call) {
			t.Errorf("nothing is killed at %s, which the build calls", call)
		}
	}
	for _, act := range acts {
		if counts[act] == 0 {
			t.Errorf("the build has not called %s", act)
		}
		if act == "s3:DeleteObjects" {
			counts[act] = 1 // there are as many as looks: it depends on the host
		}
		for n := 1; n <= counts[act]; n++ {
			// Of EC2 each call is met in both ways. What is sent and put again and again is
			// met in one way and the other by turns.
			both := strings.HasPrefix(act, "ec2:") || n == 1
			if both || n%2 == 0 {
				killedAt(t, spot, act, n, "before", ec2test.Disconnect())
			}
			if both || n%2 == 1 {
				killedAt(t, spot, act, n, "after", ec2test.LoseAnswer())
			}
		}
	}
}

// killedAt kills a build at the n-th of some calls.
func killedAt(t *testing.T, spot bool, call string, n int, when string, effect ec2test.Effect) {
	t.Run(fmt.Sprintf("%s %s %d", when, call, n), func(t *testing.T) {
		t.Parallel()
		k := newKillable(t, spot)
		service, operation, _ := strings.Cut(call, ":")
		first := newMortal(t, k.Cloud, k.cfg)
		met := k.Faults.Add(&ec2test.Fault{Service: service, Operation: operation, From: n, Times: 1,
			Effect: ec2test.Before(func(*ec2test.Request) { first.kill() })})
		k.Faults.Add(&ec2test.Fault{Service: service, Operation: operation, From: n, Times: 1, Effect: effect})
		if _, err := first.build(t, k.request); met.Hits() == 0 {
			t.Fatalf("it was not killed: %v", err)
		}
		k.Faults.Clear()
		result, err := newMortal(t, k.Cloud, k.cfg).build(t, k.request)
		if err != nil || !result.Passed() {
			t.Fatalf("the next life: %+v, %v", result, err)
		}
		if all, err := newDriver(t, k.cfg).Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(all) > 0 {
			t.Errorf("left to the reaper: %+v, %v", all, err)
		}
		left := k.Leftovers(t.Context())
		if len(left.Images) != 1 || len(left.Instances)+len(left.Volumes)+len(left.Snapshots) > 0 {
			t.Errorf("one image is wanted, and nothing else: %v", left)
		}
	})
}

// acting tells by its name that a call has an effect.
func acting(call string) bool {
	_, operation, _ := strings.Cut(call, ":")
	return !slices.ContainsFunc([]string{"Describe", "Get", "List", "Head", "Post"}, func(reads string) bool { return strings.HasPrefix(operation, reads) })
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/reporter"
)

// TestDaemonsOfTwoLedgersOnAWS has two daemons, each with a ledger of its own, at
// work under the same aws.owner on the same commit: each counts it as its build 1. They
// build on an instance each, no reaper takes what is the other's, and in the end there
// is an image of each.
func TestDaemonsOfTwoLedgersOnAWS(t *testing.T) {
	skipIfShort(t)
	machines := ec2test.ContainerMachines(t)
	c := startAWS(t, ec2test.Options{Machine: machines})
	first, second := newIngotProcess(t), newIngotProcess(t)
	config, err := os.ReadFile(second.config)
	must(t, err)
	second.write(second.config, strings.ReplaceAll(string(config), second.repo.dir, first.repo.dir))
	second.repo, second.hold = first.repo, first.hold
	first.onEC2(c)
	second.onEC2(c)
	commit, err := first.repo.commit("Add an image")
	must(t, err)
	both := []*ingotProcess{first, second}
	for _, s := range both {
		s.start()
	}
	c.Age(time.Hour) // old enough for every reaper

	var ended []int
	for _, what := range []string{"component", "test"} {
		var held []int
		first.eventually("both to run their "+what, func() bool {
			held = first.processes(func(args []string) bool { return slices.Equal(args, []string{"sleep", first.hold}) })
			held = slices.DeleteFunc(held, func(pid int) bool { return slices.Contains(ended, pid) })
			return len(held) == 2
		})
		ended = append(ended, held...)
		for _, s := range both {
			if out := s.ingot("reap"); out != "nothing is left over\n" {
				t.Errorf("while both builds run, ingot reap shows\n%s", out)
			}
			var left []ec2.Leftover
			must(t, json.Unmarshal([]byte(s.ingot("reap", "--dry-run", "--json")), &left))
			if len(left) != 1 || !left[0].Foreign || left[0].Kind != "instance" || left[0].Build != "1" {
				t.Errorf("of the other ledger there is listed %+v, want the instance of its build 1", left)
			}
		}
		if n := len(c.Instances()); n != 2 {
			t.Fatalf("%d instances run, want one for each %s", n, what)
		}
		for _, pid := range held {
			must(t, syscall.Kill(pid, syscall.SIGTERM))
		}
	}

	made := map[string]bool{}
	for _, s := range both {
		s.eventually("the end of the build", func() bool { return s.builds()[0].State.Final() })
		b := s.onlyBuild(commit, reporter.Succeeded)
		if b.ID != 1 || b.Image == nil {
			t.Fatalf("the build is %+v", b)
		}
		made[b.Image.ID] = true
		s.signal(syscall.SIGTERM)
		s.wait()
	}
	left := c.Leftovers(context.WithoutCancel(t.Context()))
	for _, i := range left.Images {
		if i.State != "available" || i.Tags["ingot:image"] == "" || !made[i.ID] {
			t.Errorf("the image %+v is none of %v", i, made)
		}
	}
	if len(left.Images) != 2 || len(made) != 2 || left.Images[0].Tags["ingot:ledger"] == left.Images[1].Tags["ingot:ledger"] {
		t.Errorf("images %v, want one of each ledger", left.Images)
	}
	if left.Images = nil; left.String() != "" {
		t.Errorf("left behind: %v", left)
	}
}

// launch launches an instance with the tags of a build of the test's owner, and more.
func (a *onAWS) launch(build string, more ...string) string {
	a.Helper()
	tags := []types.Tag{{Key: aws.String("ingot:managed"), Value: aws.String("true")}, {Key: aws.String("ingot:owner"), Value: aws.String("test")}, {Key: aws.String("ingot:build"), Value: aws.String(build)}}
	for pair := range slices.Chunk(more, 2) {
		tags = append(tags, types.Tag{Key: aws.String(pair[0]), Value: aws.String(pair[1])})
	}
	out, err := sdk.NewFromConfig(a.cloud.Config()).RunInstances(a.Context(), &sdk.RunInstancesInput{
		ImageId: aws.String(ec2test.Parents[0].ID), InstanceType: types.InstanceTypeT3Small, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: tags}},
	})
	must(a.T, err)
	return aws.ToString(out.Instances[0].InstanceId)
}

// runs are the instances that were not ended, in order.
func (a *onAWS) runs() (ids []string) {
	a.Helper()
	for _, i := range a.cloud.Leftovers(a.Context()).Instances {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

// fails returns what a command says that ends with that exit code.
func (a *onAWS) fails(status exitCode, args ...string) string {
	a.Helper()
	text, err := a.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != int(status) {
		a.Errorf("ingot %s: %v, want status %d\n%s", strings.Join(args, " "), err, status, text)
	}
	return string(text)
}

func newOnIdleAWS(t *testing.T) *onAWS {
	t.Helper()
	idle := ec2test.Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })
	a := &onAWS{T: t, cloud: startAWS(t, ec2test.Options{Machine: idle}), dir: t.TempDir()}
	a.write("ingot.yaml", fmt.Sprintf("dataDir: ./data\naws: {region: %s, bucket: %s, instanceProfile: %s, owner: test}\n", ec2test.Region, a.cloud.Bucket, ec2test.Profile))
	return a
}

// TestReapOfALostLedgerOnAWS has what its builds have made listed by another ledger, and
// removed by nobody who does not name it.
func TestReapOfALostLedgerOnAWS(t *testing.T) {
	a := newOnIdleAWS(t)
	const lost = "lostlostlost"
	older := a.launch("hand-1") // by an ingot that knew no ledgers
	orphan := a.launch("7", "ingot:ledger", lost)
	held := a.launch("8", "ingot:ledger", lost, "ingot:kept", "for Ada")
	third := a.launch("7", "ingot:ledger", "thirdthird22")
	a.cloud.Age(48 * time.Hour)

	shown := a.run("reap", "--dry-run")
	own := regexp.MustCompile(`this ledger is ([a-z2-7]{12});`).FindStringSubmatch(shown)
	ours, others, both := strings.Cut(shown, "NOT THIS LEDGER'S")
	if own == nil || !both || !strings.Contains(ours, older) || strings.Contains(ours, orphan) || strings.Contains(shown, held) ||
		!regexp.MustCompile(`instance +`+orphan+` +`+lost+` +7 `).MatchString(others) || !strings.Contains(others, third) || strings.Contains(others, older) {
		t.Fatalf("ingot reap --dry-run shows\n%s", shown)
	}
	var left []ec2.Leftover
	must(t, json.Unmarshal([]byte(a.run("reap", "--dry-run", "--json")), &left))
	foreign := map[string]bool{}
	for _, l := range left {
		foreign[l.ID+" "+l.Ledger] = l.Foreign
	}
	if len(left) != 3 || foreign[older+" "] || !foreign[orphan+" "+lost] {
		t.Errorf("as JSON: %+v", left)
	}
	if out := a.run("reap"); !strings.Contains(out, older) || strings.Contains(out, orphan) {
		t.Errorf("ingot reap shows\n%s", out)
	}
	remain := func(ids ...string) {
		t.Helper()
		slices.Sort(ids)
		if now := a.runs(); !slices.Equal(now, ids) {
			t.Errorf("there run %v, want %v", now, ids)
		}
	}
	remain(orphan, held, third)
	if said := a.fails(exitOurs, "reap", "--ledger", own[1]); !strings.Contains(said, "which is not lost") {
		t.Errorf("of its own ledger it says\n%s", said)
	}
	if out := a.run("reap", "--dry-run", "--ledger", lost); !strings.Contains(out, orphan) || strings.Contains(out, third) {
		t.Errorf("ingot reap --dry-run --ledger shows\n%s", out)
	}
	remain(orphan, held, third)
	if out := a.run("reap", "--ledger", lost); !strings.Contains(out, "REMOVED") || !strings.Contains(out, orphan) {
		t.Errorf("ingot reap --ledger shows\n%s", out)
	}
	remain(held, third)
	if out := a.run("reap", "--ledger", lost); out != "nothing is left over\n" {
		t.Errorf("and then\n%s", out)
	}
}

// TestKeptInstancesOfTwoLedgersOnAWS: a number that two ledgers have given needs the ledger,
// which nobody has to open for it.
func TestKeptInstancesOfTwoLedgersOnAWS(t *testing.T) {
	a := newOnIdleAWS(t)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	first := a.launch("7", "ingot:ledger", "firstfirst22", "ingot:kept", until)
	if table := a.run("kept"); !strings.Contains(table, first) || strings.Contains(table, "LEDGER") {
		t.Errorf("of one ledger, ingot kept shows\n%s", table)
	}
	second := a.launch("7", "ingot:ledger", "second222222", "ingot:kept", until)
	table := a.run("kept")
	for id, ledger := range map[string]string{first: "firstfirst22", second: "second222222"} {
		if !regexp.MustCompile(id + ` .* ` + ledger + `\n`).MatchString(table) {
			t.Errorf("%s of %s is not in\n%s", id, ledger, table)
		}
	}
	both := "firstfirst22 (" + first + "), second222222 (" + second + ")"
	if said := a.fails(exitExec, "exec", "7", "--", "true"); !strings.Contains(said, both) {
		t.Errorf("exec says\n%s", said)
	}
	if said := a.fails(exitOurs, "kept", "remove", "7"); !strings.Contains(said, both) {
		t.Errorf("kept remove says\n%s", said)
	}
	if said := a.fails(exitExec, "exec", "--ledger", "thirdthird22", "7", "--", "true"); !strings.Contains(said, "nothing is kept of build 7") {
		t.Errorf("exec of a ledger that keeps nothing says\n%s", said)
	}
	a.run("kept", "remove", "--ledger", "firstfirst22", "7")
	if now := a.runs(); !slices.Equal(now, []string{second}) {
		t.Errorf("there run %v, want %s", now, second)
	}
}

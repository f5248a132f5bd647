package ec2

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// TestKeptInstanceOutlivesItsProcess has another process find what one kept, and
// leave it alone: neither the reaper nor a repeated build takes it.
func TestKeptInstanceOutlivesItsProcess(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	cfg.pace.grace = time.Nanosecond
	ami := ec2test.Parents[0].ID

	first := newProcess(t, cfg)
	inst, err := first.Launch(first.ctx, builder.LaunchSpec{Build: "kept", Base: builder.Base{Ref: ami}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inst.Run(first.ctx, jobOf("fails", "echo made > /etc/made; exit 3"), func(component.Event) {}); err != nil {
		t.Fatal(err)
	}
	kept, err := inst.Retain(first.ctx, builder.Kept{Build: "kept", Stage: builder.StageBuild, Until: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	first.kill()

	second := newDriver(t, cfg)
	if left, err := second.Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(left) > 0 {
		t.Errorf("left over: %+v, %v", left, err)
	}
	again, err := second.Launch(t.Context(), builder.LaunchSpec{Build: "kept", Base: builder.Base{Ref: ami}})
	if err != nil {
		t.Fatal(err)
	}
	if id := again.(*instance).id; id == kept.Ref {
		t.Error("the build goes on with the instance that is kept")
	}
	if err := again.Close(t.Context()); err != nil {
		t.Error(err)
	}
	// More than Systems Manager gives of a script's output. Who looks has no ledger.
	var said strings.Builder
	status, err := newDriver(t, ofLedger(cfg, "")).Exec(t.Context(), "kept", []string{"sh", "-c", "cat /etc/made; seq 20000; exit 194"}, func(e component.Event) {
		if e.Stream == "stdout" {
			said.WriteString(e.Text)
		}
	})
	if err != nil || status != 194 || !strings.HasPrefix(said.String(), "made\n1\n2\n") || !strings.HasSuffix(said.String(), "\n20000\n") {
		t.Errorf("status %d, %v, %d bytes of output", status, err, said.Len())
	}

	if _, err := second.aws.Compute.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{kept.Ref}}); err != nil {
		t.Fatal(err)
	}
	var refused *builder.Error
	if _, err := second.Exec(t.Context(), "kept", []string{"true"}, func(component.Event) {}); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "is stop") {
		t.Errorf("exec on a stopped instance: %v", err)
	}
	if err := second.tag(t.Context(), map[string]string{tagKept: time.Now().Add(-time.Second).UTC().Format(time.RFC3339)}, kept.Ref); err != nil {
		t.Fatal(err)
	}
	left, err := second.Leftovers(t.Context(), func(string) bool { return true })
	if err != nil || len(left) != 1 || left[0].ID != kept.Ref {
		t.Fatalf("after its time: %+v, %v", left, err)
	}
	if _, err := second.Reap(t.Context(), left); err != nil {
		t.Error(err)
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestKeptInstanceInUseStays has room asked for while a command runs that another
// process sent, when that cannot be found out, and when no command can run any more.
func TestKeptInstanceInUseStays(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.ContainerMachines(t)})
	cfg := configOf(t, c, realAgent(t))
	cfg.pace.ended = time.Nanosecond
	first, second := newDriver(t, cfg), newDriver(t, cfg)
	inst, err := first.Launch(t.Context(), builder.LaunchSpec{Build: "kept", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long/", 100)
	since := time.Now()
	kept, err := inst.Retain(t.Context(), builder.Kept{Build: "kept", Recipe: long + "a", Stage: builder.StageBuild, Since: since, Until: since.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := second.Kept(t.Context())
	if err != nil || len(all) != 1 || all[0].Recipe != kept.Recipe || all[0].Recipe == recipeTag(long+"b") || !all[0].Since.Equal(since) {
		t.Fatalf("%+v is listed as %+v, %v", kept, all, err)
	}

	ended, begun := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := first.Exec(t.Context(), "kept", []string{"sh", "-c", "echo running; until [ -e /run/enough ]; do sleep 0.1; done"}, func(component.Event) { close(begun) })
		ended <- err
	}()
	<-begun
	if err := second.Displace(t.Context(), all[0]); !errors.Is(err, builder.ErrInUse) {
		t.Errorf("while a command runs: %v", err)
	}
	if _, err := second.Exec(t.Context(), "kept", []string{"touch", "/run/enough"}, func(component.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("the command was torn away: %v", err)
	}
	refuse := func(code string) {
		c.Faults.Add(&ec2test.Fault{Service: "ssm", Operation: "ListCommandInvocations", Times: 1, Effect: ec2test.Refuse(http.StatusBadRequest, code)})
	}
	refuse("AccessDeniedException")
	if err := second.Displace(t.Context(), all[0]); err == nil || !strings.Contains(err.Error(), "whether a command runs") || len(running(t, c)) != 1 {
		t.Errorf("without the permission: %v, still running: %v", err, running(t, c))
	}
	refuse("InvalidInstanceId") // that of one which Systems Manager does not reach
	if err := second.Displace(t.Context(), all[0]); err != nil || len(running(t, c)) > 0 {
		t.Errorf("out of reach: %v, still running: %v", err, running(t, c))
	}
}

func TestKeptUntil(t *testing.T) {
	for text, want := range map[string]struct{ kept, expires bool }{
		"":                     {false, false},
		"2026-11-22T10:00:00Z": {true, true},
		"true":                 {true, false},
		"2026-11-22":           {true, false},
	} {
		until, kept := keptUntil([]types.Tag{ec2Tag(tagKept, text)})
		if kept != want.kept || until.IsZero() == want.expires {
			t.Errorf("%q: until %v, kept %v", text, until, kept)
		}
	}
}

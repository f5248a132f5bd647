package ec2

import (
	"errors"
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
	// More than Systems Manager gives of a script's output.
	var said strings.Builder
	status, err := second.Exec(t.Context(), "kept", []string{"sh", "-c", "cat /etc/made; seq 20000; exit 194"}, func(e component.Event) {
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

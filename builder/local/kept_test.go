package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// What victims do other than to build; see victimVariable.
const (
	victimKeeps = "keeps"
	victimExecs = "execs"
)

// victimKeep fails in a component after a layer, and has the instance kept.
func victimKeep(d *Driver) error {
	ctx := context.Background()
	base := builder.Base{Ref: os.Getenv("INGOT_TEST_BASE"), Digest: "sha256:" + strings.Repeat("ab", 32)}
	i, err := d.Launch(ctx, builder.LaunchSpec{Build: "kept", Base: base, Layers: []string{"kept-one", "kept-two"}})
	if err != nil {
		return err
	}
	if _, err := i.Run(ctx, bash("echo layer > /etc/layer"), func(component.Event) {}); err != nil {
		return err
	}
	if err := i.Keep(ctx, "kept-one"); err != nil {
		return err
	}
	if _, err := i.Run(ctx, bash("echo made > /etc/made; exit 3"), func(component.Event) {}); err != nil {
		return err
	}
	now := time.Now()
	if _, err := i.Retain(ctx, builder.Kept{Build: "kept", Stage: builder.StageBuild, Since: now, Until: now.Add(time.Hour)}); err != nil {
		return err
	}
	fmt.Println("kept")
	<-ctx.Done() // never: it is killed
	return nil
}

// victimExec runs a command that does not end.
func victimExec(d *Driver) error {
	_, err := d.Exec(context.Background(), "kept", []string{"sh", "-c", "echo more >> /etc/made; sync; echo running; sleep 7200"}, func(e component.Event) {
		fmt.Print(e.Text)
	})
	return err
}

// TestKeptInstanceOutlivesItsProcess kills the process that kept an instance, and one
// that runs a command on it. It stays until its time is over.
func TestKeptInstanceOutlivesItsProcess(t *testing.T) {
	d := newDriver(t)
	b := base(t, d)
	victim{isolation: victimKeeps, stage: "kept"}.die(t, d, b)
	swept := func() []string {
		t.Helper()
		removed, err := d.Sweep(t.Context())
		must(t, err)
		return removed
	}
	if removed := swept(); len(removed) > 0 {
		t.Errorf("swept away: %v", removed)
	}
	pruned := func() []string {
		t.Helper()
		keys, err := d.Prune(t.Context(), store.Keep{Age: time.Nanosecond})
		must(t, err)
		return keys
	}
	if keys := pruned(); len(keys) > 0 {
		t.Errorf("pruned below what is kept: %v", keys)
	}
	if status, said := execKept(t, d, "cat", "/etc/layer", "/etc/made"); status != 0 || said != "layer\nmade\n" {
		t.Errorf("status %d, output %q", status, said)
	}

	victim{isolation: victimExecs, stage: "running"}.die(t, d, b)
	if mounts, err := mount.Beneath(d.cfg.Dir); err != nil || len(mounts) == 0 {
		t.Errorf("the command that was killed left no mounts: %v", err)
	}
	if removed := swept(); len(removed) == 0 || slices.ContainsFunc(removed, func(r string) bool { return strings.HasPrefix(r, "workspace") }) {
		t.Errorf("after a command was killed, this was swept away: %v", removed)
	}
	victim{isolation: victimExecs, stage: "running"}.die(t, d, b)
	// Also without a sweep in between.
	if status, said := execKept(t, d, "cat", "/etc/layer"); status != 0 || said != "layer\n" {
		t.Errorf("after a kill: status %d, output %q", status, said)
	}

	all, err := d.kept()
	must(t, err)
	all[0].Until = time.Now()
	must(t, store.WriteJSON(filepath.Join(d.store.Work(), all[0].Ref, keptFile), all[0]))
	if removed := swept(); len(removed) != 1 || !strings.HasPrefix(removed[0], "workspace kept.") {
		t.Errorf("when its time was over, this was swept away: %v", removed)
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if keys := pruned(); !slices.Equal(keys, []string{"kept-one"}) {
		t.Errorf("pruned afterwards: %v", keys)
	}
}

// execKept runs a command and returns what it printed.
func execKept(t *testing.T, d *Driver, command ...string) (int, string) {
	t.Helper()
	var said strings.Builder
	status, err := d.Exec(t.Context(), "kept", command, func(e component.Event) { said.WriteString(e.Text) })
	must(t, err)
	return status, said.String()
}

// TestOneCommandAtATime has a command refused, and a removal, while another one runs.
func TestOneCommandAtATime(t *testing.T) {
	d := newDriver(t)
	i := launch(t, d, builder.LaunchSpec{Build: "kept", Base: base(t, d)})
	now := time.Now()
	_, err := i.Retain(t.Context(), builder.Kept{Build: "kept", Stage: builder.StageBuild, Since: now, Until: now.Add(time.Hour)})
	must(t, err)
	if _, err := i.Retain(t.Context(), builder.Kept{}); err == nil {
		t.Error("it is kept twice")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, running := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := d.Exec(ctx, "kept", []string{"sh", "-c", "echo running; sleep 600"}, func(component.Event) { close(running) })
		ended <- err
	}()
	<-running
	var tries sync.WaitGroup
	for what, try := range map[string]func() error{
		"exec":   func() error { _, err := d.Exec(t.Context(), "kept", []string{"true"}, nil); return err },
		"remove": func() error { return d.Remove(t.Context(), "kept") },
		"displace": func() error {
			all, err := d.Kept(t.Context())
			if err = errors.Join(err, d.Displace(t.Context(), all[0])); !errors.Is(err, builder.ErrInUse) {
				t.Errorf("what a command runs on is displaced: %v", err)
			}
			return err
		},
	} {
		tries.Go(func() {
			if err := try(); err == nil || !strings.Contains(err.Error(), "another command runs") {
				t.Errorf("%s beside a command: %v", what, err)
			}
		})
	}
	tries.Wait()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled command ended with %v", err)
	}
	all, err := d.Kept(t.Context())
	must(t, err)
	must(t, d.Remove(t.Context(), "kept"))
	if err := d.Displace(t.Context(), all[0]); !errors.Is(err, builder.ErrNotKept) {
		t.Errorf("what is gone is displaced: %v", err)
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

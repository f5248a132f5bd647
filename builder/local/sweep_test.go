package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// victimVariable makes the test binary a process that builds until it is killed.
const victimVariable = "INGOT_TEST_VICTIM"

// runVictim builds in the data folder of its parent, and says what it has begun.
func runVictim(what string) int {
	dir, cache, agent := os.Getenv("INGOT_TEST_DIR"), os.Getenv("INGOT_TEST_CACHE_DIR"), os.Getenv("INGOT_TEST_AGENT")
	d, err := New(Config{Dir: dir, CacheDir: cache, AgentPath: agent})
	switch {
	case err != nil:
	case what == victimKeeps:
		err = victimKeep(d)
	case what == victimExecs:
		err = victimExec(d)
	default:
		err = victimBuild(d, recipe.Isolation(what))
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func victimBuild(d *Driver, isolation recipe.Isolation) error {
	ctx := context.Background()
	base := builder.Base{Ref: os.Getenv("INGOT_TEST_BASE"), Digest: "sha256:" + strings.Repeat("ab", 32)}
	victim := os.Getenv("INGOT_TEST_NAME")
	layers := []string{victim + "-one", victim + "-two"}
	say := func(what string) { fmt.Println(what) }
	say("launch")
	i, err := d.Launch(ctx, builder.LaunchSpec{Build: victim, Base: base, Layers: layers, Isolation: isolation})
	if err != nil {
		return err
	}
	for n := i.Held(); n < len(layers); n++ {
		say("run")
		job := bash("echo running; (setsid sleep 7200 &); dd if=/dev/zero of=/var/big bs=1M count=8 status=none; sync")
		if _, err := i.Run(ctx, job, func(e component.Event) {
			if e.Kind == component.Output {
				say("output")
			}
		}); err != nil {
			return err
		}
		say("keep")
		if err := i.Keep(ctx, layers[n]); err != nil {
			return err
		}
	}
	say("clean")
	if err := i.Clean(ctx); err != nil {
		return err
	}
	say("snapshot")
	img, err := i.Snapshot(ctx, victim+"-image", builder.Inventory{})
	if err != nil {
		return err
	}
	say("close")
	if err := i.Close(ctx); err != nil {
		return err
	}
	say("boot")
	g, err := d.Boot(ctx, builder.BootSpec{Build: victim, Image: img})
	if err != nil {
		return err
	}
	say("booted")
	return g.WaitLogin(ctx)
}

// TestSweepAfterKill kills a process at every stage of a build, later in the second
// round, and looks whether anything of it is left after a sweep.
func TestSweepAfterKill(t *testing.T) {
	d := newDriver(t)
	b := base(t, d)
	stages := []string{"launch", "run", "output", "keep", "clean", "snapshot", "close", "boot", "booted"}
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		for _, stage := range stages {
			v := victim{isolation: recipe.Container, name: fmt.Sprint(stage, round), stage: stage, later: time.Duration(round) * 7 * time.Millisecond}
			v.kill(t, d, b)
		}
	}
	// What was whole before the kill still is.
	i := launch(t, d, builder.LaunchSpec{Build: "after", Base: b, Layers: []string{"booted0-one", "booted0-two"}})
	if i.Held() != 2 {
		t.Errorf("%d layers are held", i.Held())
	}
	execute(t, i, "test -e /var/big")
}

// TestSweepWaitsForAProgramThatIsBeingBorn: who is killed while it starts a program
// leaves its locks to that program for a moment, or, here, for three tenths of a second.
func TestSweepWaitsForAProgramThatIsBeingBorn(t *testing.T) {
	d := newDriver(t)
	dir := filepath.Join(d.store.Work(), "orphan")
	must(t, os.Mkdir(dir, 0o700))
	owner := exec.Command("sh", "-c", `exec 9> "$0"; flock 9; printf %s $$ >&9; sleep 0.3 >&9 2>&9 &`, dir+lockSuffix)
	must(t, owner.Run())
	if _, ok, err := store.TryAcquire(dir + lockSuffix); ok || err != nil {
		t.Fatalf("the lock is free (%v), or: %v", ok, err)
	}
	removed, err := d.Sweep(t.Context())
	must(t, err)
	if want := []string{"workspace orphan"}; !slices.Equal(removed, want) {
		t.Errorf("swept %q, not %q", removed, want)
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("there still is: %s", strings.Join(left, "\n"))
	}
}

func TestSweepAfterKillOfAMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines")
	}
	d := newDriver(t)
	b := base(t, d)
	for _, stage := range []string{"run", "output"} {
		v := victim{isolation: recipe.VM, name: stage, stage: stage, later: 20 * time.Millisecond}
		v.kill(t, d, b)
	}
}

// die starts the victim and kills it.
func (v victim) die(t *testing.T, d *Driver, b builder.Base) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victimVariable+"="+string(v.isolation), "INGOT_TEST_DIR="+d.cfg.Dir, "INGOT_TEST_NAME="+v.name,
		"INGOT_TEST_CACHE_DIR="+d.cfg.CacheDir, "INGOT_TEST_AGENT="+d.cfg.AgentPath, "INGOT_TEST_BASE="+b.Ref)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != v.stage; {
	}
	if v.later > 0 {
		<-time.After(v.later) // where in the stage it is hit does not matter, only that it varies
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the victim was not killed at %s, but ended: %v", v.stage, err)
	}
}

// victim is a process that builds, and is killed a little later than at a stage.
type victim struct {
	isolation   recipe.Isolation
	name, stage string
	later       time.Duration
}

func (v victim) kill(t *testing.T, d *Driver, b builder.Base) {
	t.Helper()
	v.die(t, d, b)
	removed, err := d.Sweep(t.Context())
	if err != nil {
		t.Errorf("sweep after a kill at %s: %v", v.stage, err)
	}
	if len(removed) == 0 && v.stage == "output" {
		t.Error("a kill while a component ran left nothing to sweep")
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("after a kill at %s, %v later, and a sweep of %v, there still is: %s", v.stage, v.later, removed, strings.Join(left, "\n"))
	}
}

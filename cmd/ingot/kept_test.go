package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/reporter"
)

// TestNothingIsKeptForForks has the same failure in a commit of the repository and in
// one of a fork: a stranger's code does not live on.
func TestNothingIsKeptForForks(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.failAndKeep()
	ours := w.commit("Add images")
	w.start()
	w.status(ours, "ingot/web", isState("failure"))
	b := w.failedBuild(ours, "web")
	kept, err := w.driver.Kept(t.Context())
	w.must(err)
	if len(kept) != 1 || kept[0].Build != fmt.Sprint(b.ID) || kept[0].Until.Sub(kept[0].Since) != 24*time.Hour {
		t.Fatalf("kept %+v of build %d", kept, b.ID)
	}
	if k := b.Failure.Kept; k == nil || !k.Until.Equal(kept[0].Until) || k.Exec != fmt.Sprintf("ingot exec %d -- COMMAND", b.ID) {
		t.Errorf("its author is told %+v", k)
	}

	stranger, _ := w.fork("recipes/web/site.yaml", "<h1>", "<h1 class=big>")
	w.approve(stranger)
	w.status(stranger, "ingot/web", isState("failure"))
	if b := w.failedBuild(stranger, "web"); b.Failure == nil || b.Failure.Kept != nil || !strings.Contains(b.Failure.NotKept, "fork") {
		t.Errorf("of the fork's commit there is %+v", b.Failure)
	}
	if kept, err := w.driver.Kept(t.Context()); err != nil || len(kept) != 1 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// failAndKeep has the builds of web fail, and its recipe ask that their instances be kept.
func (w *world) failAndKeep() {
	w.Helper()
	w.driver.Fail["nginx build"] = component.Failure{Path: "recipes/web/nginx.yaml", Phase: "build", Step: "Install", Action: "ExecuteBash", Message: "exit status 100"}
	w.must(w.repo.replace("recipes/web/recipe.yaml", "parentImage: debian-12", "infrastructure: {keepOnFailure: true}\nparentImage: debian-12"))
}

// TestNewerFailureTakesThePlace has a recipe fail on the branch again and again, and
// once for a pull request: of each the newest is kept, the newest of all stays when the
// operator allows no more, and each page tells the truth.
func TestNewerFailureTakesThePlace(t *testing.T) {
	w := newWorld(t)
	w.more = "builds: {keepMost: 2}\n"
	w.must(w.repo.copy())
	w.failAndKeep()
	first := w.commit("Add images")
	w.start()
	kept := func(commits ...string) {
		t.Helper()
		w.status(commits[len(commits)-1], "ingot/web", isState("failure"))
		all, err := w.driver.Kept(t.Context())
		w.must(err)
		var want, got []string
		for _, k := range all {
			got = append(got, k.Build)
		}
		for _, c := range commits {
			want = append(want, fmt.Sprint(w.failedBuild(c, "web").ID))
			if f := w.failedBuild(c, "web").Failure; f.Kept == nil || f.NotKept != "" {
				t.Errorf("of build %s is told %+v", want[len(want)-1], f)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("builds %q are kept, want %q", got, want)
		}
	}
	gone := func(commit string, by string) {
		t.Helper()
		if f := w.failedBuild(commit, "web").Failure; f.Kept != nil || !strings.Contains(f.NotKept, "not kept any more: build "+fmt.Sprint(w.failedBuild(by, "web").ID)) {
			t.Errorf("of what is gone is told %+v", f)
		}
	}
	shout := func(branch string) string {
		t.Helper()
		w.must(w.repo.replace("recipes/web/site.yaml", "<h1>", "<h1>"+branch))
		return w.commit("Shout " + branch)
	}
	kept(first)
	second := shout("more")
	kept(second)
	gone(first, second)

	w.branch("change", true)
	pull := shout("change")
	w.branch("main", false)
	w.pull(githubfake.Pull{Number: 7, Head: pull, HeadRepo: ownerRepo, Author: "colleague"})
	w.daemon.group.Nudge("golden-images")
	kept(second, pull)

	w.branch("other", true)
	other := shout("other")
	w.branch("main", false)
	w.pull(githubfake.Pull{Number: 8, Head: other, HeadRepo: ownerRepo, Author: "colleague"})
	w.daemon.group.Nudge("golden-images")
	kept(pull, other)
	gone(second, other)
}

// TestKeepingThatIsSwitchedOffIsSaid: in the plan and in the failure.
func TestKeepingThatIsSwitchedOffIsSaid(t *testing.T) {
	for key, never := range map[string]string{"keepHours": "builds.keepHours is 0", "keepMost": "builds.keepMost is 0"} {
		t.Run(key, func(t *testing.T) {
			w := newWorld(t)
			w.more = "builds: {" + key + ": 0}\n"
			w.must(w.repo.copy())
			w.failAndKeep()
			commit := w.commit("Add images")
			w.start()
			w.status(commit, "ingot/web", isState("failure"))
			b := w.failedBuild(commit, "web")
			if len(b.Findings) != 1 || b.Findings[0].Blocking || !strings.Contains(b.Findings[0].Message, never) {
				t.Errorf("planned with %+v", b.Findings)
			}
			if b.Failure.Kept != nil || !strings.HasPrefix(b.Failure.NotKept, "The instance is not kept: ") || !strings.Contains(b.Failure.NotKept, never) {
				t.Errorf("failed with %+v", b.Failure)
			}
			if kept, err := w.driver.Kept(t.Context()); err != nil || len(kept) > 0 {
				t.Errorf("kept %+v, %v", kept, err)
			}
		})
	}
}

// failedBuild is the build of a recipe at a commit, with all that is known of it.
func (w *world) failedBuild(commit, recipe string) reporter.Build {
	w.Helper()
	b, err := w.daemon.parts.ledger.Build(w.Context(), w.buildOf(commit, recipe))
	w.must(err)
	return b
}

// TestExecOnAKeptInstance fails by hand, looks into what has stayed with other
// processes, and removes it.
func TestExecOnAKeptInstance(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	recipe := filepath.Join(s.repo.dir, "recipe.yaml")
	s.write(recipe, `apiVersion: ingot/v1
kind: ImageRecipe
name: held
version: 1.0.0
parentImage: debian-12
components: [{component: ./hold.yaml}]
infrastructure: {keepOnFailure: true}
`)
	s.write(filepath.Join(s.repo.dir, "hold.yaml"), `name: hold
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Fail
        action: ExecuteBash
        inputs: {commands: ["echo evidence > /etc/made; exit 7"]}
`)
	s.begin("build", recipe)
	if state := s.wait(); state.ExitCode() != exitAuthor {
		t.Fatalf("the build ended with %v\n%s", state, s.log)
	}
	var kept builder.Kept
	must(t, json.Unmarshal([]byte(s.ingot("kept", "--json")), &kept))
	if !strings.Contains(s.log.String(), "The instance is kept until ") || !strings.Contains(s.log.String(), "ingot exec "+kept.Build+" -- COMMAND") {
		t.Errorf("the build does not say how to reach %s:\n%s", kept.Build, s.log)
	}
	if table := s.ingot("kept"); !strings.Contains(table, kept.Build) || !strings.Contains(table, recipe) || !strings.Contains(table, "local") {
		t.Errorf("what is kept:\n%s", table)
	}

	inside := func(command ...string) *exec.Cmd {
		return exec.Command(program(t), append([]string{"exec", "-c", s.config, kept.Build, "--"}, command...)...)
	}
	for _, c := range []struct {
		command        []string
		status         int
		stdout, stderr string
	}{
		{[]string{"sh", "-c", `id -un; cat /etc/made; printf '\033[31mred\a\n' >&2; exit 7`}, 7, "root\nevidence\n", "red\uFFFD\n"},
		{[]string{"echo", "-n", "--config", "*"}, 0, "--config *", ""},
		{[]string{"no-such-program"}, 127, "", "no-such-program: not found in PATH"},
	} {
		var out, problem bytes.Buffer
		cmd := inside(c.command...)
		cmd.Stdout, cmd.Stderr = &out, &problem
		err := cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != c.status || out.String() != c.stdout || !strings.Contains(problem.String(), c.stderr) {
			t.Errorf("%q: %v, stdout %q, stderr %q", c.command, err, &out, &problem)
		}
	}

	// A reader that leaves ends the command, and nothing is left mounted.
	flood := inside("sh", "-c", "while echo y; do :; done")
	out, err := flood.StdoutPipe()
	must(t, err)
	must(t, flood.Start())
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	must(t, out.Close())
	var exit *exec.ExitError
	if err := flood.Wait(); !errors.As(err, &exit) || exit.ExitCode() != int(exitExec) {
		t.Errorf("whose output nobody reads ended with %v", err)
	}
	if mounts, err := mount.Beneath(s.dir); err != nil || len(mounts) > 0 {
		t.Errorf("still mounted: %v, %v", mounts, err)
	}

	if out := s.ingot("kept", "remove", kept.Build); !strings.Contains(out, "is removed") {
		t.Errorf("kept remove says %q", out)
	}
	text, err := inside("true").CombinedOutput()
	if !errors.As(err, &exit) || exit.ExitCode() != int(exitExec) || !strings.Contains(string(text), "nothing is kept of build "+kept.Build) {
		t.Errorf("after the removal: %v, %s", err, text)
	}
	s.nothingLeftOf([]string{kept.Ref, s.dir})
}

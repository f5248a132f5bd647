package reporter

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestStatusOf(t *testing.T) {
	with := func(b Build, change func(*Build)) Build {
		change(&b)
		return b
	}
	state := func(s State) Build { return with(running(), func(b *Build) { b.State, b.Stages = s, nil }) }
	tests := []struct {
		name  string
		build Build
		state StatusState
		text  string
	}{
		{"waiting", state(Waiting), StatusPending, "waiting for the build of its parent image"},
		{"approval", state(Approval), StatusPending, "waiting for approval: someone with write access has to approve this commit"},
		{"queued", state(Queued), StatusPending, "queued"},
		{"just started", state(Running), StatusPending, "started"},
		{"cancelled", state(Cancelled), StatusError, "cancelled"},
		{"superseded", state(Superseded), StatusError, "superseded: a newer commit came before this one was built"},
		{"unknown", state("odd"), StatusError, `unknown state "odd"`},
		{"component", running(), StatusPending, "building: nginx (2 of 2)"},
		{"component, count unknown", with(running(), func(b *Build) { b.Components = 0 }), StatusPending, "building: nginx"},
		{"one row runs beside a later one", with(running(), func(b *Build) { b.Stages = append(b.Stages, Stage{Stage: "clean", State: "skipped"}) }), StatusPending, "building: nginx (2 of 2)"},
		{"boot", with(running(), func(b *Build) { b.Stages = []Stage{{Stage: "boot", State: "started"}} }), StatusPending, "booting the image"},
		{"unknown stage", with(running(), func(b *Build) { b.Stages = []Stage{{Stage: "paint", State: "started"}} }), StatusPending, "paint"},
		{"succeeded", succeeded(), StatusSuccess, "img-3f9a1c2b4d5e · 2 tests passed · 17 s"},
		{"long image id", with(succeeded(), func(b *Build) { b.Image = image("img-"+strings.Repeat("3f9a", 16), 1) }), StatusSuccess, "img-3f9a3f9a… · 2 tests passed · 17 s"},
		{"released", with(succeeded(), func(b *Build) { b.Image.Name = "web-server/1.4.0/3" }), StatusSuccess, "web-server/1.4.0/3 · img-3f9a1c2b4d5e · 2 tests passed · 17 s"},
		{"published", with(succeeded(), func(b *Build) {
			b.Image.Name, b.Image.Published = "web-server/1.4.0/3", "ami-0123456789abcdef0"
		}), StatusSuccess, "web-server/1.4.0/3 · img-3f9a1c2b4d5e · ami-0123456789abcdef0 · 2 tests passed · 17 s"},
		{"publishing", with(running(), func(b *Build) { b.Stages = []Stage{{Stage: "publish", State: "started"}} }), StatusPending, "publishing"},
		{"one test", with(succeeded(), func(b *Build) { b.Tests = b.Tests[:1] }), StatusSuccess, "img-3f9a1c2b4d5e · 1 test passed · 17 s"},
		{"scan", scanned(), StatusSuccess, "img-3f9a1c2b4d5e · 3 tests passed · score 61 → 88, 3 rules got worse · 17 s"},
		{"no tests", with(succeeded(), func(b *Build) { b.Tests = nil }), StatusSuccess, "img-3f9a1c2b4d5e · no tests · 17 s"},
		{"skipped", with(succeeded(), func(b *Build) { b.Tests[0].State = "skipped" }), StatusSuccess, "img-3f9a1c2b4d5e · 1 test passed, 1 skipped · 17 s"},
		{"distributed", with(succeeded(), func(b *Build) { b.Action = ActionDistribute }), StatusSuccess, "img-3f9a1c2b4d5e · distributed · 17 s"},
		{"valid documents", with(succeeded(), func(b *Build) { b.Action = ActionCheck }), StatusSuccess, "documents are valid"},
		{"failed", failed(), StatusFailure, "failed in postgres: step Install failed: exit status 100"},
		{"step not named by the reason", with(failed(), func(b *Build) { b.Failure.Reason = "exit status 100" }), StatusFailure, "failed in postgres: step Install: exit status 100"},
		{"failed test", with(failed(), func(b *Build) { *b.Failure = Failure{Stage: "test", Name: "http", Reason: "got 404"} }), StatusFailure, "failed in test http: got 404"},
		{"failed stage", with(failed(), func(b *Build) { *b.Failure = Failure{Stage: "resolve", Reason: "no such parent"} }), StatusFailure, "failed in resolve: no such parent"},
		{"failed, nobody knows why", with(failed(), func(b *Build) { b.Failure = nil }), StatusFailure, "failed"},
		{"invalid document", invalidDocument(), StatusFailure, "recipes/cache/recipe.yaml:4:1: unknown key parentImge (and 1 more)"},
		{"blocking first", with(invalidDocument(), func(b *Build) { b.Findings[0], b.Findings[1] = b.Findings[1], b.Findings[0] }), StatusFailure, "recipes/cache/recipe.yaml:4:1: unknown key parentImge (and 1 more)"},
		{"error", with(failed(), func(b *Build) {
			b.State = Errored
			*b.Failure = Failure{Stage: "launch", Reason: "no space left on device"}
		}), StatusError, "error in launch: no space left on device (not the recipe's fault)"},
		{"error, nobody knows why", with(failed(), func(b *Build) { b.State, b.Failure = Errored, nil }), StatusError, "error in ingot, not in the recipe: its operator has to act"},
		{"cut at a word", with(failed(), func(b *Build) { b.Failure.Reason = "Install " + strings.Repeat("several words ", 20) }), StatusFailure,
			"failed in postgres: Install several words several words several words several words several words several words several words several…"},
		{"control characters", with(failed(), func(b *Build) { b.Failure.Reason = "Install:\n\x1b[31mred\x1b[0m\x00\u202e😀" }), StatusFailure, "failed in postgres: Install: red\ufffd⟨U+202E⟩\ufffd"},
	}
	for _, tt := range tests {
		got := StatusOf(tt.build, "https://ingot.example/", noon.Add(18*time.Second))
		if got.State != tt.state || got.Description != tt.text {
			t.Errorf("%s: %s %q,\nwant %s %q", tt.name, got.State, got.Description, tt.state, tt.text)
		}
		if n := utf8.RuneCountInString(got.Description); n > MaxDescription {
			t.Errorf("%s: %d characters", tt.name, n)
		}
		if !strings.HasPrefix(got.URL, "https://ingot.example/builds/4") {
			t.Errorf("%s: URL %q", tt.name, got.URL)
		}
	}
	if got := StatusOf(succeeded(), "", noon); got.URL != "" || got.Context != "ingot/web-server" {
		t.Errorf("without public address: %+v", got)
	}
}

func TestStatusContext(t *testing.T) {
	long := strings.Repeat("ü", 300)
	a, b := StatusContext(long+"a"), StatusContext(long+"b")
	if a == b || utf8.RuneCountInString(a) != MaxContext || !strings.HasPrefix(a, "ingot/üü") {
		t.Errorf("long names: %q and %q", a, b)
	}
}

func FuzzStatusIsOneShortLine(f *testing.F) {
	f.Add("nginx", "exit status 100")
	f.Add("\x1b]0;title", "a\nb\r\u2028c\u202e")
	f.Add(strings.Repeat("é", 500), "\xff\x00😀")
	f.Fuzz(func(t *testing.T, name, reason string) {
		b := hostileBuild(name)
		b.Failure.Reason = reason
		for _, state := range []State{Running, Succeeded, Failed, Errored, State(name)} {
			b.State = state
			s := StatusOf(b, "https://ingot.example", noon)
			for _, field := range []string{s.Context, s.Description} {
				if !utf8.ValidString(field) || strings.ContainsFunc(field, func(r rune) bool { return unicode.IsControl(r) || r > 0xffff || unicode.Is(unicode.Cf, r) }) {
					t.Errorf("%s: %q", state, field)
				}
			}
			if utf8.RuneCountInString(s.Description) > MaxDescription || utf8.RuneCountInString(s.Context) > MaxContext {
				t.Errorf("%s: too long: %+v", state, s)
			}
		}
	})
}

package drivertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

func keepsInstance(f *fixture) {
	inst := f.launch(f.key("layer"))
	f.failing(inst, f.job("build", "echo component > /etc/made; exit 3"))
	f.retain(inst.Retain, builder.StageBuild)
	f.close(inst.Close) // of which nothing is left to be closed
	f.sweep()

	f.exec(7, "0\ncomponent\n", "to stderr\n", "sh", "-c", "id -u; cat /etc/made; echo to stderr >&2; echo command > /etc/left; exit 7")
	if f.Isolation != recipe.VM { // boots take long
		f.exec(0, "command\n", "", "cat", "/etc/left")
	}
	f.remove()
}

// keepsGuest is about a guest of the fixture's build.
func keepsGuest(f *fixture, guest builder.Guest) {
	f.failing(guest, f.job("test", "echo test > /etc/made; exit 3"))
	f.retain(guest.Retain, builder.StageTest)
	f.close(guest.Close)
	f.exec(1, "test\n", "", "sh", "-c", "cat /etc/made; exit 1")
	f.displace()
}

// failing runs a job in which a step fails.
func (f *fixture) failing(on builder.Runner, job component.Job) {
	f.Helper()
	res, err := on.Run(f.Context(), job, func(component.Event) {})
	f.must("run", err)
	if res.Status != component.Failed {
		f.Fatalf("run ended %q", res.Status)
	}
}

func (f *fixture) retain(retain func(context.Context, builder.Kept) (builder.Kept, error), stage builder.Stage) {
	f.Helper()
	now := time.Now()
	want := builder.Kept{Build: f.build, Recipe: f.key("recipes/web"), Stage: stage, Since: now, Until: now.Add(time.Hour)}
	kept, err := retain(f.Context(), want)
	f.must("retain", err)
	if kept.Driver != f.Driver.Name() || kept.Ref == "" || kept.Build != want.Build || !kept.Until.Equal(want.Until) {
		f.Errorf("kept as %+v", kept)
	}
	if !slices.ContainsFunc(f.kept(), func(k builder.Kept) bool {
		return k.Ref == kept.Ref && k.Build == want.Build && k.Recipe == want.Recipe && k.Stage == stage &&
			k.Since.Equal(want.Since) && k.Until.Sub(want.Until).Abs() < time.Second
	}) {
		f.Errorf("%+v is not among %+v", kept, f.kept())
	}
}

func (f *fixture) kept() []builder.Kept {
	f.Helper()
	all, err := f.Driver.Kept(f.Context())
	f.must("list what is kept", err)
	return all
}

// exec runs a command on what is kept of the case's build.
func (f *fixture) exec(status int, stdout, stderr string, command ...string) {
	f.Helper()
	said := map[string]*strings.Builder{"stdout": {}, "stderr": {}}
	got, err := f.Driver.Exec(f.Context(), f.build, command, func(e component.Event) {
		if e.Kind == component.Output {
			said[e.Stream].WriteString(e.Text)
		}
	})
	f.must("exec", err)
	if got != status || said["stdout"].String() != stdout || said["stderr"].String() != stderr {
		f.Errorf("%q ended with %d, %q and %q; want %d, %q and %q", command, got, said["stdout"], said["stderr"], status, stdout, stderr)
	}
}

// remove removes what is kept of the case's build, of which nothing may be left.
func (f *fixture) remove() {
	f.Helper()
	f.must("remove", f.Driver.Remove(f.Context(), f.build))
	f.gone()
}

// displace removes the one instance that is kept of the case's build to make room.
func (f *fixture) displace() {
	f.Helper()
	for _, k := range f.kept() {
		if k.Build == f.build {
			f.must("displace", f.Driver.Displace(f.Context(), k))
		}
	}
	f.gone()
}

// gone sees that nothing is left of what was kept of the case's build.
func (f *fixture) gone() {
	f.Helper()
	if err := f.Driver.Remove(f.Context(), f.build); !errors.Is(err, builder.ErrNotKept) {
		f.Errorf("removed again: %v", err)
	}
	if _, err := f.Driver.Exec(f.Context(), f.build, []string{"true"}, func(component.Event) {}); !errors.Is(err, builder.ErrNotKept) {
		f.Errorf("exec after the removal: %v", err)
	}
	if all := f.kept(); slices.ContainsFunc(all, func(k builder.Kept) bool { return k.Build == f.build }) {
		f.Errorf("still listed: %+v", all)
	}
}

package builder

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Kept is an instance that has stayed after its build, for people to look into.
type Kept struct {
	Build  string    `json:"build"`
	Ledger string    `json:"ledger,omitempty"` // that counts the build, where builds of several are kept in one place
	Recipe string    `json:"recipe,omitempty"` // that failed: its next failure takes the place of this one
	Stage  Stage     `json:"stage"`            // in which the build failed on it
	Driver string    `json:"driver"`
	Ref    string    `json:"ref"` // the driver's own name: a folder, an instance id
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"` // when it is removed; zero: somebody has to
}

// Keeper is what drivers know of kept instances, whichever process kept them. They
// outlive processes, and the first Sweep (or whatever removes what is left over)
// after Kept.Until removes them.
type Keeper interface {
	// Kept lists them, oldest first.
	Kept(ctx context.Context) ([]Kept, error)

	// Exec runs a program as root on the instance of a build, the newest if there are
	// several, without a shell, a terminal and standard input. emit hears Output and
	// Warning events. The status is as a shell gives it; ErrNotKept when there is none.
	Exec(ctx context.Context, build string, command []string, emit func(component.Event)) (status int, err error)

	// Remove removes all that is kept of a build. The error is ErrNotKept when
	// nothing was.
	Remove(ctx context.Context, build string) error

	// Displace removes one instance of which Kept told. The error is ErrInUse when a
	// command runs on it, whoever runs it, and ErrNotKept when it is gone already.
	Displace(ctx context.Context, kept Kept) error
}

var (
	// ErrNotKept says that no instance of a build is kept.
	ErrNotKept = errors.New("no instance of that build is kept")
	// ErrInUse says that a kept instance cannot be removed, or used, now.
	ErrInUse = errors.New("another command runs on the kept instance")
)

// Keep says what becomes of the instance on which the author's documents fail. Its zero
// value gives it back.
type Keep struct {
	For    time.Duration // how long it is kept
	Most   int           // how many the Keeper lists at once, whoever kept them; at least 1
	Recipe string        // Kept.Recipe: the same for builds whose failures replace each other
	Never  string        // why nothing is kept, though the recipe asks for it; else empty
}

// Displaced is an instance that was kept, and went before its time.
type Displaced struct {
	Build string
	Why   string // the end of a sentence
}

// RunCommand runs a program in dir on an instance, for drivers.
func RunCommand(ctx context.Context, on Runner, dir string, command []string, emit func(component.Event)) (status int, err error) {
	job := component.Job{ID: "exec-" + rand.Text(), Command: command, WorkingDir: dir}
	result, err := on.Run(ctx, job, func(e component.Event) {
		if e.Kind == component.Output || e.Kind == component.Warning {
			emit(e)
		}
	})
	if err != nil {
		return 0, err
	}
	if result.Exit == nil {
		return 0, &Error{Reason: "the agent on the instance knows no commands", Hint: "it came from an older ingot; build again"}
	}
	return *result.Exit, nil
}

// retainTimeout bounds how long an instance may take to become one that is kept: a
// machine is powered off.
const retainTimeout = 3 * time.Minute

// given is an instance of either kind, with the two ways to be done with it.
type given interface {
	Retain(ctx context.Context, kept Kept) (Kept, error)
	Close(ctx context.Context) error
}

// end gives an instance of that keeper back; one on which the author's documents failed
// is kept where the request asks for it. failed is what became of the build so far.
func (p *pipeline) end(ctx context.Context, stage Stage, on Keeper, inst given, failed error) error {
	switch e := authors(ctx, failed); {
	case e == nil:
	case p.req.Keep.For > 0:
		p.retain(ctx, e, on, inst)
	case p.req.Keep.Never != "":
		p.notKept(e, p.req.Keep.Never)
	}
	// Of an instance that was retained nothing is left to be closed.
	return errors.Join(failed, p.close(ctx, stage, inst))
}

// authors is a failure of the author's documents on an instance, the build's time
// limit included; nil for any other, and for a build that somebody has ended.
func authors(ctx context.Context, failed error) *Error {
	var e *Error
	if cause := context.Cause(ctx); cause != nil && !errors.As(cause, &e) {
		return nil
	}
	if !errors.As(explain(ctx, failed), &e) || e.Fault != Author {
		return nil
	}
	switch e.Stage {
	case StageFiles, StageBuild, StageTest:
		return e
	}
	return nil
}

func (p *pipeline) retain(ctx context.Context, failed *Error, on Keeper, inst given) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retainTimeout)
	defer cancel()
	now := p.now()
	kept, err := inst.Retain(ctx, Kept{Build: p.req.Build, Recipe: p.req.Keep.Recipe, Stage: failed.Stage, Since: now, Until: now.Add(p.req.Keep.For)})
	if err != nil {
		p.warn(failed, "the instance could not be kept: %v", err)
		p.result.NotKept = "that failed, and the build's log says why"
		return
	}
	// It is kept before others go for it: a process that dies in between leaves one too
	// many, for the next to remove, and not one too few.
	if why := p.makeRoom(ctx, failed, on, kept); why != "" {
		p.notKept(failed, why)
		return
	}
	p.result.Kept = &kept
	p.warn(failed, "the instance is kept until %s: ingot exec %s -- COMMAND", kept.Until.UTC().Format(time.RFC3339), kept.Build)
}

func (p *pipeline) warn(failed *Error, format string, args ...any) {
	p.tell.mark(Warned, failed.Stage, failed.Name, fmt.Sprintf(format, args...))
}

// notKept tells an author who waits for it that there is no instance.
func (p *pipeline) notKept(failed *Error, why string) {
	p.result.NotKept = why
	p.warn(failed, "the instance is not kept: %s", why)
}

// makeRoom removes what the newest takes the place of: older failures of the same
// recipe, then the oldest as long as there are too many. All processes that do this
// at a time go by the same order, so that no two of them remove each other's. Why
// newest itself had to go is returned, empty when it stays.
func (p *pipeline) makeRoom(ctx context.Context, failed *Error, on Keeper, newest Kept) (gone string) {
	all, err := on.Kept(ctx)
	if err != nil {
		p.warn(failed, "what else is kept could not be found out, and nothing of it is removed: %v", err)
		return ""
	}
	if !slices.ContainsFunc(all, func(k Kept) bool { return k.Ref == newest.Ref }) {
		all = append(all, newest) // a driver may list it later
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Ref, b.Ref)) })
	last := map[string]Kept{}
	for _, k := range all {
		last[k.Recipe] = k
	}
	displace := func(k Kept, why string) bool {
		removed := p.displace(ctx, failed, on, k, newest.Ref, why)
		if removed && k.Ref == newest.Ref {
			gone = why
		}
		return removed
	}
	var rest []Kept
	for _, k := range all {
		later := last[k.Recipe]
		if k.Recipe == "" || k.Ref == later.Ref || !displace(k, "build "+later.Build+" of the same recipe failed after it") {
			rest = append(rest, k)
		}
	}
	left := len(rest)
	for _, k := range rest {
		if left <= p.req.Keep.Most {
			break
		}
		why := fmt.Sprintf("build %s failed after it, and no more than %d are kept at once (builds.keepMost in the configuration)", newest.Build, p.req.Keep.Most)
		if k.Ref == newest.Ref {
			why = fmt.Sprintf("no more than %d are kept at once, and the others are in use or held (`ingot kept` lists them); builds.keepMost in the configuration can be raised", p.req.Keep.Most)
		}
		if displace(k, why) {
			left--
		}
	}
	return gone
}

// displace removes what is kept before its time, and tells whether it is gone. What
// somebody holds, without an end, stays.
func (p *pipeline) displace(ctx context.Context, failed *Error, on Keeper, k Kept, own, why string) bool {
	if k.Until.IsZero() {
		return false
	}
	switch err := on.Displace(ctx, k); {
	case errors.Is(err, ErrInUse):
		return false
	case errors.Is(err, ErrNotKept): // another process was faster, and tells of it
	case err != nil:
		p.warn(failed, "the kept instance of build %s could not be removed: %v", k.Build, err)
		return false
	case k.Ref != own:
		p.result.Displaced = append(p.result.Displaced, Displaced{Build: k.Build, Why: why})
		p.warn(failed, "the kept instance of build %s is removed before its time: %s", k.Build, why)
	}
	return true
}

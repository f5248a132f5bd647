package builder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Kept is an instance that has stayed after its build, for people to look into.
type Kept struct {
	Build  string    `json:"build"`
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

// end gives an instance back; one on which the author's documents failed is kept
// where the request asks for it. failed is what became of the build so far.
func (p *pipeline) end(ctx context.Context, stage Stage, inst given, failed error) error {
	if e := authors(ctx, failed); p.req.KeepFor > 0 && e != nil {
		p.retain(ctx, e, inst)
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

func (p *pipeline) retain(ctx context.Context, failed *Error, inst given) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retainTimeout)
	defer cancel()
	now := p.now()
	kept, err := inst.Retain(ctx, Kept{Build: p.req.Build, Stage: failed.Stage, Since: now, Until: now.Add(p.req.KeepFor)})
	if err != nil {
		p.tell.mark(Warned, failed.Stage, failed.Name, fmt.Sprintf("the instance could not be kept: %v", err))
		return
	}
	p.result.Kept = &kept
	p.tell.mark(Warned, failed.Stage, failed.Name, fmt.Sprintf("the instance is kept until %s: ingot exec %s -- COMMAND", kept.Until.UTC().Format(time.RFC3339), kept.Build))
}

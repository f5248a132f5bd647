package ec2

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// silent is a machine whose system has no agent; all that it has to install one is told
// to those who launched it.
type silent struct {
	ec2test.Machine
	launched chan ec2test.Launch
	launch   ec2test.Launch
}

func (s silent) Start(context.Context) error {
	s.launched <- s.launch
	return ec2test.ErrNoAgent
}

// TestImageWithoutAgentSaysWhatItLacks boots what will never answer. Its agent was taken
// away again if its parent had none: a test instance is given the way to one, as the
// build instance was.
func TestImageWithoutAgentSaysWhatItLacks(t *testing.T) {
	launched := make(chan ec2test.Launch, 1)
	idle := ec2test.Scripted(nil)
	c := ec2test.Start(t, ec2test.Options{Machine: func(l ec2test.Launch) ec2test.Machine {
		return silent{Machine: idle(l), launched: launched, launch: l}
	}})
	cfg := configOf(t, c, "unused")
	cfg.pace.online = time.Second
	d := newDriver(t, cfg)
	_, err := d.Boot(t.Context(), builder.BootSpec{Build: "1", Image: builder.Image{Ref: ec2test.Parents[0].ID}})
	e, ok := errors.AsType[*builder.Error](err)
	if !ok || !strings.Contains(e.Reason, "has not reached Systems Manager") || !strings.Contains(e.Hint, "component amazon-ssm-agent-linux") {
		t.Errorf("%#v", err)
	}
	if l := <-launched; !strings.Contains(l.UserData, "amazon-ssm-agent.deb") {
		t.Errorf("user data of the test instance: %q", l.UserData)
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

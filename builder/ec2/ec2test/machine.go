package ec2test

import (
	"context"
	"errors"
)

// Machine is what stands behind an instance. Start, Stop, Image and Close come one at
// a time; Run comes between Start and Stop, also several times at once. What runs when
// the instance stops has its ctx ended before Stop.
type Machine interface {
	// Start boots; after it the agent of Systems Manager answers, unless it is ErrNoAgent.
	Start(ctx context.Context) error
	// Run runs a script as root. The error says that the machine could not.
	Run(ctx context.Context, script Script) (Outcome, error)
	// Stop shuts down. The disk stays.
	Stop(ctx context.Context) error
	// Image keeps the disk of the machine, which is stopped, as that of an AMI.
	Image(ctx context.Context, image string) error
	// Console is what the serial console shows.
	Console() string
	// Close removes the machine, started or not.
	Close() error
}

// ErrNoAgent is what a machine whose system has no agent of Systems Manager starts with.
var ErrNoAgent = errors.New("the system has no agent of Systems Manager")

// Script is what one command has an instance do.
type Script struct {
	Commands         []string // the lines
	WorkingDirectory string
	PowerShell       bool // or a shell's
}

// Outcome is how a script ended.
type Outcome struct {
	Exit           int
	Stdout, Stderr string
}

// ScriptMachine is no system at all: it answers the commands of each script itself.
// Status 194 (3010 on Windows) restarts it and brings the same commands again.
type ScriptMachine func(ctx context.Context, commands []string) (exit int, stdout, stderr string)

// Scripted is the same ScriptMachine behind every instance.
func Scripted(run ScriptMachine) func(Launch) Machine {
	return func(Launch) Machine { return run }
}

func (m ScriptMachine) Start(context.Context) error         { return nil }
func (m ScriptMachine) Stop(context.Context) error          { return nil }
func (m ScriptMachine) Image(context.Context, string) error { return nil }
func (m ScriptMachine) Console() string                     { return "" }
func (m ScriptMachine) Close() error                        { return nil }

func (m ScriptMachine) Run(ctx context.Context, script Script) (Outcome, error) {
	var o Outcome
	o.Exit, o.Stdout, o.Stderr = m(ctx, script.Commands)
	return o, nil
}

// noMachine is behind instances when a test has none: it never boots.
type noMachine struct{}

var errNoMachine = errors.New("the test has no machines")

func (noMachine) Start(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
func (noMachine) Run(context.Context, Script) (Outcome, error) { return Outcome{}, errNoMachine }
func (noMachine) Stop(context.Context) error                   { return nil }
func (noMachine) Image(context.Context, string) error          { return nil }
func (noMachine) Console() string                              { return "" }
func (noMachine) Close() error                                 { return nil }

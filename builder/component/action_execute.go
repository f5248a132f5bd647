package component

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// executeBash runs all commands as one script, so that variables, functions and
// the folder carry over from one entry to the next. There is no set -e: the last
// command decides. The script is given to bash as a file and never executed
// itself, because its folder may be mounted noexec. /bin/bash without options, no
// shebang, and lines that end in LF are inferred.
func executeBash(ctx context.Context, c *call) (map[string]string, error) {
	text := strings.ReplaceAll(strings.Join(c.list("commands"), "\n")+"\n", "\r\n", "\n")
	return c.executeScript(ctx, "input.sh", text, "/bin/bash")
}

// executeScript runs a script with an interpreter, whose last argument its path
// becomes.
func (c *call) executeScript(ctx context.Context, name, text string, interpreter ...string) (map[string]string, error) {
	if err := c.logs.writeScript(name, text); err != nil {
		return nil, err
	}
	output, err := c.execute(ctx, append(interpreter, c.logs.path(name))...)
	if err := c.logs.emptyScript(name); err != nil {
		c.logs.note("the script was not emptied: %v", err) // no fault of the step
	}
	return output, err
}

// executeBinary runs one program. Nothing is split, quoted or globbed.
func executeBinary(ctx context.Context, c *call) (map[string]string, error) {
	return c.execute(ctx, append([]string{c.text("path")}, c.list("arguments")...)...)
}

// execute runs a program and makes the step's outcome of its exit status.
func (c *call) execute(ctx context.Context, args ...string) (map[string]string, error) {
	status, output, err := c.start(ctx, program{args: args})
	switch {
	case err != nil:
		return nil, err
	case status == c.env.rebootStatus(): // uses up no attempt (inferred)
		return nil, &rebootRequest{again: true}
	case status != 0:
		return nil, fmt.Errorf("exit status %d", status)
	}
	return output, nil
}

// start runs a program to its end, in the step's place and with its streams.
func (c *call) start(ctx context.Context, p program) (status int, output map[string]string, err error) {
	c.last = c.newOutputs(c.at)
	p.dir, p.env, p.mark = c.job.WorkingDir, c.environ(), c.markOf()
	p.stdout, p.stderr = c.last.writers()
	status, held, err := p.run(ctx)
	c.last.flush()
	c.logs.note("%s: exit status %d, error %v", filepath.Base(p.args[0]), status, err)
	if err != nil {
		return 0, nil, err
	}
	if held {
		c.warn(c.at, "a program that still runs in the background kept the output open; what it prints from now on is lost. Redirect its output")
	}
	c.state.Cut = c.state.Cut || c.last.captured.over
	return status, map[string]string{"stdout": c.last.captured.text()}, nil
}

// environ is what programs of this step see.
func (c *call) environ() []string {
	env := c.env.Environ[:len(c.env.Environ):len(c.env.Environ)]
	if c.job.WorkingDir != "" {
		env = append(env, "WORKING_DIRECTORY="+c.job.WorkingDir)
	}
	return env
}

// markOf names this step among all that run on the machine.
func (c *call) markOf() string {
	return fmt.Sprintf("%s/%d/%s/%d", c.job.ID, c.at.document, c.at.phase, c.state.Started.UnixNano())
}

// reboot restarts the machine; the run goes on with the next step.
func reboot(_ context.Context, c *call) (map[string]string, error) {
	delay, err := c.seconds("delaySeconds")
	if err != nil {
		return nil, err
	}
	return nil, &rebootRequest{delay: delay}
}

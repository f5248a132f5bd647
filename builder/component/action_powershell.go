package component

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// byteOrderMark makes Windows PowerShell read a script as UTF-8; without it, it
// takes the machine's old code page.
const byteOrderMark = "\ufeff"

// powerShell is Windows PowerShell with a script to follow: no profile of an
// account, no questions. Which execution policy holds is not documented; nobody
// signs what a document says, so none does (inferred).
func powerShell() []string {
	return []string{"powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"}
}

// scriptText joins commands to one script, as ExecuteBash does. Lines end as they
// do on Windows, which is what here-strings are taken to hold (inferred).
func scriptText(commands []string) string {
	text := strings.ReplaceAll(strings.Join(commands, "\n")+"\n", "\r\n", "\n")
	return byteOrderMark + strings.ReplaceAll(text, "\n", "\r\n")
}

// executePowerShell runs its commands as one script, or a script that is there.
// The exit status is the process's: 1 for an error that ended the script, 0 after
// one that did not (inferred).
func executePowerShell(ctx context.Context, c *call) (map[string]string, error) {
	file := c.path("file")
	switch {
	case (file == "") == (len(c.list("commands")) == 0):
		return nil, errors.New("exactly one of commands and file is needed")
	case file == "":
		return c.executeScript(ctx, "input.ps1", scriptText(c.list("commands")), powerShell()...)
	}
	if err := mustBe(file, false); err != nil {
		return nil, err
	}
	return c.execute(ctx, append(powerShell(), file)...)
}

// ask runs a script of the engine's own and returns what it prints, which the
// step's output does not show. arguments are the script's $args.
func (c *call) ask(ctx context.Context, name, script string, arguments ...string) (string, error) {
	if err := c.logs.writeFile(name, []byte(scriptText([]string{script}))); err != nil {
		return "", err
	}
	var answer capture
	var complaint tail
	status, _, err := program{
		args: append(append(powerShell(), c.logs.path(name)), arguments...), dir: c.job.WorkingDir, env: c.environ(), mark: c.markOf(),
		stdout: &answer, stderr: &complaint,
	}.run(ctx)
	c.logs.note("%s: exit status %d, error %v", name, status, err)
	switch {
	case err != nil:
		return "", err
	case status != 0:
		return "", fmt.Errorf("exit status %d: %s", status, complaint.lines())
	case answer.over:
		return "", fmt.Errorf("it says more than %d bytes", maxCapture)
	}
	return answer.text(), nil
}

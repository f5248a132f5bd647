package ec2test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of commands.
const (
	commandPending    = "Pending"
	commandInProgress = "InProgress"
	commandSuccess    = "Success"
	commandFailed     = "Failed"
	commandTimedOut   = "TimedOut"
	commandCancelled  = "Cancelled"
)

// What Systems Manager gives of a script's output.
const (
	maxOutput       = 24000
	maxPluginOutput = 2500
	outputCut       = "\n---Output truncated---"
	errorCut        = "\n---Error truncated----"
)

// maxRestarts is how often one script may restart its instance.
const maxRestarts = 20

// sysprepDocument generalises Windows and then shuts the instance down.
const sysprepDocument = "AWSEC2-RunSysprep"

// documents are those that are known, with the name of their plugin.
var documents = map[string]struct {
	plugin     string
	parameters []string
	powerShell bool
}{
	"AWS-RunShellScript":      {"aws:runShellScript", []string{"commands", "workingDirectory", "executionTimeout"}, false},
	"AWS-RunPowerShellScript": {"aws:runPowerShellScript", []string{"commands", "workingDirectory", "executionTimeout"}, true},
	sysprepDocument:           {"runSysprep", nil, true},
}

// command is one that was sent. The Cloud's lock guards it.
type command struct {
	id       string
	document string
	comment  string
	sent     time.Time
	expires  time.Time
	input    sendCommandInput
	runs     []*invocation
	unseen   int
}

// invocation is a command on one instance.
type invocation struct {
	command  *command
	instance *instance
	status   string
	details  string
	outcome  Outcome
	started  time.Time
	ended    time.Time
	cancel   context.CancelCauseFunc
}

var errCancelled = fmt.Errorf("the command was cancelled")

type sendCommandInput struct {
	DocumentName   string              `json:"DocumentName"`
	InstanceIds    []string            `json:"InstanceIds"`
	Parameters     map[string][]string `json:"Parameters"`
	TimeoutSeconds int                 `json:"TimeoutSeconds"`
	Comment        string              `json:"Comment"`
	Targets        []any               `json:"Targets"`
}

// commandCall answers what moto cannot; nil leaves a call to it.
func (c *Cloud) commandCall(r *Request) *answer {
	handle := map[string]func([]byte) answer{
		"SendCommand": c.sendCommand, "GetCommandInvocation": c.getInvocation, "ListCommandInvocations": c.listInvocations,
		"ListCommands": c.listCommands, "CancelCommand": c.cancelCommand, "DescribeInstanceInformation": c.describeInformation,
		"GetParameter": c.getParameter, "GetParameters": c.getParameters,
	}[r.Operation]
	if handle == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := handle(r.body)
	if a.status == 0 && a.err == nil {
		return nil
	}
	return &a
}

// wrong refuses a call of Systems Manager as the caller's mistake.
func wrong(code, format string, arguments ...any) answer {
	return refuse("ssm", http.StatusBadRequest, code, fmt.Sprintf(format, arguments...))
}

// read understands a call's body.
func read[T any](body []byte) (T, answer) {
	var in T
	if err := json.Unmarshal(body, &in); err != nil {
		return in, wrong("SerializationException", "%v", err)
	}
	return in, answer{}
}

func (c *Cloud) sendCommand(body []byte) answer {
	in, refused := read[sendCommandInput](body)
	if refused.status != 0 {
		return refused
	}
	if refused := in.check(); refused.status != 0 {
		return refused
	}
	for _, id := range in.InstanceIds {
		i := c.instances[id]
		if i == nil || !c.registered(i) {
			return wrong("InvalidInstanceId", "Instances [[%s]] not in a valid state for account %s", id, c.Account)
		}
		if documents[in.DocumentName].powerShell != (i.parent.attributes["platform"] == "windows") {
			return wrong("UnsupportedPlatformType", "The document %s is not for the platform of %s", in.DocumentName, id)
		}
	}
	delivery := time.Duration(cmp.Or(in.TimeoutSeconds, 3600)) * c.options.Second
	cmd := &command{
		id: newID(), document: in.DocumentName, comment: in.Comment, sent: time.Now(), input: in, unseen: c.options.Unseen,
		expires: time.Now().Add(delivery),
	}
	c.commands[cmd.id] = cmd
	for _, id := range in.InstanceIds {
		ctx, cancel := context.WithCancelCause(c.ctx)
		v := &invocation{command: cmd, instance: c.instances[id], status: commandPending, details: commandPending, cancel: cancel}
		cmd.runs = append(cmd.runs, v)
		c.work.Go(func() {
			defer cancel(nil)
			c.invoke(ctx, v, delivery)
		})
	}
	return reply(map[string]any{"Command": cmd.show()})
}

// check says what is wrong with a command that the service's model allows.
func (in sendCommandInput) check() answer {
	document, known := documents[in.DocumentName]
	switch {
	case !known:
		return wrong("InvalidDocument", "Document with name %s does not exist.", in.DocumentName)
	case len(in.Targets) > 0:
		return wrong("UnsupportedOperation", "the test's cloud knows instances by their IDs alone")
	case len(in.InstanceIds) == 0:
		return wrong("InvalidInstanceId", "no instances")
	case slices.Contains(document.parameters, "commands") && len(in.Parameters["commands"]) == 0:
		return wrong("InvalidParameters", "The parameter commands is required")
	}
	for name, values := range in.Parameters {
		if !slices.Contains(document.parameters, name) {
			return wrong("InvalidParameters", "The parameter %s is not one of the document %s", name, in.DocumentName)
		}
		if name != "commands" && len(values) != 1 {
			return wrong("InvalidParameters", "The parameter %s is one string", name)
		}
	}
	if _, ok := in.limit(); !ok {
		return wrong("InvalidParameters", "executionTimeout must be a number from 1 to 172800")
	}
	return answer{}
}

// limit is how many seconds the script may run.
func (in sendCommandInput) limit() (int, bool) {
	values := in.Parameters["executionTimeout"]
	if len(values) == 0 {
		return 3600, true
	}
	n, err := strconv.Atoi(values[0])
	return n, err == nil && n >= 1 && n <= 172800
}

// invoke is the life of an invocation.
func (c *Cloud) invoke(ctx context.Context, v *invocation, delivery time.Duration) {
	waiting, cancel := context.WithTimeout(ctx, delivery)
	defer cancel()
	up, ok := c.deliver(waiting, v)
	if !ok {
		c.finish(v, commandTimedOut, "DeliveryTimedOut", context.Cause(ctx))
		return
	}
	seconds, _ := v.command.input.limit()
	limited, cancel := context.WithTimeout(ctx, time.Duration(seconds)*c.options.Second)
	defer cancel()
	for range maxRestarts + 1 {
		outcome, err := c.runScript(limited, up, v)
		if err != nil {
			// The instance went away under the script, or time ran out, or it was
			// cancelled: nobody is there to say how it ended.
			<-limited.Done()
			c.finish(v, commandTimedOut, "ExecutionTimedOut", context.Cause(ctx))
			return
		}
		if outcome.Exit == 194 || documents[v.command.document].powerShell && outcome.Exit == 3010 {
			c.restart(v.instance)
			if up, ok = c.deliver(limited, v); ok {
				continue
			}
			c.finish(v, commandTimedOut, "ExecutionTimedOut", context.Cause(ctx))
			return
		}
		c.outcome(v, outcome)
		if v.command.document == sysprepDocument && outcome.Exit == 0 {
			c.PowerOff(v.instance.id)
		}
		return
	}
	c.outcome(v, Outcome{Exit: 1, Stderr: "restarted too often"})
}

// deliver waits until the agent has taken the script.
func (c *Cloud) deliver(ctx context.Context, v *invocation) (up context.Context, ok bool) {
	i := v.instance
	for {
		c.mu.Lock()
		if c.listening(i) && ctx.Err() == nil {
			v.status, v.details = commandInProgress, commandInProgress
			if v.started.IsZero() {
				v.started = time.Now()
			}
			i.running.Add(1) // ended by runScript
			up := i.up
			c.mu.Unlock()
			return up, true
		}
		changed := i.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// runScript runs it once, in the machine's life that up stands for.
func (c *Cloud) runScript(ctx, up context.Context, v *invocation) (Outcome, error) {
	defer v.instance.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	in := v.command.input
	script := Script{Commands: in.Parameters["commands"], PowerShell: documents[in.DocumentName].powerShell}
	if dir := in.Parameters["workingDirectory"]; len(dir) > 0 {
		script.WorkingDirectory = dir[0]
	}
	if in.DocumentName == sysprepDocument {
		script.Commands = []string{in.DocumentName}
	}
	outcome, err := v.instance.machine.Run(ctx, script)
	if ctx.Err() != nil {
		return Outcome{}, context.Cause(ctx)
	}
	if err != nil {
		c.t.Errorf("run a script on %s: %v", v.instance.id, err)
	}
	return outcome, err
}

// outcome ends an invocation whose script ended.
func (c *Cloud) outcome(v *invocation, o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.status, v.ended = commandSuccess, time.Now()
	if o.Exit != 0 {
		v.status = commandFailed
		if o.Stderr != "" && !strings.HasSuffix(o.Stderr, "\n") {
			o.Stderr += "\n"
		}
		o.Stderr += fmt.Sprintf("failed to run commands: exit status %d", o.Exit)
	}
	v.details, v.outcome = v.status, o
}

// finish ends an invocation whose script did not.
func (c *Cloud) finish(v *invocation, status, details string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cause == errCancelled {
		status, details = commandCancelled, commandCancelled
	}
	v.status, v.details, v.ended = status, details, time.Now()
	v.outcome.Exit = -1
}

func (c *Cloud) cancelCommand(body []byte) answer {
	in, refused := read[struct {
		CommandId   string
		InstanceIds []string
	}](body)
	if refused.status != 0 {
		return refused
	}
	cmd := c.commands[in.CommandId]
	if cmd == nil {
		return wrong("InvalidCommandId", "")
	}
	for _, v := range cmd.runs {
		if len(in.InstanceIds) == 0 || slices.Contains(in.InstanceIds, v.instance.id) {
			v.cancel(errCancelled)
		}
	}
	return reply(map[string]any{})
}

// newID is one as commands have.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// machine is an instance on EC2 and what has been done on it.
type machine struct {
	d       *Driver
	id      string
	build   string
	role    role
	windows bool
	spot    bool   // it cannot be stopped, and may be taken back
	agent   string // file
	ops     int    // operations so far: a build does the same ones in the same order each time
	adopted bool   // another process began the work: some of it may be done
	cleaned int    // operations that are behind the instance because its agent is gone
}

const (
	// signedFor is how long an instance may use what it is given to read.
	signedFor = time.Hour
	// toldFor is how long an instance may write into the inbox with one signature.
	// Credentials of a role may end sooner; then the command is sent again.
	toldFor = 12 * time.Hour
	// resends is how often a command is sent again without a new sign of life.
	resends = 3
)

// operate does one operation, of all that a build does on its instance the next. One
// that another process has heard the end of is over: what it said is in that build's log.
func (m *machine) operate(ctx context.Context, r relay.Request, emit func(component.Event)) (relay.Outcome, error) {
	if err := m.next(&r); err != nil {
		return relay.Outcome{}, err
	}
	if m.adopted {
		done, found, err := m.remembered(ctx, r.ID)
		if err != nil {
			return relay.Outcome{}, err
		}
		if found {
			return done, nil
		}
		if m.ops <= m.cleaned {
			return relay.Outcome{}, fmt.Errorf("operation %s on instance %s was done, but its outcome is not in the bucket any more", r.ID, m.id)
		}
	}
	outcome, err := m.perform(ctx, r, emit)
	if err != nil {
		return relay.Outcome{}, err
	}
	return outcome, m.remember(ctx, r.ID, outcome)
}

// next names a request by its place and content, so that it is the same in each life
// of the daemon.
func (m *machine) next(r *relay.Request) error {
	what := *r // without signatures, which differ each time
	if r.Archive != nil {
		what.Archive = &relay.Source{SHA256: r.Archive.SHA256, Size: r.Archive.Size}
	}
	identity, err := json.Marshal(what)
	m.ops++
	r.ID = fmt.Sprintf("%03d-%s", m.ops, token(string(identity))[:16])
	return err
}

func (m *machine) memory(id string) string {
	return fmt.Sprintf("%sbuilds/%s/%s/%s.json", m.d.cfg.Prefix, m.build, m.id, id)
}

// remember keeps an outcome for a daemon that is started again: it must neither be
// asked for nor be done twice.
func (m *machine) remember(ctx context.Context, id string, o relay.Outcome) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return m.d.putObject(ctx, m.memory(id), text)
}

func (m *machine) remembered(ctx context.Context, id string) (o relay.Outcome, found bool, err error) {
	text, err := m.d.object(ctx, m.memory(id), relay.MaxLine*2)
	if code(err) == "NoSuchKey" {
		return o, false, nil
	}
	if err != nil {
		return o, false, err
	}
	return o, true, json.Unmarshal(text, &o)
}

func (d *Driver) putObject(ctx context.Context, key string, content []byte) error {
	_, err := d.aws.Objects.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(d.cfg.Bucket), Key: aws.String(key), Body: bytes.NewReader(content),
	})
	return err
}

// perform sends the command, and hears what the instance tells until it is done.
func (m *machine) perform(ctx context.Context, r relay.Request, emit func(component.Event)) (relay.Outcome, error) {
	ear := m.d.inbox.listen()
	defer ear.leave()
	signed, err := m.d.signInbox(ctx, ear.prefix())
	if err != nil {
		return relay.Outcome{}, err
	}
	r.Inbox = signed
	watched, stop := m.watch(ctx)
	defer stop()
	c := &command{machine: m, request: r}
	defer c.cancelOn(ctx)
	outcome, err := c.follow(watched, ear, emit)
	return outcome, sooner(watched, err)
}

// sooner is why calls were cut short, where their context has ended: they say no more
// than that it has.
func sooner(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// signInbox lets an instance write under a prefix, and nowhere else.
func (d *Driver) signInbox(ctx context.Context, prefix string) (relay.Inbox, error) {
	signed, err := d.aws.Signer.PresignPostObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(d.cfg.Bucket), Key: aws.String(prefix + "${filename}"),
	}, func(o *s3.PresignPostOptions) {
		o.Expires = toldFor
		o.Conditions = []any{
			[]any{"starts-with", "$key", prefix},
			[]any{"content-length-range", 0, relay.MaxLine + relay.MaxPiece},
		}
	})
	if err != nil {
		return relay.Inbox{}, err
	}
	return relay.Inbox{URL: signed.URL, Fields: signed.Values, Prefix: prefix}, nil
}

// watch returns a context that ends when the instance does.
func (m *machine) watch(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := m.d.states.wait(ctx, want{instance: m.id}, func(v view) (bool, error) {
			i, known := v.instances[m.id]
			if known && !over(i) && i.State.Name != types.InstanceStateNameStopped {
				return false, nil
			}
			return true, m.lost(i)
		})
		cancel(err)
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
	}
}

func over(i types.Instance) bool {
	return i.State != nil && (i.State.Name == types.InstanceStateNameTerminated || i.State.Name == types.InstanceStateNameShuttingDown)
}

// lost is the error of an instance that ended by itself: a spot instance that was
// taken back, broken hardware, somebody at the console.
func (m *machine) lost(i types.Instance) error {
	why := "it is not there any more"
	if i.StateReason != nil {
		why = aws.ToString(i.StateReason.Message)
	} else if i.State != nil {
		why = "it is " + string(i.State.Name)
	}
	return &builder.Error{Fault: builder.Transient, Stage: stageOf(m.role),
		Reason: "instance " + m.id + " ended by itself: " + why, Hint: "the build can be repeated"}
}

// command is an operation on its way: it may be sent more than once.
type command struct {
	*machine
	request relay.Request
	source  relay.Source // of the request
	sent    []string     // ids of commands
}

// follow sends the command and hears its notes. When nothing is heard for long, it
// looks what became of the command, and sends it again: the agent does it once.
func (c *command) follow(ctx context.Context, ear *listener, emit func(component.Event)) (relay.Outcome, error) {
	if err := c.send(ctx); err != nil {
		return relay.Outcome{}, err
	}
	pace := c.d.cfg.pace
	check := time.NewTicker(pace.quiet / 10)
	defer check.Stop()
	wait, silent, last := pace.quiet/10, 0, time.Now()
	for {
		notes, heard, err := ear.take()
		if err != nil {
			return relay.Outcome{}, err
		}
		for _, n := range notes {
			if n.Done != nil {
				return *n.Done, nil
			}
			emit(*n.Event)
		}
		if heard.After(last) {
			last, silent, wait = heard, 0, pace.quiet
		}
		select {
		case <-ear.news:
			continue
		case <-ctx.Done():
			return relay.Outcome{}, context.Cause(ctx)
		case <-check.C:
		}
		// At first a command may fail before the agent runs; later there are beats.
		if quiet := time.Since(last); quiet >= wait {
			alive, err := c.alive(ctx)
			if err != nil {
				return relay.Outcome{}, err
			}
			if !alive || quiet >= pace.quiet {
				if silent++; silent > resends {
					return relay.Outcome{}, c.mute()
				}
				if err := c.send(ctx); err != nil {
					return relay.Outcome{}, err
				}
				last = time.Now()
			}
			wait = min(2*wait, pace.quiet)
		}
	}
}

func (c *command) mute() error {
	return &builder.Error{Fault: builder.Transient, Stage: builder.StageBuild,
		Reason: "instance " + c.id + " does what it is told, but nothing of it is heard",
		Hint:   "an instance has to reach S3: check the subnet's route, endpoints and the security group's outbound rules"}
}

// send gives the instance the request and has its agent do it.
func (c *command) send(ctx context.Context) error {
	if c.source.URL == "" {
		if err := c.deliver(ctx); err != nil {
			return err
		}
	}
	script, err := c.d.script(ctx, c.machine, c.source)
	if err != nil {
		return err
	}
	id, err := c.sendScript(ctx, string(c.request.Op)+" "+c.request.ID, script)
	if err == nil {
		c.sent = append(c.sent, id)
	}
	return err
}

// sendScript has the instance run a script; what is for whoever reads the account's
// list of commands.
func (m *machine) sendScript(ctx context.Context, what string, script []string) (id string, err error) {
	document := "AWS-RunShellScript"
	if m.windows {
		document = "AWS-RunPowerShellScript"
	}
	const longest = "172800" // seconds, the most that the document takes
	for begin := time.Now(); ; {
		out, err := m.d.aws.Commands.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: aws.String(document), InstanceIds: []string{m.id},
			Parameters:     map[string][]string{"commands": script, "executionTimeout": {longest}},
			TimeoutSeconds: aws.Int32(600),
			Comment:        aws.String(clipComment("ingot " + m.build + " " + what)),
		})
		if err == nil {
			return aws.ToString(out.Command.CommandId), nil
		}
		// An instance that restarts is out of reach for a moment.
		if !isOne(err, notYet) || time.Since(begin) > m.d.cfg.pace.visible {
			return "", err
		}
		if err := pause(ctx, m.d.cfg.pace.states); err != nil {
			return "", err
		}
	}
}

func clipComment(text string) string {
	const most = 100
	return text[:min(len(text), most)]
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// deliver puts the request where the instance can fetch it.
func (c *command) deliver(ctx context.Context) error {
	text, err := json.Marshal(c.request)
	if err != nil {
		return err
	}
	if len(text) > relay.MaxRequest {
		return &builder.Error{Fault: builder.Author, Stage: builder.StageBuild,
			Reason: fmt.Sprintf("the component and its parameters have %d bytes, more than %d", len(text), relay.MaxRequest)}
	}
	key := fmt.Sprintf("%sbuilds/%s/%s/%s.request", c.d.cfg.Prefix, c.build, c.id, c.request.ID)
	if err := c.d.putObject(ctx, key, text); err != nil {
		return err
	}
	url, err := c.d.sign(ctx, key)
	c.source = relay.Source{URL: url, SHA256: relay.Digest(text), Size: int64(len(text))}
	return err
}

// sign makes an address with which an object can be read for a while.
func (d *Driver) sign(ctx context.Context, key string) (string, error) {
	r, err := d.aws.Signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(d.cfg.Bucket), Key: aws.String(key)},
		s3.WithPresignExpires(signedFor))
	if err != nil {
		return "", err
	}
	return r.URL, nil
}

// alive looks at the last command. One that ended without telling its end has
// failed before the agent ran, or could not reach the inbox.
func (c *command) alive(ctx context.Context) (bool, error) {
	i, ended, err := c.ended(ctx, c.sent[len(c.sent)-1])
	if err != nil || !ended {
		return true, err
	}
	if i.Status == ssmtypes.CommandInvocationStatusSuccess {
		return false, nil // it is told, and will be heard
	}
	said, err := c.complaint(ctx, aws.ToString(i.CommandId))
	if err != nil {
		return false, err
	}
	if len(c.sent) <= resends && i.Status != ssmtypes.CommandInvocationStatusCancelled {
		c.d.cfg.Log.WithField("instance", c.id).WithField("status", aws.ToString(i.StatusDetails)).Warn("a command failed and is sent again: " + said)
		return false, nil
	}
	return false, &builder.Error{Stage: builder.StageBuild,
		Reason: fmt.Sprintf("the agent could not be run on instance %s: %s", c.id, aws.ToString(i.StatusDetails)),
		Hint:   "the instance needs sh, sha256sum and one of curl, wget and python3, and a way to S3",
		Output: said}
}

// ended tells whether a command has ended, and how.
func (m *machine) ended(ctx context.Context, id string) (ssmtypes.CommandInvocation, bool, error) {
	out, err := m.d.aws.Commands.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{CommandId: aws.String(id)})
	if isOne(err, notYet) || err == nil && len(out.CommandInvocations) == 0 {
		return ssmtypes.CommandInvocation{}, false, nil
	}
	if err != nil {
		return ssmtypes.CommandInvocation{}, false, err
	}
	i := out.CommandInvocations[0]
	return i, !underWay(i), nil
}

// underWay tells whether a command may still do something on its instance.
func underWay(i ssmtypes.CommandInvocation) bool {
	switch i.Status {
	case ssmtypes.CommandInvocationStatusPending, ssmtypes.CommandInvocationStatusInProgress, ssmtypes.CommandInvocationStatusDelayed:
		return true
	}
	return false
}

// complaint is what a command that failed has written.
func (m *machine) complaint(ctx context.Context, id string) (string, error) {
	out, err := m.d.aws.Commands.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: aws.String(id), InstanceId: aws.String(m.id)})
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(aws.ToString(out.StandardOutputContent) + "\n" + aws.ToString(out.StandardErrorContent))
	return clip(strings.ToValidUTF8(text, "\ufffd")), nil
}

// cancelOn stops what still runs on the instance when the build's context has ended,
// unless the next process is to hear it out.
func (c *command) cancelOn(ctx context.Context) {
	if ctx.Err() == nil || builder.GoesOn(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for _, id := range c.sent {
		_, err := c.d.aws.Commands.CancelCommand(ctx, &ssm.CancelCommandInput{CommandId: aws.String(id)})
		if err != nil && !errors.Is(err, context.Canceled) {
			c.d.cfg.Log.WithError(err).Warn("a command could not be canceled; its instance is terminated")
		}
	}
}

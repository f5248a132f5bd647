package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
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

	launched time.Time // by this process; zero: by another
}

const (
	// signedFor is how long an instance may use what it is given to read.
	signedFor = time.Hour
	// toldFor is how long an instance may write into the inbox with one signature.
	// Credentials of a role may end sooner, and a signature ends with them: then
	// nothing is heard, and the command is sent again with new ones.
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
	identity, err := json.Marshal(r) // without signatures, which each sending makes anew
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
	watched, stop := m.watch(ctx)
	defer stop()
	c := &command{machine: m, request: r, prefix: ear.prefix()}
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
			switch {
			case known && !over(i) && i.State.Name != types.InstanceStateNameStopped:
				return false, nil
			case !known && time.Since(m.launched) < m.d.cfg.pace.visible:
				return false, nil // not yet; one that has ended is known for an hour
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
	request relay.Request // without signatures
	prefix  string        // of what it tells
	sent    []string      // ids of commands
}

// follow sends the command and hears its notes. When nothing is heard for long, it
// looks what became of the command, and sends it again: the agent does it once. What
// was told and not read yet is no silence: many builds may tell more than is read at
// once, and a command that is sent again would only add to it.
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
		looked, unread := c.d.inbox.upTo()
		if unread != nil && min(time.Since(looked), time.Since(last)) >= (resends+1)*pace.quiet {
			return relay.Outcome{}, failed(stageOf(c.role), "what instance "+c.id+" tells could not be read from the bucket", unread)
		}
		// At first a command may fail before the agent runs; later there are beats.
		if quiet := looked.Sub(last); quiet >= wait {
			alive, problem, err := c.alive(ctx)
			if err != nil {
				return relay.Outcome{}, err
			}
			if !alive || quiet >= pace.quiet {
				if silent++; silent > resends {
					return relay.Outcome{}, c.mute(problem)
				}
				if problem != nil {
					c.d.cfg.Log.WithField("instance", c.id).WithError(problem).Warn("a command failed and is sent again: " + problem.Output)
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

// mute is the error when sending again has not helped: what became of the last
// command, or why there is nothing to hear.
func (c *command) mute(problem *builder.Error) error {
	if problem != nil {
		return problem
	}
	return &builder.Error{Fault: builder.Transient, Stage: builder.StageBuild,
		Reason: "instance " + c.id + " does what it is told, but nothing of it is heard",
		Hint:   "an instance has to reach S3: check the subnet's route, endpoints and the security group's outbound rules"}
}

// send gives the instance the request and has its agent do it. All that the instance
// is given is signed now: what an earlier sending gave it may have run out. An agent
// that is at it goes on, and the one that comes tells what it does.
func (c *command) send(ctx context.Context) error {
	source, err := c.deliver(ctx)
	if err != nil {
		return err
	}
	script, err := c.d.script(ctx, c.machine, source)
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
	// An instance that restarts is out of reach for a moment.
	err = m.d.appeared(ctx, func() error {
		out, err := m.d.aws.Commands.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: aws.String(document), InstanceIds: []string{m.id},
			Parameters:     map[string][]string{"commands": script, "executionTimeout": {longest}},
			TimeoutSeconds: aws.Int32(600),
			Comment:        aws.String(clipComment("ingot " + m.build + " " + what)),
		})
		if err == nil {
			id = aws.ToString(out.Command.CommandId)
		}
		return err
	})
	return id, err
}

// appeared repeats a call for as long as AWS may take to know what it has just made.
func (d *Driver) appeared(ctx context.Context, call func() error) error {
	for begin := time.Now(); ; {
		err := call()
		if !isOne(err, notYet) || time.Since(begin) > d.cfg.pace.visible {
			return err
		}
		if err := pause(ctx, d.cfg.pace.states); err != nil {
			return err
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

// deliver puts the request where the instance can fetch it. It is named by its content:
// an agent that an earlier sending started must not find another one.
func (c *command) deliver(ctx context.Context) (relay.Source, error) {
	text, err := c.signed(ctx)
	if err != nil {
		return relay.Source{}, err
	}
	if len(text) > relay.MaxRequest {
		return relay.Source{}, &builder.Error{Fault: builder.Author, Stage: builder.StageBuild,
			Reason: fmt.Sprintf("the component and its parameters have %d bytes, more than %d", len(text), relay.MaxRequest)}
	}
	source := relay.Source{SHA256: relay.Digest(text), Size: int64(len(text))}
	key := fmt.Sprintf("%sbuilds/%s/%s/%s-%.8s.request", c.d.cfg.Prefix, c.build, c.id, c.request.ID, source.SHA256)
	if err := c.d.putObject(ctx, key, text); err != nil {
		return relay.Source{}, err
	}
	source.URL, err = c.d.sign(ctx, key)
	return source, err
}

// signed is the request with the signatures that the instance needs for it.
func (c *command) signed(ctx context.Context) ([]byte, error) {
	r := c.request
	var err error
	if r.Inbox, err = c.d.signInbox(ctx, c.prefix); err != nil {
		return nil, err
	}
	if r.Archive != nil {
		archive := *r.Archive
		if archive.URL, err = c.d.sign(ctx, c.d.archiveKey(archive)); err != nil {
			return nil, err
		}
		r.Archive = &archive
	}
	return json.Marshal(r)
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
// failed before the agent ran, or could not reach the inbox: that is the problem.
func (c *command) alive(ctx context.Context) (alive bool, problem *builder.Error, err error) {
	i, ended, err := c.ended(ctx, c.sent[len(c.sent)-1])
	if err != nil || !ended {
		return true, nil, err
	}
	if i.Status == ssmtypes.CommandInvocationStatusSuccess {
		return false, nil, nil // it is told, and will be heard
	}
	said, err := c.complaint(ctx, aws.ToString(i.CommandId))
	if err != nil {
		return false, nil, err
	}
	problem = c.problem(aws.ToString(i.StatusDetails), said)
	if i.Status == ssmtypes.CommandInvocationStatusCancelled {
		return false, nil, problem // and whoever has cancelled it does not want it again
	}
	return false, problem, nil
}

var (
	// refusals are what an agent, curl, wget, Python and PowerShell say of a request that
	// the bucket refuses.
	refusals = regexp.MustCompile(`(?i)(store answers|returned error:|\bERROR|HTTP Error|\() ?(400|403)\b`)
	// expiries are what S3 says of a signature or a token that has run out.
	expiries = regexp.MustCompile(`ExpiredToken|(?i)(token|request|policy) (has |is )?expired`)
)

// problem says what a command that has failed means.
func (c *command) problem(status, said string) *builder.Error {
	e := &builder.Error{Stage: stageOf(c.role), Output: said}
	switch {
	case expiries.MatchString(said):
		e.Reason = "what was signed for instance " + c.id + " ended before the instance could use it"
		e.Hint = "the credentials of the daemon have to last for minutes at least, and be renewed by the SDK; see that the host's clock is right, too"
	case refusals.MatchString(said):
		e.Reason = "the bucket " + c.d.cfg.Bucket + " refuses what was signed for instance " + c.id
		e.Hint = "the daemon's role has to allow s3:GetObject and s3:PutObject there, and neither the bucket's policy nor that of the subnet's endpoint may forbid it; docs/aws-permissions.md has the policy"
	default:
		e.Reason = fmt.Sprintf("the agent could not be run on instance %s: %s", c.id, status)
		e.Hint = "the instance needs sh, sha256sum and one of curl, wget and python3, and a way to S3"
	}
	return e
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

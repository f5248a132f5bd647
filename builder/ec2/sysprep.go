package ec2

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/seed-6db18919/ingot/builder"
)

// requestLimit bounds calls that are made after a build's own time is over.
const requestLimit = time.Minute

// sysprepDocument is AWS's own: it picks the launch agent that the image has, and
// shuts the instance down at the end.
const sysprepDocument = "AWSEC2-RunSysprep"

// sysprep generalises a Windows instance. The agent goes before: afterwards there is
// nothing left to ask.
func (i *instance) sysprep(ctx context.Context) error {
	i.ops++
	if err := i.remove(ctx); err != nil {
		return failed(builder.StageClean, "the agent could not be taken off the instance", err)
	}
	command, err := i.generalise(ctx)
	if err != nil {
		return failed(builder.StageClean, "Sysprep could not be started", err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, time.Hour, &builder.Error{
		Fault: builder.Author, Stage: builder.StageClean, Reason: "Sysprep has not stopped instance " + i.id + " within an hour",
		Hint: panther,
	})
	defer cancel()
	heeded, stop := i.heed(limited, command)
	defer stop()
	err = i.d.states.wait(heeded, want{instance: i.id}, func(v view) (bool, error) {
		now, known := v.instances[i.id]
		if known && over(now) {
			return false, i.lost(now)
		}
		return known && now.State.Name == types.InstanceStateNameStopped, nil
	})
	return failed(builder.StageClean, "Sysprep did not end", err)
}

// panther is where Sysprep says why it fails.
const panther = `see C:\Windows\System32\Sysprep\Panther on a kept instance`

// heed ends its context when Sysprep has failed.
func (i *instance) heed(ctx context.Context, command string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(i.sysprepFailed(ctx, command))
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
	}
}

// sysprepFailed returns when Sysprep has, or when ctx ends. A command that the shutdown
// cuts off may count as failed, too: the instance has some time to stop.
func (i *instance) sysprepFailed(ctx context.Context, command string) error {
	for {
		if err := pause(ctx, i.d.cfg.pace.quiet); err != nil {
			return err
		}
		v, ended, err := i.machine.ended(ctx, command)
		if err != nil && ctx.Err() == nil {
			// Sysprep may be well, and what counts is whether the instance stops.
			i.d.cfg.Log.WithError(err).WithField("build", i.build).Warn("what became of Sysprep's command could not be asked")
		}
		if err != nil || !ended || v.Status == ssmtypes.CommandInvocationStatusSuccess {
			continue
		}
		if err := pause(ctx, 3*i.d.cfg.pace.quiet); err != nil {
			return err
		}
		said, err := i.complaint(ctx, command)
		return &builder.Error{
			Fault: builder.Author, Stage: builder.StageClean, Output: said, Err: err, Hint: panther,
			Reason: "Sysprep failed on instance " + i.id + ": " + aws.ToString(v.StatusDetails),
		}
	}
}

// generalise starts Sysprep, once, and returns its command. Commands have no token that
// makes a repeat harmless: what an answer that got lost, or an earlier process, has
// started is looked for first.
func (i *instance) generalise(ctx context.Context) (string, error) {
	for begin := time.Now(); ; {
		found, err := i.d.aws.Commands.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{
			InstanceId: aws.String(i.id),
			Filters:    []ssmtypes.CommandFilter{{Key: ssmtypes.CommandFilterKeyDocumentName, Value: aws.String(sysprepDocument)}},
		})
		if err != nil {
			return "", err
		}
		if len(found.CommandInvocations) > 0 {
			return aws.ToString(found.CommandInvocations[0].CommandId), nil
		}
		sent, err := i.d.aws.Commands.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: aws.String(sysprepDocument), InstanceIds: []string{i.id},
			Comment: aws.String(clipComment("ingot " + i.build + " sysprep")),
		}, func(o *ssm.Options) { o.RetryMaxAttempts = 1 })
		passes := isOne(err, notYet) || builder.FaultOf(failed(builder.StageClean, "", err)) == builder.Transient
		switch {
		case err == nil:
			return aws.ToString(sent.Command.CommandId), nil
		case !passes || time.Since(begin) > i.d.cfg.pace.visible:
			return "", err
		}
		if err := pause(ctx, i.d.cfg.pace.states); err != nil {
			return "", err
		}
	}
}

// runScript runs a script without the agent, and waits for its end.
func (m *machine) runScript(ctx context.Context, what string, script []string) error {
	watched, stop := m.watch(ctx)
	defer stop()
	return sooner(watched, m.awaitScript(watched, what, script))
}

func (m *machine) awaitScript(ctx context.Context, what string, script []string) error {
	id, err := m.sendScript(ctx, what, script)
	for err == nil {
		i, ended, askErr := m.ended(ctx, id)
		switch {
		case askErr != nil:
			return askErr
		case ended && i.Status == ssmtypes.CommandInvocationStatusSuccess:
			return nil
		case ended:
			said, askErr := m.complaint(ctx, id)
			if askErr != nil {
				return askErr
			}
			return &builder.Error{Stage: builder.StageClean, Output: said,
				Reason: fmt.Sprintf("the script %q failed on instance %s: %s", what, m.id, aws.ToString(i.StatusDetails))}
		}
		err = pause(ctx, m.d.cfg.pace.states)
	}
	return err
}

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
	if err := i.generalise(ctx); err != nil {
		return failed(builder.StageClean, "Sysprep could not be started", err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, time.Hour, &builder.Error{
		Fault: builder.Author, Stage: builder.StageClean, Reason: "Sysprep has not stopped instance " + i.id + " within an hour",
		Hint: `see C:\Windows\System32\Sysprep\Panther on a kept instance`,
	})
	defer cancel()
	err := i.d.states.wait(limited, want{instance: i.id}, func(v view) (bool, error) {
		now, known := v.instances[i.id]
		if known && over(now) {
			return false, i.lost(now)
		}
		return known && now.State.Name == types.InstanceStateNameStopped, nil
	})
	return failed(builder.StageClean, "Sysprep did not end", err)
}

// generalise starts Sysprep, once. Commands have no token that makes a repeat harmless:
// what an answer that got lost, or an earlier process, has started is looked for first.
func (i *instance) generalise(ctx context.Context) error {
	for begin := time.Now(); ; {
		found, err := i.d.aws.Commands.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{
			InstanceId: aws.String(i.id),
			Filters:    []ssmtypes.CommandFilter{{Key: ssmtypes.CommandFilterKeyDocumentName, Value: aws.String(sysprepDocument)}},
		})
		if err != nil || len(found.CommandInvocations) > 0 {
			return err
		}
		_, err = i.d.aws.Commands.SendCommand(ctx, &ssm.SendCommandInput{
			DocumentName: aws.String(sysprepDocument), InstanceIds: []string{i.id},
			Parameters: map[string][]string{"Id": {i.build}}, Comment: aws.String(clipComment("ingot " + i.build + " sysprep")),
		}, func(o *ssm.Options) { o.RetryMaxAttempts = 1 })
		passes := isOne(err, notYet) || builder.FaultOf(failed(builder.StageClean, "", err)) == builder.Transient
		if err == nil || !passes || time.Since(begin) > i.d.cfg.pace.visible {
			return err
		}
		if err := pause(ctx, i.d.cfg.pace.states); err != nil {
			return err
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

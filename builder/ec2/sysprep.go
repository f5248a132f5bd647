package ec2

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/seed-6db18919/ingot/builder"
)

// requestLimit bounds calls that are made after a build's own time is over.
const requestLimit = time.Minute

// sysprep generalises a Windows instance. The document is AWS's own: it picks the
// launch agent that the image has, and shuts the instance down at the end.
func (i *instance) sysprep(ctx context.Context) error {
	i.ops++
	if i.cleaned >= i.ops {
		return nil
	}
	if err := i.d.tag(ctx, map[string]string{tagClean: fmt.Sprint(i.ops)}, i.id); err != nil {
		return failed(builder.StageClean, "the instance could not be cleaned up", err)
	}
	_, err := i.d.aws.Commands.SendCommand(ctx, &ssm.SendCommandInput{
		DocumentName: aws.String("AWSEC2-RunSysprep"), InstanceIds: []string{i.id},
		Parameters: map[string][]string{"Id": {i.build}}, Comment: aws.String(clipComment("ingot " + i.build + " sysprep")),
	})
	if err != nil {
		return failed(builder.StageClean, "Sysprep could not be started", err)
	}
	i.cleaned = i.ops
	limited, cancel := context.WithTimeoutCause(ctx, time.Hour, &builder.Error{
		Fault: builder.Author, Stage: builder.StageClean, Reason: "Sysprep has not stopped instance " + i.id + " within an hour",
		Hint: `see C:\Windows\System32\Sysprep\Panther on a kept instance`,
	})
	defer cancel()
	err = i.d.states.wait(limited, want{instance: i.id}, func(v view) (bool, error) {
		now, known := v.instances[i.id]
		if known && over(now) {
			return false, i.lost(now)
		}
		return known && now.State.Name == types.InstanceStateNameStopped, nil
	})
	return failed(builder.StageClean, "Sysprep did not end", err)
}

package ec2test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/internal/mototest"
)

// TestNothingOutlivesItsTest ends a test while much is going on in its cloud.
func TestNothingOutlivesItsTest(t *testing.T) {
	ended := make(chan struct{})
	t.Run("busy", func(t *testing.T) {
		started := make(chan struct{})
		a := start(t, Options{Machine: Scripted(func(ctx context.Context, c []string) (int, string, string) {
			close(started)
			return forever(ctx, c)
		})})
		id := a.launch(t, launchInput())
		a.online(t, id)
		a.send(t, id, "sleep")
		<-started
		a.launch(t, launchInput())
		hung := make(chan struct{})
		a.Faults.Add(&Fault{Effect: Before(func(*Request) { close(hung) }), Times: 1})
		a.Faults.Add(&Fault{Effect: Hang()})
		go func() {
			defer close(ended)
			_, _ = a.ec2.DescribeInstances(context.WithoutCancel(t.Context()), &ec2.DescribeInstancesInput{})
		}()
		<-hung
	})
	if mototest.Program() == "" {
		t.Skip("there was no cloud to end")
	}
	<-ended // for the end of the cloud has broken the call
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "ec2test.(*") && !strings.Contains(stack, "ec2test.TestNothing") {
			t.Errorf("still runs:\n%s", stack)
		}
	}
}

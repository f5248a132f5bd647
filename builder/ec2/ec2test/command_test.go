package ec2test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// status is what Systems Manager says of a command, in one word and another.
func (a account) status(t *testing.T, id, command string) string {
	t.Helper()
	out, err := a.ssm.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Status) + " " + aws.ToString(out.StatusDetails)
}

func TestCommandsRunAndEnd(t *testing.T) {
	started, end := make(chan []string, 1), make(chan struct{})
	a := start(t, Options{Machine: Scripted(func(_ context.Context, commands []string) (int, string, string) {
		started <- commands
		<-end
		return 3, strings.Repeat("é", 20000), "bad"
	})})
	id := a.launch(t, launchInput())
	a.online(t, id)
	command := a.send(t, id, "one", "two")
	if got := <-started; !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("ran %q", got)
	}
	if got := a.status(t, id, command); got != "InProgress InProgress" {
		t.Error(got)
	}
	close(end)
	out := a.result(t, id, command)
	text := *out.StandardOutputContent
	if out.Status != "Failed" || out.ResponseCode != 3 || *out.StandardErrorContent != "bad\nfailed to run commands: exit status 3" || *out.PluginName != "aws:runShellScript" {
		t.Errorf("%+v", out)
	}
	if len(text) > 24000 || len(text) < 23990 || !strings.HasSuffix(text, "é\n---Output truncated---") {
		t.Errorf("%d bytes, the end %q", len(text), text[len(text)-40:])
	}
	list, err := a.ssm.ListCommandInvocations(t.Context(), &ssm.ListCommandInvocationsInput{CommandId: &command, Details: true})
	if err != nil || len(list.CommandInvocations) != 1 || len(list.CommandInvocations[0].CommandPlugins) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	if p := list.CommandInvocations[0].CommandPlugins[0]; p.ResponseCode != 3 || len(*p.Output) > 2500 || len(*p.Output) < 2490 {
		t.Errorf("%+v", p)
	}
}

func TestCommandsThatAreRefused(t *testing.T) {
	var invalid atomic.Int32
	a := start(t, Options{Machine: nothing(), Invalid: func(error) { invalid.Add(1) }})
	id := a.launch(t, launchInput())
	windows := launchInput()
	windows.ImageId = aws.String(Parents[len(Parents)-1].ID)
	onWindows := a.launch(t, windows)
	without := launchInput()
	without.IamInstanceProfile = nil
	alone := a.launch(t, without)
	a.online(t, id)
	a.online(t, onWindows)
	for _, c := range []struct {
		code   string
		change func(*ssm.SendCommandInput)
	}{
		{"InvalidInstanceId", func(in *ssm.SendCommandInput) { in.InstanceIds = []string{"i-0123456789abcdef0"} }},
		{"InvalidInstanceId", func(in *ssm.SendCommandInput) { in.InstanceIds = []string{alone} }},
		{"InvalidInstanceId", func(in *ssm.SendCommandInput) { in.InstanceIds = nil }},
		{"UnsupportedPlatformType", func(in *ssm.SendCommandInput) { in.InstanceIds = []string{onWindows} }},
		{"InvalidDocument", func(in *ssm.SendCommandInput) { in.DocumentName = aws.String("AWS-RunScript") }},
		{"InvalidParameters", func(in *ssm.SendCommandInput) { in.Parameters = nil }},
		{"InvalidParameters", func(in *ssm.SendCommandInput) { in.Parameters["timeout"] = []string{"1"} }},
		{"InvalidParameters", func(in *ssm.SendCommandInput) { in.Parameters["executionTimeout"] = []string{"0"} }},
		{"InvalidParameters", func(in *ssm.SendCommandInput) { in.Parameters["workingDirectory"] = []string{"/a", "/b"} }},
		{"ValidationError", func(in *ssm.SendCommandInput) { in.TimeoutSeconds = aws.Int32(29) }},
		{"ValidationError", func(in *ssm.SendCommandInput) { in.Comment = aws.String(strings.Repeat("x", 101)) }},
		{"ValidationError", func(in *ssm.SendCommandInput) { in.InstanceIds = slices.Repeat([]string{id}, 51) }},
	} {
		in := &ssm.SendCommandInput{DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{id}, Parameters: map[string][]string{"commands": {"true"}}}
		c.change(in)
		_, err := a.ssm.SendCommand(t.Context(), in)
		wantCode(t, err, c.code)
	}
	if invalid.Load() != 3 {
		t.Errorf("%d requests were invalid, want 3", invalid.Load())
	}
	_, err := a.ssm.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: aws.String(newID()), InstanceId: &id})
	wantCode(t, err, "InvocationDoesNotExist")
	_, err = a.ssm.CancelCommand(t.Context(), &ssm.CancelCommandInput{CommandId: aws.String(newID())})
	wantCode(t, err, "InvalidCommandId")
}

func TestPowerShellRestartsByAStatusOfItsOwn(t *testing.T) {
	var runs atomic.Int32
	a := start(t, Options{Machine: Scripted(func(context.Context, []string) (int, string, string) {
		if runs.Add(1) == 1 {
			return 3010, "", ""
		}
		return 0, "up again", ""
	})})
	in := launchInput()
	in.ImageId = aws.String(Parents[len(Parents)-1].ID)
	id := a.launch(t, in)
	a.online(t, id)
	sent, err := a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{DocumentName: aws.String("AWS-RunPowerShellScript"), InstanceIds: []string{id}, Parameters: map[string][]string{"commands": {"x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if out := a.result(t, id, *sent.Command.CommandId); out.Status != "Success" || *out.StandardOutputContent != "up again" || runs.Load() != 2 {
		t.Errorf("%+v after %d runs", out, runs.Load())
	}
}

func TestSysprepShutsDown(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: -1})
	in := launchInput()
	in.ImageId = aws.String(Parents[len(Parents)-1].ID)
	id := a.launch(t, in)
	a.online(t, id)
	if _, err := a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{DocumentName: aws.String("AWSEC2-RunSysprep"), InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	until(t, "the end", func() bool { return a.state(t, id) == "stopped" })
	in.ClientToken = nil // which the SDK has put there
	in.InstanceInitiatedShutdownBehavior = "terminate"
	id = a.launch(t, in)
	a.online(t, id)
	a.PowerOff(id)
	until(t, "the end", func() bool { return a.state(t, id) == "terminated" })
}

// forever runs until it is stopped.
func forever(ctx context.Context, _ []string) (int, string, string) {
	<-ctx.Done()
	return 1, "", ""
}

func TestCommandsThatDoNotEnd(t *testing.T) {
	a := start(t, Options{Machine: Scripted(forever), Second: time.Millisecond})
	id := a.launch(t, launchInput())
	a.online(t, id)
	sent, err := a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{id},
		Parameters: map[string][]string{"commands": {"sleep"}, "executionTimeout": {"50"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := a.result(t, id, *sent.Command.CommandId); *out.StatusDetails != "ExecutionTimedOut" || out.Status != "TimedOut" || out.ResponseCode != -1 {
		t.Errorf("%+v", out)
	}
	a.Mute(id)
	sent, err = a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{id}, Parameters: map[string][]string{"commands": {"true"}}, TimeoutSeconds: aws.Int32(50),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.status(t, id, *sent.Command.CommandId); got != "Pending Pending" && got != "TimedOut DeliveryTimedOut" {
		t.Error(got)
	}
	if out := a.result(t, id, *sent.Command.CommandId); *out.StatusDetails != "DeliveryTimedOut" || out.Status != "TimedOut" {
		t.Errorf("%+v", out)
	}
}

func TestACommandOutlivesItsInstanceUntilItsTimeIsUp(t *testing.T) {
	started := make(chan struct{})
	a := start(t, Options{Machine: Scripted(func(ctx context.Context, c []string) (int, string, string) {
		close(started)
		return forever(ctx, c)
	})})
	id := a.launch(t, launchInput())
	a.online(t, id)
	command := a.send(t, id, "sleep")
	<-started
	a.Kill(id)
	if got := a.status(t, id, command); got != "InProgress InProgress" {
		t.Error(got)
	}
	if _, err := a.ssm.CancelCommand(t.Context(), &ssm.CancelCommandInput{CommandId: &command}); err != nil {
		t.Fatal(err)
	}
	if out := a.result(t, id, command); out.Status != "Cancelled" {
		t.Errorf("%+v", out)
	}
}

func TestAnAgentIsGoneWhileItsInstanceIsStopped(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	id := a.launch(t, launchInput())
	a.online(t, id)
	if _, err := a.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	out, err := a.ssm.DescribeInstanceInformation(t.Context(), &ssm.DescribeInstanceInformationInput{})
	if err != nil || len(out.InstanceInformationList) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	until(t, "the stop", func() bool { return a.state(t, id) == "stopped" })
	if _, err := a.ec2.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	a.online(t, id)
	if out := a.run(t, id, "true"); out.Status != "Success" {
		t.Errorf("%+v", out)
	}
}

func TestInvocationsAreListedByPage(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	id := a.launch(t, launchInput())
	a.online(t, id)
	before := time.Now().Add(-time.Minute)
	var last string
	for range 7 {
		last = a.send(t, id, "true")
		a.result(t, id, last)
	}
	in := &ssm.ListCommandInvocationsInput{InstanceId: &id, MaxResults: aws.Int32(3), Filters: []types.CommandFilter{
		{Key: types.CommandFilterKeyInvokedAfter, Value: aws.String(before.UTC().Format(time.RFC3339))},
		{Key: types.CommandFilterKeyStatus, Value: aws.String("Success")},
	}}
	var pages []int
	for pager := ssm.NewListCommandInvocationsPaginator(a.ssm, in); pager.HasMorePages(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(pages) == 0 && *page.CommandInvocations[0].CommandId != last {
			t.Error("the newest is not the first")
		}
		pages = append(pages, len(page.CommandInvocations))
	}
	if !slices.Equal(pages, []int{3, 3, 1}) {
		t.Errorf("pages of %v", pages)
	}
	in.MaxResults, in.Filters[0].Value = nil, aws.String(time.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	if out, err := a.ssm.ListCommandInvocations(t.Context(), in); err != nil || len(out.CommandInvocations) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	commands, err := a.ssm.ListCommands(t.Context(), &ssm.ListCommandsInput{CommandId: &last})
	if err != nil || len(commands.Commands) != 1 || commands.Commands[0].CompletedCount != 1 || commands.Commands[0].Status != "Success" {
		t.Errorf("%+v %v", commands, err)
	}
}

func TestANewCommandIsNotSeenAtOnce(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Unseen: 1})
	id := a.launch(t, launchInput())
	a.online(t, id)
	command := a.send(t, id, "true")
	_, err := a.ssm.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &id})
	wantCode(t, err, "InvocationDoesNotExist")
	if out := a.result(t, id, command); out.Status != "Success" {
		t.Errorf("%+v", out)
	}
}

func TestParameters(t *testing.T) {
	a := start(t, Options{})
	if _, err := a.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/mine"), Value: aws.String("v"), Type: types.ParameterTypeString}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/mine": "v", Parents[0].Parameter: Parents[0].ID} {
		out, err := a.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name})
		if err != nil || *out.Parameter.Value != want {
			t.Errorf("%s: %+v %v", name, out, err)
		}
	}
	for _, name := range []string{"/other", "/aws/service/other"} {
		_, err := a.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name})
		wantCode(t, err, "ParameterNotFound")
	}
}

func TestManyInstances(t *testing.T) {
	const many = 120
	a := start(t, Options{Machine: nothing(), Polls: -1})
	var ids []string
	for range many {
		ids = append(ids, a.launch(t, launchInput()))
	}
	seen := 0
	pages := 0
	for pager := ec2.NewDescribeInstancesPaginator(a.ec2, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(50)}); pager.HasMorePages(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Reservations)
	}
	if seen != many || pages != 3 || len(a.Instances()) != many {
		t.Errorf("%d of %d seen on %d pages", seen, many, pages)
	}
	if out, err := a.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids}); err != nil || len(out.Reservations) != many || out.NextToken != nil {
		t.Errorf("%d by their IDs, %v", len(out.Reservations), err)
	}
	for chunk := range slices.Chunk(ids, 50) {
		sent, err := a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: chunk, Parameters: map[string][]string{"commands": {"true"}}})
		if err != nil {
			t.Fatal(err)
		}
		a.result(t, chunk[0], *sent.Command.CommandId)
	}
	if counts := a.Calls().Counts(); counts["ec2:RunInstances"] != many || counts["ssm:SendCommand"] != 3 {
		t.Error(fmt.Sprint(counts))
	}
}

package ec2test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
)

func (a account) describe(t *testing.T) error {
	_, err := a.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	return err
}

func TestRefusals(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	throttled := a.Faults.Add(&Fault{Effect: Throttle()})
	wantCode(t, a.describe(t), "RequestLimitExceeded")
	_, err := a.ssm.DescribeInstanceInformation(t.Context(), &ssm.DescribeInstanceInformationInput{})
	wantCode(t, err, "ThrottlingException")
	_, err = a.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &a.Bucket, Key: aws.String("k"), Body: strings.NewReader("content")})
	wantCode(t, err, "SlowDown")
	if throttled.Hits() != 3 {
		t.Error(throttled)
	}
	a.Faults.Clear()
	a.Faults.Add(&Fault{Service: "ec2", Operation: "RunInstances", Where: func(r *Request) bool { return r.Form.Get("InstanceType") == "t3.small" }, Effect: NoCapacity()})
	_, err = a.ec2.RunInstances(t.Context(), launchInput())
	wantCode(t, err, "InsufficientInstanceCapacity")
	in := launchInput()
	in.InstanceType = "t3.large"
	a.launch(t, in)
	a.Faults.Clear()
	a.Faults.Add(&Fault{Service: "ec2", Effect: ServerError()})
	wantCode(t, a.describe(t), "InternalError")
	if l := a.Leftovers(t.Context()); len(l.Instances) != 1 || len(a.Objects(t.Context(), "")) != 0 {
		t.Errorf("left: %v", l)
	}
}

func TestWhichCallsAFaultHits(t *testing.T) {
	a := start(t, Options{})
	second := a.Faults.Add(&Fault{Operation: "DescribeInstances", From: 2, Times: 1, Effect: ServerError()})
	for i, want := range []bool{false, true, false} {
		if failed := a.describe(t) != nil; failed != want {
			t.Errorf("call %d failed: %v", i+1, failed)
		}
	}
	if second.Hits() != 1 {
		t.Error(second)
	}
	half := a.Faults.Add(&Fault{Chance: 0.5, Seed: 1, Effect: ServerError()})
	for range 40 {
		_ = a.describe(t)
	}
	if n := half.Hits(); n < 8 || n > 32 {
		t.Errorf("%d of 40 calls hit", n)
	}
}

func TestConnectionsThatBreak(t *testing.T) {
	a := start(t, Options{Machine: nothing()})
	a.Faults.Add(&Fault{Operation: "RunInstances", Times: 1, Effect: Disconnect()})
	lost := a.Faults.Add(&Fault{Operation: "RunInstances", From: 2, Effect: LoseAnswer()})
	for i, want := range []int{0, 1} {
		_, err := a.ec2.RunInstances(t.Context(), launchInput())
		var refused smithy.APIError
		if err == nil || errors.As(err, &refused) {
			t.Errorf("got %v, want a broken connection", err)
		}
		if got := len(a.Instances()); got != want {
			t.Errorf("%d instances after call %d", got, i+1)
		}
	}
	a.Faults.Add(&Fault{Service: "s3", Operation: "PutObject", Effect: LoseAnswer()})
	if _, err := a.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &a.Bucket, Key: aws.String("lost/1"), Body: strings.NewReader("content")}); err == nil {
		t.Error("the answer came")
	}
	if keys := a.Objects(t.Context(), "lost/"); len(keys) != 1 || lost.Hits() != 1 {
		t.Errorf("keys %q, %v", keys, lost)
	}
	for _, call := range a.Calls().Of("ec2", "RunInstances") {
		if call.Status != 0 {
			t.Errorf("noted as answered: %+v", call)
		}
	}
}

func TestCallsThatHang(t *testing.T) {
	a := start(t, Options{})
	hung := a.Faults.Add(&Fault{Times: 1, Effect: Hang()})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{}); !errors.Is(err, context.DeadlineExceeded) || hung.Hits() != 1 {
		t.Errorf("got %v, %v", err, hung)
	}
	a.Faults.Add(&Fault{Effect: Delay(time.Millisecond)})
	if err := a.describe(t); err != nil {
		t.Error(err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	done, ended := make(chan struct{}), make(chan error, 1)
	a.Faults.Add(&Fault{Operation: "RunInstances", Effect: After(func(*Request) { close(done) })})
	a.Faults.Add(&Fault{Operation: "RunInstances", Effect: HangAfter()})
	go func() {
		_, err := a.ec2.RunInstances(ctx, launchInput())
		ended <- err
	}()
	<-done
	if err := a.describe(t); err != nil { // an answer would have come meanwhile
		t.Error(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || len(a.Instances()) != 1 {
		t.Errorf("got %v, and the instances %v", err, a.Instances())
	}
}

func TestAnInstanceWithoutAnAgent(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: -1})
	a.Faults.Add(&Fault{Operation: "RunInstances", Times: 1, Effect: NoAgent()})
	silent, other := a.launch(t, launchInput()), a.launch(t, launchInput())
	a.online(t, other)
	out, err := a.ssm.DescribeInstanceInformation(t.Context(), &ssm.DescribeInstanceInformationInput{})
	if err != nil || len(out.InstanceInformationList) != 1 || *out.InstanceInformationList[0].InstanceId == silent {
		t.Errorf("%+v %v", out, err)
	}
}

func TestAnInstanceThatDiesUnderACall(t *testing.T) {
	a := start(t, Options{Machine: nothing(), Polls: -1})
	id := a.launch(t, launchInput())
	a.online(t, id)
	a.Faults.Add(&Fault{Service: "ssm", Operation: "SendCommand", Times: 1, Effect: After(func(*Request) { a.Kill(id) })})
	a.send(t, id, "true")
	if got := a.state(t, id); got != "terminated" {
		t.Error(got)
	}
}

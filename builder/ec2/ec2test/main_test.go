package ec2test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// account is a Cloud with the clients that the tests use.
type account struct {
	*Cloud
	ec2 *ec2.Client
	ssm *ssm.Client
	s3  *s3.Client
}

func start(t *testing.T, options Options) account {
	t.Helper()
	c := Start(t, options)
	cfg := c.Config()
	return account{
		Cloud: c,
		ec2:   ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.RetryMaxAttempts = 1 }),
		ssm:   ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.RetryMaxAttempts = 1 }),
		s3:    s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true; o.RetryMaxAttempts = 1 }),
	}
}

// wantCode checks that a call was refused with a code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func launchInput() *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ImageId: aws.String(Parents[0].ID), InstanceType: types.InstanceTypeT3Small, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String(Profile)},
		TagSpecifications:  []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("build"), Value: aws.String("b1")}}}},
	}
}

func (a account) launch(t *testing.T, in *ec2.RunInstancesInput) string {
	t.Helper()
	out, err := a.ec2.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.Instances[0].InstanceId
}

// state is what a describe shows.
func (a account) state(t *testing.T, id string) types.InstanceStateName {
	t.Helper()
	out, err := a.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Reservations[0].Instances[0].State.Name
}

// until asks until the answer is yes. What is waited for happens in this process, but
// shows only on the wire.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !yes(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (a account) online(t *testing.T, id string) {
	t.Helper()
	until(t, "the agent", func() bool {
		out, err := a.ssm.DescribeInstanceInformation(t.Context(), &ssm.DescribeInstanceInformationInput{
			Filters: []ssmtypes.InstanceInformationStringFilter{{Key: aws.String("InstanceIds"), Values: []string{id}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.InstanceInformationList) == 1
	})
}

func (a account) send(t *testing.T, id string, commands ...string) string {
	t.Helper()
	out, err := a.ssm.SendCommand(t.Context(), &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{id}, Parameters: map[string][]string{"commands": commands},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Command.CommandId
}

func (a account) result(t *testing.T, id, command string) *ssm.GetCommandInvocationOutput {
	t.Helper()
	var out *ssm.GetCommandInvocationOutput
	until(t, "the end of a command", func() bool {
		var err error
		if out, err = a.ssm.GetCommandInvocation(t.Context(), &ssm.GetCommandInvocationInput{CommandId: &command, InstanceId: &id}); err != nil {
			t.Fatal(err)
		}
		return out.Status != "Pending" && out.Status != "InProgress"
	})
	return out
}

func (a account) run(t *testing.T, id string, commands ...string) *ssm.GetCommandInvocationOutput {
	t.Helper()
	return a.result(t, id, a.send(t, id, commands...))
}

func TestObjectsPass(t *testing.T) {
	a := start(t, Options{})
	if _, err := a.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(a.Bucket), Key: aws.String("a/b"), Body: strings.NewReader("content")}); err != nil {
		t.Fatal(err)
	}
	signed, err := s3.NewPresignClient(a.s3).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(a.Bucket), Key: aws.String("a/b")})
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.client.Get(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "content" || response.StatusCode != http.StatusOK {
		t.Errorf("%s %q %v", response.Status, text, err)
	}
	if n := len(a.Calls().Of("s3", "GetObject")); n != 1 {
		t.Errorf("%d gets counted", n)
	}
}

func TestContainerRunsRestartsAndBecomesAnImage(t *testing.T) {
	a := start(t, Options{Machine: ContainerMachines(t)})
	in := launchInput()
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(12)}}}
	id := a.launch(t, in)
	a.online(t, id)

	first := a.run(t, id, "id -u", "pwd", "cat /proc/sys/kernel/random/boot_id", "df -BG --output=size / | tail -1")
	lines := strings.Fields(*first.StandardOutputContent)
	if first.Status != "Success" || len(lines) != 4 || lines[0] != "0" || lines[1] != "/usr/bin" || lines[3] != "12G" {
		t.Fatalf("%s %q %q", first.Status, lines, *first.StandardErrorContent)
	}
	// It sees the one network, and what it did before it was restarted.
	restarted := a.run(t, id, "[ -e /root/once ] && { cat /proc/sys/kernel/random/boot_id; exit 3; }", "echo x > /root/once", "exit 194")
	if restarted.Status != "Failed" || restarted.ResponseCode != 3 || *restarted.StandardOutputContent == lines[2]+"\n" || len(*restarted.StandardOutputContent) != 37 {
		t.Fatalf("%+v", restarted)
	}
	if _, err := a.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	until(t, "the stop", func() bool { return a.state(t, id) == types.InstanceStateNameStopped })
	image, err := a.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("made")})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the image", func() bool {
		out, err := a.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}})
		return err == nil && out.Images[0].State == types.ImageStateAvailable
	})
	if _, err := a.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	in = launchInput()
	in.ImageId = image.ImageId
	second := a.launch(t, in)
	a.online(t, second)
	if out := a.run(t, second, "cat /root/once"); *out.StandardOutputContent != "x\n" {
		t.Errorf("the image's disk: %+v", out)
	}
}

func TestCancelledContainerCommandIsKilled(t *testing.T) {
	a := start(t, Options{Machine: ContainerMachines(t)})
	id := a.launch(t, launchInput())
	a.online(t, id)
	command := a.send(t, id, "sleep 1000 & sleep 1001")
	if _, err := a.ssm.CancelCommand(t.Context(), &ssm.CancelCommandInput{CommandId: &command}); err != nil {
		t.Fatal(err)
	}
	if out := a.result(t, id, command); out.Status != "Cancelled" {
		t.Errorf("%+v", out)
	}
	if out := a.run(t, id, "ps ax | grep 'sleep 100[01]' | grep -vc grep"); strings.TrimSpace(*out.StandardOutputContent) != "0" {
		t.Errorf("still running: %s", *out.StandardOutputContent)
	}
}

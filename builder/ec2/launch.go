package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// start is what an instance is started from.
type start struct {
	ami     string
	build   string
	on      string // name of the infrastructure
	role    role
	diskGiB int
	disks   []int // sizes in GiB of further, empty volumes
	devices []recipe.BlockDevice
	boot    string // user data of the recipe
	agent   string
}

// adopt finds the instance that an earlier process started for the same build and
// that can still be used, and tells which the build has had, as far as EC2 remembers.
// When the tests begin, one that the image was made of is of no use any more: who made
// it has died before it was ended.
func (d *Driver) adopt(ctx context.Context, s start) (found *types.Instance, had []types.Instance, err error) {
	all, err := d.instances(ctx, filter("tag:"+tagBuild, s.build))
	if err != nil {
		return nil, nil, err
	}
	for _, i := range all {
		usable := !over(i) && tagOf(i.Tags, tagKept) == ""
		switch is := role(tagOf(i.Tags, tagRole)); {
		case is == s.role:
			had = append(had, i)
			if usable && aws.ToString(i.ImageId) == s.ami {
				found = &i
			}
		case is == roleBuild && usable:
			if err := (&machine{d: d, id: aws.ToString(i.InstanceId)}).terminate(ctx); err != nil {
				d.cfg.Log.WithError(err).Warn("the instance that an image was made of runs on; the reaper ends it")
			}
		}
	}
	return found, had, nil
}

// bring returns an instance that Systems Manager reaches: the one that is there, or
// a new one.
func (d *Driver) bring(ctx context.Context, s start) (*machine, error) {
	image, err := d.describeImage(ctx, s.ami)
	if isOne(err, notYet) && s.role == roleTest { // it may be as new as the build
		err = d.appeared(ctx, func() error {
			image, err = d.describeImage(ctx, s.ami)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	i, had, err := d.adopt(ctx, s)
	if err != nil {
		return nil, err
	}
	m := &machine{d: d, build: s.build, role: s.role, agent: s.agent, windows: catalogue.IsWindows(image.Platform)}
	if m.windows {
		if m.agent = d.cfg.WindowsAgent; m.agent == "" {
			return nil, errNoWindowsAgent
		}
	}
	if i != nil {
		m.adopted = true
		if m.cleaned, err = cleaned(i.Tags); err != nil {
			return nil, err
		}
		d.cfg.Log.WithField("build", s.build).WithField("instance", aws.ToString(i.InstanceId)).Info("an instance of this build is there and is taken up")
	} else if i, err = d.run(ctx, s, image, had); err != nil {
		return nil, err
	} else {
		m.launched = time.Now()
	}
	m.id, m.spot = aws.ToString(i.InstanceId), i.InstanceLifecycle == types.InstanceLifecycleTypeSpot
	if m.cleaned > 0 {
		return m, nil // there is no agent on it any more, and it may be stopped
	}
	if err := m.waitOnline(ctx); err != nil {
		if builder.GoesOn(ctx) {
			return nil, err
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, m.terminate(stop))
	}
	return m, nil
}

var errNoWindowsAgent = &builder.Error{Stage: builder.StageLaunch, Reason: "this ingot has no agent for Windows",
	Hint: "install ingot-agent.exe beside it"}

func cleaned(tags []types.Tag) (int, error) {
	text := tagOf(tags, tagClean)
	if text == "" {
		return 0, nil
	}
	return strconv.Atoi(text)
}

// markets are where capacity is asked for, in order: true is Spot. Its requests are
// one-time ones, which end with their instance: one that lasts would launch another
// whenever somebody terminates it. What shuts down from inside is terminated then, as
// Sysprep does at its end.
func markets(on Infrastructure, s start, image types.Image) []bool {
	if !on.Spot || s.role == roleBuild && catalogue.IsWindows(image.Platform) {
		return []bool{false}
	}
	return []bool{true, false}
}

// run asks for an instance, with one type and subnet after the other.
func (d *Driver) run(ctx context.Context, s start, image types.Image, had []types.Instance) (*types.Instance, error) {
	on, err := d.cfg.infrastructure(s.on)
	if err != nil {
		return nil, err
	}
	subnets := on.Subnets
	if len(subnets) == 0 {
		subnets = []string{""}
	}
	var short []error
	for _, spot := range markets(on, s, image) {
		for _, kind := range on.InstanceTypes {
			for _, subnet := range subnets {
				in, err := d.input(on, s, image, kind, subnet, spot)
				if err != nil {
					return nil, err
				}
				i, err := d.launch(ctx, in, had, s.build, string(s.role), s.ami, kind, subnet, strconv.FormatBool(spot))
				if err == nil {
					return i, nil
				}
				if !isOne(err, capacity) {
					return nil, refusedVolumes(s, err)
				}
				short = append(short, err)
				d.cfg.Log.WithField("type", kind).WithField("subnet", subnet).Warn("there is no capacity: " + code(err))
			}
		}
	}
	return nil, failed(builder.StageLaunch, "EC2 has no capacity for an instance", errors.Join(short...))
}

// launch asks for an instance with a token, which is the same for the same wish: an
// answer that got lost costs nothing. A build that has had instances wishes for another.
// How many there were EC2 forgets within an hour, but not their tokens: one that brings
// back what has ended, or what the build has done with, gives way to the next.
func (d *Driver) launch(ctx context.Context, in *ec2.RunInstancesInput, had []types.Instance, wish ...string) (*types.Instance, error) {
	const most = 20 // instances that EC2 has forgotten
	for n := len(had); ; n++ {
		in.ClientToken = aws.String(token(append([]string{d.cfg.Owner, d.cfg.Ledger, strconv.Itoa(n)}, wish...)...))
		var out *ec2.RunInstancesOutput
		err := d.appeared(ctx, func() (err error) { // the image may be a new one
			out, err = d.aws.Compute.RunInstances(ctx, in)
			return err
		})
		switch {
		case code(err) == "IdempotentInstanceTerminated" && n < len(had)+most:
		case err != nil:
			return nil, err
		case !spent(out.Instances[0], had):
			return &out.Instances[0], nil
		case n == len(had)+most:
			return nil, &builder.Error{Fault: builder.Transient, Stage: builder.StageLaunch,
				Reason: "EC2 brings back instances of the build that have ended, the last of them " + aws.ToString(out.Instances[0].InstanceId)}
		}
	}
}

// spent tells whether an instance has ended, or is one that was not to be taken up.
func spent(i types.Instance, had []types.Instance) bool {
	return over(i) || slices.ContainsFunc(had, func(h types.Instance) bool { return aws.ToString(h.InstanceId) == aws.ToString(i.InstanceId) })
}

func (d *Driver) input(on Infrastructure, s start, image types.Image, kind, subnet string, spot bool) (*ec2.RunInstancesInput, error) {
	tags := d.tags(s.build, map[string]string{tagRole: string(s.role)})
	volumes, err := mappings(s, image)
	if err != nil {
		return nil, err
	}
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(s.ami), InstanceType: types.InstanceType(kind), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String(on.InstanceProfile)},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpPutResponseHopLimit: aws.Int32(1),
		},
		BlockDeviceMappings: volumes,
		TagSpecifications:   []types.TagSpecification{specification(types.ResourceTypeInstance, tags), specification(types.ResourceTypeVolume, tags)},
		// What shuts down from inside is to be looked at, or to become an image.
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorStop,
		SecurityGroupIds:                  on.SecurityGroups,
	}
	if subnet != "" {
		in.SubnetId = aws.String(subnet)
	}
	if on.KeyPair != "" {
		in.KeyName = aws.String(on.KeyPair)
	}
	if boot := atBoot(d.cfg.Region, s.boot, catalogue.IsWindows(image.Platform)); boot != "" {
		in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(boot)))
	}
	if spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
		in.InstanceInitiatedShutdownBehavior = "" // Spot instances of one request have no choice
	}
	return in, nil
}

// userData installs the Systems Manager agent where the image has none, and leaves
// a mark, so that the clean-up takes away again what the image did not have.
func userData(region string) string {
	at := fmt.Sprintf("https://s3.%s.amazonaws.com/amazon-ssm-%s/latest", region, region)
	return strings.Join([]string{
		"#!/bin/sh",
		"set -eu",
		"if [ -e /usr/bin/amazon-ssm-agent ] || [ -e /snap/bin/amazon-ssm-agent.ssm-cli ] || [ -d /snap/amazon-ssm-agent ]; then exit 0; fi",
		"mkdir -p -m 700 " + linuxDir,
		"case $(uname -m) in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac",
		"fetch() { if command -v curl >/dev/null; then curl -fsSL --retry 5 -o \"$2\" \"$1\"; elif command -v wget >/dev/null; then wget -q -t 5 -O \"$2\" \"$1\"; else python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \"$1\" \"$2\"; fi; }",
		"if command -v dpkg >/dev/null; then",
		"  fetch " + at + "/debian_$arch/amazon-ssm-agent.deb " + linuxDir + "/ssm.deb",
		"  dpkg -i " + linuxDir + "/ssm.deb",
		"else",
		"  fetch " + at + "/linux_$arch/amazon-ssm-agent.rpm " + linuxDir + "/ssm.rpm",
		"  rpm -i " + linuxDir + "/ssm.rpm",
		"fi",
		"touch " + ssmInstalled,
		"systemctl enable --now amazon-ssm-agent",
		"",
	}, "\n")
}

// ssmInstalled marks an instance on which userData has installed the agent.
const ssmInstalled = linuxDir + "/ssm-installed"

// outOfReach is the next thing to look at when Systems Manager does not reach an instance.
// A disk that was built elsewhere has nothing that would run user data.
func (m *machine) outOfReach() string {
	hint := "the instance profile needs AmazonSSMManagedInstanceCore, the subnet a way to Systems Manager and S3, and the image an SSM agent or one of curl, wget and python3"
	if m.role == roleTest {
		hint = "the image has to have the SSM agent, started at boot: a recipe whose image is published gets it with the component amazon-ssm-agent-linux; else " + hint
	}
	return hint
}

// waitOnline waits until Systems Manager reaches the instance.
func (m *machine) waitOnline(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, m.d.cfg.pace.online, &builder.Error{
		Fault: builder.Internal, Stage: builder.StageLaunch,
		Reason: fmt.Sprintf("instance %s has not reached Systems Manager within %s", m.id, m.d.cfg.pace.online),
		Hint:   m.outOfReach(),
	})
	defer cancel()
	begin := time.Now()
	err := m.d.states.wait(limited, want{instance: m.id, online: m.id}, func(v view) (bool, error) {
		i, known := v.instances[m.id]
		switch {
		case !known && time.Since(begin) > m.d.cfg.pace.visible, known && over(i):
			return false, m.lost(i)
		case known && i.State != nil && i.State.Name == types.InstanceStateNameStopped:
			return false, m.lost(i)
		}
		return v.online[m.id], nil
	})
	if err != nil && errors.Is(context.Cause(limited), err) && ctx.Err() == nil {
		return m.withConsole(ctx, err)
	}
	return err
}

// withConsole adds what the console says to why an instance is out of reach.
func (m *machine) withConsole(ctx context.Context, err error) error {
	e, ok := errors.AsType[*builder.Error](err)
	if !ok {
		return err
	}
	said := *e
	lines := strings.Split(strings.TrimSpace(m.console(ctx)), "\n")
	said.Output = strings.Join(lines[max(0, len(lines)-40):], "\n")
	return &said
}

// console is what the instance's serial console had to say; EC2 keeps its end, and
// shows it with some delay.
func (m *machine) console(ctx context.Context) string {
	out, err := m.d.aws.Compute.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(m.id)})
	if err != nil {
		m.d.cfg.Log.WithError(err).Debug("the console of an instance could not be read")
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	if err != nil {
		return ""
	}
	const most = 64 << 10
	return strings.ToValidUTF8(string(text[max(0, len(text)-most):]), "\ufffd")
}

// terminate ends the instance. One that is gone is no error, but one that was just
// launched may not be known yet.
func (m *machine) terminate(ctx context.Context) error {
	end := func() error {
		_, err := m.d.aws.Compute.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{m.id}})
		return err
	}
	err := end()
	if time.Since(m.launched) < m.d.cfg.pace.visible && isOne(err, notYet) {
		err = m.d.appeared(ctx, end)
	}
	if code(err) == "InvalidInstanceID.NotFound" {
		return nil
	}
	return failed(builder.StageLaunch, "instance "+m.id+" could not be terminated", err)
}

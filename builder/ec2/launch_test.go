package ec2

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// wishes are the calls of RunInstances, as they came.
type wishes struct {
	mu    sync.Mutex
	forms []url.Values
}

func listenForWishes(c *ec2test.Cloud) *wishes {
	w := &wishes{}
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.Before(func(r *ec2test.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.forms = append(w.forms, maps.Clone(r.Form))
	})})
	return w
}

func (w *wishes) all() []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.forms)
}

// place is what of a wish differs from one to the next.
func place(form url.Values) string {
	market := form.Get("InstanceMarketOptions.MarketType")
	if market == "" {
		market = "on-demand"
	}
	return market + " " + form.Get("InstanceType") + " " + form.Get("SubnetId")
}

// network makes what an account has anyway: two subnets, a security group and a key pair.
func network(t *testing.T, c *ec2test.Cloud) (subnets []string, group, key string) {
	t.Helper()
	client := ec2.NewFromConfig(c.Config())
	found, err := client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	if err != nil || len(found.Subnets) < 2 {
		t.Fatal(err, found)
	}
	groups, err := client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{})
	if err != nil || len(groups.SecurityGroups) == 0 {
		t.Fatal(err, groups)
	}
	made, err := client.CreateKeyPair(t.Context(), &ec2.CreateKeyPairInput{KeyName: aws.String("ada")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found.Subnets[:2] {
		subnets = append(subnets, aws.ToString(s.SubnetId))
	}
	return subnets, aws.ToString(groups.SecurityGroups[0].GroupId), aws.ToString(made.KeyName)
}

// idle are machines that do nothing, and do it well.
func idle(context.Context, []string) (int, string, string) { return 0, "", "" }

// TestCapacityIsAskedForInOrder leaves room in the last place alone: Spot goes before
// what it is cheaper than, a type before the next one, and of a type one subnet before
// the next. What is asked for is the same everywhere else.
func TestCapacityIsAskedForInOrder(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(idle)})
	subnets, group, key := network(t, c)
	cfg := configOf(t, c, "unused")
	cfg.Subnets, cfg.SecurityGroups, cfg.KeyPair, cfg.Spot = subnets, []string{group}, key, true
	cfg.Tags = map[string]string{"team": "web"}
	d := newDriver(t, cfg)

	asked := listenForWishes(c)
	last := "on-demand t3.medium " + subnets[1]
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.NoCapacity(), Where: func(r *ec2test.Request) bool {
		return place(r.Form) != last
	}})
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "7", Base: builder.Base{Ref: ec2test.Parents[0].ID}, DiskGiB: 12})
	if err != nil {
		t.Fatal(err)
	}
	var order, want []string
	tokens := map[string]bool{}
	for _, form := range asked.all() {
		order = append(order, place(form))
		tokens[form.Get("ClientToken")] = true
	}
	for _, market := range []string{"spot", "on-demand"} {
		for _, kind := range cfg.InstanceTypes {
			for _, subnet := range subnets {
				want = append(want, market+" "+kind+" "+subnet)
			}
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("asked for\n%s\nwant\n%s", strings.Join(order, "\n"), strings.Join(want, "\n"))
	}
	if len(tokens) != len(want) || tokens[""] {
		t.Errorf("%d client tokens for %d wishes", len(tokens), len(want))
	}
	for _, form := range asked.all() {
		wantWish(t, form, map[string]string{
			"ImageId": ec2test.Parents[0].ID, "MinCount": "1", "MaxCount": "1", "IamInstanceProfile.Name": ec2test.Profile,
			"KeyName": key, "SecurityGroupId.1": group, "SecurityGroupId.2": "",
			"MetadataOptions.HttpTokens": "required", "MetadataOptions.HttpEndpoint": "enabled", "MetadataOptions.HttpPutResponseHopLimit": "1",
			"BlockDeviceMapping.1.DeviceName": ec2test.Parents[0].RootDevice, "BlockDeviceMapping.1.Ebs.VolumeSize": "12",
			"BlockDeviceMapping.1.Ebs.DeleteOnTermination":       "true",
			"InstanceMarketOptions.SpotOptions.SpotInstanceType": "", // one-time: no instance comes after it
		})
	}

	// A place without room is one of which EC2 says so: anything else is no reason to go on.
	if err := inst.Close(t.Context()); err != nil {
		t.Error(err)
	}
	c.Faults.Clear()
	asked = listenForWishes(c)
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.Refuse(http.StatusForbidden, "UnauthorizedOperation")})
	_, err = d.Launch(t.Context(), builder.LaunchSpec{Build: "8", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
	if e, ok := errors.AsType[*builder.Error](err); !ok || !strings.Contains(e.Hint, "docs/aws-permissions.md") || len(asked.all()) != 1 {
		t.Errorf("%d wishes, %v", len(asked.all()), err)
	}
}

// TestInfrastructureOfTheRecipe: what a recipe chooses by name is the operator's, for
// its build and for its tests, and all of it is in the place of the usual one.
func TestInfrastructureOfTheRecipe(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(idle)})
	subnets, group, key := network(t, c)
	cfg := configOf(t, c, "unused")
	cfg.Spot = true
	cfg.Infrastructures = map[string]Infrastructure{"gpu": {
		InstanceProfile: ec2test.Profile, InstanceTypes: []string{"m5.large"}, Subnets: subnets[1:], SecurityGroups: []string{group}, KeyPair: key,
	}}
	d := newDriver(t, cfg)
	asked := listenForWishes(c)
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "7", Base: builder.Base{Ref: ec2test.Parents[0].ID}, Infrastructure: "gpu"})
	if err != nil {
		t.Fatal(err)
	}
	guest, err := d.Boot(t.Context(), builder.BootSpec{Build: "7", Image: builder.Image{Ref: ec2test.Parents[0].ID, Driver: Name}, Infrastructure: "gpu"})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range asked.all() {
		if got, want := place(form), "on-demand m5.large "+subnets[1]; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
		if form.Get("KeyName") != key || form.Get("SecurityGroupId.1") != group || form.Get("IamInstanceProfile.Name") != ec2test.Profile {
			t.Errorf("asked for %v", form)
		}
	}
	if n := len(asked.all()); n != 2 {
		t.Errorf("%d instances were asked for, want 2", n)
	}
	if err := errors.Join(inst.Close(t.Context()), guest.Close(t.Context())); err != nil {
		t.Error(err)
	}
	_, err = d.Launch(t.Context(), builder.LaunchSpec{Build: "8", Base: builder.Base{Ref: ec2test.Parents[0].ID}, Infrastructure: "large"})
	if e, ok := errors.AsType[*builder.Error](err); !ok || e.Fault != builder.Author || !strings.Contains(e.Reason, `"large"`) || len(asked.all()) != 2 {
		t.Errorf("one that nobody has configured: %v, after %d wishes", err, len(asked.all()))
	}
	cfg.Infrastructures = map[string]Infrastructure{"arm": {InstanceProfile: "p", InstanceTypes: []string{"t4g.small"}}, "none": {}}
	_, err = New(cfg)
	for _, want := range []string{"infrastructure arm: instanceTypes: t4g.small has an ARM processor", "infrastructure none: instanceProfile is missing", "infrastructure none: instanceTypes is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a configuration that cannot be used: %v, want %q", err, want)
		}
	}
}

// wantWish compares parts of a form, and the tags on the instance and its volumes.
func wantWish(t *testing.T, form url.Values, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := form.Get(name); got != value {
			t.Errorf("%s: %s is %q, want %q", place(form), name, got, value)
		}
	}
	shutdown := "stop"
	if form.Get("InstanceMarketOptions.MarketType") == "spot" {
		shutdown = "" // there is no choice
	}
	if got := form.Get("InstanceInitiatedShutdownBehavior"); got != shutdown {
		t.Errorf("%s: what shuts down from inside: %q, want %q", place(form), got, shutdown)
	}
	tags := map[string]string{"Name": "ingot 7", "team": "web", tagManaged: "true", tagOwner: "test", tagLedger: "ours", tagBuild: "7", tagRole: string(roleBuild)}
	for _, kind := range []string{"instance", "volume"} {
		if got := ec2test.TagsFor(form, kind); !maps.Equal(got, tags) {
			t.Errorf("%s: tags of the %s are %v, want %v", place(form), kind, got, tags)
		}
	}
}

// blind does not see one instance.
type blind struct {
	Compute
	to string
}

func (b blind) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, more ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	out, err := b.Compute.DescribeInstances(ctx, in, more...)
	if err == nil {
		for n := range out.Reservations {
			r := &out.Reservations[n]
			r.Instances = slices.DeleteFunc(r.Instances, func(i types.Instance) bool { return aws.ToString(i.InstanceId) == b.to })
		}
	}
	return out, err
}

// TestNoTokenBringsBackWhatABuildHasHad launches for one build again and again, while EC2
// forgets what it has terminated, or does not know of it yet: no client token counts that
// belongs to an instance which has ended, or is kept.
func TestNoTokenBringsBackWhatABuildHasHad(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(idle)})
	d := newDriver(t, configOf(t, c, "unused"))
	had := map[string]bool{}
	launch := func(what string) *instance {
		t.Helper()
		inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "7", Base: builder.Base{Ref: ec2test.Parents[0].ID}})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		i := inst.(*instance)
		if had[i.id] {
			t.Fatalf("%s: got %s once more", what, i.id)
		}
		had[i.id] = true
		return i
	}

	first := launch("the first")
	c.Kill(first.id)
	c.Forget(first.id)
	second := launch("after one that is forgotten")
	if _, err := second.Retain(t.Context(), builder.Kept{Build: "7", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	third := launch("beside one that is kept")
	if err := third.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.aws.Compute = blind{d.aws.Compute, third.id}
	launch("while one shuts down, unseen")
}

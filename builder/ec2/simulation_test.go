package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// How long things take in the simulation.
const (
	simBoot      = time.Minute + 15*time.Second // until Systems Manager reaches an instance
	simComponent = 10 * time.Minute
	simQuick     = 10 * time.Second // any other operation
	simStop      = time.Minute
	simImage     = 6 * time.Minute // its snapshots move
	simSnapshot  = 6 * time.Minute // of a disk that was uploaded
	simImport    = 15 * time.Minute
)

// TestManyBuildsAskLittle has 500 builds under way at the same time: most on EC2, from
// the launch to the tests, others that publish a disk, and some that import one. It lets
// the time pass that it takes, at the pace of real use, and counts what is asked of AWS.
// What the waiting costs does not grow with the number of builds.
func TestManyBuildsAskLittle(t *testing.T) {
	few, many := simulate(t, 50), simulate(t, 500)
	for _, kind := range slices.Sorted(maps.Keys(many.rounds)) {
		t.Logf("in the busiest minute, waits have made %d calls of %s with 50 builds, %d with 500", few.rounds[kind], kind, many.rounds[kind])
		switch limit := few.rounds[kind] + 5; {
		case kind == "ssm:DescribeInstanceInformation": // which tells of fifty instances in one answer
			if many.rounds[kind] > 4*12 {
				t.Errorf("%s: %d calls in a minute", kind, many.rounds[kind])
			}
		case strings.HasPrefix(kind, "s3:"):
			if most := 61; many.rounds[kind] > most {
				t.Errorf("%s: %d calls in a minute, want at most %d", kind, many.rounds[kind], most)
			}
		case many.rounds[kind] > limit:
			t.Errorf("%s: %d calls in a minute with 500 builds, and %d with 50", kind, many.rounds[kind], few.rounds[kind])
		}
	}
	for _, kind := range []string{"ec2:DescribeInstances", "ec2:DescribeImages", "ec2:DescribeSnapshots", "ec2:DescribeImportImageTasks", "s3:ListObjectsV2"} {
		if many.rounds[kind] == 0 {
			t.Errorf("%s was never called to wait: the simulation shows nothing", kind)
		}
	}
	// All else a build asks once for each of its steps, however long they take.
	for operation, calls := range many.own {
		if perBuild := float64(calls) / 500; perBuild > 3 && strings.HasPrefix(operation, "ec2:") {
			t.Errorf("%s: %.1f calls for each build", operation, perBuild)
		}
	}
	t.Logf("500 builds, minute by minute: %s", many.minutes())
	if most := many.busiest("ec2"); most > 10*60 {
		t.Errorf("%d calls of EC2 in one minute, more than 10 a second", most)
	}
}

// simulate runs that many builds, which begin in the course of ten minutes.
func simulate(t *testing.T, builds int) (counted tally) {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("the agent"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSim()
		d, err := New(Config{
			Services: Services{Compute: simCompute{sim: s}, Imports: simCompute{sim: s}, Commands: simCommands{sim: s}, Objects: simObjects{sim: s}, Signer: simSigner{}},
			Region:   "eu-central-1", Owner: "test", Bucket: "bucket", Infrastructure: Infrastructure{InstanceProfile: "p", InstanceTypes: []string{"t3.small"}}, Agent: agent,
		})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for n := range builds {
			time.Sleep(10 * time.Minute / time.Duration(builds))
			all.Go(func() {
				if err := oneOf(t.Context(), d, s, n); err != nil {
					t.Errorf("build %d: %v", n, err)
				}
			})
		}
		all.Wait()
		s.agents.Wait()
		d.Close()
		counted = s.count()
	})
	return counted
}

// oneOf is a build: nine of ten make an image on EC2 and boot it, others publish a disk
// or import one.
func oneOf(ctx context.Context, d *Driver, s *sim, n int) error {
	name := fmt.Sprint("b", n)
	api := simCompute{sim: s}
	switch {
	case n%20 == 3:
		_, err := publish.Convert(ctx, api, publish.Import{
			Source: publish.Source{Bucket: "disks", Key: name, Format: "raw"},
			Image:  publish.Image{Name: name, Tags: d.ImageTags(), Watch: d.Watch()},
		})
		return err
	case n%20 == 7:
		s.disk("snap-"+name, d.ImageTags(), simSnapshot)
		_, err := publish.Register(ctx, api, publish.Image{Name: name, Snapshot: "snap-" + name, Tags: d.ImageTags(), Watch: d.Watch()})
		return err
	}
	img, err := makeImage(ctx, d, name, "ami-parent")
	if err != nil {
		return err
	}
	g, err := d.Boot(ctx, builder.BootSpec{Build: name, Image: img})
	if err != nil {
		return err
	}
	if err := g.WaitLogin(ctx); err != nil {
		return err
	}
	if _, err := g.Run(ctx, jobOf("test", "true"), func(component.Event) {}); err != nil {
		return err
	}
	return g.Close(ctx)
}

// tally is what was asked.
type tally struct {
	calls  []simCall
	begin  time.Time
	rounds map[string]int // by operation: the most in one minute, for all who wait
	own    map[string]int // by operation: all others
}

func (c tally) each(keep func(simCall) bool) []int {
	var minutes []int
	for _, call := range c.calls {
		minute := int(call.at.Sub(c.begin) / time.Minute)
		for len(minutes) <= minute {
			minutes = append(minutes, 0)
		}
		if keep(call) {
			minutes[minute]++
		}
	}
	return minutes
}

func (c tally) busiest(service string) int {
	return slices.Max(c.each(func(call simCall) bool { return strings.HasPrefix(call.operation, service+":") }))
}

func (c tally) minutes() string {
	var lines strings.Builder
	per := func(service string) []int {
		return c.each(func(call simCall) bool { return strings.HasPrefix(call.operation, service+":") })
	}
	ofCompute, ofCommands, ofObjects := per("ec2"), per("ssm"), per("s3")
	for minute := 0; minute < len(ofCompute); minute += 2 {
		fmt.Fprintf(&lines, "\nminute %2d: EC2 %d, Systems Manager %d, S3 %d", minute, ofCompute[minute], ofCommands[minute], ofObjects[minute])
	}
	return lines.String()
}

// sim is AWS in the time of a bubble. It answers in no time, and what it makes becomes
// ready in the time that it takes.
type sim struct {
	mu        sync.Mutex
	begin     time.Time
	calls     []simCall
	last      int
	instances map[string]*simThing
	images    map[string]*simThing
	snapshots map[string]*simThing
	tasks     map[string]*simThing
	objects   map[string][]byte
	agents    sync.WaitGroup
}

type simCall struct {
	operation string
	round     bool // it is asked for all who wait
	at        time.Time
}

// simThing becomes ready, and may end.
type simThing struct {
	id, image   string
	name        string // of an image
	tags        []types.Tag
	made, ready time.Time
	stopped     time.Time // from then on; zero: it runs
	ended       bool
}

func (x *simThing) is() bool { return !time.Now().Before(x.ready) }

func newSim() *sim {
	return &sim{
		begin: time.Now(), instances: map[string]*simThing{}, snapshots: map[string]*simThing{}, tasks: map[string]*simThing{},
		images: map[string]*simThing{"ami-parent": {id: "ami-parent"}}, objects: map[string][]byte{},
	}
}

// called notes a call; the lock is the caller's until it calls what is returned.
func (s *sim) called(operation string, round bool) (unlock func()) {
	s.mu.Lock()
	s.calls = append(s.calls, simCall{operation, round, time.Now()})
	return s.mu.Unlock
}

func (s *sim) name(kind string) string {
	s.last++
	return fmt.Sprintf("%s-%d", kind, s.last)
}

func (s *sim) count() tally {
	c := tally{calls: s.calls, begin: s.begin, rounds: map[string]int{}, own: map[string]int{}}
	for _, call := range s.calls {
		if !call.round {
			c.own[call.operation]++
		}
		if call.round && c.rounds[call.operation] == 0 {
			c.rounds[call.operation] = slices.Max(c.each(func(other simCall) bool { return other.round && other.operation == call.operation }))
		}
	}
	return c
}

// disk is a snapshot of an upload.
func (s *sim) disk(id string, tags map[string]string, takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &simThing{id: id, made: time.Now(), ready: time.Now().Add(takes)}
	for key, value := range tags {
		x.tags = append(x.tags, ec2Tag(key, value))
	}
	s.snapshots[id] = x
}

// matches holds a thing against the filters by tag, and by id.
func (x *simThing) matches(filters []types.Filter) bool {
	for _, f := range filters {
		value := x.id
		if tag, isTag := strings.CutPrefix(aws.ToString(f.Name), "tag:"); isTag {
			value = tagOf(x.tags, tag)
		} else if !strings.HasSuffix(aws.ToString(f.Name), "-id") {
			continue
		}
		if !slices.Contains(f.Values, value) {
			return false
		}
	}
	return true
}

// asksFor tells whether one of the filters is of that name.
func asksFor(filters []types.Filter, name string) bool {
	return slices.ContainsFunc(filters, func(f types.Filter) bool { return aws.ToString(f.Name) == name })
}

type simCompute struct {
	*sim
	Compute
	publish.Imports
}

func (s simCompute) RunInstances(_ context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	defer s.called("ec2:RunInstances", false)()
	x := &simThing{id: s.name("i"), image: *in.ImageId, made: time.Now(), ready: time.Now().Add(simBoot), tags: in.TagSpecifications[0].Tags}
	s.instances[x.id] = x
	return &ec2.RunInstancesOutput{Instances: []types.Instance{{InstanceId: &x.id}}}, nil
}

func (s simCompute) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	defer s.called("ec2:DescribeInstances", !asksFor(in.Filters, "tag:"+tagBuild))()
	var r types.Reservation
	for _, x := range s.instances {
		if !x.matches(in.Filters) {
			continue
		}
		state := types.InstanceStateNameRunning
		switch {
		case x.ended:
			state = types.InstanceStateNameTerminated
		case !x.stopped.IsZero() && time.Now().After(x.stopped):
			state = types.InstanceStateNameStopped
		}
		r.Instances = append(r.Instances, types.Instance{InstanceId: &x.id, ImageId: &x.image, Tags: x.tags, LaunchTime: &x.made, State: &types.InstanceState{Name: state}})
	}
	return &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{r}}, nil
}

func (s simCompute) StopInstances(_ context.Context, in *ec2.StopInstancesInput, _ ...func(*ec2.Options)) (*ec2.StopInstancesOutput, error) {
	defer s.called("ec2:StopInstances", false)()
	s.instances[in.InstanceIds[0]].stopped = time.Now().Add(simStop)
	return &ec2.StopInstancesOutput{}, nil
}

func (s simCompute) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	defer s.called("ec2:TerminateInstances", false)()
	s.instances[in.InstanceIds[0]].ended = true
	return &ec2.TerminateInstancesOutput{}, nil
}

// image makes one; the lock is held.
func (s simCompute) image(name string, tags []types.Tag, takes time.Duration) *simThing {
	snap := &simThing{id: s.name("snap"), tags: tags, made: time.Now(), ready: time.Now().Add(takes)}
	s.snapshots[snap.id] = snap
	x := &simThing{id: s.name("ami"), image: snap.id, name: name, tags: tags, made: time.Now(), ready: snap.ready}
	s.images[x.id] = x
	return x
}

func (s simCompute) CreateImage(_ context.Context, in *ec2.CreateImageInput, _ ...func(*ec2.Options)) (*ec2.CreateImageOutput, error) {
	defer s.called("ec2:CreateImage", false)()
	return &ec2.CreateImageOutput{ImageId: &s.image(*in.Name, in.TagSpecifications[0].Tags, simImage).id}, nil
}

func (s simCompute) RegisterImage(_ context.Context, in *ec2.RegisterImageInput, _ ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error) {
	defer s.called("ec2:RegisterImage", false)()
	if !s.snapshots[*in.BlockDeviceMappings[0].Ebs.SnapshotId].is() {
		return nil, &smithy.GenericAPIError{Code: "InvalidSnapshot.Pending"}
	}
	return &ec2.RegisterImageOutput{ImageId: &s.image(*in.Name, in.TagSpecifications[0].Tags, time.Minute).id}, nil
}

func (s simCompute) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	round := len(in.ImageIds) == 0 && !asksFor(in.Filters, "name") && !asksFor(in.Filters, "tag:"+tagKey) && !asksFor(in.Filters, "tag:ingot:import")
	defer s.called("ec2:DescribeImages", round)()
	out := &ec2.DescribeImagesOutput{}
	for _, x := range s.images {
		if len(in.ImageIds) > 0 && !slices.Contains(in.ImageIds, x.id) || !x.matches(in.Filters) || asksFor(in.Filters, "name") {
			continue
		}
		state := types.ImageStatePending
		if x.is() {
			state = types.ImageStateAvailable
		}
		out.Images = append(out.Images, types.Image{
			ImageId: &x.id, Name: &x.name, Tags: x.tags, State: state, CreationDate: aws.String(x.made.Format(time.RFC3339)), Architecture: types.ArchitectureValuesX8664,
			BlockDeviceMappings: []types.BlockDeviceMapping{{Ebs: &types.EbsBlockDevice{SnapshotId: &x.image}}},
		})
	}
	return out, nil
}

func (s simCompute) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	defer s.called("ec2:DescribeSnapshots", len(in.SnapshotIds) == 0)()
	out := &ec2.DescribeSnapshotsOutput{}
	for _, x := range s.snapshots {
		if len(in.SnapshotIds) > 0 && !slices.Contains(in.SnapshotIds, x.id) || !x.matches(in.Filters) {
			continue
		}
		progress := min(100, 100*time.Since(x.made)/max(1, x.ready.Sub(x.made)))
		shown := types.Snapshot{SnapshotId: &x.id, Tags: x.tags, State: types.SnapshotStatePending, Progress: aws.String(fmt.Sprintf("%d%%", progress))}
		if x.is() {
			shown.State = types.SnapshotStateCompleted
		}
		if asksFor(in.Filters, "status") && x.is() {
			continue
		}
		out.Snapshots = append(out.Snapshots, shown)
	}
	return out, nil
}

func (s simCompute) CreateTags(_ context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	defer s.called("ec2:CreateTags", false)()
	for _, id := range in.Resources {
		for _, all := range []map[string]*simThing{s.instances, s.images, s.snapshots} {
			if x := all[id]; x != nil {
				x.tags = slices.Concat(x.tags, in.Tags)
			}
		}
	}
	return &ec2.CreateTagsOutput{}, nil
}

func (s simCompute) ImportImage(_ context.Context, in *ec2.ImportImageInput, _ ...func(*ec2.Options)) (*ec2.ImportImageOutput, error) {
	defer s.called("ec2:ImportImage", false)()
	x := &simThing{id: s.name("import"), tags: in.TagSpecifications[0].Tags, made: time.Now(), ready: time.Now().Add(simImport)}
	x.image = s.image("", nil, simImport).id
	s.tasks[x.id] = x
	return &ec2.ImportImageOutput{ImportTaskId: &x.id}, nil
}

func (s simCompute) DescribeImportImageTasks(_ context.Context, in *ec2.DescribeImportImageTasksInput, _ ...func(*ec2.Options)) (*ec2.DescribeImportImageTasksOutput, error) {
	defer s.called("ec2:DescribeImportImageTasks", true)()
	out := &ec2.DescribeImportImageTasksOutput{}
	for _, x := range s.tasks {
		shown := types.ImportImageTask{ImportTaskId: &x.id, Tags: x.tags, Status: aws.String("active"), Progress: aws.String(fmt.Sprint(100 * time.Since(x.made) / simImport))}
		if x.is() {
			shown.Status, shown.ImageId = aws.String("completed"), &x.image
		}
		out.ImportImageTasks = append(out.ImportImageTasks, shown)
	}
	return out, nil
}

type simCommands struct {
	*sim
	Commands
}

func (s simCommands) DescribeInstanceInformation(_ context.Context, in *ssm.DescribeInstanceInformationInput, _ ...func(*ssm.Options)) (*ssm.DescribeInstanceInformationOutput, error) {
	defer s.called("ssm:DescribeInstanceInformation", true)()
	out := &ssm.DescribeInstanceInformationOutput{}
	for _, id := range in.Filters[0].Values {
		if x := s.instances[id]; x != nil && x.is() {
			out.InstanceInformationList = append(out.InstanceInformationList, ssmtypes.InstanceInformation{InstanceId: &id, PingStatus: ssmtypes.PingStatusOnline})
		}
	}
	return out, nil
}

func (s simCommands) SendCommand(_ context.Context, in *ssm.SendCommandInput, _ ...func(*ssm.Options)) (*ssm.SendCommandOutput, error) {
	defer s.called("ssm:SendCommand", false)()
	lines := in.Parameters["commands"]
	found := requestAddress.FindStringSubmatch(lines[len(lines)-1])
	if found == nil {
		return nil, fmt.Errorf("no request in %q", lines)
	}
	var r relay.Request
	if err := json.Unmarshal(s.objects[strings.TrimPrefix(found[1], simAddress)], &r); err != nil {
		return nil, err
	}
	s.agents.Go(func() { s.agent(r) })
	return &ssm.SendCommandOutput{Command: &ssmtypes.Command{CommandId: aws.String(s.name("command"))}}, nil
}

func (s simCommands) ListCommandInvocations(_ context.Context, in *ssm.ListCommandInvocationsInput, _ ...func(*ssm.Options)) (*ssm.ListCommandInvocationsOutput, error) {
	defer s.called("ssm:ListCommandInvocations", false)()
	return &ssm.ListCommandInvocationsOutput{CommandInvocations: []ssmtypes.CommandInvocation{{CommandId: in.CommandId, Status: ssmtypes.CommandInvocationStatusInProgress}}}, nil
}

// agent does what the agent on an instance does, as far as the bucket shows it.
func (s *sim) agent(r relay.Request) {
	tell := func(name string, content []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.objects[r.Inbox.Prefix+name] = content
	}
	var said []byte
	note := func(n relay.Note) {
		line, err := json.Marshal(n)
		if err != nil {
			panic(err) // such notes always marshal
		}
		tell(relay.PieceName(int64(len(said))), append(line, '\n'))
		said = append(append(said, line...), '\n')
	}
	note(relay.Note{Event: &component.Event{Kind: component.Output, Stream: "stdout", Text: "os\tSimulated 1\n"}})
	takes := simQuick
	if r.Job != nil && r.Job.ID == "one" {
		takes = simComponent
	}
	const beat = 30 * time.Second
	for ; takes > beat; takes -= beat {
		time.Sleep(beat)
		tell(relay.BeatName, nil)
	}
	time.Sleep(takes)
	note(relay.Note{Done: &relay.Outcome{Result: &component.Result{Status: component.Success}}})
}

const simAddress = "https://bucket.test/"

type simSigner struct{}

func (simSigner) PresignGetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	return &v4.PresignedHTTPRequest{URL: simAddress + *in.Key}, nil
}

func (simSigner) PresignPostObject(context.Context, *s3.PutObjectInput, ...func(*s3.PresignPostOptions)) (*s3.PresignedPostRequest, error) {
	return &s3.PresignedPostRequest{URL: simAddress}, nil
}

type simObjects struct{ *sim }

func (s simObjects) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	content, err := io.ReadAll(in.Body)
	defer s.called("s3:PutObject", false)()
	s.objects[*in.Key] = content
	return &s3.PutObjectOutput{}, err
}

func (s simObjects) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	defer s.called("s3:GetObject", false)()
	content, known := s.objects[*in.Key]
	if !known {
		return nil, &s3types.NoSuchKey{}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(content))}, nil
}

func (s simObjects) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	defer s.called("s3:HeadObject", false)()
	content, known := s.objects[*in.Key]
	if !known {
		return nil, &s3types.NotFound{}
	}
	return &s3.HeadObjectOutput{ContentLength: aws.Int64(int64(len(content)))}, nil
}

func (s simObjects) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	defer s.called("s3:ListObjectsV2", true)()
	out := &s3.ListObjectsV2Output{}
	for key := range s.objects {
		if strings.HasPrefix(key, aws.ToString(in.Prefix)) && key > aws.ToString(in.StartAfter) {
			out.Contents = append(out.Contents, s3types.Object{Key: &key})
		}
	}
	slices.SortFunc(out.Contents, func(a, b s3types.Object) int { return strings.Compare(*a.Key, *b.Key) })
	if page := 1000; len(out.Contents) > page {
		out.Contents, out.IsTruncated = out.Contents[:page], aws.Bool(true)
	}
	return out, nil
}

func (s simObjects) DeleteObjects(_ context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	defer s.called("s3:DeleteObjects", true)()
	for _, o := range in.Delete.Objects {
		delete(s.objects, *o.Key)
	}
	return &s3.DeleteObjectsOutput{}, nil
}

package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

// moody is a sim that answers some calls with errors.
type moody struct {
	simCompute
	says map[string]string // by operation, the code of the answer
}

// say has calls of an operation fail with a code from now on; without one they succeed.
func (m moody) say(operation, code string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.says[operation] = code
}

func (m moody) fails(operation string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if code := m.says[operation]; code != "" {
		return &smithy.OperationError{ServiceID: "EC2", OperationName: operation, Err: &smithy.GenericAPIError{Code: code}}
	}
	return nil
}

func (m moody) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, o ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	if err := m.fails("DescribeInstances"); err != nil {
		return nil, err
	}
	return m.simCompute.DescribeInstances(ctx, in, o...)
}

func (m moody) DescribeImportImageTasks(ctx context.Context, in *ec2.DescribeImportImageTasksInput, o ...func(*ec2.Options)) (*ec2.DescribeImportImageTasksOutput, error) {
	if err := m.fails("DescribeImportImageTasks"); err != nil {
		return nil, err
	}
	return m.simCompute.DescribeImportImageTasks(ctx, in, o...)
}

// inMoodyCloud runs a case with a driver in a bubble, in which an instance runs.
func inMoodyCloud(t *testing.T, test func(t *testing.T, d *Driver, m moody, instance *simThing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := moody{simCompute: simCompute{sim: newSim()}, says: map[string]string{}}
		d, err := New(Config{
			Services: Services{Compute: m, Imports: m, Commands: simCommands{sim: m.sim}, Objects: simObjects{sim: m.sim}, Signer: simSigner{}},
			Region:   "eu-central-1", Owner: "test", Bucket: "bucket", Infrastructure: Infrastructure{InstanceProfile: "p", InstanceTypes: []string{"t3.small"}}, Agent: "unused",
		})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		runs := &simThing{id: "i-1", image: "ami-parent", made: time.Now()}
		for key, value := range d.Tags() {
			runs.tags = append(runs.tags, ec2Tag(key, value))
		}
		m.instances[runs.id] = runs
		m.tasks["import-1"] = &simThing{id: "import-1"}
		test(t, d, m, runs)
	})
}

// watchEnd is what becomes of a wait for the end of an instance.
func watchEnd(t *testing.T, d *Driver, id string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		ended <- d.states.wait(t.Context(), want{instance: id}, func(v view) (bool, error) { return over(v.instances[id]), nil })
	}()
	return ended
}

func unended(t *testing.T, ended <-chan error, when string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		t.Fatalf("%s, the wait ended: %v", when, err)
	default:
	}
}

// TestRefusalThatPassesEndsNoWait: credentials that have just run out are renewed.
func TestRefusalThatPassesEndsNoWait(t *testing.T) {
	for _, code := range []string{"RequestExpired", "ExpiredToken", "AuthFailure", "UnauthorizedOperation"} {
		inMoodyCloud(t, func(t *testing.T, d *Driver, m moody, runs *simThing) {
			ended := watchEnd(t, d, runs.id)
			for range 3 { // refusals that are not in a row do not add up
				m.say("DescribeInstances", code)
				time.Sleep(time.Minute)
				unended(t, ended, "when the calls were refused for a moment")
				m.say("DescribeInstances", "")
				time.Sleep(time.Minute)
				unended(t, ended, "after that")
			}
			m.mu.Lock()
			runs.ended = true
			m.mu.Unlock()
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", code, err)
			}
		})
	}
}

// TestRefusalThatLastsEndsWaits, of those who ask that alone.
func TestRefusalThatLastsEndsWaits(t *testing.T) {
	inMoodyCloud(t, func(t *testing.T, d *Driver, m moody, runs *simThing) {
		ended := watchEnd(t, d, runs.id)
		m.say("DescribeImportImageTasks", "UnauthorizedOperation")
		begin := time.Now()
		if _, err := d.Watch().ImageTask(t.Context(), "import-1"); !answer.Denied(err) {
			t.Errorf("whoever imports hears %v", err)
		}
		if took := time.Since(begin); took < time.Minute || took > 3*time.Minute {
			t.Errorf("it took %s", took)
		}
		unended(t, ended, "when another call is not allowed")
		m.say("DescribeInstances", "AuthFailure")
		if err := <-ended; !answer.Unknown(err) {
			t.Errorf("whoever looks at instances hears %v", err)
		}
		time.Sleep(time.Hour) // in which nobody asks
		begin = time.Now()
		if err := <-watchEnd(t, d, runs.id); !answer.Unknown(err) || time.Since(begin) < time.Minute {
			t.Errorf("whoever looks later hears %v after %s", err, time.Since(begin))
		}
	})
}

// TestQuestionWithoutAnswerIsNoOneElsesTrouble: what fails for a while is waited for, and
// the answers to all other questions are heard.
func TestQuestionWithoutAnswerIsNoOneElsesTrouble(t *testing.T) {
	inMoodyCloud(t, func(t *testing.T, d *Driver, m moody, runs *simThing) {
		m.say("DescribeImportImageTasks", "RequestLimitExceeded")
		imported := make(chan error, 1)
		var task *types.ImportImageTask
		go func() {
			var err error
			task, err = d.Watch().ImageTask(t.Context(), "import-1")
			imported <- err
		}()
		time.Sleep(time.Minute)
		runs.ended = true
		if err := <-watchEnd(t, d, runs.id); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		unended(t, imported, "when AWS was asked too often")
		m.say("DescribeImportImageTasks", "")
		if err := <-imported; err != nil || task == nil {
			t.Errorf("%v, %v", task, err)
		}
	})
}

// TestGlanceIsOfARoundThatLooks has many ask for different images at any time: none is
// told that what is there is not, by a round that has not asked for it.
func TestGlanceIsOfARoundThatLooks(t *testing.T) {
	m := &named{}
	d := &Driver{cfg: Config{pace: pace{states: time.Microsecond}, Log: testLog(t)}, aws: Services{Compute: m}}
	d.states = newStates(d)
	defer d.states.close()
	var all sync.WaitGroup
	for n := range 5000 {
		all.Go(func() {
			for range 12 {
				id := fmt.Sprint("ami-", n)
				if image, err := d.Watch().Image(t.Context(), id); err != nil || image == nil {
					t.Errorf("%s: %v, %v", id, image, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// named has each image that is asked for by its id.
type named struct{ Compute }

func (named) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	out := &ec2.DescribeImagesOutput{}
	for _, f := range in.Filters {
		if aws.ToString(f.Name) != "image-id" {
			continue
		}
		for _, id := range f.Values {
			out.Images = append(out.Images, types.Image{ImageId: &id})
		}
	}
	return out, nil
}

// TestOrderOfSnapshotsIsNoProgress: an image whose snapshots stand still does so in
// whatever order they are listed.
func TestOrderOfSnapshotsIsNoProgress(t *testing.T) {
	compute := &shuffled{ids: []string{"snap-2", "snap-1", "snap-3"}}
	d := &Driver{aws: Services{Compute: compute}}
	seen := map[string]bool{}
	for range 3 {
		_, progress, err := d.images(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[progress["key"]] = true
	}
	if len(seen) != 1 {
		t.Errorf("snapshots that stand still are seen as %q", slices.Collect(maps.Keys(seen)))
	}
}

// shuffled has an image that is not ready, and lists its snapshots in another order each
// time.
type shuffled struct {
	Compute
	ids []string
}

func (*shuffled) DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	return &ec2.DescribeImagesOutput{Images: []types.Image{{ImageId: aws.String("ami-1"), State: types.ImageStatePending}}}, nil
}

func (s *shuffled) DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	out := &ec2.DescribeSnapshotsOutput{}
	for _, id := range s.ids {
		out.Snapshots = append(out.Snapshots, types.Snapshot{SnapshotId: aws.String(id), Progress: aws.String("40%"), Tags: []types.Tag{ec2Tag(tagKey, "key")}})
	}
	s.ids = append(s.ids[1:], s.ids[0])
	return out, nil
}

package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// of is a parent as a build wants it.
func of(build string, p builder.ParentSource) builder.ParentSource {
	p.Build = build
	return p
}

// waiting is a build that waits for its parent.
type waiting struct {
	end  context.CancelCauseFunc
	at   map[string]func()          // for lines of its log that end so
	met  map[string]<-chan struct{} // closed when there was one
	over chan struct{}
	base builder.Base
	err  error

	mu  sync.Mutex
	log []string
}

// wait begins to wait for a parent.
func (i *importing) wait(d *Driver, p builder.ParentSource, at ...string) *waiting {
	ctx, end := context.WithCancelCause(i.Context())
	w := &waiting{end: end, at: map[string]func(){}, met: map[string]<-chan struct{}{}, over: make(chan struct{})}
	for _, words := range at {
		met := make(chan struct{})
		w.met[words], w.at[words] = met, sync.OnceFunc(func() { close(met) })
	}
	i.Cleanup(func() { end(nil); <-w.over })
	go func() {
		defer close(w.over)
		w.base, w.err = d.Resolve(ctx, p, w.said)
	}()
	return w
}

func (w *waiting) said(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, line)
	for words, reached := range w.at {
		if strings.HasSuffix(line, words) {
			reached()
		}
	}
}

// reach waits for a line of the log.
func (i *importing) reach(w *waiting, words string) {
	i.Helper()
	select {
	case <-w.met[words]:
	case <-w.over:
		i.Fatalf("it ended before %q: %+v, %v", words, w.base, w.err)
	}
}

// ended ends a wait and returns its error.
func (w *waiting) ended(why error) error {
	w.end(why)
	<-w.over
	return w.err
}

// left is what the reaper finds when none but these builds live.
func (i *importing) left(live ...string) []Leftover {
	i.Helper()
	all, err := i.d.Leftovers(i.Context(), func(build string) bool { return slices.Contains(live, build) })
	if err != nil {
		i.Fatal(err)
	}
	return all
}

// reap removes what is left.
func (i *importing) reap(all []Leftover) {
	i.Helper()
	if removed, err := i.d.Reap(i.Context(), all); err != nil || len(removed) != len(all) {
		i.Fatalf("of %+v were removed %+v, %v", all, removed, err)
	}
}

func (i *importing) onItsWay() []ec2test.Resource { return i.cloud.Leftovers(i.Context()).Imports }

// TestParentOfACancelledBuild: its import ends with it, unless it has come to its end by
// then; the AMI is one that later builds find.
func TestParentOfACancelledBuild(t *testing.T) {
	for _, at := range []string{"ImportImage", "pending", "converting", "its end", "CreateTags"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			parentCancelledAt(t, at)
		})
	}
}

func parentCancelledAt(t *testing.T, at string) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV cancelled")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	line, made := at, at == "its end" || at == "CreateTags"
	switch at {
	case "ImportImage":
		i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: at, Times: 1, Effect: ec2test.After(func(*ec2test.Request) { cancel() })})
	case "its end":
		line = "converting"
		i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CancelImportTask", Times: 1, Effect: ec2test.Before(func(*ec2test.Request) { lookOn(t, i.d.aws.Imports) })})
	case "CreateTags": // for what was made, which does not get them
		i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: at, Times: 1, Effect: ec2test.Before(func(*ec2test.Request) { cancel() })})
		i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: at, Times: 1, Effect: ec2test.Disconnect()})
	}
	base, err := i.d.Resolve(ctx, of("1", p), func(said string) {
		if strings.HasSuffix(said, line) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %+v, %v", base, err)
	}
	lookOn(t, i.d.aws.Imports)
	left := i.cloud.Leftovers(t.Context())
	complete := left.With(tagImage, "complete").With(tagOwner, "test")
	if left.String() != complete.String() || made != (len(left.Images) == 1) {
		t.Errorf("left: %v", left)
	}
	if found := i.left(); len(found) > 0 {
		t.Errorf("to be reaped: %+v", found)
	}
	i.resolve(i.d, of("2", p))
	if tasks := len(i.cloud.Imports()); made != (tasks == 1) || len(i.imported()) != 1 {
		t.Errorf("then there are %d imports and the AMIs %v", tasks, i.imported())
	}
}

// TestImportGoesOnForWhoStillWaits, with the tag of that build.
func TestImportGoesOnForWhoStillWaits(t *testing.T) {
	i := newImporting(t)
	p, d := i.put("disks/golden.vmdk", "KDMV for three"), newDriver(t, i.cfg)
	release := i.cloud.HoldImports()
	defer release()
	first := i.wait(d, of("1", p), "pending")
	i.reach(first, "pending")
	second := i.wait(d, of("2", p), "pending")
	i.reach(second, "pending")
	if now := i.onItsWay(); len(now) != 1 || now[0].Tags[tagBuild] != "1" {
		t.Fatalf("on their way: %v, want one", now)
	}

	claimed := i.claims(2)
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateTags", Times: 1, Effect: ec2test.Refuse(http.StatusBadRequest, "TooManyRequests"), Where: toImport})
	if err := first.ended(nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	claimed(second)
	if now := i.onItsWay(); len(now) != 1 || now[0].Tags[tagBuild] != "2" || len(i.left("2")) > 0 {
		t.Errorf("on their way: %v, want the second's; to be reaped: %+v", now, i.left("2"))
	}

	claimed = i.claims(1)
	third := i.wait(newDriver(t, i.cfg), of("3", p)) // another daemon's
	claimed(third)
	if err := second.ended(nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
	if now := i.onItsWay(); len(now) != 1 || now[0].Tags[tagBuild] != "3" || len(i.left("3")) > 0 {
		t.Errorf("on their way: %v, want the third's; to be reaped: %+v", now, i.left("3"))
	}
	release()
	if <-third.over; third.err != nil || len(i.cloud.Imports()) != 1 {
		t.Errorf("the third has %+v, %v, of the imports %v", third.base, third.err, i.cloud.Imports())
	}
}

// toImport tells requests about imports.
func toImport(r *ec2test.Request) bool {
	return strings.HasPrefix(r.Form.Get("ResourceId.1"), "import-")
}

// claims returns what waits until imports have been tagged that often from now on.
func (i *importing) claims(times int) (wait func(w *waiting)) {
	done := make(chan struct{})
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CreateTags", From: times, Times: 1, Where: toImport,
		Effect: ec2test.After(func(*ec2test.Request) { close(done) })})
	return func(w *waiting) {
		i.Helper()
		select {
		case <-done:
		case <-w.over:
			i.Fatalf("it ended with %+v, %v", w.base, w.err)
		}
	}
}

// TestWhoComesWhileAnImportIsGivenUp waits for that, and begins another one.
func TestWhoComesWhileAnImportIsGivenUp(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV given up")
	release := i.cloud.HoldImports()
	defer release()
	first := i.wait(i.d, of("1", p), "pending")
	i.reach(first, "pending")
	came := make(chan *waiting, 1)
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CancelImportTask", Times: 1, Effect: ec2test.Before(func(*ec2test.Request) {
		second := i.wait(i.d, of("2", p), "pending")
		select {
		case <-second.met["pending"]:
			t.Error("it takes up an import that is given up")
		case <-second.over:
		case <-time.After(time.Second): // in which it could
		}
		came <- second
	})})
	if err := first.ended(nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first ended with %v", err)
	}
	second := <-came
	i.reach(second, "pending")
	release()
	if <-second.over; second.err != nil || len(i.cloud.Imports()) != 2 || len(i.imported()) != 1 {
		t.Errorf("the second has %+v, %v, of the imports %v", second.base, second.err, i.cloud.Imports())
	}
}

// TestTwoDaemonsBeginOneImport, though each asks for it with the tag of its build.
func TestTwoDaemonsBeginOneImport(t *testing.T) {
	t.Parallel() // what was not there is looked for again after five seconds
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV for two daemons")
	other := newDriver(t, i.cfg)
	faster := &waiting{}
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "ImportImage", Times: 1, Effect: ec2test.Before(func(*ec2test.Request) {
		faster.base, faster.err = other.Resolve(t.Context(), of("2", p), func(string) {})
	})})
	base, err := i.d.Resolve(t.Context(), of("1", p), func(string) {})
	if err != nil || faster.err != nil || base != faster.base || len(i.cloud.Imports()) != 1 || i.calls() != 2 {
		t.Errorf("%+v, %v, and the faster %+v, %v, of the imports %v after %d calls", base, err, faster.base, faster.err, i.cloud.Imports(), i.calls())
	}
}

// TestAnotherImportAfterOneThatWasCancelled: the build is repeated, as it is nobody's fault.
func TestAnotherImportAfterOneThatWasCancelled(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV cancelled")
	release := i.cloud.HoldImports()
	w := i.wait(i.d, of("1", p), "pending")
	i.reach(w, "pending")
	if _, err := i.d.aws.Imports.CancelImportTask(t.Context(), &ec2.CancelImportTaskInput{ImportTaskId: aws.String(i.cloud.Imports()[0])}); err != nil {
		t.Fatal(err)
	}
	if <-w.over; builder.FaultOf(w.err) != builder.Transient {
		t.Errorf("%+v, %v", w.base, w.err)
	}
	release()
	i.resolve(i.d, of("1", p))
	if len(i.cloud.Imports()) != 2 || len(i.imported()) != 1 {
		t.Errorf("imports %v, AMIs %v", i.cloud.Imports(), i.imported())
	}
}

// killed has the process of build 1 killed while it waits for its parent.
func (i *importing) killed(p builder.ParentSource) {
	i.Helper()
	life := newMortal(i.T, i.cloud, i.cfg)
	w := i.wait(newDriver(i.T, life.cfg), of("1", p), "pending")
	i.reach(w, "pending")
	life.kill()
	if w.ended(nil) == nil {
		i.Fatal("it was not killed")
	}
}

// TestImportOfAKilledDaemonIsReaped, when its build has ended before another daemon took
// it up.
func TestImportOfAKilledDaemonIsReaped(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV killed")
	release := i.cloud.HoldImports()
	i.killed(p)
	id := i.cloud.Imports()[0]
	if left := i.left("1"); len(left) > 0 {
		t.Errorf("of a build that is taken up there is to be reaped %+v", left)
	}
	left := i.left()
	if len(left) != 1 || left[0].Kind != "import" || left[0].ID != id || left[0].Build != "1" || left[0].Why == "" {
		t.Fatalf("to be reaped: %+v, want the import %s", left, id)
	}
	if err := i.d.tag(t.Context(), map[string]string{tagBuild: "2"}, id); err != nil {
		t.Fatal(err)
	}
	if removed, err := i.d.Reap(t.Context(), left); err != nil || len(removed) > 0 || len(i.onItsWay()) != 1 {
		t.Errorf("removed %+v, %v, what another build has taken up", removed, err)
	}
	i.reap(i.left())
	if left := i.left(); len(left) > 0 || len(i.onItsWay()) > 0 {
		t.Errorf("then there is %+v", left)
	}
	if _, err := i.d.Reap(t.Context(), left); err != nil {
		t.Errorf("once more: %v", err)
	}
	release()
	i.resolve(i.d, of("3", p))
	if tasks := len(i.cloud.Imports()); tasks != 2 || len(i.imported()) != 1 {
		t.Errorf("%d imports, AMIs %v", tasks, i.imported())
	}
	i.killed(i.put("disks/golden.vmdk", "KDMV of ours"))
	other := i.cfg
	other.Owner = "other"
	if left, err := newDriver(t, other).Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(left) > 0 {
		t.Errorf("another daemon would reap %+v, %v", left, err)
	}
}

// TestWhatAnImportMadeForNobodyIsReaped: it has no tags, as VM Import gives none.
func TestWhatAnImportMadeForNobodyIsReaped(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden.ova", strings.Repeat("\x00", 257)+"ustar "+ec2test.AnotherDisk)
	i.killed(p)
	lookOn(t, i.d.aws.Imports)
	if left := i.left("1"); len(left) > 0 {
		t.Errorf("of a build that is taken up there is to be reaped %+v", left)
	}
	left := i.left()
	if len(left) != 1 || left[0].Kind != "import" || left[0].Build != "1" {
		t.Fatalf("to be reaped: %+v", left)
	}
	i.resolve(i.d, of("2", p))
	if removed, err := i.d.Reap(t.Context(), left); err != nil || len(removed) > 0 || len(i.imported()) != 1 || len(i.left()) > 0 {
		t.Errorf("removed %+v, %v, what another build has taken up", removed, err)
	}

	i.killed(i.put("disks/golden.ova", strings.Repeat("\x00", 257)+"ustar again "+ec2test.AnotherDisk))
	lookOn(t, i.d.aws.Imports)
	untagged := i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "DeregisterImage", Where: func(r *ec2test.Request) bool {
		return !slices.ContainsFunc(i.imported(), func(image ec2test.Resource) bool {
			return image.ID == r.Form.Get("ImageId") && image.Tags[tagManaged] == "true" && image.Tags[tagOwner] == "test"
		})
	}})
	i.reap(i.left())
	if now := i.cloud.Leftovers(t.Context()); len(now.Images) != 1 || len(now.Snapshots) > 0 || len(i.left()) > 0 || untagged.Hits() > 0 {
		t.Errorf("then there is %v, after %d removals that no policy allows", now, untagged.Hits())
	}
}

// TestParentKilledAtAnyCallIsSomebodys: whatever is there when the process has died at a
// call is taken up by the next build, or reaped.
func TestParentKilledAtAnyCallIsSomebodys(t *testing.T) {
	for call, times := range map[string]int{"ImportImage": 1, "DescribeImportImageTasks": 6, "CreateTags": 1} {
		for n := range times {
			for when, effect := range map[string]ec2test.Effect{"before": ec2test.Disconnect(), "after": ec2test.LoseAnswer()} {
				t.Run(fmt.Sprintf("%s %s %d", when, call, n+1), func(t *testing.T) {
					t.Parallel()
					parentKilledAt(t, call, n+1, effect)
				})
			}
		}
	}
}

func parentKilledAt(t *testing.T, call string, n int, effect ec2test.Effect) {
	i := newImporting(t)
	p := i.put("disks/golden.vmdk", "KDMV killed")
	life := newMortal(t, i.cloud, i.cfg)
	met := i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, From: n, Times: 1, Effect: ec2test.Before(func(*ec2test.Request) { life.kill() })})
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: call, From: n, Times: 1, Effect: effect})
	if base, err := newDriver(t, life.cfg).Resolve(life.ctx, of("1", p), func(string) {}); met.Hits() == 0 {
		t.Fatalf("it was not killed: %+v, %v", base, err)
	}
	i.cloud.Faults.Clear()
	lookOn(t, i.d.aws.Imports)
	i.reap(i.left())
	left := i.cloud.Leftovers(t.Context())
	if complete := left.With(tagImage, "complete"); left.String() != complete.String() || len(i.left()) > 0 {
		t.Errorf("neither complete nor reaped: %v", left)
	}
	i.resolve(i.d, of("2", p))
	if len(i.imported()) != 1 {
		t.Errorf("AMIs %v", i.imported())
	}
}

// TestImportThatCannotBeCancelledIsTheReapers, when AWS limits the calls for longer than
// a build that has ended waits.
func TestImportThatCannotBeCancelledIsTheReapers(t *testing.T) {
	t.Parallel()
	i := newImporting(t)
	i.cloud.HoldImports()
	throttled := func(times int) *ec2test.Fault {
		return i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CancelImportTask", Times: times, Effect: ec2test.Throttle()})
	}
	some := throttled(3)
	w := i.wait(i.d, of("1", i.put("disks/golden.vmdk", "KDMV throttled")), "pending")
	i.reach(w, "pending")
	if w.ended(nil); some.Hits() != 3 || len(i.onItsWay()) > 0 {
		t.Errorf("after %d refusals there is on its way %v", some.Hits(), i.onItsWay())
	}
	throttled(0)
	w = i.wait(i.d, of("2", i.put("disks/golden.vmdk", "KDMV throttled for longer")), "pending")
	i.reach(w, "pending")
	if err := w.ended(nil); !errors.Is(err, context.Canceled) || !strings.Contains(strings.Join(w.log, "\n"), "left to the reaper") {
		t.Errorf("it ended with %v, and said %q", err, w.log)
	}
	i.cloud.Faults.Clear()
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "CancelImportTask", Times: 1, Effect: ec2test.Refuse(http.StatusBadRequest, "IncorrectState")})
	if removed, err := i.d.Reap(t.Context(), i.left()); err == nil || len(removed) > 0 {
		t.Errorf("the reaper says %v of an import that it could not cancel, and to have removed %+v", err, removed)
	}
	i.reap(i.left())
	if now := i.onItsWay(); len(now) > 0 {
		t.Errorf("on their way: %v", now)
	}
}

// TestWhoMayNotImportIsReapedAllTheSame: most daemons have no policy for imports.
func TestWhoMayNotImportIsReapedAllTheSame(t *testing.T) {
	i := newImporting(t)
	id := launched(t, i.d, map[string]string{tagManaged: "true", tagOwner: "test", tagBuild: "1"})
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "DescribeImportImageTasks", Effect: ec2test.Refuse(http.StatusForbidden, "UnauthorizedOperation")})
	if left := i.left(); len(left) != 1 || left[0].ID != id {
		t.Errorf("to be reaped: %+v, want %s", left, id)
	}
	i.cloud.Faults.Clear()
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "DescribeImportSnapshotTasks", Effect: ec2test.Refuse(http.StatusBadRequest, "InvalidParameterValue")})
	if left, err := i.d.Leftovers(t.Context(), func(string) bool { return false }); err == nil {
		t.Errorf("the account cannot be listed, and to be reaped is %+v", left)
	}
}

// TestPublicationThatIsKilledIsReaped: what an import makes of a disk has an owner from
// the start, too.
func TestPublicationThatIsKilledIsReaped(t *testing.T) {
	for _, via := range []recipe.Via{recipe.ViaImportImage, recipe.ViaImportSnapshot} {
		for _, completed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, completed: %t", via, completed), func(t *testing.T) {
				t.Parallel()
				i := newImporting(t)
				release := i.cloud.HoldImports()
				life := newMortal(t, i.cloud, i.cfg)
				_, err := newPublisher(t, i.cloud, life.cfg, life.sdk, emptyDisk(t), via).publish(life.ctx, "1", func(line string) {
					if strings.HasSuffix(line, "pending") {
						life.kill()
					}
				})
				if err == nil || len(i.onItsWay()) != 1 {
					t.Fatalf("killed with %v, on their way: %v", err, i.onItsWay())
				}
				if release(); completed {
					lookOn(t, i.d.aws.Imports)
				}
				if left := i.left("1"); len(left) > 0 {
					t.Errorf("of a build that is taken up there is to be reaped %+v", left)
				}
				i.reap(i.left())
				if now := i.cloud.Leftovers(t.Context()); now.String() != "" || len(i.left()) > 0 {
					t.Errorf("then there is %v", now)
				}
			})
		}
	}
}

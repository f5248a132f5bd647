package ec2

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
)

// of is a parent as a build wants it.
func of(build string, p builder.ParentSource) builder.ParentSource {
	p.Build = build
	return p
}

// waiting is a build that waits for its parent.
type waiting struct {
	end  context.CancelCauseFunc
	at   map[string]chan struct{} // closed when its log has a line that ends so
	over chan struct{}
	base builder.Base
	err  error

	mu  sync.Mutex
	log []string
}

// wait begins to wait for a parent.
func (i *importing) wait(d *Driver, p builder.ParentSource, at ...string) *waiting {
	ctx, end := context.WithCancelCause(i.Context())
	w := &waiting{end: end, at: map[string]chan struct{}{}, over: make(chan struct{})}
	for _, words := range at {
		w.at[words] = make(chan struct{})
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
			delete(w.at, words)
			close(reached)
		}
	}
}

// reach waits for a line of the log.
func (i *importing) reach(w *waiting, words string) {
	i.Helper()
	w.mu.Lock()
	reached := w.at[words]
	w.mu.Unlock()
	if reached == nil {
		return
	}
	select {
	case <-reached:
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

package ec2

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/seed-6db18919/ingot/builder/ec2/answer"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// states watches instances, images, snapshots and imports for everybody who waits for
// one: a round asks once for all instances, once for all images, once for each two
// hundred snapshots and once for each fifty instances that have not reached Systems
// Manager, however many builds there are.
type states struct {
	d *Driver

	mu      sync.Mutex
	round   int // the number of the last round that was begun
	seen    view
	changed chan struct{} // closed and replaced when a round ends
	wants   map[*want]bool
	wake    chan struct{}
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// view is what a round has seen.
type view struct {
	round     int
	instances map[string]types.Instance
	online    map[string]bool
	images    map[string]types.Image
	progress  map[string]string // of snapshots, as EC2 gives it
	snapshots map[string]types.Snapshot
	imports   map[string]types.ImportImageTask
	disks     map[string]types.ImportSnapshotTask
	asked     [questions]asked
}

// question is one of those that a round asks, for all who want its answer.
type question int

const (
	ofInstances question = iota
	ofOnline
	ofImages
	ofSnapshots
	ofImports
	ofDisks
	questions
)

// asked is how a question has fared.
type asked struct {
	answered int   // the last round that has an answer
	refused  int   // how many rounds were refused one since
	err      error // with which the last of them was
}

// lasting is how many rounds in a row a question is refused before that is final.
// Credentials that have run out are renewed, and policies take a while to hold
// everywhere: at the pace of real use it is two minutes.
const lasting = 24

// after is how the question has fared when it was asked in one more round.
func (a asked) after(round int, err error) asked {
	switch {
	case err == nil:
		return asked{answered: round}
	case refused(err):
		a.refused, a.err = a.refused+1, err
	}
	return a
}

// refused tells the answers that do not pass by themselves in a moment.
func refused(err error) bool {
	return answer.Denied(err) || answer.Unknown(err) && code(err) != ""
}

// want is somebody who waits, and for what.
type want struct {
	instance, online, image   string
	snapshot, imported, disks string // disks: the import of one, which becomes a snapshot
	since                     int    // the first round that counts
}

// of is what is asked about in a question; empty: it is none of theirs.
func (w want) of(q question) string {
	return [questions]string{
		ofInstances: w.instance, ofOnline: w.online, ofImages: w.image, ofSnapshots: w.snapshot, ofImports: w.imported, ofDisks: w.disks,
	}[q]
}

// answered is the last round that has answered all that somebody asks, or why there
// will be none.
func (v view) answered(w want) (round int, err error) {
	if round = v.round; round < w.since {
		return round, nil
	}
	for q, a := range v.asked {
		if w.of(question(q)) == "" {
			continue
		}
		if a.refused >= lasting {
			return 0, a.err
		}
		round = min(round, a.answered)
	}
	return round, nil
}

func newStates(d *Driver) *states {
	ctx, cancel := context.WithCancel(context.Background())
	s := &states{d: d, changed: make(chan struct{}), wants: map[*want]bool{}, wake: make(chan struct{}, 1), cancel: cancel}
	s.ended.Go(func() { s.work(ctx) })
	return s
}

func (s *states) close() {
	s.cancel()
	s.ended.Wait()
}

// wait calls done with each view from now on that answers what is wanted, until it says
// that it is over.
func (s *states) wait(ctx context.Context, w want, done func(view) (bool, error)) error {
	s.mu.Lock()
	w.since = s.round + 1
	s.wants[&w] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.wants, &w)
	}()
	poke(s.wake)
	for next := w.since; ; {
		s.mu.Lock()
		seen, changed := s.seen, s.changed
		s.mu.Unlock()
		round, err := seen.answered(w)
		if err != nil {
			return err
		}
		if round >= next {
			next = round + 1
			if over, err := done(seen); over || err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *states) work(ctx context.Context) {
	tick := time.NewTicker(s.d.cfg.pace.states)
	defer tick.Stop()
	for {
		now, wants := s.begin()
		if len(wants) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		s.look(ctx, now, wants)
		tick.Reset(s.d.cfg.pace.states) // whoever has seen it may want the next one, too
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// begin begins a round, unless nobody waits. Whoever comes later is of the next one: this
// one does not ask for them.
func (s *states) begin() (now view, wants []want) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.wants {
		wants = append(wants, *w)
	}
	if len(wants) == 0 {
		for q := range questions {
			s.seen.asked[q].refused = 0
		}
		return s.seen, nil
	}
	s.round++
	now = s.seen
	now.round = s.round
	return now, wants
}

// look is one round. A question that gets no answer leaves that of the round before, and
// is no matter of those who ask another.
func (s *states) look(ctx context.Context, now view, wants []want) {
	for q := range questions {
		ids := about(q, wants)
		if len(ids) == 0 {
			now.asked[q].refused = 0 // whoever asks next is refused for the first time
			continue
		}
		err := s.d.ask(ctx, q, ids, &now)
		if ctx.Err() != nil {
			return
		}
		if now.asked[q] = now.asked[q].after(now.round, err); err != nil {
			s.d.cfg.Log.WithError(err).Warn("what is waited for could not be looked at; it is tried again")
		}
	}
	s.mu.Lock()
	s.seen = now
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// about are the ids that a question is about.
func about(q question, wants []want) (ids []string) {
	for _, w := range wants {
		if id := w.of(q); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ask puts the answer to a question into a view, which is as it was when there is none.
func (d *Driver) ask(ctx context.Context, q question, ids []string, now *view) error {
	switch q {
	case ofInstances:
		return keep(&now.instances)(byID(d.ownersInstances(ctx)))
	case ofOnline:
		return keep(&now.online)(d.online(ctx, ids))
	case ofImages:
		images, progress, err := d.images(ctx, ids)
		if err == nil {
			now.images, now.progress = images, progress
		}
		return err
	case ofSnapshots:
		return keep(&now.snapshots)(d.snapshots(ctx, ids))
	case ofImports:
		return keep(&now.imports)(gather(publish.ImageTasks(ctx, d.aws.Imports), func(t types.ImportImageTask) *string { return t.ImportTaskId }))
	default:
		return keep(&now.disks)(gather(publish.SnapshotTasks(ctx, d.aws.Imports), func(t types.ImportSnapshotTask) *string { return t.ImportTaskId }))
	}
}

// keep is where an answer goes, if it is one.
func keep[T any](to *T) func(T, error) error {
	return func(found T, err error) error {
		if err == nil {
			*to = found
		}
		return err
	}
}

func byID(found []types.Instance, err error) (map[string]types.Instance, error) {
	all := map[string]types.Instance{}
	for _, i := range found {
		all[aws.ToString(i.InstanceId)] = i
	}
	return all, err
}

// gather has things by their ids, unless it meets an error.
func gather[T any](things iter.Seq2[T, error], id func(T) *string) (map[string]T, error) {
	all := map[string]T{}
	for thing, err := range things {
		if err != nil {
			return nil, err
		}
		all[aws.ToString(id(thing))] = thing
	}
	return all, nil
}

// instances are all of this ledger's builds, terminated ones included as long as EC2
// remembers them.
func (d *Driver) instances(ctx context.Context, more ...types.Filter) ([]types.Instance, error) {
	all, err := d.ownersInstances(ctx, more...)
	return slices.DeleteFunc(all, func(i types.Instance) bool { return d.foreign(i.Tags) }), err
}

// ownersInstances are those of other ledgers' builds, too.
func (d *Driver) ownersInstances(ctx context.Context, more ...types.Filter) ([]types.Instance, error) {
	var all []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(d.aws.Compute, &ec2.DescribeInstancesInput{Filters: d.ours(more...), MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			all = append(all, r.Instances...)
		}
	}
	return all, nil
}

// online tells which of some instances Systems Manager reaches.
func (d *Driver) online(ctx context.Context, ids []string) (map[string]bool, error) {
	const most = 50 // in one answer
	online := map[string]bool{}
	for some := range slices.Chunk(ids, most) {
		out, err := d.aws.Commands.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{
			Filters:    []ssmtypes.InstanceInformationStringFilter{{Key: aws.String("InstanceIds"), Values: some}},
			MaxResults: aws.Int32(most),
		})
		if isOne(err, notYet) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, i := range out.InstanceInformationList {
			online[aws.ToString(i.InstanceId)] = i.PingStatus == ssmtypes.PingStatusOnline
		}
	}
	return online, nil
}

// images are all of this owner's, with the progress of the snapshots of those that
// are not ready. Those that are asked for and have not its tags, or not yet, are looked
// for by their ids.
func (d *Driver) images(ctx context.Context, ids []string) (map[string]types.Image, map[string]string, error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: d.ours()})
	if err != nil {
		return nil, nil, err
	}
	images, pending := map[string]types.Image{}, false
	for _, i := range out.Images {
		images[aws.ToString(i.ImageId)] = i
		pending = pending || i.State == types.ImageStatePending
	}
	const most = 200 // values of a filter
	missing := slices.DeleteFunc(ids, func(id string) bool { _, found := images[id]; return found })
	for some := range slices.Chunk(missing, most) {
		out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{filter("image-id", some...)}})
		if err != nil {
			return nil, nil, err
		}
		for _, i := range out.Images {
			images[aws.ToString(i.ImageId)] = i
		}
	}
	progress := map[string]string{}
	if !pending {
		return images, progress, nil
	}
	snapshots, err := d.aws.Compute.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: d.ours(filter("status", string(types.SnapshotStatePending))),
	})
	if err != nil {
		return nil, nil, err
	}
	// EC2 gives them in any order, and one that changes is no progress.
	slices.SortFunc(snapshots.Snapshots, func(a, b types.Snapshot) int {
		return strings.Compare(aws.ToString(a.SnapshotId), aws.ToString(b.SnapshotId))
	})
	for _, s := range snapshots.Snapshots {
		if d.foreign(s.Tags) { // of the same key, it may be
			continue
		}
		progress[tagOf(s.Tags, tagKey)] += aws.ToString(s.SnapshotId) + " " + aws.ToString(s.Progress) + "; "
	}
	return images, progress, nil
}

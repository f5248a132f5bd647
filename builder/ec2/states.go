package ec2

import (
	"context"
	"slices"
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
	err       error // that concerns everybody: the calls are not allowed
}

// want is somebody who waits, and for what.
type want struct {
	instance, online, image   string
	snapshot, imported, disks string // disks: the import of one, which becomes a snapshot
	since                     int    // the first round that counts
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

// wait calls done with each view from now on until it says that it is over.
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
	for {
		s.mu.Lock()
		seen, changed := s.seen, s.changed
		s.mu.Unlock()
		if seen.round >= w.since {
			if seen.err != nil {
				return seen.err
			}
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
		wants := s.wanted()
		if len(wants) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		s.look(ctx, wants)
		tick.Reset(s.d.cfg.pace.states) // whoever has seen it may want the next one, too
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *states) wanted() []want {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []want
	for w := range s.wants {
		all = append(all, *w)
	}
	return all
}

// look is one round. What fails for a moment leaves the view of the round before.
func (s *states) look(ctx context.Context, wants []want) {
	s.mu.Lock()
	s.round++
	now := s.seen
	now.round, now.err = s.round, nil
	s.mu.Unlock()

	asks := func(kind func(want) string) (ids []string) {
		for _, w := range wants {
			if id := kind(w); id != "" {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	var err error
	note := func(failed error) {
		if failed != nil && err == nil {
			err = failed
		}
	}
	if len(asks(func(w want) string { return w.instance })) > 0 {
		found, failed := s.d.instances(ctx)
		if note(failed); failed == nil {
			now.instances = map[string]types.Instance{}
			for _, i := range found {
				now.instances[aws.ToString(i.InstanceId)] = i
			}
		}
	}
	if ids := asks(func(w want) string { return w.online }); len(ids) > 0 {
		online, failed := s.d.online(ctx, ids)
		if note(failed); failed == nil {
			now.online = online
		}
	}
	if ids := asks(func(w want) string { return w.image }); len(ids) > 0 {
		images, progress, failed := s.d.images(ctx, ids)
		if note(failed); failed == nil {
			now.images, now.progress = images, progress
		}
	}
	if ids := asks(func(w want) string { return w.snapshot }); len(ids) > 0 {
		snapshots, failed := s.d.snapshots(ctx, ids)
		if note(failed); failed == nil {
			now.snapshots = snapshots
		}
	}
	if len(asks(func(w want) string { return w.imported })) > 0 {
		imports := map[string]types.ImportImageTask{}
		failed := error(nil)
		for t, err := range publish.ImageTasks(ctx, s.d.aws.Imports) {
			imports[aws.ToString(t.ImportTaskId)], failed = t, err
		}
		if note(failed); failed == nil {
			now.imports = imports
		}
	}
	if len(asks(func(w want) string { return w.disks })) > 0 {
		disks := map[string]types.ImportSnapshotTask{}
		failed := error(nil)
		for t, err := range publish.SnapshotTasks(ctx, s.d.aws.Imports) {
			disks[aws.ToString(t.ImportTaskId)], failed = t, err
		}
		if note(failed); failed == nil {
			now.disks = disks
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		if refused := answer.Denied(err) || answer.Unknown(err) && code(err) != ""; !refused {
			s.d.cfg.Log.WithError(err).Warn("what is waited for could not be looked at; it is tried again")
			return
		}
		now.err = err
	}
	s.mu.Lock()
	s.seen = now
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// instances are all of this daemon's, terminated ones included as long as EC2
// remembers them.
func (d *Driver) instances(ctx context.Context, more ...types.Filter) ([]types.Instance, error) {
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

// images are all of this daemon's, with the progress of the snapshots of those that
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
	for _, s := range snapshots.Snapshots {
		progress[tagOf(s.Tags, tagKey)] += aws.ToString(s.SnapshotId) + " " + aws.ToString(s.Progress) + "; "
	}
	return images, progress, nil
}

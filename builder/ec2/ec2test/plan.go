package ec2test

import (
	"maps"
	"slices"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
)

// Planned fails the test unless the calls are those of the plans, no more and no
// fewer: what polls comes at least once, everything else as often as it is planned.
// Calls that were refused count for what was asked and not for how often, and what
// instances ask by signed addresses is not the daemon's.
func Planned(t testing.TB, calls Log, plans ...estimate.Plan) {
	t.Helper()
	type times struct {
		least, most int
		polled      bool
	}
	planned := map[string]times{}
	for _, p := range plans {
		for _, s := range p.Steps {
			for _, c := range s.Calls {
				n := planned[c.Operation]
				n.most += max(1, c.Most)
				n.polled = n.polled || c.Polls
				if !c.Perhaps {
					n.least++
				}
				planned[c.Operation] = n
			}
		}
	}
	asked, made := map[string]int{}, map[string]int{}
	for _, c := range calls {
		op := c.Service + "." + c.Operation
		if op == "s3.PostBucket" || op == "s3.PostObject" {
			continue
		}
		asked[op]++
		if c.Status/100 == 2 {
			made[op]++
		}
	}
	for _, op := range slices.Sorted(maps.Keys(asked)) {
		if _, ok := planned[op]; !ok {
			t.Errorf("%s is asked for and not planned", op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(planned)) {
		switch n := planned[op]; {
		case n.least > 0 && asked[op] == 0:
			t.Errorf("%s is planned and never asked for", op)
		case !n.polled && asked[op] > 0 && (made[op] > n.most || asked[op] < n.least):
			t.Errorf("%s is asked for %d times and made %d times, planned are %d to %d", op, asked[op], made[op], n.least, n.most)
		}
	}
}

package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/reporter"
)

// cameFrom says which states a build may have been in to get into a state. A
// change that is not here is refused by the database, whoever asks for it.
var cameFrom = map[reporter.State][]reporter.State{
	reporter.Approval:   {}, // builds only begin there
	reporter.Waiting:    {reporter.Approval},
	reporter.Queued:     {reporter.Waiting, reporter.Approval, reporter.Running},
	reporter.Running:    {reporter.Queued},
	reporter.Succeeded:  {reporter.Running},
	reporter.Failed:     {reporter.Running, reporter.Waiting},
	reporter.Errored:    {reporter.Running, reporter.Waiting},
	reporter.Cancelled:  {reporter.Running, reporter.Waiting, reporter.Approval, reporter.Queued},
	reporter.Superseded: {reporter.Waiting, reporter.Approval, reporter.Queued},
}

// states is every state, in the order of the alphabet.
func states() []reporter.State { return slices.Sorted(maps.Keys(cameFrom)) }

// inStates is an SQL condition; states are constants of ours, never foreign text.
func inStates(in ...reporter.State) string {
	quoted := make([]string, len(in))
	for i, s := range in {
		quoted[i] = "'" + string(s) + "'"
	}
	return "state IN (" + strings.Join(quoted, ", ") + ")"
}

// anyRun stands for whichever run a build is in.
const anyRun = -1

// move takes a build into another state, if it may go there from where it is and
// is still in that run. It returns the run it is in now. Entering the queue
// begins a run, which makes every job of an earlier run void. With only, fewer
// states will do than could.
func move(ctx context.Context, t tx, id, run int64, to reporter.State, only ...reporter.State) (newRun int64, moved bool, err error) {
	before, known := cameFrom[to]
	if !known {
		return 0, false, fmt.Errorf("build %d: there is no state %q", id, to)
	}
	from := slices.DeleteFunc(slices.Clone(before), func(s reporter.State) bool { return len(only) > 0 && !slices.Contains(only, s) })
	if len(from) == 0 {
		return 0, false, nil
	}
	set := ""
	switch {
	case to == reporter.Queued:
		set = ", run = run + 1, worker = '', lease = 0, cancel_requested = FALSE"
	case to.Final():
		set = fmt.Sprintf(", lease = 0, finished = %d", now())
	}
	return one(ctx, t, value[int64],
		"UPDATE builds SET state = $1"+set+" WHERE id = $2 AND (run = $3 OR $3 = -1) AND "+inStates(from...)+" RETURNING run",
		string(to), id, run)
}

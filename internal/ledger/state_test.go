package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/reporter"
)

// Every pair of states is tried: what the table allows happens, and nothing else.
func TestMoveAllowsExactlyTheTable(t *testing.T) {
	l, err := Open(t.Context(), Options{URL: "sqlite:" + t.TempDir() + "/ingot.db", Log: logrus.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	ids, err := l.Accept(t.Context(), Acceptance{Source: Source{Repository: "r", Ref: "main", Commit: "c"}, Builds: []NewBuild{{Recipe: "web"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range states() {
		for _, to := range states() {
			for _, run := range []int64{anyRun, 5, 4} {
				err := l.db.inTx(t.Context(), func(tx tx) error {
					if _, err := tx.exec(t.Context(), "UPDATE builds SET state = $1, run = 5, finished = 0, lease = 1 WHERE id = $2", string(from), ids[0]); err != nil {
						return err
					}
					next, moved, err := move(t.Context(), tx, ids[0], run, to)
					if err != nil {
						return err
					}
					if want := slices.Contains(cameFrom[to], from) && run != 4; moved != want {
						t.Errorf("%s to %s in run %d: %v, want %v", from, to, run, moved, want)
					}
					if begins := to == reporter.Queued; moved && (next == 6) != begins {
						t.Errorf("%s to %s: now in run %d", from, to, next)
					}
					finished, err := value[int64](tx.row(t.Context(), "SELECT finished FROM builds WHERE id = $1", ids[0]))
					if moved && (finished != 0) != to.Final() {
						t.Errorf("%s to %s: finished at %d", from, to, finished)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if from.Final() {
			for to, before := range cameFrom {
				if slices.Contains(before, from) {
					t.Errorf("%s is final and becomes %s", from, to)
				}
			}
		}
	}
}

func TestBackOff(t *testing.T) {
	for _, c := range []struct {
		first    time.Duration
		factor   int
		failures int
		limit    time.Duration
		want     time.Duration
	}{
		{time.Second, 2, 0, time.Minute, time.Second},
		{time.Second, 2, 3, time.Minute, 8 * time.Second},
		{time.Second, 2, 6, time.Minute, time.Minute},
		{time.Second, 3, 2, time.Minute, 9 * time.Second},
		{time.Second, 2, 1 << 40, time.Minute, time.Minute},
		{time.Hour, 2, 0, time.Minute, time.Minute},
	} {
		if got := backOff(c.first, c.factor, c.failures, c.limit); got != c.want {
			t.Errorf("%v ×%d after %d: %v, want %v", c.first, c.factor, c.failures, got, c.want)
		}
	}
}

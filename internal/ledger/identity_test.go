package ledger_test

import (
	"regexp"
	"sync"
	"testing"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
)

// TestIDIsTheLedgersOwn: daemons that ask for the first time at once get the same one,
// and no other ledger has it.
func TestIDIsTheLedgersOwn(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-7]{12}$`)
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		ids := make([]string, 8)
		var asking sync.WaitGroup
		for n := range ids {
			l := open()
			asking.Go(func() {
				var err error
				if ids[n], err = l.ID(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		for _, id := range ids {
			if id != ids[0] || !form.MatchString(id) {
				t.Errorf("ids %q of one ledger", ids)
			}
		}
		if again, err := open().ID(t.Context()); err != nil || again != ids[0] {
			t.Errorf("later it is %q, %v; before %q", again, err, ids[0])
		}
		other := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
		if id, err := other.ID(t.Context()); err != nil || id == ids[0] {
			t.Errorf("another ledger has %q, %v, too", id, err)
		}
	})
}

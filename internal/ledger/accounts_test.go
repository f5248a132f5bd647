package ledger_test

import (
	"testing"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
)

// TestAccountIsTheFirst: each owner's things lie where the first look found them.
func TestAccountIsTheFirst(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		for _, c := range []struct{ owner, current, recorded string }{
			{"ingot", "111111111111", "111111111111"},
			{"ingot", "222222222222", "111111111111"},
			{"other", "222222222222", "222222222222"},
			{"ingot", "111111111111", "111111111111"},
		} {
			if got, err := l.Account(t.Context(), c.owner, c.current); err != nil || got != c.recorded {
				t.Errorf("%s with credentials of %s: %s, %v; want %s", c.owner, c.current, got, err, c.recorded)
			}
		}
	})
}

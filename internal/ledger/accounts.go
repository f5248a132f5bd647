package ledger

import (
	"context"
	"fmt"
)

// Account returns the cloud account in which an owner's things lie. The first one that
// is asked about is recorded as the owner's.
func (l *Ledger) Account(ctx context.Context, owner, current string) (recorded string, err error) {
	err = l.db.inTx(ctx, func(t tx) error {
		if _, err := t.exec(ctx, "INSERT INTO accounts (owner, account) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING", owner, current); err != nil {
			return err
		}
		recorded, _, err = one(ctx, t, value[string], "SELECT account FROM accounts WHERE owner = $1", owner)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("account of %s: %w", owner, err)
	}
	return recorded, nil
}

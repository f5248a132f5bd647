package ledger

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
)

// ID tells this ledger from all others, for as long as its database lasts: by it and
// the number of a build things outside are known to be that build's. Daemons that share
// the database have the same one, and so has a copy of the database.
func (l *Ledger) ID(ctx context.Context) (id string, err error) {
	const letters = 12 // of five bits each
	err = l.db.inTx(ctx, func(t tx) error {
		made := strings.ToLower(rand.Text()[:letters])
		if _, err := t.exec(ctx, "INSERT INTO identity (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING", made); err != nil {
			return err
		}
		id, _, err = one(ctx, t, value[string], "SELECT id FROM identity")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("id of the ledger: %w", err)
	}
	return id, nil
}

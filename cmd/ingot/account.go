package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/internal/ledger"
)

// identity tells whose credentials there are; *sts.Client has it.
type identity interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// leftovers lists what builds of the ledger have left in the account.
func (c *cloud) leftovers(ctx context.Context, l *ledger.Ledger) ([]ec2.Leftover, error) {
	if err := c.atHome(ctx, l); err != nil {
		return nil, err
	}
	return c.driver.Leftovers(ctx, owned(ctx, l))
}

// foreign lists what other ledgers under the same owner have made there, and not made to
// stay.
func (c *cloud) foreign(ctx context.Context, l *ledger.Ledger) ([]ec2.Leftover, error) {
	if err := c.atHome(ctx, l); err != nil {
		return nil, err
	}
	return c.driver.Foreign(ctx)
}

// atHome makes sure that the credentials are of the account in which the ledger's builds
// have made what there is: nothing of another one is the operator's to remove from here.
func (c *cloud) atHome(ctx context.Context, l *ledger.Ledger) error {
	who, err := c.identity.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("whose the credentials of AWS are could not be found out: %w", err)
	}
	account := aws.ToString(who.Account)
	recorded, err := l.Account(ctx, c.owner, account)
	if err != nil {
		return err
	}
	if recorded != account {
		return fmt.Errorf("what %s has made lies in account %s, and the credentials are of account %s, in which nothing is removed: use those of %s, or another aws.owner", c.owner, recorded, account, recorded)
	}
	return nil
}

package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/internal/ledger"
)

// of are the credentials of an account.
type of string

func (o of) GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{Account: aws.String(string(o))}, nil
}

// TestAnotherAccountIsLeftAlone: the driver is not even asked what there is.
func TestAnotherAccountIsLeftAlone(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + t.TempDir() + "/ingot.db", Log: log})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	if _, err := l.Account(t.Context(), "ingot", "111111111111"); err != nil {
		t.Fatal(err)
	}
	other := &cloud{identity: of("222222222222"), owner: "ingot"}
	left, err := other.leftovers(t.Context(), l)
	if err == nil || len(left) > 0 || !strings.Contains(err.Error(), "lies in account 111111111111, and the credentials are of account 222222222222") {
		t.Errorf("%v, %v", left, err)
	}
}

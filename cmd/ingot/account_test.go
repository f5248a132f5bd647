package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
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

// TestABuildThatHasJustEndedOwnsWhatItMade: EC2 may not show yet what it has kept.
func TestABuildThatHasJustEndedOwnsWhatItMade(t *testing.T) {
	now := time.Now()
	for _, k := range []struct {
		state    reporter.State
		finished time.Time
		want     bool
	}{
		{reporter.Running, time.Time{}, true},
		{reporter.Failed, now.Add(-time.Second), true},
		{reporter.Succeeded, now.Add(-time.Second), true},
		{reporter.Failed, now.Add(-settled), false},
	} {
		if got := mayUse(reporter.Build{State: k.state, Finished: k.finished}, now); got != k.want {
			t.Errorf("%s, %s ago: %v", k.state, now.Sub(k.finished), got)
		}
	}
}

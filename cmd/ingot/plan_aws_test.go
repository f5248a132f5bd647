package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// pastBuilds stands in for the ledger; each build took as many seconds as its number.
type pastBuilds []reporter.Build

func (p pastBuilds) Builds(_ context.Context, f ledger.Filter) ([]reporter.Build, error) {
	if f.Recipe != "web" || f.State != reporter.Succeeded {
		return nil, fmt.Errorf("asked for %+v", f)
	}
	return p, nil
}

func (p pastBuilds) Stages(_ context.Context, id int64) ([]reporter.Stage, error) {
	began := time.Unix(1000, 0)
	return []reporter.Stage{
		{Stage: "build", Name: "nginx", State: "succeeded", Started: began, Finished: began.Add(time.Duration(id) * time.Second)},
		{Stage: "test", Name: "http", State: "reused", Started: began, Finished: began},
		{Stage: "clean", State: "succeeded", Started: began},
	}, nil
}

func TestHistoryIsOfBuildsOnEC2(t *testing.T) {
	var past pastBuilds
	for id := range int64(30) {
		b := reporter.Build{ID: 30 - id, Image: &reporter.Image{Driver: "ec2"}}
		switch {
		case id == 0:
			b.Image = nil // nothing was built
		case id%2 == 1:
			b.Image.Driver = "local" // another machine
		}
		past = append(past, b)
	}
	took, err := historyOf(t.Context(), past, "web")
	if err != nil || len(took) != recent {
		t.Fatalf("%d times, %v: %+v", len(took), err, took)
	}
	if want := (estimate.Took{Stage: "build", Name: "nginx", Time: 28 * time.Second}); took[0] != want {
		t.Errorf("the newest took %+v, want %+v", took[0], want)
	}
}

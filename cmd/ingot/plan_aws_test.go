package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/recipe"
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

func TestOnlyBuildsOnEC2AreEstimated(t *testing.T) {
	e := &estimator{region: "eu-west-1", instanceType: "m5.large", past: pastBuilds{}}
	on := func(name, driver string, action recipe.Action) recipe.Decision {
		return recipe.Decision{Name: name, Action: action, Recipe: &recipe.Recipe{Name: name, Platform: "Linux", Infrastructure: recipe.Infrastructure{Driver: driver}}}
	}
	decisions := []recipe.Decision{on("local", "local", recipe.ActionBuild), on("web", "ec2", recipe.ActionBuild), on("tested", "ec2", recipe.ActionTest)}
	asked := newBuilds(decisions)
	if err := e.tell(t.Context(), decisions, asked); err != nil {
		t.Fatal(err)
	}
	if asked[0].Estimate != "" || asked[2].Estimate != "" || !strings.HasPrefix(asked[1].Estimate, "about ") || !strings.Contains(asked[1].Estimate, "m5.large in eu-west-1") {
		t.Errorf("estimates %q, %q, %q", asked[0].Estimate, asked[1].Estimate, asked[2].Estimate)
	}
	var none *estimator
	if err := none.tell(t.Context(), decisions, asked); err != nil {
		t.Error(err)
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// pastBuilds stands in for the ledger; each build took as many seconds as its number.
type pastBuilds []reporter.Build

func (p pastBuilds) Builds(_ context.Context, f ledger.Filter) ([]reporter.Build, error) {
	if f.Recipe == "" || f.State != reporter.Succeeded {
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

func TestHistoryIsOfTheSameDriver(t *testing.T) {
	var past pastBuilds
	for id := range int64(30) {
		b := reporter.Build{ID: 30 - id, Image: &reporter.Image{Driver: "ec2", Virtual: (30-id)<<30 - 5}}
		switch {
		case id == 0:
			b.Image = nil // nothing was built
		case id%2 == 1:
			b.Image.Driver = "local" // another machine
			if id > 5 {
				b.Image.Published = "ami-1"
			}
		}
		past = append(past, b)
	}
	on := func(driver string, publish *recipe.Publish) *recipe.Recipe {
		return &recipe.Recipe{Name: "web", Infrastructure: recipe.Infrastructure{Driver: driver}, Publish: publish}
	}
	for _, c := range []struct {
		r    *recipe.Recipe
		last int
	}{{on("ec2", nil), 28}, {on("local", nil), 29}, {on("local", &recipe.Publish{Driver: "ec2"}), 23}} {
		known, err := historyOf(t.Context(), past, c.r)
		if err != nil || len(known.Took) != recent {
			t.Fatalf("%d times, %v: %+v", len(known.Took), err, known)
		}
		if want := (estimate.Took{Stage: "build", Name: "nginx", Time: time.Duration(c.last) * time.Second}); known.Took[0] != want || known.DiskGiB != c.last {
			t.Errorf("the newest took %+v with %d GiB, want %+v", known.Took[0], known.DiskGiB, want)
		}
	}
}

func TestWhatTouchesAWSIsEstimated(t *testing.T) {
	e := newEstimator(config.AWS{
		Region: "us-east-1", Infrastructure: config.Infrastructure{InstanceTypes: []string{"m5.large", "m4.large"}},
		Infrastructures: map[string]config.Infrastructure{"large": {InstanceTypes: []string{"m5.2xlarge"}, Spot: true}},
	}, pastBuilds{})
	on := func(name, driver string, action recipe.Action, publish *recipe.Publish) recipe.Decision {
		return recipe.Decision{Name: name, Action: action, Recipe: &recipe.Recipe{
			Name: name, Platform: "Linux", Parent: recipe.Parent{Kind: recipe.ParentAlias, Name: "debian-12"},
			Infrastructure: recipe.Infrastructure{Driver: driver}, Publish: publish,
		}}
	}
	decisions := []recipe.Decision{
		on("local", "local", recipe.ActionBuild, nil), on("web", "ec2", recipe.ActionBuild, nil),
		on("tested", "ec2", recipe.ActionTest, nil), on("published", "local", recipe.ActionBuild, &recipe.Publish{Driver: "ec2"}),
		on("distributed", "ec2", recipe.ActionDistribute, nil), on("named", "ec2", recipe.ActionTest, nil),
	}
	decisions[5].Recipe.Infrastructure.Name = "large"
	asked := newBuilds(decisions, "")
	if err := e.tell(t.Context(), decisions, asked); err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{"", "about 6 minutes and $0.01 (m5.large in us-east-1", "about 1 minute and less than $0.01 (m5.large", "about 4 minutes and $0.05 (m5.large", "", "about 1 minute and less than $0.01 (m5.2xlarge on Spot"} {
		if got := asked[n].Estimate; want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", asked[n].Recipe, got, want)
		}
	}
	var none *estimator
	if err := none.tell(t.Context(), decisions, asked); err != nil {
		t.Error(err)
	}
}

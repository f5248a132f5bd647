package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// forgetful is a builder.Memory without one.
type forgetful struct{}

func (forgetful) TestsByKey(context.Context, string) ([]builder.TestResult, bool, error) {
	return nil, false, nil
}

// useOf is a document of one phase, as a recipe uses it.
func useOf(t *testing.T, name, phase, command string) recipe.Use {
	t.Helper()
	text := "schemaVersion: 1.0\nphases:\n  - name: " + phase +
		"\n    steps:\n      - name: Step\n        action: ExecuteBash\n        inputs: {commands: ['" + command + "']}\n"
	doc, problems := component.Parse(name+".yaml", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return recipe.Use{Name: name, Path: name + ".yaml", Text: []byte(text), Digest: text, Document: doc}
}

// TestStoppedInOrderABuildGoesOn stops a build as an upgrade of the daemon does, at
// each of its instances: they stay, with what runs on them, and the next life ends the
// build with them. A build that somebody cancels leaves nothing.
func TestStoppedInOrderABuildGoesOn(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	cfg := configOf(t, c, realAgent(t))
	ami := ec2test.Parents[0].ID
	upgrade := fmt.Errorf("an upgrade: %w", builder.ErrGoesOn)
	for _, k := range []struct {
		name  string
		at    func(builder.Event) bool
		cause error
	}{
		{"component", func(e builder.Event) bool { return e.Stage == builder.StageBuild && e.Text == "begun\n" }, upgrade},
		{"image", func(e builder.Event) bool { return e.Stage == builder.StageImage && e.Kind == builder.Started }, upgrade},
		{"boot", func(e builder.Event) bool { return e.Stage == builder.StageBoot && e.Kind == builder.Started }, upgrade},
		{"test", func(e builder.Event) bool { return e.Stage == builder.StageTest && e.Text == "begun\n" }, upgrade},
		{"cancelled", func(e builder.Event) bool { return e.Stage == builder.StageBuild && e.Text == "begun\n" }, errors.New("cancelled")},
	} {
		t.Run(k.name, func(t *testing.T) {
			before := len(c.Calls())
			request := builder.Request{Build: "stopped-" + k.name, Recipe: &recipe.Recipe{
				Name: k.name, Parent: recipe.Parent{Kind: recipe.ParentAMI, Name: ami, Text: ami},
				Components:     []recipe.Use{useOf(t, "once", "build", "echo begun; sleep 2; echo ran >>/etc/ran; : "+k.name)},
				Tests:          []recipe.Use{useOf(t, "ran-once", "test", `echo begun; sleep 2; test "$(cat /etc/ran)" = ran`)},
				Infrastructure: recipe.Infrastructure{Isolation: recipe.Container, TimeoutMinutes: 5},
			}}
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			_, err := builder.New(newProcess(t, cfg), forgetful{}).Build(ctx, request, func(e builder.Event) {
				if k.at(e) {
					stop(k.cause)
				}
			})
			if !errors.Is(err, k.cause) {
				t.Fatalf("the stop ended in %v", err)
			}
			calls, left := c.Calls()[before:], c.Leftovers(t.Context()).With(tagBuild, request.Build)
			if k.cause != upgrade {
				if len(left.Instances)+len(left.Images) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			if n := len(calls.Of("ssm", "CancelCommand")); n > 0 {
				t.Errorf("%d commands were cancelled", n)
			}
			if k.name != "boot" && len(left.Instances) != 1 { // where it may not have been launched yet
				t.Errorf("left to the next life: %v", left)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			result, err := builder.New(newProcess(t, cfg), forgetful{}).Build(ctx, request, func(builder.Event) {})
			if err != nil || !result.Passed() {
				t.Fatalf("the next life: %+v, %v", result.Tests, err)
			}
			launched := 0
			for _, call := range c.Calls()[before:].Of("ec2", "RunInstances") {
				if call.Status == 200 {
					launched++
				}
			}
			if launched != 2 {
				t.Errorf("%d instances were launched, want one for the build and one for its tests", launched)
			}
			if images := c.Leftovers(t.Context()).With(tagBuild, request.Build).Images; len(images) != 1 {
				t.Errorf("images %v", images)
			}
			if volumes := c.Leftovers(t.Context()).With(tagBuild, request.Build).Volumes; len(volumes) > 0 {
				t.Errorf("volumes %v", volumes)
			}
			if left := running(t, c); len(left) > 0 {
				t.Errorf("still running: %s", strings.Join(left, ", "))
			}
		})
	}
}

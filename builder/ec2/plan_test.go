package ec2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// promptAgents stand for agents that do everything at once and well.
type promptAgents struct{ quietAgents }

func (a *promptAgents) run(ctx context.Context, commands []string) (int, string, string) {
	if !requestAddress.MatchString(strings.Join(commands, "\n")) {
		return 0, "", "" // a script that does without them
	}
	r, err := a.request(commands)
	if err != nil {
		return 1, "", err.Error()
	}
	notes := []relay.Note{{Done: &relay.Outcome{}}}
	if r.Op == relay.Run {
		notes = []relay.Note{
			{Event: &component.Event{Kind: component.Output, Stream: "stdout", Text: "os\tA system\n"}},
			{Done: &relay.Outcome{Result: &component.Result{Status: component.Success, Documents: []component.DocumentResult{{Status: component.Success}}}}},
		}
	}
	var text []byte
	for _, n := range notes {
		line, err := json.Marshal(n)
		if err != nil {
			return 1, "", err.Error()
		}
		text = append(append(text, line...), '\n')
	}
	if err := a.tell(ctx, r.Inbox, relay.PieceName(0), text); err != nil {
		return 1, "", err.Error()
	}
	return 0, "", ""
}

// planned is a cloud in which builds are held against their plans.
type planned struct {
	*testing.T
	cloud *ec2test.Cloud
	cfg   Config
}

// promptCloud is a cloud whose instances answer without running anything, and the
// configuration of a driver there.
func promptCloud(t *testing.T) (*ec2test.Cloud, Config) {
	t.Helper()
	agents := &promptAgents{quietAgents{client: &http.Client{Transport: &http.Transport{}}}}
	t.Cleanup(agents.client.CloseIdleConnections)
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(agents.run)})
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("an agent"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := configOf(t, c, agent)
	cfg.pace.quiet = time.Minute // a machine that has much to do is no instance that is silent
	return c, cfg
}

func newPlanned(t *testing.T) *planned {
	t.Helper()
	c, cfg := promptCloud(t)
	cfg.WindowsAgent = cfg.Agent
	return &planned{t, c, cfg}
}

// build builds a recipe and holds the calls against the plan.
func (p *planned) build(t *testing.T, r *recipe.Recipe, spot, testsOnly bool) {
	t.Helper()
	cfg := p.cfg
	cfg.Spot, cfg.Log = spot, testLog(t)
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := len(p.cloud.Calls())
	id := fmt.Sprintf("%s-%t", r.Name, testsOnly)
	result, err := builder.New(d, forgetful{}).Build(t.Context(), builder.Request{Build: id, Recipe: r, Tree: treeOf(t)}, func(builder.Event) {})
	d.Close()
	if err != nil || !result.Passed() || result.ImageReused != testsOnly {
		t.Fatalf("built %+v, %v", result, err)
	}
	ec2test.Planned(t, p.cloud.Calls()[before:], estimate.Of(estimate.Input{
		Recipe: r, Region: ec2test.Region, InstanceType: cfg.InstanceTypes[0], Spot: spot, TestsOnly: testsOnly,
	}))
}

// treeOf is a repository with one file.
func treeOf(t *testing.T) recipe.Tree {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "motd"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := recipe.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return tree
}

// TestPlanIsWhatABuildDoes: the calls that are announced are those that are made.
// When it fails, either the build asks AWS for something new, which belongs into the
// steps of package estimate, or it does not ask for something any more.
func TestPlanIsWhatABuildDoes(t *testing.T) {
	p := newPlanned(t)
	disk := "s3://" + p.cloud.Bucket + "/disks/golden.vmdk"
	d := newDriver(t, p.cfg)
	if err := d.putObject(t.Context(), "disks/golden.vmdk", []byte("KDMV and the rest")); err != nil {
		t.Fatal(err)
	}
	ami := recipe.Parent{Kind: recipe.ParentAMI, Name: ec2test.Parents[0].ID, Text: ec2test.Parents[0].ID}
	alias := func(name string) recipe.Parent {
		return recipe.Parent{Kind: recipe.ParentAlias, Name: name, Text: name}
	}
	parameter := "ssm:" + ec2test.Parents[0].Parameter
	for name, c := range map[string]struct {
		parent   recipe.Parent
		platform string
		spot     bool
		uses     []string // phases of components
		tests    []string // of tests
		files    bool
		again    bool // with other tests, which alone are to be done
	}{
		"nothing but a parent":      {parent: ami},
		"Spot":                      {parent: ami, spot: true, uses: []string{"build"}, tests: []string{"test"}},
		"files":                     {parent: ami, files: true, again: true},
		"components that are tests": {parent: ami, uses: []string{"build", "validate", "test"}, tests: []string{"test"}},
		"a test that prepares":      {parent: ami, tests: []string{"test", "prepare"}},
		"an alias":                  {parent: alias("debian-12"), uses: []string{"build"}},
		"a parameter":               {parent: recipe.Parent{Kind: recipe.ParentSSM, Name: parameter, Text: parameter}},
		"a disk in S3":              {parent: recipe.Parent{Kind: recipe.ParentObject, Name: disk, Text: disk}, again: true},
		"Windows on Spot":           {parent: alias("windows-2022"), platform: component.Windows, spot: true},
		"Windows":                   {parent: alias("windows-2022"), platform: component.Windows, files: true, tests: []string{"prepare"}, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recipe.Recipe{
				Name: strings.ReplaceAll(name, " ", "-"), Platform: cmp.Or(c.platform, component.Linux), Parent: c.parent,
				Infrastructure: recipe.Infrastructure{Driver: Name, TimeoutMinutes: 5},
			}
			for n, phase := range c.uses {
				r.Components = append(r.Components, phaseOf(t, fmt.Sprintf("component-%d", n), phase, name))
			}
			for n, phase := range c.tests {
				r.Tests = append(r.Tests, phaseOf(t, fmt.Sprintf("test-%d", n), phase, name))
			}
			if c.files {
				r.Files = []recipe.Files{{Source: "motd", Destination: "/etc/motd", Entries: []recipe.File{{Path: "motd", Target: "/etc/motd", Mode: 0o644, Size: 6}}}}
			}
			r.WorkingDir = "/" + r.Name // keeps the images of cases apart
			p.build(t, r, c.spot, false)
			if c.again {
				r.Tests = append(r.Tests, phaseOf(t, "another", "test", name), phaseOf(t, "last", "test", name))
				p.build(t, r, c.spot, true)
			}
		})
	}
}

// phaseOf is a document with a phase; to prepare something is nothing without a test.
func phaseOf(t *testing.T, name, phase, why string) recipe.Use {
	t.Helper()
	u := useOf(t, name, strings.ReplaceAll(phase, "prepare", "test"), "true "+why)
	if phase != "prepare" {
		return u
	}
	u.Text = bytes.ReplaceAll(u.Text, []byte("phases:\n"), []byte("phases:\n  - name: prepare\n    steps: [{name: Ready, action: ExecuteBash, inputs: {commands: [\"true\"]}}]\n"))
	doc, problems := component.Parse(u.Path, u.Text)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	u.Document, u.Digest = doc, string(u.Text)
	return u
}

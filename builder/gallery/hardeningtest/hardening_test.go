package hardeningtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/agent/agenttest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/gallery"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// server makes of the small base disk what there is something to harden on.
const server = `
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Install
        action: ExecuteBash
        maxAttempts: 3
        inputs: {commands: ["apt-get -q update && apt-get -q -y --no-install-recommends install openssh-server"]}
`

// manifest lists the tree the first time, and compares it the second time. Caches
// and logs are what a package manager writes however little it does.
const manifest = `
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Tree
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -eu
              list() {
                find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
                  -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /root/manifest \) -prune -o -printf '%p %y %m %u %g %l\n' | sort
                find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
                  -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /root/manifest \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
              }
              if [ ! -e /root/manifest ]; then
                list > /root/manifest
                exit 0
              fi
              list | diff /root/manifest - > /run/changed || { head -n 50 /run/changed >&2; exit 1; }
              rm /root/manifest
`

func TestMain(m *testing.M) { os.Exit(agenttest.Main(m)) }

// remembers is the builder's memory of tests, which has none here.
type remembers struct{}

func (remembers) TestsByKey(context.Context, string) ([]builder.TestResult, bool, error) {
	return nil, false, nil
}

// workbench builds images on the local driver.
type workbench struct {
	*testing.T
	builder *builder.Builder
	parent  string
}

func newWorkbench(t *testing.T) *workbench {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	parent := disktest.Debian12(t)
	driver, err := local.New(local.Config{
		Dir: t.TempDir(), CacheDir: t.TempDir(), AgentPath: agenttest.Program(t), ParentDirs: []string{filepath.Dir(parent)}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &workbench{T: t, builder: builder.New(driver, remembers{}), parent: parent}
}

// build builds a recipe, given by its components and tests, to its end.
func (w *workbench) build(name, components, tests string) builder.Result {
	w.Helper()
	text := fmt.Sprintf("apiVersion: ingot/v1\nkind: ImageRecipe\nname: %s\nversion: 1.0.0\nparentImage: %s\ncomponents:\n%s\ntests:\n%s\n",
		name, w.parent, indent(components), indent(tests))
	folder := w.TempDir()
	for file, content := range map[string]string{"recipe.yaml": text, "server.yaml": server, "manifest.yaml": manifest} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	tree, err := recipe.OpenDir(folder)
	if err != nil {
		w.Fatal(err)
	}
	defer tree.Close()
	set, err := recipe.Load(w.Context(), tree, recipe.Options{Gallery: gallery.New(), HostFiles: true})
	if err != nil {
		w.Fatal(err)
	}
	if err := set.Problems().Err(); err != nil {
		w.Fatal(err)
	}
	var said strings.Builder
	result, err := w.builder.Build(w.Context(), builder.Request{Build: name, Recipe: set.Recipes[name], Tree: tree}, func(e builder.Event) {
		if e.Kind == builder.Output {
			said.WriteString(e.Text)
		} else if e.Step == "" {
			w.Logf("%s %s %s %s %s %s", name, e.Stage, e.Name, e.Kind, e.Elapsed, e.Text)
		}
	})
	if err != nil {
		var e *builder.Error
		if errors.As(err, &e) {
			w.Logf("%s", e.Output)
		}
		w.Fatalf("%s: %v\n%s", name, err, lastBytes(said.String(), 8<<10))
	}
	return result
}

func indent(list string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(list), "\n", "\n  ")
}

func lastBytes(text string, n int) string { return text[max(0, len(text)-n):] }

// scanOf is what compliance-scan reported.
func (w *workbench) scanOf(result builder.Result) *builder.Scan {
	w.Helper()
	for _, t := range result.Tests {
		if t.Name != "compliance-scan" {
			continue
		}
		if t.Status != component.Success || t.Scan == nil {
			w.Fatalf("the scan ended with %s (%s): %+v", t.Status, t.Message, t.Scan)
		}
		return t.Scan
	}
	w.Fatal("there is no scan")
	return nil
}

// hardened is the component in a recipe.
func hardened(level string) string {
	return "- component: stig-build-linux\n  parameters: {Level: " + level + ", InstallPackages: 'Yes'}\n"
}

// goodImage is what every image should pass. Of ports, SSH alone is open to others;
// the rest belongs to DHCP.
const goodImage = `
- component: simple-boot-test-linux
- component: listening-ports-test
  parameters: {AllowedPorts: '22 udp/68 udp/546'}
- component: no-build-credentials-left-test
`

// TestHardenedTwice holds that a second run of all controls changes no file, and that
// what was hardened twice boots and is a good image in all other respects.
func TestHardenedTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and boots an image")
	}
	w := newWorkbench(t)
	w.build("twice", "- component: ./server.yaml\n"+hardened("High")+"- component: ./manifest.yaml\n"+hardened("High")+"- component: ./manifest.yaml",
		goodImage)
}

// TestLevels builds an image without hardening, and with that of each level. All
// boot, and the scanner gives each a better score than the one before. What fails
// after High is what docs/hardening.md gives reasons for. It prints the table of
// that page.
func TestLevels(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and scans four images")
	}
	reasons := explained(t)
	w := newWorkbench(t)
	const tests = "- component: simple-boot-test-linux\n- component: compliance-scan\n"
	rows := []string{"| image | score | rules passed, of those that apply |", "|---|---|---|"}
	var before, below *builder.Scan
	for _, level := range []string{"before", "Low", "Medium", "High"} {
		components := "- component: ./server.yaml\n"
		if level != "before" {
			components += hardened(level)
		}
		scan := w.scanOf(w.build(strings.ToLower(level), components, tests))
		if before == nil {
			before, below = scan, scan
		} else if scan.Score <= below.Score {
			t.Errorf("level %s does not raise the score: %.1f → %.1f", level, below.Score, scan.Score)
		}
		if scan.Profile != before.Profile || !strings.HasPrefix(scan.Profile, "anssi_bp28_enhanced, data 0.1.76") {
			t.Errorf("level %s was held against %q, the image before against %q", level, scan.Profile, before.Profile)
		}
		for _, rule := range worse(before, scan) {
			if !slices.Contains(knownWorse, rule) {
				t.Errorf("level %s makes worse: %s", level, rule)
			}
		}
		rows = append(rows, fmt.Sprintf("| %s | %.1f | %d of %d |", level, scan.Score, scan.Passed, scan.Passed+len(scan.Failed)+scan.Omitted))
		t.Logf("%s: %s", rows[len(rows)-1], strings.Join(worse(before, scan), ", "))
		below = scan
	}
	for _, rule := range below.Failed {
		t.Logf("still failed: %s %s: %s", rule.Severity, rule.ID, rule.Title)
		if !slices.ContainsFunc(reasons, func(pattern string) bool { return matches(pattern, rule) }) {
			t.Errorf("%s fails after High, and %s does not say why", rule.ID, page)
		}
	}
	for _, pattern := range reasons {
		if !slices.ContainsFunc(below.Failed, func(rule builder.Rule) bool { return matches(pattern, rule) }) {
			t.Errorf("%s says why %s fails after High, and it does not", page, pattern)
		}
	}
	fmt.Println(strings.Join(rows, "\n"))
}

// knownWorse are rules that apply once a package is there, and then fail:
// docs/hardening.md says why they stay so.
var knownWorse = []string{"sudoers_explicit_command_args", "sudoers_no_root_target"}

// worse are the rules that fail now and did not before.
func worse(before, now *builder.Scan) []string {
	var ids []string
	for _, rule := range now.Failed {
		if !slices.ContainsFunc(before.Failed, func(r builder.Rule) bool { return r.ID == rule.ID }) {
			ids = append(ids, rule.ID)
		}
	}
	return ids
}

const page = "docs/hardening.md"

// explained lists the rules for which the page says why they fail after High: the
// first column of its last table, without what belongs to another profile. A rule may
// be a pattern, as for path.Match.
func explained(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", page))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| rules | why |\n")
	if !found {
		t.Fatalf("%s has no table of rules and reasons", page)
	}
	var patterns []string
	for line := range strings.Lines(table) {
		row, inside := strings.CutPrefix(line, "| ")
		if !inside && !strings.HasPrefix(line, "|--") {
			break
		}
		rules, _, _ := strings.Cut(row, " | ")
		if strings.Contains(rules, "(profile ") {
			continue
		}
		for rule := range strings.SplitSeq(rules, ", ") {
			if name, quoted := strings.CutPrefix(rule, "`"); quoted {
				patterns = append(patterns, strings.TrimSuffix(name, "`"))
			}
		}
	}
	if len(patterns) == 0 {
		t.Fatalf("%s gives no reasons", page)
	}
	return patterns
}

func matches(pattern string, rule builder.Rule) bool {
	matched, err := path.Match(pattern, rule.ID)
	return matched && err == nil
}

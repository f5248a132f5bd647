package terminal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// story is a build that fails in its last component.
func story() []Update {
	return []Update{
		{Kind: Started, Stage: "resolve"},
		{Kind: Succeeded, Stage: "resolve", Text: "debian-12", Elapsed: 100 * time.Millisecond},
		{Kind: Reused, Stage: "build", Name: "update-linux"},
		{Kind: Started, Stage: "build", Name: "nginx"},
		{Kind: Started, Stage: "build", Name: "nginx", Step: "build/Install"},
		{Kind: Output, Stage: "build", Name: "nginx", Step: "build/Install", Text: "Reading package lists...\nSetting up \x1b[1mnginx"},
		{Kind: Output, Stage: "build", Name: "nginx", Step: "build/Install", Text: "-light\x1b[0m ...\n"},
		{Kind: Succeeded, Stage: "build", Name: "nginx", Step: "build/Install", Elapsed: 3 * time.Second},
		{Kind: Warned, Stage: "build", Name: "nginx", Text: "the document names no version"},
		{Kind: Succeeded, Stage: "build", Name: "nginx", Elapsed: 3200 * time.Millisecond},
		{Kind: Started, Stage: "build", Name: "postgres"},
		{Kind: Started, Stage: "build", Name: "postgres", Step: "build/Install"},
		{Kind: Output, Stage: "build", Name: "postgres", Step: "build/Install", Text: "E: Unable to locate package\tpostgresql-99"},
		{Kind: Failed, Stage: "build", Name: "postgres", Step: "build/Install", Text: "exit status 100"},
		{Kind: Failed, Stage: "build", Name: "postgres", Elapsed: 2600 * time.Millisecond},
		{Kind: Skipped, Stage: "image", Text: "the build failed"},
	}
}

func TestDisplayOnATerminal(t *testing.T) {
	for _, color := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := &virtual{width: 72, height: 24}
			d := New(v, Options{TTY: true, Color: color, Width: 72, Height: 24})
			for i, u := range story() {
				d.Update(u)
				if u.Kind == Output && u.Name == "postgres" {
					time.Sleep(1550 * time.Millisecond)
					synctest.Wait()
					golden(t, "running.txt", v.text())
				}
				if i == 8 {
					time.Sleep(interval)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			golden(t, "finished.txt", v.text())
			if v.problem != nil {
				t.Error(v.problem)
			}
		})
	}
}

func TestDisplayWithoutTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string]Options{"plain.txt": {}, "quiet.txt": {Quiet: true}} {
			var out bytes.Buffer
			d := New(&out, o)
			for _, u := range story() {
				d.Update(u)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
		}
	})
}

func TestOnlyChangedRowsAreRewritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &virtual{width: 80, height: 24}
		d := New(v, Options{TTY: true})
		for i := range 10 {
			d.Update(Update{Kind: Succeeded, Stage: "build", Name: fmt.Sprint("component-", i), Elapsed: time.Second})
		}
		time.Sleep(interval)
		synctest.Wait()
		before := v.bytes()
		time.Sleep(10 * interval)
		synctest.Wait()
		if n := v.bytes() - before; n != 0 {
			t.Errorf("%d bytes were written though nothing changed", n)
		}
		d.Update(Update{Kind: Started, Stage: "test", Name: "http"})
		time.Sleep(interval)
		synctest.Wait()
		before = v.bytes()
		time.Sleep(10 * interval)
		synctest.Wait()
		if n := v.bytes() - before; n == 0 || n > 10*120 {
			t.Errorf("%d bytes were written for ten turns of one row", n)
		}
		if err := errors.Join(d.Close(), d.Close(), v.problem); err != nil {
			t.Error(err)
		}
	})
}

func TestMoreRowsThanLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &virtual{width: 80, height: 6}
		d := New(v, Options{TTY: true, Height: 6})
		for i := range 20 {
			name := fmt.Sprint("component-", i)
			d.Update(Update{Kind: Started, Stage: "build", Name: name})
			time.Sleep(interval)
			synctest.Wait()
			d.Update(Update{Kind: Succeeded, Stage: "build", Name: name, Elapsed: time.Second})
		}
		if err := errors.Join(d.Close(), v.problem); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(v.text(), "✓"); got != 20 {
			t.Errorf("%d of 20 rows are shown as done:\n%s", got, v.text())
		}
	})
}

func TestNarrowTerminals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for width := range 60 {
			v := &virtual{width: max(width, 20), height: 24}
			d := New(v, Options{TTY: true, Color: true, Size: func() (int, int) { return width, 24 }, Width: 20})
			for _, u := range story() {
				d.Update(u)
			}
			d.Update(Update{Kind: Started, Stage: "build", Name: strings.Repeat("東京", 30)})
			if err := errors.Join(d.Close(), v.problem); err != nil {
				t.Errorf("%d columns: %v", width, err)
			}
		}
	})
}

func TestAWriterThatFails(t *testing.T) {
	gone := errors.New("broken pipe")
	for _, tty := range []bool{false, true} {
		d := New(failing{gone}, Options{TTY: tty})
		d.Update(Update{Kind: Started, Stage: "build", Name: "nginx"})
		if err := d.Close(); !errors.Is(err, gone) {
			t.Errorf("TTY %v: %v, want the writer's error", tty, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzNothingHostileReachesTheTerminal(f *testing.F) {
	f.Add("nginx", "\x1b]0;title\x07\x1b[2J\x9b31m")
	f.Add("a\nb\r\x00", "\x1b[")
	f.Add("東京\u202e", "\t\x7f\xff")
	f.Add("x", strings.Repeat("y", 20000))
	f.Fuzz(func(t *testing.T, name, text string) {
		v := &virtual{width: 80, height: 100_000}
		d := New(v, Options{TTY: true, Height: 100_000})
		var plain bytes.Buffer
		p := New(&plain, Options{})
		for _, kind := range []Kind{Started, Output, Warned, Failed, Kind(text)} {
			for _, step := range []string{"", name} {
				u := Update{Kind: kind, Stage: name, Name: name, Step: step, Text: text, Elapsed: time.Second}
				d.Update(u)
				p.Update(u)
			}
		}
		if err := errors.Join(d.Close(), p.Close(), v.problem); err != nil {
			t.Error(err)
		}
		b := sample()
		b.State, b.Recipe, b.Version, b.Title = reporter.Failed, name, text, text
		b.Image = &reporter.Image{ID: text, Name: name, Recipe: name, Version: text, OS: text}
		b.Tests = []reporter.Test{{Name: name, State: text, Message: text, Scan: &reporter.Scan{Profile: text, Failed: []reporter.Rule{{ID: text, Severity: text, Title: text}}}}}
		b.Findings = []reporter.Finding{{File: name, Message: text, Expected: text, Excerpt: text}}
		b.Failure = &reporter.Failure{Stage: name, Name: name, Step: text, Reason: text, Hint: text, Output: text, Replay: text, Kept: &reporter.Kept{Exec: text}, NotKept: text}
		shown := plain.String() + Summary(b, Options{}) + BuildsTable([]reporter.Build{b}, noon, Options{}) + ImagesTable([]reporter.Image{*b.Image}, noon, Options{})
		if bad := regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e]").FindString(shown); bad != "" {
			t.Errorf("%q is shown", bad)
		}
	})
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func sample() reporter.Build {
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	return reporter.Build{
		ID: 41, Recipe: "web-server", Version: "1.4.0", State: reporter.Succeeded, Commit: "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c", Title: "Serve the status page on port 8080",
		Image:         &reporter.Image{ID: "img-3f9a1c2b4d5e", Name: "web-server/1.4.0/3", Recipe: "web-server", Version: "1.4.0", Size: 612_400_000, OS: "Debian GNU/Linux 12 (bookworm)", Build: 41, Created: at(17)},
		PreviousImage: &reporter.Image{Size: 609_300_000},
		Tests:         []reporter.Test{{Name: "simple-boot-test-linux", State: "succeeded", Duration: 5100 * time.Millisecond}, {Name: "http", State: "succeeded", Reused: true}},
		Stages: []reporter.Stage{
			{Stage: "resolve", State: "succeeded", Started: at(0), Finished: at(0.1)}, {Stage: "build", Name: "update-linux", State: "reused"},
			{Stage: "build", Name: "nginx", State: "succeeded", Started: at(0.4), Finished: at(3.6)}, {Stage: "build", Name: "page", State: "succeeded", Started: at(3.6), Finished: at(4.1)},
			{Stage: "boot", State: "succeeded", Started: at(5), Finished: at(16)}, {Stage: "test", Name: "http", State: "succeeded", Started: at(14), Finished: at(17)},
		},
		Created: at(-1), Started: at(0), Finished: at(17),
	}
}

func failedSample() reporter.Build {
	b := sample()
	b.ID, b.Recipe, b.State, b.Image, b.PreviousImage, b.Tests, b.Stages = 40, "database", reporter.Failed, nil, nil, []reporter.Test{{Name: "http", State: "failed", Message: "GET /: 404, want 200", Duration: time.Second}}, nil
	b.Failure = &reporter.Failure{
		Stage: "build", Name: "postgres", Step: "build/Install", Reason: "exit status 100", Hint: "apt-get knows no package of that name; postgresql-15 is there.",
		Output: "Reading package lists...\nE: Unable to locate package\tpostgresql-99\n", Replay: "ingot build --commit 3f9a1c2 recipes/db/recipe.yaml",
		Kept: &reporter.Kept{Until: noon.Add(24 * time.Hour), Exec: "ingot exec 40 -- COMMAND"},
	}
	b.Findings = []reporter.Finding{{File: "recipes/db/recipe.yaml", Line: 3, Column: 1, Message: "content changed under a released version", Expected: "version 2.1.0", Excerpt: "version: 2.0.0"}}
	return b
}

func TestSummary(t *testing.T) {
	errored := failedSample()
	errored.State, errored.Findings = reporter.Errored, nil
	errored.Failure.Kept, errored.Failure.NotKept = nil, "The instance is not kept: the operator has switched that off."
	cancelled := reporter.Build{Recipe: "bastion", State: reporter.Cancelled}
	scanned := sample()
	scanned.Recipe = "hardened"
	scan := &reporter.Scan{Profile: "anssi_bp28_enhanced, data 0.1.76", Score: 88, Passed: 230}
	for i := range shownRules + 2 {
		scan.Failed = append(scan.Failed, reporter.Rule{ID: fmt.Sprintf("rule_%d", i), Severity: "medium", Title: "A rule"})
	}
	scanned.Tests = append(scanned.Tests, reporter.Test{Name: "compliance-scan", State: "succeeded", Scan: scan})
	published := sample()
	published.Image.Published = "ami-0123456789abcdef0"
	golden(t, "summary.txt", Summary(sample(), Options{})+Summary(published, Options{})+Summary(scanned, Options{})+Summary(failedSample(), Options{})+Summary(errored, Options{})+Summary(cancelled, Options{}))
	if got := Summary(sample(), Options{Color: true}); !strings.Contains(got, "\x1b[32m✓ \x1b[0m\x1b[1mweb-server 1.4.0\x1b[0m") {
		t.Errorf("no colours: %q", got)
	}
}

func TestTables(t *testing.T) {
	waiting := reporter.Build{ID: 42, Recipe: "bastion", State: reporter.Queued, Created: noon.Add(40 * time.Second)}
	builds := []reporter.Build{waiting, sample(), failedSample()}
	images := []reporter.Image{*sample().Image, {ID: "ami-0123456789abcdef0", Recipe: "bastion", Version: "0.2.0", Size: 1e9, Created: noon.Add(-100 * time.Hour)}}
	now := noon.Add(41 * time.Second)
	shown := BuildsTable(builds, now, Options{}) + "\n" + BuildsTable(builds, now, Options{TTY: true, Width: 70}) + "\n" + ImagesTable(images, now, Options{})
	images[0].Published, builds[1].Image = "ami-00000000000000001", &images[0]
	golden(t, "tables.txt", shown+"\n"+BuildsTable(builds, now, Options{})+"\n"+ImagesTable(images, now, Options{}))
}

func TestDetect(t *testing.T) {
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	if o := Detect(other, func(string) string { return "" }); o.TTY || o.Color {
		t.Errorf("a pipe was taken for a terminal: %+v", o)
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for _, tt := range []struct {
		env        map[string]string
		tty, color bool
	}{
		{map[string]string{"TERM": "xterm"}, true, true},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, true, false},
		{map[string]string{"TERM": "dumb"}, false, false},
	} {
		if o := Detect(terminal, func(name string) string { return tt.env[name] }); o.TTY != tt.tty || o.Color != tt.color {
			t.Errorf("%v: %+v", tt.env, o)
		}
	}
	if width, height := (Options{Size: func() (int, int) { return 0, 0 }}).size(); width != 80 || height != 24 {
		t.Errorf("a terminal that does not know its size: %d×%d", width, height)
	}
}

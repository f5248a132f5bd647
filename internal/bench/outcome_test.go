package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

const twoStages = `{"time":"2026-01-02T03:04:05Z","kind":"started","stage":"launch"}
{"time":"2026-01-02T03:04:06Z","kind":"succeeded","stage":"launch","elapsedNanoseconds":1000000000}
{"time":"2026-01-02T03:04:06Z","kind":"reused","stage":"build","name":"nginx"}
{"time":"2026-01-02T03:04:06Z","kind":"started","stage":"build","name":"site"}
{"time":"2026-01-02T03:04:06Z","kind":"started","stage":"build","name":"site","step":"build/Page"}
{"time":"2026-01-02T03:04:07Z","kind":"output","stage":"build","name":"site","step":"build/Page","text":"x\n"}
{"time":"2026-01-02T03:04:08Z","kind":"succeeded","stage":"build","name":"site","step":"build/Page"}
{"time":"2026-01-02T03:04:09Z","kind":"succeeded","stage":"build","name":"site","elapsedNanoseconds":3000000000}
{"time":"2026-01-02T03:04:09Z","kind":"started","stage":"image"}
{"time":"2026-01-02T03:04:10Z","kind":"succeeded","stage":"image","text":"img-1","elapsedNanoseconds":1000000000}
`

func TestOutcome(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 4, 0, time.UTC)
	o, err := parseOutcome(strings.NewReader(twoStages+`{"kind":"result","state":"succeeded","image":{"Ref":"/images/1.qcow2"}}`), start)
	if err != nil {
		t.Fatal(err)
	}
	o.toEnd = 7 * time.Second
	if got := strings.Join(o.stages, ", "); got != "launch, build nginx, build site, image" {
		t.Errorf("stages: %s", got)
	}
	if o.toImage != 6*time.Second || o.imageRef != "/images/1.qcow2" || o.rest() != 2*time.Second {
		t.Errorf("to image %v, %s, rest %v", o.toImage, o.imageRef, o.rest())
	}
	if o.kinds["build nginx"] != builder.Reused || o.elapsed["build site"] != 3*time.Second || o.steps["build site build/Page"] != 2*time.Second {
		t.Errorf("%+v", o)
	}
}

func TestOutcomeOfNoImage(t *testing.T) {
	for name, lines := range map[string]string{
		"cut off":  twoStages,
		"failed":   twoStages + `{"kind":"result","state":"failed"}`,
		"not JSON": "panic: x\n",
	} {
		if _, err := parseOutcome(strings.NewReader(lines), time.Time{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMetrics(t *testing.T) {
	m := parseMetrics(`goos: linux
time="now" level=warning msg="BenchmarkX 3 4"
BenchmarkPoll200Repositories-2   	       3	 123456 ns/op	         0.012 cpu-ratio	       305.0 ours-B/poll
BenchmarkAccept/sqlite         	     100	   3540000 ns/op
PASS
`)
	for _, want := range []struct {
		name, unit string
		value      float64
	}{
		{"Poll200Repositories", "cpu-ratio", 0.012},
		{"Poll200Repositories", "ours-B/poll", 305},
		{"Accept/sqlite", "ns/op", 3540000},
	} {
		if got, err := m.of(want.name, want.unit); err != nil || got != want.value {
			t.Errorf("%s %s: %v, %v", want.name, want.unit, got, err)
		}
	}
	if _, err := m.of("Accept/postgres", "ns/op"); err == nil {
		t.Error("a benchmark that has not run has a figure")
	}
	if len(m) != 2 {
		t.Errorf("%d benchmarks: %v", len(m), m)
	}
}

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{took(0), "-"},
		{took(1234 * time.Nanosecond), "1.23 µs"},
		{took(289 * time.Millisecond), "289 ms"},
		{took(6123 * time.Millisecond), "6.12 s"},
		{took(154 * time.Second), "154 s"},
		{size(304), "304 B"},
		{size(33400), "33.4 kB"},
		{size(78.7e6), "78.7 MB"},
		{ratio(1, 30), "1/30"},
		{ratio(9, 10), "0.90"},
		{ratio(0, 10), "-"},
		{goal(0.8, 0.8, "0.8 s"), "≤ 0.8 s met"},
		{goal(0.9, 0.8, "0.8 s"), "≤ 0.8 s MISSED"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	times := []time.Duration{3, 1, 2}
	if got := median(times, func(d time.Duration) time.Duration { return d }); got != 2 {
		t.Errorf("median: %d", got)
	}
}

func TestTable(t *testing.T) {
	tab := table{head: []string{"what", "µs", "goal"}}
	tab.add("a look", "1.5")
	tab.add("x", "10", "≤ 12 met")
	tab.note("%d runs", 3)
	var got strings.Builder
	if err := tab.write(&got); err != nil {
		t.Fatal(err)
	}
	want := "  what     µs      goal\n" + "  " + strings.Repeat("-", 6+2+3+2+8) + "\n  a look  1.5\n  x        10  ≤ 12 met\n  3 runs\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestPartsAreChosen(t *testing.T) {
	for args, want := range map[string]string{
		"-only mkosi,polling":                              "polling mkosi",
		"-skip packer,mkosi,memory,daemon,limits,planning": "polling engine build publish",
		"-only build -skip build":                          "",
	} {
		var names []string
		chosen, err := (&bench{}).flags(strings.Fields(args))
		for _, p := range chosen {
			names = append(names, p.name)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", args, got, err, want)
		}
	}
	for _, args := range []string{"-only nonsense", "-rounds 0", "extra"} {
		if _, err := (&bench{}).flags(strings.Fields(args)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

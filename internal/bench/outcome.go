package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

// outcome is what one `ingot build --json` has told.
type outcome struct {
	toImage  time.Duration // from the start of the process; also of an image that was reused
	toEnd    time.Duration // to the end of the process
	stages   []string      // in the order in which they began
	elapsed  map[string]time.Duration
	kinds    map[string]builder.EventKind // how each stage ended
	steps    map[string]time.Duration     // by stage and step
	imageRef string
}

// line is an event, or the result that comes last.
type line struct {
	builder.Event
	State reporter.State  `json:"state"`
	Image *reporter.Image `json:"image"`
}

// parseOutcome reads the lines of a build whose process began at start.
func parseOutcome(r io.Reader, start time.Time) (outcome, error) {
	o := outcome{
		elapsed: make(map[string]time.Duration), kinds: make(map[string]builder.EventKind), steps: make(map[string]time.Duration),
	}
	began := make(map[string]time.Time)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return o, fmt.Errorf("a line of the build is not JSON: %w: %.200s", err, lines.Bytes())
		}
		switch {
		case l.Kind == "result":
			if l.State != reporter.Succeeded || l.Image == nil {
				return o, fmt.Errorf("the build ended as %s", l.State)
			}
			o.imageRef = l.Image.Ref
			return o, nil
		case l.Kind == builder.Output || l.Kind == builder.Warned:
		case l.Step != "":
			key := stageName(l.Event) + " " + l.Step
			if l.Kind == builder.Started {
				began[key] = l.Time
			} else {
				o.steps[key] = l.Time.Sub(began[key])
			}
		case l.Kind == builder.Started:
			o.stages = append(o.stages, stageName(l.Event))
		default:
			o.end(l.Event, start)
		}
	}
	if err := lines.Err(); err != nil {
		return o, err
	}
	return o, fmt.Errorf("the build has told no result")
}

// end notes the end of a stage, or that it was not needed.
func (o *outcome) end(e builder.Event, start time.Time) {
	name := stageName(e)
	if !slices.Contains(o.stages, name) {
		o.stages = append(o.stages, name)
	}
	o.kinds[name], o.elapsed[name] = e.Kind, e.Elapsed
	if e.Stage == builder.StageImage {
		o.toImage = e.Time.Sub(start)
	}
}

// rest is what no stage accounts for: process, configuration, database, closing.
func (o outcome) rest() time.Duration {
	rest := o.toEnd
	for d := range maps.Values(o.elapsed) {
		rest -= d
	}
	return rest
}

func stageName(e builder.Event) string {
	if e.Name == "" {
		return string(e.Stage)
	}
	return string(e.Stage) + " " + e.Name
}

// median is the middle of what f says of each; of an even number the upper one.
func median[T any](all []T, f func(T) time.Duration) time.Duration {
	d := sorted(all, f)
	if len(d) == 0 {
		return 0
	}
	return d[len(d)/2]
}

// span is the least and the most of what f says of each.
func span[T any](all []T, f func(T) time.Duration) string {
	d := sorted(all, f)
	if len(d) == 0 {
		return "-"
	}
	return took(d[0]) + " … " + took(d[len(d)-1])
}

func sorted[T any](all []T, f func(T) time.Duration) []time.Duration {
	var d []time.Duration
	for _, one := range all {
		d = append(d, f(one))
	}
	slices.Sort(d)
	return d
}

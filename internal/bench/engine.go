package main

import (
	"context"
	"time"
)

// Goals of the component engine.
const (
	mostOverhead   = 1.2 // of a step that does nothing, to the start of its process
	mostValidation = 500 * time.Millisecond
)

// engine compares a step that does nothing with the process that it starts, and
// shows how long it takes to check documents.
func (b *bench) engine(ctx context.Context) ([]table, error) {
	m, err := goBench(ctx, "./builder/component", "^Benchmark(NoOpStep|StepWithoutProgram|Validate1000)$", "40x")
	if err != nil {
		return nil, err
	}
	floor, err := m.of("NoOpStep", "bash-µs/step")
	if err != nil {
		return nil, err
	}
	ours, err := m.of("NoOpStep", "ours-µs/step")
	if err != nil {
		return nil, err
	}
	steps := table{head: []string{"medians of 40 times 50, in turns", "bash -c true", "ingot", "ratio", "goal"}}
	steps.add("a step that runs 'true'", micro(floor), micro(ours), ratio(ours, floor), goal(ours/floor, mostOverhead, "1.2"))

	alone := table{head: []string{"by itself", "ingot", "goal"}}
	assert, err := m.of("StepWithoutProgram", "µs/step")
	if err != nil {
		return nil, err
	}
	alone.add("a step that starts no program", micro(assert), "")
	validation, err := m.perOperation("Validate1000")
	if err != nil {
		return nil, err
	}
	alone.add("reading and checking 1,000 documents", took(validation), goal(float64(validation), float64(mostValidation), "0.5 s"))
	cpu, err := m.of("Validate1000", "cpu-ns/op")
	if err != nil {
		return nil, err
	}
	alone.add("processor time of that", took(time.Duration(cpu)), "")
	size, err := m.of("Validate1000", "B/document")
	if err != nil {
		return nil, err
	}
	alone.note("The documents are those of the engine's tests, %.0f bytes on average.", size)
	return []table{steps, alone}, nil
}

package component

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// stepRun is one step while it runs.
type stepRun struct {
	*engine
	at     position
	step   *Step
	action *Action
	scope  scope
	state  *stepState
	record *stepRecord
	last   *outputs // of the last program that ran
}

// runStep runs one step to its end. A record comes with every end but a reboot
// that the step itself is to run again after.
func (r *engine) runStep(ctx context.Context, at position, st *Step, doc *documentState) (*stepRecord, error) {
	action, ok := r.documents[at.document].source.actions.find(st.Action)
	if !ok {
		return nil, fmt.Errorf("action %s passed the check and is unknown", st.Action)
	}
	s := &stepRun{engine: r, at: at, step: st, action: action}
	s.scope = scope{engine: r, ctx: ctx, document: at.document, state: doc}
	if s.state = doc.Current; s.state == nil {
		s.state = &stepState{Started: r.env.Now()}
		doc.Current = s.state
		r.send(Event{Kind: StepStarted, Document: at.name, Phase: at.phase, Step: at.step, Action: at.action})
		r.logs.note("step %s/%s/%s started", at.name, at.phase, at.step)
	}
	s.record = &stepRecord{Name: st.Name, Started: s.state.Started}
	err := s.run(ctx)
	s.record.Ended, s.record.Attempts = r.env.Now(), s.state.Attempt
	s.record.Values, s.record.Cut = s.state.Values, s.state.Cut
	if request, ok := errors.AsType[*rebootRequest](err); ok && request.again {
		return nil, err
	}
	return s.record, err
}

// run decides the record's status; the error is a reboot, or the end of ctx.
func (s *stepRun) run(ctx context.Context) error {
	err := s.prepare()
	if err == nil && s.state.Verdict == VerdictSkip {
		s.record.Status = Skipped
		return nil
	}
	if err == nil && s.state.Verdict == VerdictAbort {
		err = errors.New("its condition says Abort")
	}
	if err == nil {
		err = s.attempts(ctx)
	}
	request, reboot := errors.AsType[*rebootRequest](err)
	switch {
	case err == nil, reboot && !request.again:
		s.record.Status = Success
		return err
	case reboot && request.nested:
		return err
	case reboot && s.state.Reboots < maxReboots:
		s.state.Reboots++
		return err
	case reboot:
		err = fmt.Errorf("the step asked for a reboot %d times and would ask again; a step that exits with %d runs again after the reboot and has to notice that", maxReboots, s.env.rebootStatus())
	}
	if ctx.Err() != nil {
		s.fail(fmt.Errorf("canceled: %w", context.Cause(ctx)))
		return context.Cause(ctx)
	}
	s.fail(err)
	return nil
}

// prepare looks at the condition and at the loop's list, once in a step's life.
func (s *stepRun) prepare() error {
	if s.state.Verdict != "" {
		return nil
	}
	verdict := VerdictExecute
	if s.step.If != nil {
		holds, err := s.step.If.holds(&s.scope)
		if err != nil {
			return fmt.Errorf("its condition: %w", err)
		}
		if verdict = s.step.If.Then; !holds {
			verdict = s.step.If.Else
		}
	}
	if s.step.Loop != nil && verdict == VerdictExecute {
		values, err := s.step.Loop.values(&s.scope)
		if err != nil {
			return fmt.Errorf("its loop: %w", err)
		}
		s.state.Values = values
	}
	s.state.Verdict, s.state.Attempt = verdict, 0
	if verdict == VerdictExecute {
		s.state.Attempt = 1
	}
	return nil
}

// attempts tries until it works, without a pause in between (inferred); a reboot
// uses up no attempt.
func (s *stepRun) attempts(ctx context.Context) error {
	for {
		err := s.attempt(ctx)
		if _, reboot := errors.AsType[*rebootRequest](err); err == nil || reboot {
			return err
		}
		if ctx.Err() != nil || s.state.Attempt >= s.step.MaxAttempts {
			return err
		}
		s.warn(s.at, "attempt %d of %d: %v", s.state.Attempt, s.step.MaxAttempts, err)
		s.state.Attempt++
		s.state.Iteration, s.state.Outputs = 0, nil
	}
}

// attempt runs the step once: one iteration, or all of its loop. The timeout
// covers them all.
func (s *stepRun) attempt(ctx context.Context) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if s.step.Timeout > 0 && s.action.timed() {
		limited, cancel = context.WithTimeout(ctx, s.step.Timeout)
	}
	defer cancel()
	err := s.iterations(limited)
	if errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil && err != nil {
		if s.step.Loop != nil {
			return fmt.Errorf("the loop timed out after %s in iteration %d", s.step.Timeout, s.state.Iteration)
		}
		return fmt.Errorf("timed out after %s", s.step.Timeout)
	}
	return err
}

func (s *stepRun) iterations(ctx context.Context) error {
	if s.step.Loop == nil {
		outputs, err := s.once(ctx)
		s.record.Outputs = outputs
		return err
	}
	var after error // the restart that the last iteration asks for
	for s.state.Iteration < len(s.state.Values) {
		s.scope.loop = &iterationScope{name: s.step.Loop.Name, index: s.state.Iteration, value: s.state.Values[s.state.Iteration]}
		outputs, err := s.once(ctx)
		request, reboot := errors.AsType[*rebootRequest](err)
		switch {
		case reboot && request.again:
			return err
		case err != nil && !reboot:
			s.record.Outputs = joinIterations(s.state.Outputs)
			return fmt.Errorf("failed iteration: %d: %w", s.state.Iteration, err)
		}
		s.state.Outputs = append(s.state.Outputs, outputs...)
		s.state.Iteration++
		if reboot && s.state.Iteration < len(s.state.Values) {
			return &rebootRequest{again: true, delay: request.delay} // to run what is left of the loop
		}
		after = err
	}
	s.record.Outputs = joinIterations(s.state.Outputs)
	return after
}

// joinIterations makes one output of those of all iterations, line by line.
func joinIterations(outputs []map[string]string) []map[string]string {
	if len(outputs) == 0 {
		return nil
	}
	joined := map[string][]string{}
	for _, o := range outputs {
		for key, value := range o {
			joined[key] = append(joined[key], value)
		}
	}
	one := map[string]string{}
	for key, values := range joined {
		one[key] = strings.Join(values, "\n")
	}
	return []map[string]string{one}
}

// once resolves the inputs and runs the action for each entry of them.
func (s *stepRun) once(ctx context.Context) ([]map[string]string, error) {
	s.scope.ctx = ctx
	entries, err := s.resolve()
	if err != nil {
		return nil, err
	}
	s.record.Inputs, s.record.Shown = chainable(entries), shown(entries, s.masker)
	if s.action.run == nil {
		return nil, fmt.Errorf("%s cannot be run by this engine", s.action.Name)
	}
	var outputs []map[string]string
	for i, values := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		output, err := s.action.run(ctx, &call{stepRun: s, values: values})
		if err != nil {
			if len(entries) > 1 {
				if _, reboot := errors.AsType[*rebootRequest](err); !reboot {
					err = fmt.Errorf("inputs[%d]: %w", i, err)
				}
			}
			if output != nil { // a document that failed tells its figures all the same
				return []map[string]string{output}, err
			}
			return nil, err
		}
		if output != nil {
			outputs = append(outputs, output)
		}
	}
	return s.action.join(outputs), nil
}

// join makes one output of several, for actions that have one for all entries.
func (a *Action) join(outputs []map[string]string) []map[string]string {
	if a.separator == "" || len(outputs) < 2 {
		return outputs
	}
	one := map[string]string{}
	for _, key := range a.Outputs {
		var values []string
		for _, o := range outputs {
			if o[key] != "" {
				values = append(values, o[key])
			}
		}
		one[key] = strings.Join(values, a.separator)
	}
	return []map[string]string{one}
}

// maxMessage bounds a step's message, in bytes.
const maxMessage = 2 << 10

func (s *stepRun) fail(err error) {
	s.record.Status = Failed
	if s.step.OnFailure == Ignore {
		s.record.Status = IgnoredFailure
	}
	message := err.Error()
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	s.record.Message = s.masker.text(message)
	if s.last != nil {
		s.record.Stderr = s.masker.text(s.last.last.lines())
	}
}

// call is one use of an action: its step, and the values of one entry of inputs.
type call struct {
	*stepRun
	values values
}

func (c *call) text(name string) string   { return c.values[name].text }
func (c *call) list(name string) []string { return c.values[name].list }
func (c *call) given(name string) bool    { return c.values[name].given }
func (c *call) bool(name string) bool     { return strings.EqualFold(c.values[name].text, "true") }

// seconds is a number of seconds; the check has seen that it is one.
func (c *call) seconds(name string) (time.Duration, error) {
	return time.ParseDuration(c.text(name) + "s")
}

package component

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// worse puts the status of a part into the status of the whole.
func worse(whole, part Status) Status {
	switch {
	case whole == Failed || part == Failed:
		return Failed
	case whole == SuccessWithIgnoredFailure, part == SuccessWithIgnoredFailure, part == IgnoredFailure:
		return SuccessWithIgnoredFailure
	}
	return Success
}

func (p *phaseState) status() Status {
	status := Success
	for _, step := range p.Steps {
		status = worse(status, step.Status)
	}
	return status
}

func (d *documentState) status() Status {
	status := Success
	for _, p := range d.Phases {
		status = worse(status, p.status())
	}
	return status
}

// result is what is known so far.
func (r *engine) result() Result {
	result := Result{Status: Success, Failure: r.state.Failure, Documents: []DocumentResult{}}
	for i, d := range r.state.Documents {
		status := d.status()
		result.Status = worse(result.Status, status)
		document := DocumentResult{Name: r.job.Documents[i].Name, Status: status, Steps: []StepResult{}, Duration: r.until(d.Ended).Sub(d.Started)}
		for _, p := range d.Phases {
			for si, step := range p.Steps {
				document.Steps = append(document.Steps, StepResult{
					Phase: p.Name, Name: step.Name, Action: r.stepOf(i, p.Name, si).Action, Status: step.Status,
					Message: step.Message, Attempts: step.Attempts, Duration: step.Ended.Sub(step.Started),
				})
			}
		}
		result.Documents = append(result.Documents, document)
	}
	return result
}

// until is now for what has not ended.
func (r *engine) until(end time.Time) time.Time {
	if end.IsZero() {
		return r.env.Now()
	}
	return end
}

func (r *engine) stepOf(document int, phase string, step int) *Step {
	for pi := range r.documents[document].Phases {
		if p := &r.documents[document].Phases[pi]; p.Name == phase {
			return &p.Steps[step]
		}
	}
	return &Step{}
}

// The types below are detailedoutput.json, field by field as the original has them.

type detailedRun struct {
	ExecutionID    string             `json:"executionId"`
	Status         Status             `json:"status"`
	StartTime      string             `json:"startTime"`
	EndTime        string             `json:"endTime"`
	FailureMessage string             `json:"failureMessage"`
	Documents      []detailedDocument `json:"documents"`
}

type detailedDocument struct {
	Name           string          `json:"name"`
	FilePath       string          `json:"filePath"`
	Status         Status          `json:"status"`
	Description    string          `json:"description"`
	StartTime      string          `json:"startTime"`
	EndTime        string          `json:"endTime"`
	FailureMessage string          `json:"failureMessage"`
	Phases         []detailedPhase `json:"phases"`
}

type detailedPhase struct {
	Name           string         `json:"name"`
	Status         Status         `json:"status"`
	StartTime      string         `json:"startTime"`
	EndTime        string         `json:"endTime"`
	FailureMessage string         `json:"failureMessage"`
	Steps          []detailedStep `json:"steps"`
}

type detailedStep struct {
	Name           string            `json:"name"`
	Status         Status            `json:"status"`
	FailureMessage string            `json:"failureMessage"`
	TimeoutSeconds int               `json:"timeoutSeconds"`
	OnFailure      OnFailure         `json:"onFailure"`
	MaxAttempts    int               `json:"maxAttempts"`
	Action         string            `json:"action"`
	StartTime      string            `json:"startTime"`
	EndTime        string            `json:"endTime"`
	Inputs         string            `json:"inputs"`  // a list of objects, as JSON in a string
	Outputs        string            `json:"outputs"` // likewise
	Loop           *detailedLoop     `json:"loop"`
	DetailedOutput []json.RawMessage `json:"detailedOutput"` // a detailedRun for each nested document
}

type detailedLoop struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.999999999-07:00") }

func (r *engine) detailed(result Result) []byte {
	run := detailedRun{
		ExecutionID: r.job.ID, Status: result.Status, StartTime: stamp(r.state.Started), EndTime: stamp(r.env.Now()),
		Documents: []detailedDocument{},
	}
	if f := result.Failure; f != nil {
		run.FailureMessage = f.Message
	}
	for i, d := range r.state.Documents {
		run.Documents = append(run.Documents, r.detailedDocument(i, d))
	}
	return indented(run)
}

func (r *engine) detailedDocument(i int, d *documentState) detailedDocument {
	doc := r.documents[i]
	out := detailedDocument{
		Name: doc.Name, FilePath: r.job.Documents[i].Path, Status: d.status(), Description: doc.Description,
		StartTime: stamp(d.Started), EndTime: stamp(r.until(d.Ended)), Phases: []detailedPhase{},
	}
	for _, p := range d.Phases {
		phase := detailedPhase{Name: p.Name, Status: p.status(), StartTime: stamp(p.Started), EndTime: stamp(r.until(p.Ended)), Steps: []detailedStep{}}
		for si, record := range p.Steps {
			step := r.stepOf(i, p.Name, si)
			phase.Steps = append(phase.Steps, r.detailedStep(step, record))
			if record.Status == Failed && phase.FailureMessage == "" {
				phase.FailureMessage = record.Message
			}
		}
		if out.FailureMessage == "" {
			out.FailureMessage = phase.FailureMessage
		}
		out.Phases = append(out.Phases, phase)
	}
	return out
}

func (r *engine) detailedStep(step *Step, record *stepRecord) detailedStep {
	timeout := -1
	if step.Timeout > 0 && step.Action != "ExecuteDocument" {
		timeout = int(step.Timeout / time.Second)
	}
	out := detailedStep{
		Name: record.Name, Status: record.Status, FailureMessage: record.Message, TimeoutSeconds: timeout,
		OnFailure: step.OnFailure, MaxAttempts: step.MaxAttempts, Action: step.Action,
		StartTime: stamp(record.Started), EndTime: stamp(record.Ended), Inputs: record.Shown, Outputs: "[]", DetailedOutput: record.Nested,
	}
	if out.Inputs == "" { // it never came to that
		out.Inputs = "[]"
	}
	if record.Outputs != nil {
		out.Outputs = string(compact(r.shownOutputs(step, record.Outputs)))
	}
	if step.Loop != nil {
		out.Loop = &detailedLoop{Name: step.Loop.Name, Values: append([]string{}, r.masker.any(record.Values).([]string)...)}
	}
	return out
}

// shownOutputs are outputs as the result file has them: text, and numbers where the
// action says so (inferred of the counts of a nested document).
func (r *engine) shownOutputs(step *Step, outputs []map[string]string) any {
	action, ok := r.documents[0].source.actions.find(step.Action)
	masked := r.masker.entries(outputs)
	if !ok || len(action.numbers) == 0 {
		return masked
	}
	out := make([]map[string]any, len(masked))
	for i := range masked {
		out[i] = map[string]any{}
		for name, text := range masked[i] {
			out[i][name] = text
			if n, err := strconv.Atoi(text); err == nil && slices.Contains(action.numbers, name) {
				out[i][name] = n
			}
		}
	}
	return out
}

// chaining is what references to earlier steps came from.
func (r *engine) chaining() []byte {
	type entry struct {
		Inputs  []map[string]string `json:"inputs"`
		Outputs []map[string]string `json:"outputs"`
	}
	out := make([]map[string]map[string]entry, len(r.state.Documents))
	for i, d := range r.state.Documents {
		out[i] = map[string]map[string]entry{}
		for _, p := range d.Phases {
			out[i][p.Name] = map[string]entry{}
			for _, s := range p.Steps {
				out[i][p.Name][s.Name] = entry{r.masker.entries(s.Inputs), r.masker.entries(s.Outputs)}
			}
		}
	}
	return indented(out)
}

func indented(v any) []byte { return encoded(v, "  ") }

func compact(v any) []byte { return bytes.TrimSuffix(encoded(v, ""), []byte("\n")) }

// encoded writes what JSON can hold, which is all that comes here, as people read it.
func encoded(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil
	}
	return b.Bytes()
}

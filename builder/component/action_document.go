package component

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxNesting is how many documents may stand below the outermost one.
const maxNesting = 3

// executeDocument runs another document inside of this step. It is read, and
// checked, only now; a failure in it is this step's failure.
func executeDocument(ctx context.Context, c *call) (map[string]string, error) {
	inner, err := c.innerEngine()
	if err != nil {
		return nil, err
	}
	if failure := inner.parse(); failure != nil {
		return nil, errors.New(failure.Message)
	}
	if c.state.Nested == nil {
		c.state.Nested = &runState{Folder: c.logs.folder, Started: c.env.Now()}
	}
	inner.state = c.state.Nested
	err = inner.runDocuments(ctx)
	if request, ok := errors.AsType[*rebootRequest](err); ok {
		// This step goes on with the inner state, whichever step of it asked.
		return nil, &rebootRequest{again: true, nested: true, delay: request.delay}
	}
	if err != nil {
		return nil, err
	}
	c.state.Nested = nil
	result := inner.result()
	c.record.Nested = append(c.record.Nested, json.RawMessage(inner.detailed(result)))
	output := summary(result)
	output["executionId"], output["logUrl"] = c.job.ID, c.logs.folder
	if result.Status == Failed {
		f := result.Failure
		return nil, fmt.Errorf("document %s: step %s/%s: %s", f.Path, f.Phase, f.Step, f.Message)
	}
	return output, nil
}

// innerEngine shares the machine and the logs with the outer one; what its steps
// print is heard as output of the outer step.
func (c *call) innerEngine() (*engine, error) {
	if name := c.text("document"); strings.HasPrefix(name, "s3:") || strings.HasPrefix(name, "arn:") {
		return nil, fmt.Errorf("document %s: only local paths can be run here", name)
	}
	path := c.path("document")
	text, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	parameters, err := c.pairs("parameters")
	if err != nil {
		return nil, err
	}
	job := Job{
		ID: c.job.ID, WorkingDir: c.job.WorkingDir,
		Documents: []JobDocument{{Name: filepath.Base(path), Path: path, Text: text, Parameters: parameters}},
	}
	for phase := range strings.SplitSeq(c.text("phases"), ",") {
		if phase = strings.TrimSpace(phase); phase != "" {
			job.Phases = append(job.Phases, phase)
		}
	}
	chain := append(slices.Clone(c.chain), contentOf(c.job.Documents[c.at.document].Text))
	switch {
	case slices.Contains(chain, contentOf(text)):
		return nil, fmt.Errorf("document %s would run itself", path)
	case len(chain) > maxNesting:
		return nil, fmt.Errorf("document %s would be nested more than %d deep", path, maxNesting)
	}
	outer := c.at
	return &engine{env: c.env, job: job, masker: c.masker, logs: c.logs, chain: chain, emit: func(e Event) {
		if e.Kind == Output || e.Kind == Warning {
			e.Document, e.Phase, e.Step, e.Action = outer.name, outer.phase, outer.step, outer.action
			c.send(e)
		}
	}}, nil
}

func contentOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return string(sum[:])
}

func readDocument(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxDocumentSize+1))
	return string(text), err
}

// pairs reads a list of names and values.
func (c *call) pairs(name string) (map[string]string, error) {
	n := c.values[name].node
	if n == nil {
		return nil, nil
	}
	out := map[string]string{}
	for i := range n.Content {
		var pair [2]string
		for j, key := range []string{"name", "value"} {
			text, err := c.scope.expand(scalar(mappingValue(n.Content, i, key)))
			if err != nil {
				return nil, err
			}
			pair[j] = text
		}
		out[pair[0]] = pair[1]
	}
	return out, nil
}

func summary(result Result) map[string]string {
	var executed, failed, ignored int
	for _, d := range result.Documents {
		for _, s := range d.Steps {
			if s.Status != Skipped {
				executed++
			}
			if s.Status == Failed {
				failed++
			}
			if s.Status == IgnoredFailure {
				ignored++
			}
		}
	}
	out := map[string]string{
		"executedStepCount": strconv.Itoa(executed), "failedStepCount": strconv.Itoa(failed),
		"ignoredFailedStepCount": strconv.Itoa(ignored), "failureMessage": "", "status": string(result.Status),
	}
	if result.Failure != nil {
		out["failureMessage"] = result.Failure.Message
	}
	return out
}

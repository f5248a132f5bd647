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
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxNesting is how many documents may stand below the outermost one.
const maxNesting = 3

const arnPrefix = "arn:"

// componentARN accepts a build version, and a version without a build as examples
// of the original have it.
var componentARN = regexp.MustCompile(`^arn:aws[a-z-]*:imagebuilder:[a-z0-9-]+:[a-z0-9-]+:component/[a-z0-9_-]+/[0-9x]+\.[0-9x]+\.[0-9x]+(?:/[0-9]+)?$`)

// executeDocument runs another document inside of this step. It is read, and
// checked, only now; a failure in it is this step's failure.
func executeDocument(ctx context.Context, c *call) (map[string]string, error) {
	inner, err := c.innerEngine(ctx)
	if err != nil {
		return nil, err
	}
	if failure := inner.parse(); failure != nil {
		return nil, errors.New(failure.Message)
	}
	if d := inner.documents[0]; len(inner.job.Phases) > 0 && !slices.ContainsFunc(inner.job.Phases, d.HasPhase) {
		c.warn(c.at, "document %s has none of the phases %s, so nothing of it runs", d.Path, strings.Join(inner.job.Phases, ", "))
	}
	if c.state.Nested == nil {
		c.state.Nested = &runState{Folder: c.logs.folder, Started: c.env.Now()}
		c.state.NestedText = inner.job.Documents[0].Text
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
		return output, fmt.Errorf("document %s: step %s/%s: %s", f.Path, f.Phase, f.Step, f.Message)
	}
	return output, nil
}

// innerEngine shares the machine and the logs with the outer one; what its steps
// print is heard as output of the outer step.
func (c *call) innerEngine(ctx context.Context) (*engine, error) {
	path, text, err := c.document(ctx)
	if err != nil {
		return nil, err
	}
	parameters, err := c.pairs("parameters")
	if err != nil {
		return nil, err
	}
	job := Job{
		ID: c.job.ID, WorkingDir: c.job.WorkingDir,
		Documents: []JobDocument{{Name: documentName(path), Path: path, Text: text, Parameters: parameters}},
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

// document finds the document that the inputs name. After a reboot it is the one
// that had begun, whatever lies there now.
func (c *call) document(ctx context.Context) (path, text string, err error) {
	path = c.text("document")
	local := !strings.HasPrefix(path, objectScheme) && !strings.HasPrefix(path, arnPrefix)
	if local {
		path = c.path("document")
	}
	switch {
	case c.state.Nested != nil:
		text = c.state.NestedText
	case local:
		text, err = readDocument(path)
	case strings.HasPrefix(path, objectScheme):
		text, err = c.objectDocument(ctx, path)
	default:
		text, err = c.componentDocument(ctx, path)
	}
	return path, text, err
}

func (c *call) objectDocument(ctx context.Context, address string) (string, error) {
	o, err := parseObject(address, c.text("document-s3-bucket-owner"))
	if err != nil {
		return "", fmt.Errorf("document: %w", err)
	}
	if c.env.Objects == nil {
		return "", fmt.Errorf("document %s: %w", o, errNoObjects)
	}
	content, err := c.env.Objects.Open(ctx, o)
	if err != nil {
		return "", fmt.Errorf("document %s: %w", o, err)
	}
	text, err := boundedText(content)
	if err := errors.Join(err, content.Close()); err != nil {
		return "", fmt.Errorf("document %s: %w", o, err)
	}
	return text, nil
}

func (c *call) componentDocument(ctx context.Context, arn string) (string, error) {
	if !componentARN.MatchString(arn) {
		return "", fmt.Errorf("document %s is not the ARN of a component", arn)
	}
	if c.env.Components == nil {
		return "", fmt.Errorf("document %s: %w", arn, errNoComponents)
	}
	text, err := c.env.Components.Component(ctx, arn)
	if err != nil {
		return "", fmt.Errorf("document %s: %w", arn, err)
	}
	return text, nil
}

// documentName is the last element of a path or address.
func documentName(path string) string {
	if strings.HasPrefix(path, arnPrefix) {
		return path
	}
	return filepath.Base(path)
}

func readDocument(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return boundedText(f)
}

// boundedText reads so much that the parser can say that it is too much.
func boundedText(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxDocumentSize+1))
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

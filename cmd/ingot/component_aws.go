package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

// This program does not reach AWS. What a run needs from there is done by
// ingot-agent-aws, which is installed beside it, with the credentials of whoever
// runs the command.

// errNoAWS is the answer where that program is missing.
var errNoAWS = errors.New("AWS cannot be reached: ingot-agent-aws is not installed beside ingot")

// awsAgent is the path of the program that reaches AWS, or empty.
func awsAgent() (string, error) {
	plain, err := agentPath()
	if err != nil {
		return "", err
	}
	return beside(plain, "ingot-agent-aws"), nil
}

// sources are where documents come from beside this machine.
type sources struct {
	owner string // the account that must own a bucket; empty: any
}

// flags are the options that concern documents elsewhere.
func (s *sources) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.owner, "document-s3-bucket-owner", "", "`account` that must own the buckets of documents")
}

// remote tells what is read from an account in the cloud.
func (sources) remote(ref string) bool { return isObject(ref) || strings.HasPrefix(ref, "arn:") }

func isObject(ref string) bool { return strings.HasPrefix(ref, "s3://") }

// fetch reads a document that remote tells of.
func (s sources) fetch(ctx context.Context, ref string) (written, error) {
	name := strings.TrimSuffix(path.Base(ref), path.Ext(ref))
	if isObject(ref) {
		text, err := s.object(ctx, ref)
		return written{name: name, path: ref, text: text}, err
	}
	program, err := awsAgent()
	if err == nil && program == "" {
		err = errNoAWS
	}
	if err != nil {
		return written{}, fmt.Errorf("%s: %w; `aws imagebuilder get-component` fetches it as well", ref, err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "component", ref)
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return written{}, fmt.Errorf("%s: %s", ref, strings.TrimSpace(said.String()))
	}
	// arn:aws:imagebuilder:eu-west-1:123456789012:component/name/1.0.0/1
	if parts := strings.Split(ref, "/"); len(parts) > 1 {
		name = parts[1]
	}
	return written{name: name, path: ref, text: text}, nil
}

// object reads an object of at most the size that a document may have, and a byte more.
func (s sources) object(ctx context.Context, address string) (text []byte, err error) {
	dir, err := os.MkdirTemp("", "ingot-component-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "object")
	if err := moveObjects(ctx, "S3Download", map[string]any{"source": address, "destination": file}, s.owner); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return readDocument(file)
}

// moveObjects lets the agent that reaches AWS run one S3 action of the language.
func moveObjects(ctx context.Context, action string, inputs map[string]any, owner string) (err error) {
	program, err := awsAgent()
	if err == nil && program == "" {
		err = errNoAWS
	}
	if err != nil {
		return err
	}
	if owner != "" {
		inputs["expectedBucketOwner"] = owner
	}
	type object = map[string]any
	text, err := json.Marshal(object{"schemaVersion": "1.0", "phases": []any{object{"name": component.PhaseBuild, "steps": []any{
		object{"name": "Move", "action": action, "maxAttempts": 3, "inputs": []any{inputs}},
	}}}})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ingot-component-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	job := component.Job{ID: newID(), LogDir: dir, StateDir: dir, Documents: []component.JobDocument{{Name: action, Path: action, Text: string(text)}}}
	result, err := agent.Exec(ctx, exec.Command(program, "run", "--attended"), job, func(component.Event) {})
	if err == nil && result.Failure != nil {
		err = errors.New(result.Failure.Message)
	}
	return err
}

// runJob runs a job on this machine: by itself, or through the agent that reaches AWS
// where a document needs that. Where there is none, the step that needs it says so.
func runJob(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if job.NeedsAWS() {
		program, err := awsAgent()
		if err != nil {
			return component.Result{}, err
		}
		if program != "" {
			return agent.Exec(ctx, exec.Command(program, "run", "--attended"), job, emit)
		}
	}
	return component.Run(ctx, job, component.Env{}, emit)
}

// reachable refuses a target of logs that cannot be reached, before anything is run
// whose log would be lost.
func (t logTarget) reachable() error {
	switch {
	case t.Bucket != "":
		program, err := awsAgent()
		if err == nil && program == "" {
			err = errNoAWS
		}
		if err != nil {
			return fmt.Errorf("--log-s3-bucket-name %s: %w; leave the option out, and send the folder that logUrl names with `aws s3 cp --recursive`", t.Bucket, err)
		}
	case t.Owner != "" || t.Prefix != "":
		return errors.New("--log-s3-bucket-owner and --log-s3-key-prefix say something about the bucket of --log-s3-bucket-name, which is not given")
	}
	switch {
	case t.Group != "" && !t.IgnoreFailures:
		return fmt.Errorf("--cw-log-group %s: nothing is sent to CloudWatch from here; leave the option out and let the CloudWatch agent collect console.log, or say --cw-ignore-failures", t.Group)
	case t.Group == "" && (t.Stream != "" || t.Region != ""):
		return errors.New("--cw-log-stream and --cw-log-region say something about the group of --cw-log-group, which is not given")
	}
	return nil
}

// send sends the folder of a run, if it goes anywhere, and returns where it is then.
func (t logTarget) send(ctx context.Context, folder string) (string, error) {
	if t.Bucket == "" || folder == "" {
		return folder, nil
	}
	to := "s3://" + t.Bucket + "/" + path.Join(t.Prefix, filepath.Base(folder)) + "/"
	err := moveObjects(ctx, "S3Upload", map[string]any{"source": folder, "destination": to, "recurse": true}, t.Owner)
	if err != nil {
		return folder, fmt.Errorf("the log could not be sent to %s: %w", to, err)
	}
	return to, nil
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

func componentRunCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use:   "run FILE...",
		Short: "Run component documents, here or in a throw-away machine",
		Long: `Runs component documents of EC2 Image Builder, in order, on this machine or, with --in, in a
throw-away machine of which nothing is left afterwards. What the steps print goes to stderr while
they run; the result is printed to stdout at the end, as JSON.

  ingot component run hello-world-linux
  ingot component run web.yaml --phases build,validate --parameters Port=8080
  ingot component run --in debian-12 web.yaml | jq .status

On this machine, the documents run as whoever runs the command, and change the machine.

Exit codes: 0 all documents succeeded, failures that they ignore included; 1 a document is wrong, or
failed; 194 a document asks for a restart: restart the machine and run the same command again, which
goes on where it stopped (--reboot does both); 2 anything else; 130 stopped by a signal.`,
		Version: version,
		RunE: func(c *cobra.Command, args []string) error {
			o.documents = append(args, o.documents...)
			r := &componentRun{
				options: &o, out: c.OutOrStdout(), live: newLive(c.ErrOrStderr(), o.trace),
				power: restartMachine, triggers: systemTriggers(),
			}
			return r.run(c.Context(), c.Flags().Changed)
		},
	}
	c.SetVersionTemplate("ingot version {{.Version}}\n")
	o.flags(c)
	return c
}

// exitCode is an outcome that the command has told already; it only sets the exit code.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Exit codes with which a run asks for a restart, as the original has them.
const (
	exitReboot        exitCode = 194
	exitRebootWindows exitCode = 3010
)

// componentRun is one `ingot component run`.
type componentRun struct {
	options  *runOptions
	out      io.Writer
	live     *live
	power    func(context.Context) error // restarts this machine
	triggers []trigger
}

// runSummary is the result as the original prints it.
type runSummary struct {
	Executed int              `json:"executedStepCount"`
	ID       string           `json:"executionId"`
	Failed   int              `json:"failedStepCount"`
	Message  string           `json:"failureMessage"`
	Ignored  int              `json:"ignoredFailedStepCount"`
	LogURL   string           `json:"logUrl"`
	Status   component.Status `json:"status"`
}

func (r *componentRun) run(ctx context.Context, given func(flag string) bool) error {
	if r.options.resume != "" {
		return r.resume(ctx)
	}
	asked, err := r.options.documentsAsked(ctx, given)
	if err != nil {
		return err
	}
	r.live.trace = r.options.trace // a configuration file may say so
	if err := r.options.logs.reachable(); err != nil {
		return err
	}
	if group := r.options.logs.Group; group != "" {
		r.live.say("warning: nothing is sent to the log group %s, which is ignored as asked", group)
	}
	job, err := r.job(ctx, asked)
	if err != nil {
		return err
	}
	if r.options.in != "" {
		return r.runIn(ctx, job)
	}
	return r.runHere(ctx, job)
}

// job reads and checks everything before the first step runs.
func (r *componentRun) job(ctx context.Context, documents []asked) (component.Job, error) {
	job := component.Job{ID: r.options.executionID}
	platform := hostPlatform()
	if r.options.in != "" {
		platform = component.Linux
	}
	var err error
	if job.Phases, err = r.options.phaseList(); err != nil {
		return job, err
	}
	var problems yamldoc.Problems
	missing := slices.Clone(job.Phases)
	for _, a := range documents {
		w, err := find(ctx, a.ref, r.options.sources)
		if err != nil {
			return job, err
		}
		c := check(w, platform, a.parameters, true)
		problems = append(problems, c.problems...)
		if c.document != nil {
			missing = slices.DeleteFunc(missing, c.document.HasPhase)
		}
		job.Documents = append(job.Documents, component.JobDocument{Name: w.name, Path: w.path, Text: string(w.text), Parameters: a.parameters})
	}
	if len(problems) > 0 {
		r.live.say("%s", problems.Error())
		return job, r.finish(runSummary{ID: job.ID, Status: component.Failed, Message: "the documents are wrong, nothing was run: " + problems[0].Message})
	}
	if r.options.phases != "" && len(missing) > 0 {
		r.live.say("warning: no document has the phase %s", strings.Join(missing, ", "))
	}
	return job, nil
}

func hostPlatform() string {
	switch runtime.GOOS {
	case "windows":
		return component.Windows
	case "darwin":
		return component.MacOS
	default:
		return component.Linux
	}
}

// runHere runs a job on this machine.
func (r *componentRun) runHere(ctx context.Context, job component.Job) error {
	var err error
	if job.LogDir, err = filepath.Abs(r.options.logDirectory); err != nil {
		return err
	}
	if job.StateDir = r.options.stateDirectory; job.StateDir == "" {
		job.StateDir = filepath.Join(stateHome(), "component-state")
	}
	if job.StateDir, err = filepath.Abs(job.StateDir); err != nil {
		return err
	}
	if job.ID, err = executionID(job); err != nil {
		return err
	}
	return r.execute(ctx, job)
}

// execute runs or resumes a job here, and restarts the machine where that is wanted.
func (r *componentRun) execute(ctx context.Context, job component.Job) error {
	result, err := runJob(ctx, job, r.live.observe)
	if err == nil && result.Reboot {
		return r.restart(ctx, job)
	}
	return r.conclude(ctx, job.ID, newestFolder(job.LogDir, job.ID), result, err)
}

// conclude prints the result of a run and says how the command ends.
func (r *componentRun) conclude(ctx context.Context, id, folder string, result component.Result, failed error) error {
	s := summaryOfRun(result)
	s.ID, s.LogURL = id, folder
	if failed != nil {
		s.Status, s.Message = component.Failed, failed.Error()
	}
	if ctx.Err() == nil {
		var lost error
		s.LogURL, lost = r.options.logs.send(ctx, folder)
		failed = errors.Join(failed, lost)
	}
	if failed != nil {
		if err := r.finish(s); !errors.Is(err, errAuthor) {
			failed = errors.Join(failed, err)
		}
		return failed // nobody's document is to blame
	}
	return r.finish(s)
}

func (r *componentRun) finish(s runSummary) error {
	e := json.NewEncoder(r.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	if !s.Status.OK() {
		return errAuthor
	}
	return r.live.err
}

func summaryOfRun(result component.Result) runSummary {
	s := runSummary{Status: result.Status}
	for _, d := range result.Documents {
		for _, step := range d.Steps {
			switch step.Status {
			case component.Skipped:
				continue
			case component.Failed:
				s.Failed++
			case component.IgnoredFailure:
				s.Ignored++
			}
			s.Executed++
		}
	}
	if result.Failure != nil {
		s.Message = result.Failure.Message
	}
	return s
}

// executionID is the run's name: as given, or that of the run of the same documents
// which waits for a restart, or a new one.
func executionID(job component.Job) (string, error) {
	if job.ID != "" {
		_, err := component.Pending(job, component.Env{}) // refuses what cannot be one
		if err != nil {
			return "", fmt.Errorf("--execution-id: %w", err)
		}
		return job.ID, nil
	}
	waiting, err := os.ReadDir(job.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--state-directory: %w", err)
	}
	for _, entry := range waiting {
		name, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok {
			continue
		}
		job.ID = name
		// What cannot be read belongs to somebody else: another job does not resume it.
		if pending, err := component.Pending(job, component.Env{}); err == nil && pending {
			return name, nil
		}
	}
	return newID(), nil
}

// newID is a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newestFolder finds the folder of a run by its id, with which its name ends; the
// time in the middle sorts as text.
func newestFolder(dir, id string) string {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return "" // a run that could not begin has made none
	}
	for _, entry := range slices.Backward(entries) {
		if strings.HasPrefix(entry.Name(), "TOE_") && strings.HasSuffix(entry.Name(), "_UTC-0_"+id) {
			return filepath.Join(dir, entry.Name())
		}
	}
	return ""
}

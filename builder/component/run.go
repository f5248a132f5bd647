package component

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// maxReboots bounds how often one step may ask for a reboot and be run again. The
// original leaves a limit to its caller.
const maxReboots = 10

// engine is one run of one job.
type engine struct {
	env       Env
	job       Job
	documents []*Document
	state     *runState
	logs      *logs
	masker    *masker
	chain     []string // contents of the documents that this run is nested in

	mu   sync.Mutex // the two streams of a step are written by a goroutine each
	emit func(Event)
}

// position is where in a job something happens.
type position struct {
	document int
	name     string // of the document
	phase    string
	step     string
	action   string
}

// rebootRequest is how an action asks for a reboot.
type rebootRequest struct {
	again  bool // the step runs again afterwards; otherwise the next one does
	nested bool // a document inside of the step asked, which goes on where it was
	delay  time.Duration
}

func (*rebootRequest) Error() string { return "a reboot is needed" }

// Run runs a job: documents in order, the phases of each in the order in which
// the document has them, their steps from top to bottom.
//
// What the documents do wrong is in the Result; an error means that the engine
// itself could not work, or that ctx ended, after everything that the run had
// started was killed. Result.Reboot asks for a restart of the machine and for
// another Run of the same job, which goes on where this one stopped; Status is
// empty then. emit hears every event, one at a time; the last one is Finished.
func Run(ctx context.Context, job Job, env Env, emit func(Event)) (Result, error) {
	r := &engine{env: env.withDefaults(), job: job, masker: newMasker(job.Secrets), emit: emit}
	result, err := r.run(ctx)
	if err != nil {
		result.Status, result.Reboot = Failed, false
	}
	if result.Documents == nil {
		result.Documents = []DocumentResult{}
	}
	r.send(Event{Kind: Finished, Status: result.Status, Result: &result})
	return result, err
}

func (r *engine) run(ctx context.Context) (Result, error) {
	if !legalID.MatchString(r.job.ID) {
		return Result{}, badID(r.job)
	}
	if len(r.job.Command) > 0 {
		return r.command(ctx)
	}
	if failure := r.parse(); failure != nil {
		return Result{Status: Failed, Failure: failure, Documents: []DocumentResult{}}, nil
	}
	if err := r.begin(); err != nil {
		return Result{}, err
	}
	runErr := r.runDocuments(ctx)
	if request, ok := errors.AsType[*rebootRequest](runErr); ok {
		return r.suspend(ctx, request)
	}
	result := r.result()
	if runErr != nil {
		result.Status = Failed
	}
	if err := r.logs.finish(r, result); err != nil {
		return result, errors.Join(runErr, fmt.Errorf("write the run's logs: %w", err))
	}
	return result, runErr
}

// parse reads and checks every document before the first step of the first one runs.
func (r *engine) parse() *Failure {
	for _, jd := range r.job.Documents {
		d, problems := Parse(jd.Path, []byte(jd.Text))
		if d != nil {
			problems = append(problems, d.Check(r.env.Platform, jd.Parameters)...)
		}
		if len(problems) > 0 {
			return &Failure{Document: jd.Name, Path: jd.Path, Message: r.masker.text(problems.Error())}
		}
		r.documents = append(r.documents, d)
	}
	return nil
}

// begin starts a run or takes up one that waits for the machine to come back.
func (r *engine) begin() error {
	file := stateFile(r.env, r.job)
	state, err := loadState(file, digest(r.job))
	if err != nil {
		return err
	}
	if state == nil {
		state = &runState{Job: digest(r.job), Started: r.env.Now()}
		state.Folder, err = newFolder(r.env.logDir(r.job), r.job.ID, state.Started)
		if err != nil {
			return err
		}
	}
	r.state = state
	r.masker.add(state.Secrets...)
	if r.logs, err = openLogs(state.Folder, r.masker, r.env.Now); err != nil {
		return err
	}
	// From here on a restart that this run did not ask for is not taken for one that it did.
	return dropState(file)
}

// suspend saves the run for the time after the reboot.
func (r *engine) suspend(ctx context.Context, request *rebootRequest) (Result, error) {
	result := r.result()
	result.Status = Failed
	if err := pause(ctx, request.delay); err != nil {
		return result, errors.Join(err, r.logs.close())
	}
	r.state.Secrets = r.masker.learnt(r.job.Secrets)
	if err := saveState(stateFile(r.env, r.job), r.state); err != nil {
		return result, errors.Join(fmt.Errorf("save the run before the reboot: %w", err), r.logs.close())
	}
	r.send(Event{Kind: Rebooting})
	result.Status, result.Reboot = "", true
	return result, r.logs.close()
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *engine) runDocuments(ctx context.Context) error {
	for i := range r.documents {
		aborted, err := r.runDocument(ctx, i)
		if err != nil {
			return err
		}
		if aborted { // no later document runs (inferred)
			return nil
		}
	}
	return nil
}

// runDocument reports whether nothing more may run after it.
func (r *engine) runDocument(ctx context.Context, i int) (aborted bool, err error) {
	d, at := r.documents[i], position{document: i, name: r.job.Documents[i].Name}
	if i == len(r.state.Documents) {
		r.state.Documents = append(r.state.Documents, &documentState{Started: r.env.Now()})
		r.send(Event{Kind: DocumentStarted, Document: at.name})
		r.warnings(at, d.Warnings)
	}
	state := r.state.Documents[i]
	if state.done() {
		return false, nil
	}
	for pi := range d.Phases {
		if !r.selected(d.Phases[pi].Name) {
			continue
		}
		at.phase = d.Phases[pi].Name
		if aborted, err = r.runPhase(ctx, at, &d.Phases[pi], state); aborted || err != nil {
			break
		}
	}
	if _, reboot := errors.AsType[*rebootRequest](err); reboot {
		return false, err
	}
	state.Ended = r.env.Now()
	r.send(Event{Kind: DocumentFinished, Document: at.name, Status: state.status()})
	return aborted, err
}

func (r *engine) warnings(at position, problems yamldoc.Problems) {
	for _, p := range problems {
		r.send(Event{Kind: Warning, Document: at.name, Text: p.String()})
	}
}

// selected: the order in which phases are asked for means nothing.
func (r *engine) selected(phase string) bool {
	return len(r.job.Phases) == 0 || slices.Contains(r.job.Phases, phase)
}

func (r *engine) runPhase(ctx context.Context, at position, p *Phase, doc *documentState) (aborted bool, err error) {
	state := doc.phase(p.Name)
	if state == nil {
		state = &phaseState{Name: p.Name, Started: r.env.Now()}
		doc.Phases = append(doc.Phases, state)
	}
	for si := len(state.Steps); si < len(p.Steps); si++ {
		st := &p.Steps[si]
		at.step, at.action = st.Name, st.Action
		record, err := r.runStep(ctx, at, st, doc)
		if record != nil {
			doc.Current = nil
			state.Steps = append(state.Steps, record)
			r.stepFinished(at, record)
		}
		if err != nil {
			return false, err
		}
		if record.Status == Failed && st.OnFailure == Abort {
			state.Ended = r.env.Now()
			return true, nil
		}
	}
	if state.Ended.IsZero() {
		state.Ended = r.env.Now()
	}
	return false, nil
}

func (d *documentState) phase(name string) *phaseState {
	for _, p := range d.Phases {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (r *engine) stepFinished(at position, record *stepRecord) {
	if record.Status == Failed && r.state.Failure == nil {
		r.state.Failure = r.failureOf(at, record)
		if len(r.chain) == 0 { // a nested failure is told as the outer step's
			r.logs.failure(r.state.Failure)
		}
	}
	r.logs.note("step %s/%s/%s ended: %s %s", at.name, at.phase, at.step, record.Status, record.Message)
	r.send(Event{
		Kind: StepFinished, Document: at.name, Phase: at.phase, Step: at.step, Action: at.action,
		Status: record.Status, Text: record.Message,
	})
}

func (r *engine) failureOf(at position, record *stepRecord) *Failure {
	return &Failure{
		Document: at.name, Path: r.job.Documents[at.document].Path, Phase: at.phase, Step: at.step, Action: at.action,
		Message: r.masker.text(record.Message), Stderr: r.masker.text(record.Stderr),
	}
}

// send stamps and masks an event and hands it on, one at a time.
func (r *engine) send(e Event) {
	e.Time = r.env.Now()
	if e.Kind != Output {
		e.Text = r.masker.text(e.Text) // output was masked as a stream
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.emit != nil {
		r.emit(e)
	}
}

// output passes on a piece of what a step printed.
func (r *engine) output(at position, name, text string) {
	r.logs.console(text)
	r.send(Event{
		Kind: Output, Document: at.name, Phase: at.phase, Step: at.step, Action: at.action,
		Stream: name, Text: text,
	})
}

// warn tells the author something about a step that fails nothing.
func (r *engine) warn(at position, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.logs.note("warning: %s/%s/%s: %s", at.name, at.phase, at.step, text)
	r.send(Event{Kind: Warning, Document: at.name, Phase: at.phase, Step: at.step, Action: at.action, Text: text})
}

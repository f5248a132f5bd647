package ledger

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

const (
	// maxLog bounds the log of one build, in bytes.
	maxLog = 16 << 20
	// maxStageText bounds what a row of a progress display says, in bytes.
	maxStageText = 4 << 10
	// maxStages bounds the rows of a build's progress: names come out of documents.
	maxStages = 1000
	logCut    = "\n[the log ends here: it has reached 16 MiB]\n"
	// followEvery is how often Follow looks for what another process wrote. Within
	// the process it is woken.
	followEvery = 500 * time.Millisecond
)

// Progress is what Follow has found since it last yielded.
type Progress struct {
	Pieces []reporter.LogPiece // numbered from 1, without gaps
	Stages []reporter.Stage    // all of them, when one has changed; otherwise nil
	State  reporter.State
}

// Record adds events to the progress and to the log of a build, in one
// transaction. Callers batch; Recorder does.
func (l *Ledger) Record(ctx context.Context, build int64, events []builder.Event) error {
	if len(events) == 0 {
		return nil
	}
	stages, log := digest(events)
	appendAll := func(t tx) error {
		for _, piece := range log {
			if err := appendLog(ctx, t, build, piece); err != nil {
				return err
			}
		}
		return nil
	}
	err := l.db.inTx(ctx, func(t tx) error {
		for _, s := range stages {
			if err := saveStage(ctx, t, build, s); err != nil {
				return err
			}
		}
		return appendAll(t)
	})
	if err != nil {
		return fmt.Errorf("record the progress of build %d: %w", build, err)
	}
	l.changes.tell(build)
	return nil
}

// stageChange is what a batch of events makes of one stage.
type stageChange struct {
	reporter.Stage
	restarted bool // it began in this batch, so that what was there is void
}

// digest folds events into the last state of each stage they touch, and into
// pieces of log, one for each run of text from the same place.
func digest(events []builder.Event) (stages []*stageChange, log []reporter.LogPiece) {
	byName := make(map[[2]string]*stageChange)
	for _, e := range events {
		key := [2]string{string(e.Stage), e.Name}
		s := byName[key]
		if s == nil {
			s = &stageChange{Stage: reporter.Stage{Stage: string(e.Stage), Name: e.Name}}
			byName[key] = s
			stages = append(stages, s)
		}
		s.apply(e)
		log = addToLog(log, e)
	}
	return stages, log
}

// apply is what one event does to its stage. Events of steps inside a document
// say where the stage is; the stage itself ends by an event without a step.
func (s *stageChange) apply(e builder.Event) {
	switch e.Kind {
	case builder.Output, builder.Warned:
		s.Step = cmp.Or(e.Step, s.Step)
	case builder.Started:
		if e.Step != "" {
			s.Step = e.Step
			return
		}
		*s = stageChange{Stage: reporter.Stage{Stage: s.Stage.Stage, Name: s.Name, State: string(e.Kind), Text: capped(e.Text), Started: e.Time}, restarted: true}
	default:
		if e.Step != "" {
			if e.Kind == builder.Failed {
				s.Step, s.Text = e.Step, capped(e.Text)
			}
			return
		}
		s.State, s.Finished = string(e.Kind), e.Time
		s.Text = cmp.Or(capped(e.Text), s.Text)
		if s.Started.IsZero() && e.Elapsed > 0 {
			s.Started = e.Time.Add(-e.Elapsed)
		}
	}
}

func capped(text string) string {
	if len(text) <= maxStageText {
		return text
	}
	return strings.ToValidUTF8(text[:maxStageText], "") + "…"
}

// addToLog adds what an event says: output as it is, and a line for what else a
// reader would look for. Where a piece comes from stands beside it, not in it.
func addToLog(log []reporter.LogPiece, e builder.Event) []reporter.LogPiece {
	piece := reporter.LogPiece{Time: e.Time, Stage: string(e.Stage), Name: e.Name, Step: e.Step, Stderr: e.Stderr, Text: e.Text}
	if e.Kind != builder.Output {
		piece.Text = eventLine(e)
	}
	if piece.Text == "" {
		return log
	}
	last := len(log) - 1
	if last < 0 || !samePlace(log[last], piece) {
		return append(log, piece)
	}
	if e.Kind != builder.Output && !strings.HasSuffix(log[last].Text, "\n") {
		log[last].Text += "\n"
	}
	log[last].Text += piece.Text
	return log
}

func samePlace(a, b reporter.LogPiece) bool {
	return a.Stage == b.Stage && a.Name == b.Name && a.Step == b.Step && a.Stderr == b.Stderr
}

// eventLine is what an event other than output adds to the log; empty: nothing.
func eventLine(e builder.Event) string {
	text := strings.TrimRight(e.Text, "\n")
	switch {
	case e.Kind == builder.Started, e.Kind == builder.Succeeded && text == "":
		return ""
	case e.Kind == builder.Succeeded:
		return text + "\n"
	case text == "":
		return string(e.Kind) + "\n"
	default:
		return string(e.Kind) + ": " + text + "\n"
	}
}

func saveStage(ctx context.Context, t tx, build int64, s *stageChange) error {
	if s.Stage.Stage == "" {
		return nil // of the build as a whole: only in the log
	}
	_, err := t.exec(ctx, `INSERT INTO stages (build, position, stage, name, state, step, text, started, finished)
		SELECT $1, COUNT(*), $2, $3, CASE $4 WHEN '' THEN 'started' ELSE $4 END, $5, $6, $7, $8 FROM stages WHERE build = $1
		HAVING COUNT(*) < $9 OR EXISTS (SELECT 1 FROM stages AS there WHERE there.build = $1 AND there.stage = $2 AND there.name = $3)
		ON CONFLICT (build, stage, name) DO UPDATE SET
			state = CASE $4 WHEN '' THEN stages.state ELSE $4 END,
			step = CASE WHEN $5 = '' AND NOT $10 THEN stages.step ELSE $5 END,
			text = CASE WHEN $6 = '' AND NOT $10 THEN stages.text ELSE $6 END,
			started = CASE $7 WHEN 0 THEN stages.started ELSE $7 END,
			finished = CASE WHEN $8 = 0 AND NOT $10 THEN stages.finished ELSE $8 END`,
		build, s.Stage.Stage, s.Name, s.State, s.Step, s.Text, millis(s.Started), millis(s.Finished), maxStages, s.restarted)
	return err
}

// appendLog adds a piece, up to the limit and one line that says so.
func appendLog(ctx context.Context, t tx, build int64, p reporter.LogPiece) error {
	if p.Text == "" {
		return nil
	}
	text := cleanText(p.Text)
	var seq, bytes int64
	err := t.row(ctx, `INSERT INTO logs (build, pieces, bytes) VALUES ($1, 1, $2)
		ON CONFLICT (build) DO UPDATE SET
			pieces = logs.pieces + CASE WHEN logs.bytes >= $3 THEN 0 ELSE 1 END,
			bytes = logs.bytes + $2
		RETURNING pieces, bytes`, build, len(text), maxLog).Scan(&seq, &bytes)
	if err != nil {
		return err
	}
	before := bytes - int64(len(text))
	if before >= maxLog {
		return nil
	}
	if bytes >= maxLog {
		text = strings.ToValidUTF8(text[:maxLog-before], "") + logCut
	}
	_, err = t.exec(ctx, "INSERT INTO log_pieces (build, seq, at, stage, name, step, stderr, text) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		build, seq, millis(p.Time), p.Stage, p.Name, p.Step, p.Stderr, text)
	return err
}

// Stages returns the rows of a build's progress, in the order in which they began.
func (l *Ledger) Stages(ctx context.Context, build int64) ([]reporter.Stage, error) {
	return stagesOf(ctx, l.db, build)
}

func stagesOf(ctx context.Context, q querier, build int64) ([]reporter.Stage, error) {
	stages, err := collect(ctx, q, func(s scanner) (reporter.Stage, error) {
		var st reporter.Stage
		var started, finished int64
		err := s.Scan(&st.Stage, &st.Name, &st.State, &st.Step, &st.Text, &started, &finished)
		st.Started, st.Finished = fromMillis(started), fromMillis(finished)
		return st, err
	}, "SELECT stage, name, state, step, text, started, finished FROM stages WHERE build = $1 ORDER BY position", build)
	if err != nil {
		return nil, fmt.Errorf("stages of build %d: %w", build, err)
	}
	return stages, nil
}

// Log returns pieces of a build's log after the piece numbered after (0: from the
// beginning), in order: limit bytes in all, or one piece if that is larger, and a
// few hundred pieces at most.
func (l *Ledger) Log(ctx context.Context, build, after int64, limit int) ([]reporter.LogPiece, error) {
	pieces, err := collect(ctx, l.db, func(s scanner) (reporter.LogPiece, error) {
		var p reporter.LogPiece
		var at int64
		err := s.Scan(&p.ID, &at, &p.Stage, &p.Name, &p.Step, &p.Stderr, &p.Text)
		p.Time = fromMillis(at)
		return p, err
	}, "SELECT seq, at, stage, name, step, stderr, text FROM log_pieces WHERE build = $1 AND seq > $2 ORDER BY seq LIMIT $3", build, after, logPieces)
	if err != nil {
		return nil, fmt.Errorf("log of build %d: %w", build, err)
	}
	for i, p := range pieces {
		if limit -= len(p.Text); limit < 0 && i > 0 {
			return pieces[:i], nil
		}
	}
	return pieces, nil
}

// Changed returns a channel that is closed soon after a build or its log changes
// in this process. Who asks before reading the ledger misses nothing.
func (l *Ledger) Changed(build int64) <-chan struct{} { return l.changes.next(build) }

// Follow yields the log after a piece, the stages and the state of a build, first
// what there is and then what is new, until the build has ended or ctx does. An
// error is yielded once, last.
func (l *Ledger) Follow(ctx context.Context, build, after int64) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		var known Progress
		for first := true; ; first = false {
			changed := l.changes.next(build)
			found, err := l.look(ctx, build, after)
			if err != nil {
				yield(Progress{}, err)
				return
			}
			if len(found.Pieces) > 0 {
				after = found.Pieces[len(found.Pieces)-1].ID
			}
			news := Progress{Pieces: found.Pieces, State: found.State}
			if !slices.Equal(found.Stages, known.Stages) {
				news.Stages = found.Stages
			}
			if first || len(news.Pieces) > 0 || news.Stages != nil || news.State != known.State {
				if !yield(news, nil) {
					return
				}
			}
			known = found
			switch {
			case len(found.Pieces) > 0:
				continue // there may be more
			case found.State.Final():
				return
			}
			select {
			case <-ctx.Done():
				yield(Progress{}, context.Cause(ctx))
				return
			case <-changed:
			case <-tick.C:
			}
		}
	}
}

const (
	// logPieces bounds how many pieces are read at once, and followBytes what one
	// step of Follow holds in memory.
	logPieces   = 256
	followBytes = 1 << 20
)

// look reads the state first: whatever comes before a final state is then seen.
func (l *Ledger) look(ctx context.Context, build, after int64) (p Progress, err error) {
	state, found, err := one(ctx, l.db, value[string], "SELECT state FROM builds WHERE id = $1", build)
	if err != nil {
		return p, fmt.Errorf("follow build %d: %w", build, err)
	}
	if !found {
		return p, fmt.Errorf("follow build %d: %w", build, ErrNotFound)
	}
	p.State = reporter.State(state)
	if p.Pieces, err = l.Log(ctx, build, after, followBytes); err != nil {
		return p, err
	}
	p.Stages, err = l.Stages(ctx, build)
	return p, err
}

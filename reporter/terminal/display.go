package terminal

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// interval is the time between two redrawings.
const interval = 100 * time.Millisecond

// Kind says what an Update reports.
type Kind string

const (
	Started   Kind = "started"
	Succeeded Kind = "succeeded"
	Failed    Kind = "failed"
	Reused    Kind = "reused"
	Skipped   Kind = "skipped"
	Warned    Kind = "warned"
	Output    Kind = "output" // Text is a piece of what was printed
)

// Update is something that happened in a build. Stage and Name together are one
// row. With a Step it is about that step of the row, otherwise about the row itself.
type Update struct {
	Kind    Kind
	Stage   string
	Name    string // component or test; empty for a stage that runs once
	Step    string // phase/step
	Text    string
	Elapsed time.Duration // of what ended; 0: measured here
}

// Display shows how one build goes. Its methods may be called from several goroutines.
type Display struct {
	out     io.Writer
	options Options
	stop    chan struct{}
	drawer  sync.WaitGroup
	closing sync.Once

	mu   sync.Mutex
	rows []*row
	spin int
	tty  screen
	err  error // the first of writing
}

// New makes a Display that writes to w. On a terminal it redraws by itself until
// it is closed.
func New(w io.Writer, o Options) *Display {
	d := &Display{out: w, options: o, stop: make(chan struct{})}
	if o.TTY {
		d.drawer.Go(d.redraw)
	}
	return d
}

// Close shows the last state and stops. It returns the first error of writing, and
// may be called twice.
func (d *Display) Close() error {
	d.closing.Do(func() {
		close(d.stop)
		d.drawer.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.options.TTY {
			d.draw()
			return
		}
		for _, r := range d.rows {
			d.printOutput(r, true)
		}
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *Display) redraw() {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
			d.mu.Lock()
			d.spin++
			d.draw()
			d.mu.Unlock()
		}
	}
}

// Update tells what happened.
func (d *Display) Update(u Update) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.row(u)
	r.apply(u, time.Now())
	if !d.options.TTY {
		d.print(r, u)
	}
}

// row finds the row that an update is about, or begins it. Warnings are rows of
// their own, below what they warn of.
func (d *Display) row(u Update) *row {
	i := slices.IndexFunc(d.rows, func(r *row) bool { return r.stage == u.Stage && r.name == u.Name && r.state != Warned })
	if u.Kind != Warned && i >= 0 {
		return d.rows[i]
	}
	r := &row{stage: u.Stage, name: u.Name, state: Started, since: time.Now()}
	if u.Kind == Warned && i >= 0 {
		d.rows = slices.Insert(d.rows, d.endOfWarnings(i), r)
		return r
	}
	d.rows = append(d.rows, r)
	return r
}

func (d *Display) endOfWarnings(i int) int {
	for i++; i < len(d.rows) && d.rows[i].state == Warned; i++ {
	}
	return i
}

func (d *Display) draw() {
	width, height := d.options.size()
	now := time.Now()
	lines := make([]string, len(d.rows))
	for i, r := range d.rows {
		lines[i] = r.line(min(width-1, 110), d.options.Color, d.spin, now)
	}
	d.write(d.tty.show(lines, height))
}

// write keeps the first error: a terminal that is gone must not fail the build.
func (d *Display) write(text string) {
	if text == "" || d.err != nil {
		return
	}
	_, d.err = io.WriteString(d.out, text)
}

// print writes the plain line of an update.
func (d *Display) print(r *row, u Update) {
	if u.Kind == Output {
		d.printOutput(r, false)
		return
	}
	d.printOutput(r, true)
	if text := plainLine(r, u); text != "" {
		d.write(text + "\n")
	}
}

// printOutput writes the complete lines that a row has printed; with all, the
// incomplete last one as well.
func (d *Display) printOutput(r *row, all bool) {
	for _, line := range r.takeOutput(all) {
		if !d.options.Quiet {
			d.write("  | " + line + "\n")
		}
	}
}

// screen remembers what a terminal shows, below which the cursor stands.
type screen struct{ shown []string }

// show returns what has to be written for the terminal to show lines: only what
// changed, and only what has not been scrolled away.
func (s *screen) show(lines []string, height int) string {
	var out strings.Builder
	below := len(s.shown)
	top := max(below-(height-1), 0)
	for i := top; i < min(below, len(lines)); i++ {
		if lines[i] != s.shown[i] {
			fmt.Fprintf(&out, "\x1b[%dA\r%s\x1b[K\x1b[%dB\r", below-i, lines[i], below-i)
		}
	}
	for _, line := range lines[min(below, len(lines)):] {
		out.WriteString(line + "\x1b[K\n")
	}
	s.shown = lines
	return out.String()
}

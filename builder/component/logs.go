package component

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// logs are the files of one run, in its own folder.
type logs struct {
	folder string
	masker *masker
	now    func() time.Time

	mu          sync.Mutex
	consoleFile *os.File
	application *os.File
	inLine      bool  // console.log does not end in a line end
	err         error // the first; a full disk must not stop the steps

	scripts map[string]bool // files of the steps' scripts, to be removed
}

// newFolder makes the folder of a run that starts now.
func newFolder(dir, id string, now time.Time) (string, error) {
	folder, err := filepath.Abs(filepath.Join(dir, fmt.Sprintf("TOE_%s_UTC-0_%s", now.UTC().Format("2006-01-02_15-04-05"), id)))
	if err != nil {
		return "", err
	}
	return folder, os.MkdirAll(folder, 0o700)
}

func openLogs(folder string, m *masker, now func() time.Time) (*logs, error) {
	open := func(name string) (*os.File, error) {
		return os.OpenFile(filepath.Join(folder, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	console, err := open("console.log")
	if err != nil {
		return nil, err
	}
	application, err := open("application.log")
	if err != nil {
		return nil, errors.Join(err, console.Close())
	}
	return &logs{folder: folder, masker: m, now: now, consoleFile: console, application: application, scripts: map[string]bool{}}, nil
}

// console adds text that is masked already.
func (l *logs) console(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.consoleFile.WriteString(text)
	l.inLine = !strings.HasSuffix(text, "\n")
	l.keep(err)
}

// note adds a line with the time to the application log.
func (l *logs) note(format string, args ...any) {
	line := l.masker.text(fmt.Sprintf(format, args...))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.application, "%s %s\n", l.now().UTC().Format(time.RFC3339Nano), strings.TrimSpace(line))
	l.keep(err)
}

func (l *logs) keep(err error) {
	if l.err == nil {
		l.err = err
	}
}

// failure adds the block that describes the first failed step.
func (l *logs) failure(f *Failure) {
	var b strings.Builder
	if l.inLine {
		b.WriteByte('\n')
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	line("Document", f.Document)
	line("ComponentArn", f.Path)
	line("Phase", f.Phase)
	line("Step", f.Step)
	line("Action", f.Action)
	line("ErrorMessage", f.Message)
	line("Stderr", f.Stderr)
	l.console(b.String())
}

// path is where a file of the run lies.
func (l *logs) path(name string) string { return filepath.Join(l.folder, name) }

// temporary makes a folder of the run for one step, whose it is to remove.
func (l *logs) temporary(name string) (string, error) {
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(l.folder, name+"-*")
}

// writeFile makes a file of the run. Steps that clean up may have taken the
// folder away, which is theirs to do.
func (l *logs) writeFile(name string, text []byte) error {
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(l.path(name), text, 0o600)
}

// writeScript makes the file of a step's script. It is the same one for all steps:
// to make and remove a file for each would cost a short step more than anything else
// that the engine does for it.
func (l *logs) writeScript(name, text string) (err error) {
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l.scripts[name] = true
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// emptyScript leaves one character of a script, which may hold secrets, until the
// run ends: a file that was truncated to nothing is written to the disk at once when
// it is next closed.
func (l *logs) emptyScript(name string) error { return os.Truncate(l.path(name), 1) }

// write makes a file that describes the run; the text is masked already.
func (l *logs) write(name string, text []byte) {
	err := l.writeFile(name, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(err)
}

// close removes the scripts and returns the first error that any of the files had.
func (l *logs) close() error {
	for name := range l.scripts {
		if err := os.Remove(l.path(name)); err != nil {
			l.note("the script was not removed: %v", err) // a step may have done it
		}
	}
	return errors.Join(l.err, l.consoleFile.Close(), l.application.Close())
}

// finish writes the files that describe the whole run.
func (l *logs) finish(r *engine, result Result) error {
	for i, d := range r.job.Documents {
		name := "document.yaml"
		if i > 0 {
			name = fmt.Sprintf("document-%d.yaml", i+1)
		}
		l.write(name, []byte(l.masker.text(d.Text)))
	}
	l.write("detailedoutput.json", r.detailed(result))
	l.write("chaining.json", r.chaining())
	return l.close()
}

package mount

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
)

func isDone(err error) bool { return errors.Is(err, os.ErrProcessDone) }

// firstLine closes seen at the first line end and forgets everything.
type firstLine struct {
	once sync.Once
	seen chan struct{}
}

func (f *firstLine) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, '\n') >= 0 {
		f.once.Do(func() { close(f.seen) })
	}
	return len(p), nil
}

// tail keeps the last bytes of what a program complains. It is read only after
// the program has ended.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = t.kept[over:]
	}
	return len(p), nil
}

// text is what the program said, or else how it ended.
func (t *tail) text(err error) string {
	if said := strings.TrimSpace(string(t.kept)); said != "" {
		return said
	}
	if err != nil {
		return err.Error()
	}
	return "ended by itself"
}

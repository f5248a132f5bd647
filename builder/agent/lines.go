package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// The wire is lines. A line that begins with { is a message. One that is too
// long for a line comes in pieces, in lines that begin with +, the last of them
// with =. An empty line forgets pieces. Anything else is dropped: a port may
// deliver the end of a message whose beginning went to somebody else.
const (
	maxLine    = 1 << 20
	maxMessage = 16 << 20
	pieceSize  = 512 << 10
)

// reader takes messages off a wire. It holds at most one message.
type reader struct {
	r      *bufio.Reader
	pieces []byte
	lost   bool // of the message being put together
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next message, valid until the call after. Only an error of
// the wire is an error.
func (r *reader) next() ([]byte, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			r.pieces, r.lost = nil, false
			continue
		}
		switch line[0] {
		case '{':
			return line, nil
		case '+':
			r.keep(line[1:])
		case '=':
			r.keep(line[1:])
			message, lost := r.pieces, r.lost
			r.pieces, r.lost = nil, false
			if !lost {
				return message, nil
			}
		}
	}
}

func (r *reader) keep(piece []byte) {
	if len(r.pieces)+len(piece) > maxMessage {
		r.pieces, r.lost = r.pieces[:0], true
	}
	if !r.lost {
		r.pieces = append(r.pieces, piece...)
	}
}

// line returns one line without its end. One that is too long counts as empty,
// so that what it was a piece of is dropped too.
func (r *reader) line() ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			long, line = true, nil
		}
		if !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		default:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}

// writer puts messages on a wire, whole, from any goroutine.
type writer struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *writer) send(message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(text) <= pieceSize {
		return w.line("", text)
	}
	for len(text) > pieceSize {
		if err := w.line("+", text[:pieceSize]); err != nil {
			return err
		}
		text = text[pieceSize:]
	}
	return w.line("=", text)
}

func (w *writer) line(prefix string, text []byte) error {
	line := make([]byte, 0, len(prefix)+len(text)+1)
	line = append(append(append(line, prefix...), text...), '\n')
	_, err := w.w.Write(line)
	return err
}

// resync ends whatever line and message a predecessor left unfinished.
func (w *writer) resync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := io.WriteString(w.w, "\n\n")
	return err
}

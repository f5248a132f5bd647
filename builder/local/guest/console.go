package guest

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	consoleFileMax = 4 << 20  // bytes kept in ConsoleFile: the first ones
	consoleTextMax = 64 << 10 // bytes kept in memory: the last ones
	lastLinesCount = 20
	lastLinesMax   = 4 << 10 // bytes of them
)

// console reads what the machine prints: it keeps it and tells the state what it means.
type console struct {
	from  io.Reader
	file  *os.File
	state *state
	text  *tailBuffer // cleaned

	fileErr error // of writing file; run's
}

func newConsole(from io.Reader, file *os.File, s *state) *console {
	return &console{from: from, file: file, state: s, text: newTailBuffer(consoleTextMax)}
}

// run reads until QEMU has closed its end. An error of the file ends only the file:
// the guest would stall if nobody read.
func (c *console) run() {
	scan := newScanner()
	room := consoleFileMax
	buf := make([]byte, 16<<10)
	for {
		n, err := c.from.Read(buf)
		if keep := min(n, room); keep > 0 && c.fileErr == nil {
			room -= keep
			_, c.fileErr = c.file.Write(buf[:keep])
		}
		c.hear(scan, buf[:n])
		if err != nil { // EOF, or a reset when QEMU was killed
			return
		}
	}
}

// close closes the file, after run has ended.
func (c *console) close() error { return errors.Join(c.fileErr, c.file.Close()) }

// hear passes one piece to the scanner and its findings to the state.
func (c *console) hear(scan *scanner, piece []byte) {
	clean, found := scan.write(piece)
	_, _ = c.text.Write(clean) // cannot fail
	for _, f := range found {
		c.state.heard(f, c.lastLines)
	}
}

// string is the end of the text, safe to be shown after the usual escaping.
func (c *console) string() string { return printable(c.text.String()) }

// lastLines are the last lines that are not empty.
func (c *console) lastLines() string {
	text := c.string()
	if len(text) > lastLinesMax {
		text = strings.ToValidUTF8(text[len(text)-lastLinesMax:], "")
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRightFunc(line, unicode.IsSpace); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-lastLinesCount):], "\n")
}

// printable drops what is not UTF-8 and every control character but newline and
// tab, so that the text can neither break JSON nor drive a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		default:
			return r
		}
	}, text)
}

// tailBuffer keeps the last bytes that were written to it.
type tailBuffer struct {
	mu  sync.Mutex
	max int
	buf []byte
}

func newTailBuffer(limit int) *tailBuffer { return &tailBuffer{max: limit} }

// Write implements io.Writer; it never fails.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > 2*b.max { // rarely, so that a flood costs one copy per byte
		b.buf = append(b.buf[:0], b.buf[len(b.buf)-b.max:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf[max(0, len(b.buf)-b.max):])
}

package watcher

import (
	"errors"
	"fmt"
	"io"
)

// maxPktLine is the largest packet that the protocol allows, with its length.
const maxPktLine = 65520

// pktKind tells the packets that carry data from those that only separate.
type pktKind int

const (
	pktData pktKind = iota
	pktFlush
	pktDelim
	pktResponseEnd
)

// errPktLine is what a server says that does not speak the Git protocol.
var errPktLine = errors.New("not a Git protocol answer")

// pktReader reads Git's packets: four hexadecimal digits of length, then data.
// It holds one packet at a time, whatever the other side sends.
type pktReader struct {
	r    io.Reader
	head [4]byte
	buf  []byte
}

func newPktReader(r io.Reader) *pktReader { return &pktReader{r: r} }

// next returns the next packet; its data stays valid until the next call. The end
// of the stream between two packets is io.EOF.
func (p *pktReader) next() (pktKind, []byte, error) {
	if _, err := io.ReadFull(p.r, p.head[:]); err != nil {
		return 0, nil, err // io.EOF, or io.ErrUnexpectedEOF inside the length
	}
	n, err := pktLength(p.head)
	if err != nil {
		return 0, nil, err
	}
	switch n {
	case 0:
		return pktFlush, nil, nil
	case 1:
		return pktDelim, nil, nil
	case 2:
		return pktResponseEnd, nil, nil
	case 3:
		return 0, nil, fmt.Errorf("%w: packet length 3", errPktLine)
	}
	n -= 4
	if cap(p.buf) < n {
		p.buf = make([]byte, n, max(n, 1024))
	}
	data := p.buf[:n]
	if _, err := io.ReadFull(p.r, data); err != nil {
		return 0, nil, truncated(err)
	}
	if len(data) > 4 && string(data[:4]) == "ERR " {
		return 0, nil, &serverError{text: printable(data[4:])}
	}
	return pktData, data, nil
}

func pktLength(head [4]byte) (int, error) {
	n := 0
	for _, c := range head {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case 'A' <= c && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return 0, fmt.Errorf("%w: it begins with %q", errPktLine, head[:])
		}
	}
	if n > maxPktLine {
		return 0, fmt.Errorf("%w: packet of %d bytes, at most %d are allowed", errPktLine, n, maxPktLine)
	}
	return n, nil
}

// truncated turns the end of the stream inside a packet into an error.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// serverError is what the server itself gave as the reason of its refusal.
type serverError struct{ text string }

func (e *serverError) Error() string { return "the server says: " + e.text }

// printable makes a server's words fit for a log: one line, no control characters, capped.
func printable(b []byte) string {
	const most = 300
	out := make([]rune, 0, min(len(b), most))
	for _, r := range string(b) {
		if len(out) == most {
			out = append(out, '…')
			break
		}
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		out = append(out, r)
	}
	return string(trimSpace(out))
}

func trimSpace(r []rune) []rune {
	for len(r) > 0 && r[len(r)-1] == ' ' {
		r = r[:len(r)-1]
	}
	for len(r) > 0 && r[0] == ' ' {
		r = r[1:]
	}
	return r
}

// appendPkt appends one data packet to b.
func appendPkt(b []byte, line string) []byte {
	return append(fmt.Appendf(b, "%04x", len(line)+4), line...)
}

const (
	flushPkt = "0000"
	delimPkt = "0001"
)

// sideband unwraps the packets of side-band-64k: it reads as the pack alone, and
// ends where the server's flush is.
type sideband struct {
	pkts *pktReader
	rest []byte
	done bool
}

func (s *sideband) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sideband) fill() error {
	kind, data, err := s.pkts.next()
	if err != nil {
		return truncated(err)
	}
	return s.take(kind, data)
}

// take unwraps one packet.
func (s *sideband) take(kind pktKind, data []byte) error {
	if kind != pktData {
		s.done = true
		return nil
	}
	if len(data) == 0 {
		return fmt.Errorf("%w: an empty packet where the pack was expected", errPktLine)
	}
	switch data[0] {
	case 1:
		s.rest = data[1:]
	case 2: // progress, for people
	case 3:
		return &serverError{text: printable(data[1:])}
	default:
		return fmt.Errorf("%w: side band %d", errPktLine, data[0])
	}
	return nil
}

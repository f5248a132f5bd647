package guest

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// QEMU's software emulation looks addresses up in a table (TLB) that starts with 64
// entries and may only grow when it is flushed. Operating systems flush it all the
// time; a kernel that unpacks itself does not do so once, runs through tens of
// megabytes, and misses on nearly every access: two of the five seconds that this
// takes. A watchpoint that lies across two pages has the table flushed when it is
// set, and a debugger can set one; where it lies does not matter.

const (
	// tlbEvery is the time between two flushes: enough to fill the table, so that it doubles.
	tlbEvery = 50 * time.Millisecond
	// tlbLimit bounds how long a machine is looked after from its start, or restart: one
	// that waits in its boot loader is not held up for ever.
	tlbLimit = 30 * time.Second

	interrupt      = "\x03"
	replyEmpty     = "vMustReplyEmpty"
	tlbWatchpoint  = "2,7ffffffffffe,4"
	allRegisters   = "g"                   // a single one is refused to whom has not read the description of all
	ripAt          = 16                    // of registers of 8 bytes
	kernelAddress  = 0xffff_8000_0000_0000 // and above: the kernel has unpacked itself
	maxDebugPacket = 16 << 10              // bytes of an answer
)

// tlbGrower has the table of an emulated machine grow until its kernel runs.
type tlbGrower struct {
	conn    net.Conn // to QEMU's GDB server
	answers *bufio.Reader
	again   chan struct{} // has an element when the machine has started or restarted
}

func newTLBGrower(conn net.Conn) *tlbGrower {
	g := &tlbGrower{conn: conn, answers: bufio.NewReader(conn), again: make(chan struct{}, 1)}
	g.restarted()
	return g
}

// restarted says that a kernel will unpack itself once more. It does not block.
func (g *tlbGrower) restarted() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

// run looks after the machine until ctx ends or QEMU hangs up, which is no error. After
// an error the machine is only as slow as it was before, but may stand still: the
// caller has it go on by other means.
func (g *tlbGrower) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { g.conn.Close() })()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.again:
		}
		err := g.grow(ctx)
		if ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("QEMU's GDB server: %w", err)
		}
	}
}

// grow flushes until the kernel runs.
func (g *tlbGrower) grow(ctx context.Context) error {
	limit := time.NewTimer(tlbLimit)
	defer limit.Stop()
	tick := time.NewTicker(tlbEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-limit.C:
			return nil
		case <-tick.C:
		}
		if kernel, err := g.flush(); kernel || err != nil {
			return err
		}
	}
}

// flush stops the machine, has its table flushed, and lets it go on. kernel tells
// where the first processor was.
func (g *tlbGrower) flush() (kernel bool, err error) {
	if err := g.stop(); err != nil {
		return false, err
	}
	for _, command := range []string{"Z" + tlbWatchpoint, "z" + tlbWatchpoint} {
		said, err := g.ask(command)
		if err != nil {
			return false, err
		}
		if said != "OK" {
			return false, fmt.Errorf("%s was answered by %q", command, said)
		}
	}
	said, err := g.ask(allRegisters)
	if err != nil {
		return false, err
	}
	registers, err := hex.DecodeString(said[:min(len(said), 2*8*(ripAt+1))])
	if err != nil || len(registers) != 8*(ripAt+1) {
		return false, fmt.Errorf("the registers are %.100q", said)
	}
	_, err = g.conn.Write([]byte(packet("c")))
	return binary.LittleEndian.Uint64(registers[8*ripAt:]) >= kernelAddress, err
}

// stop returns when the machine stands still. The interrupt stops one that runs, which
// is said or not, depending on QEMU's version, and is ignored by one that does not run
// yet; so a question follows to which there is one answer. Both go in one piece: a
// machine that started in between would swallow the question.
func (g *tlbGrower) stop() error {
	if _, err := g.conn.Write([]byte(interrupt + packet(replyEmpty))); err != nil {
		return err
	}
	for {
		if said, err := g.answer(); err != nil || said == "" {
			return err
		}
	}
}

func (g *tlbGrower) ask(command string) (string, error) {
	if _, err := g.conn.Write([]byte(packet(command))); err != nil {
		return "", err
	}
	return g.answer()
}

// answer reads the next packet and acknowledges it. It is io.EOF when QEMU ends.
func (g *tlbGrower) answer() (string, error) {
	if _, err := g.answers.ReadSlice('$'); err != nil { // acknowledgements of ours come before
		return "", err
	}
	var text []byte
	for {
		c, err := g.answers.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '#' {
			break
		}
		if text = append(text, c); len(text) > maxDebugPacket {
			return "", errors.New("an answer does not end")
		}
	}
	if _, err := g.answers.Discard(2); err != nil { // the sum: nothing is lost between two processes
		return "", err
	}
	if len(text) > 0 && (text[0] == 'W' || text[0] == 'X') {
		return "", io.EOF // QEMU ends
	}
	_, err := g.conn.Write([]byte("+"))
	return string(text), err
}

// packet frames a command of the GDB remote serial protocol.
func packet(command string) string {
	var sum byte
	for _, c := range []byte(command) {
		sum += c
	}
	return fmt.Sprintf("$%s#%02x", command, sum)
}

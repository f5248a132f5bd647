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
	"strings"
	"testing"
)

// debugged is QEMU's GDB server, as far as it is asked: strict about the order of
// commands, since one that is out of step leaves the machine standing.
type debugged struct {
	conn    net.Conn
	in      *bufio.Reader
	running bool
	mute    bool     // does not say that it was stopped
	rips    []uint64 // at each look; the last one stays
	flushes int
	say     map[string]string // answers that differ
}

// serve returns what it did not understand.
func (d *debugged) serve() error {
	for {
		c, err := d.in.ReadByte()
		if err != nil {
			return nil
		}
		switch {
		case c == '+':
			continue
		case d.running:
			d.running = false // by any byte, which is lost
			if c == '$' {
				return errors.New("a command to a machine that runs")
			}
			if !d.mute {
				if err := d.answer("T02thread:01;"); err != nil {
					return nil
				}
			}
			continue
		case c == interrupt[0]:
			continue
		case c != '$':
			return fmt.Errorf("%q to a machine that stands still", c)
		}
		command, err := d.in.ReadString('#')
		if err != nil {
			return nil
		}
		sum := make([]byte, 2)
		if _, err := d.in.Read(sum[:1]); err != nil {
			return nil
		}
		if _, err := d.in.Read(sum[1:]); err != nil {
			return nil
		}
		command = strings.TrimSuffix(command, "#")
		if want := packet(command); want != "$"+command+"#"+string(sum) {
			return fmt.Errorf("%s has the sum %s", command, sum)
		}
		if err := d.obey(command); err != nil {
			return err
		}
	}
}

func (d *debugged) obey(command string) error {
	if text, ok := d.say[command]; ok {
		return d.answer(text)
	}
	switch command {
	case replyEmpty:
		return d.answer("")
	case "Z" + tlbWatchpoint, "z" + tlbWatchpoint:
		d.flushes++
		return d.answer("OK")
	case allRegisters:
		rip := d.rips[0]
		d.rips = d.rips[min(1, len(d.rips)-1):]
		registers := append(binary.LittleEndian.AppendUint64(make([]byte, 8*ripAt), rip), make([]byte, 100)...)
		return d.answer(hex.EncodeToString(registers))
	case "c":
		d.running = true
		return nil
	default:
		return fmt.Errorf("unknown command %s", command)
	}
}

func (d *debugged) answer(text string) error {
	_, err := d.conn.Write([]byte("+" + packet(text)))
	return err
}

// debugWire is the two ends of the socket between us and QEMU.
func debugWire(t *testing.T) (near, far net.Conn) {
	t.Helper()
	near, file, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	far, err = net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// grown runs a grower against d until it has seen the kernel, or failed.
func grown(t *testing.T, d *debugged) error {
	t.Helper()
	near, far := debugWire(t)
	d.conn, d.in = far, bufio.NewReader(far)
	served := make(chan error, 1)
	go func() { served <- d.serve() }()
	g := newTLBGrower(near)
	err := g.grow(t.Context())
	if closing := near.Close(); closing != nil {
		t.Error(closing)
	}
	if strange := <-served; strange != nil {
		t.Error(strange)
	}
	return err
}

func TestTLBIsFlushedUntilTheKernelRuns(t *testing.T) {
	for name, d := range map[string]*debugged{
		"a machine that runs":               {running: true},
		"a machine that is silently halted": {running: true, mute: true},
		"a machine that does not run yet":   {},
	} {
		t.Run(name, func(t *testing.T) {
			d.rips = []uint64{0xfff0, 0x7c00, 0x1000000, 0xffffffff81000000}
			if err := grown(t, d); err != nil {
				t.Fatal(err)
			}
			if d.flushes != 8 || !d.running {
				t.Errorf("%d flushes, want two at each of four looks; the machine runs: %v", d.flushes, d.running)
			}
		})
	}
}

func TestTLBGrowerToleratesNothingStrange(t *testing.T) {
	for want, say := range map[string]map[string]string{
		`Z2,7ffffffffffe,4 was answered by "E22"`: {"Z" + tlbWatchpoint: "E22"},
		`the registers are "xx"`:                  {allRegisters: "xx"},
		`the registers are ""`:                    {allRegisters: ""},
		"an answer does not end":                  {allRegisters: strings.Repeat("0", maxDebugPacket+1)},
	} {
		d := &debugged{rips: []uint64{0}, say: say}
		if err := grown(t, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTLBGrowerEndsWithTheMachine(t *testing.T) {
	near, far := debugWire(t)
	d := &debugged{conn: far, in: bufio.NewReader(far), rips: []uint64{0xffffffff81000000}}
	served := make(chan error, 1)
	go func() { served <- d.serve() }()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	g := newTLBGrower(near)
	go func() { ended <- g.run(ctx) }()
	g.restarted()
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}

	d = &debugged{rips: []uint64{0}, say: map[string]string{allRegisters: "W00"}}
	if err := grown(t, d); !errors.Is(err, io.EOF) {
		t.Errorf("QEMU says that it ends: %v", err)
	}

	near, far = debugWire(t)
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newTLBGrower(near).run(t.Context()); err != nil {
		t.Errorf("QEMU that has gone is a failure: %v", err)
	}
}

package component

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// firstRead is how much is read at once from a program that has not printed much,
// in bytes: most print little, and a buffer of the usual size costs more than their step.
const firstRead = 1 << 10

// piped is the output of a program that one thread reads, and that thread sees the
// program end too. exec.Cmd has a goroutine read each of two outputs, which costs a
// short step a tenth of its time.
type piped struct {
	read   [2]int // -1 when closed
	write  [2]*os.File
	to     [2]io.Writer
	buffer []byte
}

// connect makes the program's output arrive at p's writers. The kernel may be too old
// to tell of a program's end in a way that can be waited for along with its output.
func (p program) connect(cmd *exec.Cmd) (awaiter, error) {
	if !endsAreFiles() {
		return p.connectCopies(cmd), nil
	}
	o := &piped{read: [2]int{-1, -1}, to: [2]io.Writer{p.stdout, p.stderr}, buffer: make([]byte, firstRead)}
	for i := range o.read {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			o.close()
			return nil, os.NewSyscallError("pipe2", err)
		}
		o.read[i], o.write[i] = ends[0], os.NewFile(uintptr(ends[1]), "pipe")
	}
	cmd.Stdout, cmd.Stderr = o.write[0], o.write[1]
	return o, nil
}

// endsAreFiles reports whether there are process file descriptors, as since Linux 5.4.
func endsAreFiles() bool {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	err = self.WithHandle(func(uintptr) {})
	return errors.Join(err, self.Release()) == nil
}

func (o *piped) wait(cmd *exec.Cmd) (held bool, err error) {
	o.closeWriters()
	var passErr error
	err = cmd.Process.WithHandle(func(handle uintptr) { held, passErr = o.passOn(int32(handle)) })
	o.close() // what still runs and prints is not to wait for a reader
	return held, errors.Join(err, passErr, cmd.Wait())
}

// passOn reads until both outputs are closed, or for outputGrace after the end of the
// program: then something in the background holds them.
func (o *piped) passOn(process int32) (held bool, err error) {
	const end = len(o.read)
	files := []unix.PollFd{
		{Fd: int32(o.read[0]), Events: unix.POLLIN},
		{Fd: int32(o.read[1]), Events: unix.POLLIN},
		{Fd: process, Events: unix.POLLIN},
	}
	var deadline time.Time
	for open := len(o.read); open > 0; {
		patience := -1
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return true, nil
			}
			patience = int(left/time.Millisecond) + 1
		}
		if _, err := unix.Poll(files, patience); err != nil && !errors.Is(err, unix.EINTR) {
			return false, os.NewSyscallError("poll", err)
		} else if err != nil {
			continue // what the files say is from before
		}
		for i := range o.read {
			if files[i].Revents == 0 {
				continue
			}
			more, err := o.pass(i)
			if err != nil {
				return false, err
			}
			if !more {
				files[i].Fd = -1 // ignored from now on
				open--
			}
		}
		if files[end].Revents != 0 {
			files[end].Fd = -1
			deadline = time.Now().Add(outputGrace)
		}
	}
	return false, nil
}

// pass hands on what an output has; more is false at its end.
func (o *piped) pass(i int) (more bool, err error) {
	n, err := unix.Read(o.read[i], o.buffer)
	switch {
	case errors.Is(err, unix.EINTR):
		return true, nil
	case err != nil:
		return false, os.NewSyscallError("read", err)
	case n == 0:
		return false, nil
	}
	if _, err := o.to[i].Write(o.buffer[:n]); err != nil {
		return false, err
	}
	if n == len(o.buffer) && n < maxPiece {
		o.buffer = make([]byte, maxPiece)
	}
	return true, nil
}

func (o *piped) closeWriters() {
	for i, w := range o.write {
		if w != nil {
			// Nothing was written to it here.
			_ = w.Close()
			o.write[i] = nil
		}
	}
}

func (o *piped) close() {
	o.closeWriters()
	for i, fd := range o.read {
		if fd >= 0 {
			// It was only read from.
			_ = unix.Close(fd)
			o.read[i] = -1
		}
	}
}

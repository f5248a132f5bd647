package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

func TestMessagesOfEverySizeArrive(t *testing.T) {
	var wire bytes.Buffer
	out, in := &writer{w: &wire}, newReader(&wire)
	for _, size := range []int{0, 1, pieceSize - 20, pieceSize, 2*pieceSize + 1, 10 << 20} {
		sent := response{ID: uint64(size), Error: strings.Repeat("x", size)}
		if err := out.send(sent); err != nil {
			t.Fatal(err)
		}
		message, err := in.next()
		if err != nil {
			t.Fatal(err)
		}
		var got response
		if err := json.Unmarshal(message, &got); err != nil || got != sent {
			t.Errorf("size %d: %d bytes, %v", size, len(got.Error), err)
		}
	}
}

func TestNoiseIsDropped(t *testing.T) {
	for _, noise := range []string{
		"", "\n\n", "half a line", "half\n", "+piece", "+piece\n", "=end\n", "\x00\xff\n",
		strings.Repeat("x", maxLine+1), "+" + strings.Repeat("x", maxLine+1) + "\n",
		strings.Repeat("+"+strings.Repeat("x", pieceSize)+"\n", maxMessage/pieceSize+2),
	} {
		wire := bytes.NewBufferString(noise)
		out := &writer{w: wire}
		if err := out.resync(); err != nil {
			t.Fatal(err)
		}
		if err := out.send(response{ID: 7, Error: strings.Repeat("y", 2*pieceSize)}); err != nil {
			t.Fatal(err)
		}
		in, found := newReader(wire), false
		for {
			message, err := in.next()
			if err != nil {
				break
			}
			var r response
			found = found || json.Unmarshal(message, &r) == nil && r.ID == 7
		}
		if !found {
			t.Errorf("lost after %.40q", noise)
		}
	}
}

// The wire is hostile on both sides: whatever comes, memory is bounded, nothing
// panics, and after an empty line a message gets through.
func FuzzReader(f *testing.F) {
	f.Add([]byte("{\"id\":1}\n+a\n=b\n\n"))
	f.Add([]byte("+\n+\n=\n{}\r\n"))
	f.Fuzz(func(t *testing.T, noise []byte) {
		in := newReader(bytes.NewReader(append(noise, "\n\n{\"id\":42}\n"...)))
		var last []byte
		for {
			message, err := in.next()
			if err != nil {
				break
			}
			if len(message) > maxMessage {
				t.Fatalf("a message of %d bytes", len(message))
			}
			last = append(last[:0], message...)
		}
		if string(last) != `{"id":42}` {
			t.Fatalf("last message %q", last)
		}
	})
}

// liar is a guest that answers with what it likes.
type liar struct {
	io.Reader
	io.Writer
}

// FuzzClient lets a guest answer a run with anything, its nonce and ids guessed right.
func FuzzClient(f *testing.F) {
	f.Add([]byte(`{"id":2,"event":{"kind":"output","text":"x"}}`+"\n"+`{"id":2,"done":true,"result":{"status":"success"}}`+"\n"), true)
	f.Add([]byte(`{"id":2,"done":true}`+"\n"), true)
	f.Add([]byte(`{"id":2,"seq":18446744073709551615,"event":{"kind":"finished","result":{"reboot":true}}}`+"\n"), true)
	f.Add([]byte("{\"id\":1,\"hello\":{}}\n[]\n"), false)
	f.Fuzz(func(t *testing.T, answer []byte, polite bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c := NewClient(func(context.Context) (io.ReadWriteCloser, error) {
			asked, question := io.Pipe()
			answers, say := io.Pipe()
			go func() {
				in := newReader(asked)
				for {
					message, err := in.next()
					if err != nil {
						return
					}
					var q request
					if json.Unmarshal(message, &q) != nil || q.Op != opHello || !polite {
						break
					}
					if (&writer{w: say}).send(response{ID: q.ID, Nonce: q.Nonce, Hello: &Hello{}}) != nil {
						return
					}
				}
				_, _ = say.Write(answer)
				_ = say.Close()
				_, _ = io.Copy(io.Discard, asked)
			}()
			return struct {
				liar
				io.Closer
			}{liar{answers, question}, closers{answers, question}}, nil
		})
		_, _ = c.Run(ctx, component.Job{ID: "x"}, func(e component.Event) {
			if len(e.Text) > maxEventText+8 {
				t.Errorf("text of %d bytes", len(e.Text))
			}
		})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

type closers struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (c closers) Close() error {
	_ = c.r.Close()
	return c.w.Close()
}

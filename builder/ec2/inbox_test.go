package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// TestFloodIsNobodyElsesTrouble lets one instance write more than is listed at once,
// before another in the list: what the other tells is heard, and the first one's
// operation ends.
func TestFloodIsNobodyElsesTrouble(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{})
	cfg := configOf(t, c, "unused")
	cfg.pace.inbox = 100 * time.Millisecond
	for what, name := range map[string]func(n int) string{
		"pieces of what is not there": func(n int) string { return relay.PieceName(int64(1000 + n)) },
		"anything":                    func(n int) string { return fmt.Sprintf("a/%d", n) },
	} {
		d := newDriver(t, cfg)
		d.inbox.page = aws.Int32(50)
		hostile, honest := d.inbox.listen(), d.inbox.listen()
		if honest.name < hostile.name {
			hostile, honest = honest, hostile
		}
		put := func(key, text string) {
			t.Helper()
			if err := d.putObject(t.Context(), key, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		told := func(offset int, text string) int {
			line := fmt.Sprintf("{%q:{%q:%q,%q:%q}}\n", "event", "kind", "output", "text", text)
			put(honest.prefix()+relay.PieceName(int64(offset)), line)
			return offset + len(line)
		}
		heard := func(l *listener, so func(text string, err error) bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for {
				notes, _, err := l.take()
				var text strings.Builder
				for _, n := range notes {
					text.WriteString(n.Event.Text)
				}
				if so(text.String(), err) {
					return
				}
				select {
				case <-l.news:
				case <-ctx.Done():
					t.Fatalf("%s: nothing is heard: %v", what, err)
				}
			}
		}
		for n := range 100 { // two pages
			put(hostile.prefix()+name(n), "x")
		}
		offset := told(0, "first")
		heard(honest, func(text string, err error) bool { return err == nil && text == "first" })
		for n := range maxForeign {
			put(hostile.prefix()+name(100+n), "x")
		}
		told(offset, "second")
		heard(honest, func(text string, err error) bool { return err == nil && text == "second" })
		heard(hostile, func(_ string, err error) bool {
			e, ok := errors.AsType[*builder.Error](err)
			return ok && e.Fault == builder.Author
		})
		hostile.leave()
		// Now nobody listens there: it is cleared away, page by page.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		for len(c.Objects(ctx, hostile.prefix())) > 0 {
			if err := pause(ctx, cfg.pace.inbox); err != nil {
				t.Fatalf("%s: what was written is still there", what)
			}
		}
		cancel()
		honest.leave()
	}
}

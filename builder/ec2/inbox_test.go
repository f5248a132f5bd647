package ec2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// TestFloodIsNobodyElsesTrouble lets one instance write more than is listed at once,
// before another in the list: what the other tells is heard at the next look, and the
// first one's operation ends.
func TestFloodIsNobodyElsesTrouble(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{})
	d := newDriver(t, configOf(t, c, "unused"))
	for what, name := range map[string]func(n int) string{
		"pieces of what is not there": func(n int) string { return relay.PieceName(int64(1000 + n)) },
		"anything":                    func(n int) string { return fmt.Sprintf("a/%d", n) },
	} {
		const page = 200
		b := &inbox{d: d, prefix: "inbox/test/", page: aws.Int32(page), listeners: map[string]*listener{}, wake: make(chan struct{}, 1)} // looks when it is told to
		hostile, honest := b.listen(), b.listen()
		if honest.name < hostile.name {
			hostile, honest = honest, hostile
		}
		put := func(key, text string) {
			t.Helper()
			if err := d.putObject(t.Context(), key, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		look := func() {
			t.Helper()
			if err := b.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		offset, flood := 0, 0
		for _, told := range []string{"first", "second"} {
			for range page + 150 {
				put(hostile.prefix()+name(flood), "x")
				flood++
			}
			line := fmt.Sprintf("{%q:{%q:%q,%q:%q}}\n", "event", "kind", "output", "text", told)
			put(honest.prefix()+relay.PieceName(int64(offset)), line)
			offset += len(line)
			look()
			if notes, _, err := honest.take(); err != nil || len(notes) != 1 || notes[0].Event.Text != told {
				t.Errorf("%s: heard %+v, %v; want %q", what, notes, err, told)
			}
		}
		look()
		look()
		if _, _, err := hostile.take(); builder.FaultOf(err) != builder.Author || !errors.As(err, new(*builder.Error)) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: whoever writes it hears %v", what, err)
		}
		hostile.leave() // and now nobody listens there
		look()
		if left := c.Objects(t.Context(), b.prefix); len(left) > 0 {
			t.Errorf("%s: %d objects are still there", what, len(left))
		}
	}
}

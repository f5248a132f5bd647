package ec2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
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

// TestWhatStaysInTheInboxIsNoSignOfLife: what was read and may not be deleted fails the
// look, hides nothing that is newer, and does not make an agent alive that is not.
func TestWhatStaysInTheInboxIsNoSignOfLife(t *testing.T) {
	c := ec2test.Start(t, ec2test.Options{})
	d := newDriver(t, configOf(t, c, "unused"))
	b := &inbox{d: d, prefix: "inbox/stays/", listeners: map[string]*listener{}, wake: make(chan struct{}, 1)} // looks when it is told to
	l := b.listen()
	put := func(name, text string) {
		t.Helper()
		if err := d.putObject(t.Context(), l.prefix()+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	offset := 0
	tell := func(text string) {
		t.Helper()
		line := fmt.Sprintf("{%q:{%q:%q,%q:%q}}\n", "event", "kind", "output", "text", text)
		put(relay.PieceName(int64(offset)), line)
		offset += len(line)
	}
	hears := func(when string, want int, alive bool) {
		t.Helper()
		_, before, _ := l.take()
		if err := b.look(t.Context()); !answer.Denied(err) {
			t.Errorf("%s: the look says %v", when, err)
		}
		notes, heard, err := l.take()
		if err != nil || len(notes) != want || heard.After(before) != alive {
			t.Errorf("%s: heard %d notes, a sign of life: %t, %v; want %d, %t", when, len(notes), heard.After(before), err, want, alive)
		}
	}
	c.Faults.Add(&ec2test.Fault{Service: "s3", Operation: "DeleteObjects", Effect: ec2test.KeepObjects("AccessDenied")})
	for n := range atOnce {
		tell(fmt.Sprint(n))
	}
	put(relay.BeatName, "")
	put("foreign", "")
	hears("at first", atOnce, true)
	hears("nothing new", 0, false)
	tell("newer")
	hears("a new piece", 1, true)
	hears("nothing new", 0, false)
	put(relay.BeatName, "another") // the time of an object has seconds alone: the agent's beats have no content
	hears("another beat", 0, true)
	hears("nothing new", 0, false)
	if l.foreign != 1 {
		t.Errorf("one object that is none of the agent's counts as %d", l.foreign)
	}
	c.Faults.Clear()
	if err := b.look(t.Context()); err != nil {
		t.Error(err)
	}
	if left := c.Objects(t.Context(), b.prefix); len(left) > 0 {
		t.Errorf("%d objects are still there", len(left))
	}
}

package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// peer runs a client against a script that plays QEMU.
func peer(t *testing.T, event func(qmpEvent), script func(commands *bufio.Scanner, say func(string))) *qmp {
	t.Helper()
	near, far := net.Pipe()
	q := newQMP(near, event)
	var wg sync.WaitGroup
	wg.Go(q.run)
	wg.Go(func() {
		defer far.Close()
		script(bufio.NewScanner(far), func(line string) { _, _ = fmt.Fprintln(far, line) })
	})
	t.Cleanup(func() {
		_ = near.Close()
		wg.Wait()
	})
	return q
}

func commandID(t *testing.T, line []byte) int {
	t.Helper()
	var c qmpCommand
	if err := json.Unmarshal(line, &c); err != nil {
		t.Errorf("command %q: %v", line, err)
	}
	return c.ID
}

func TestCommandsAndEvents(t *testing.T) {
	var events []string
	q := peer(t, func(e qmpEvent) { events = append(events, e.Event) }, func(commands *bufio.Scanner, say func(string)) {
		say(`{"QMP": {"version": {}, "capabilities": ["oob"]}}`)
		for commands.Scan() {
			id := commandID(t, commands.Bytes())
			say(`{"event": "RESET", "data": {"guest": true}, "timestamp": {"seconds": 1, "microseconds": 2}}`)
			if strings.Contains(commands.Text(), "bad") {
				say(fmt.Sprintf(`{"id": %d, "error": {"class": "CommandNotFound", "desc": "no such thing"}}`, id))
				continue
			}
			say(fmt.Sprintf(`{"return": {}, "id": %d}`, id))
		}
	})
	if err := q.execute(t.Context(), "good"); err != nil {
		t.Errorf("good: %v", err)
	}
	if err := q.execute(t.Context(), "bad"); err == nil || err.Error() != "bad: CommandNotFound: no such thing" {
		t.Errorf("bad: %v", err)
	}
	if len(events) != 2 {
		t.Errorf("events %v, want RESET twice", events)
	}
}

func TestCommandWhenQEMUHangsUp(t *testing.T) {
	for name, last := range map[string]string{
		"silently":              "",
		"after what is no JSON": "x",
		"after a huge line":     strings.Repeat("x", qmpLine+1),
	} {
		t.Run(name, func(t *testing.T) {
			q := peer(t, nil, func(commands *bufio.Scanner, say func(string)) {
				commands.Scan()
				if last != "" {
					say(last)
				}
			})
			if err := q.execute(t.Context(), "quit"); !errors.Is(err, errHungUp) {
				t.Errorf("got %v, want %v", err, errHungUp)
			}
		})
	}
}

func TestCommandIsGivenUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := peer(t, nil, func(commands *bufio.Scanner, say func(string)) {
			commands.Scan()
			late := commandID(t, commands.Bytes())
			for commands.Scan() {
				say(fmt.Sprintf(`{"return": {}, "id": %d}`, late)) // nobody waits for it any more
				say(fmt.Sprintf(`{"return": {}, "id": %d}`, commandID(t, commands.Bytes())))
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.execute(ctx, "slow"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slow: %v", err)
		}
		if err := q.execute(t.Context(), "next"); err != nil {
			t.Errorf("next: %v", err)
		}
	})
}

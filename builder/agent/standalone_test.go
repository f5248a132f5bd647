package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// starts remembers what is to be started, and removes nothing that is not there.
type starts map[string][]string

func (s starts) install(_ context.Context, id string, command []string) error {
	s[id] = command
	return nil
}

func (s starts) remove(_ context.Context, id string) error {
	if s[id] == nil {
		return errors.New("there is no such task")
	}
	delete(s, id)
	return nil
}

func TestAStandaloneRunRestartsTheMachineAndGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	started, restarts := starts{}, 0
	s := standalone{self: "/agent", starter: started, power: func(_ context.Context, how string) error {
		if how != "reboot" {
			t.Errorf("power %s", how)
		}
		restarts++
		return nil
	}}
	job := `{"id": "alone", "documents": [{"name": "d", "path": "d.yaml", "text": "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: R, action: Reboot, loop: {forEach: [a, b]}}\n      - {name: A, action: ListFiles, inputs: [{path: .}]}\n"}]}`
	var out bytes.Buffer
	status, err := s.run(t.Context(), strings.NewReader(job), &out, dir)
	file := filepath.Join(dir, "alone.job")
	for range 2 {
		if err != nil || status != ExitReboot || !slices.Equal(started["alone"], []string{"/agent", "resume", file}) {
			t.Fatalf("status %d, %v, to start: %v\n%s", status, err, started, out.String())
		}
		status, err = s.resume(t.Context(), file)
	}
	if err != nil || status != ExitSuccess || restarts != 2 || len(started) != 0 {
		t.Fatalf("status %d, %v, %d restarts, to start: %v", status, err, restarts, started)
	}
	events, err := os.ReadFile(filepath.Join(dir, "alone.events"))
	if err != nil || !bytes.Contains(events, []byte(`"kind":"finished"`)) {
		t.Errorf("events: %s, %v", events, err)
	}
	if logs, err := filepath.Glob(filepath.Join(dir, "TOE_*", "detailedoutput.json")); err != nil || len(logs) != 1 {
		t.Errorf("logs: %v, %v", logs, err)
	}
	if _, err := s.resume(t.Context(), file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("resumed again: %v", err)
	}
}

func TestTheTaskThatGoesOnAfterARestart(t *testing.T) {
	text, err := bootTask(`run <1> & "2"`, `C:\Program Files\ingot-agent.exe`, `resume "C:\a b\grün.job"`)
	if err != nil {
		t.Fatal(err)
	}
	if len(text)%2 != 0 || text[0] != 0xff || text[1] != 0xfe {
		t.Fatalf("no UTF-16 with its mark: % x…", text[:8])
	}
	var units []uint16
	for i := 2; i < len(text); i += 2 {
		units = append(units, binary.LittleEndian.Uint16(text[i:]))
	}
	head, body, _ := strings.Cut(string(utf16.Decode(units)), "\r\n")
	if head != `<?xml version="1.0" encoding="UTF-16"?>` {
		t.Errorf("begins with %s", head)
	}
	var got task
	if err := xml.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if !got.AtBoot || got.About != `run <1> & "2"` || got.Actions.Command != `C:\Program Files\ingot-agent.exe` || got.Actions.Arguments != `resume "C:\a b\grün.job"` {
		t.Errorf("task: %+v", got)
	}
	// The order of these is the schema's.
	at := -1
	for _, element := range []string{"<RegistrationInfo>", "<Triggers>", "<Principals>", "<Settings>", "<Actions>"} {
		next := strings.Index(body, element)
		if next <= at {
			t.Errorf("%s is not where it belongs:\n%s", element, body)
		}
		at = next
	}
}

func TestRestartIsForWindows(t *testing.T) {
	if _, err := machineStarter(); (err == nil) != (ExitReboot == 3010) {
		t.Errorf("machineStarter: %v", err)
	}
}

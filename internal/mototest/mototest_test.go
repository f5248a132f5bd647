package mototest

import (
	"net/http"
	"strings"
	"testing"
)

func TestStart(t *testing.T) {
	s, err := Start(Need(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	answer, err := http.Get(s.URL + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("%s, %v", answer.Status, err)
	}
	s.Stop()
	if _, err := http.Get(s.URL); err == nil {
		t.Error("it still listens")
	}
	s.Stop()
}

func TestStartSaysWhatFails(t *testing.T) {
	for program, want := range map[string]string{"/nonexistent": "no such file", "/bin/false": "has ended: exit status 1", "/bin/true": "has ended: without"} {
		if _, err := Start(program); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", program, err, want)
		}
	}
}

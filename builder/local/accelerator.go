package local

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-6db18919/ingot/builder/local/guest"
	"github.com/seed-6db18919/ingot/builder/local/host"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// Warm finds out how guests run on this host, which takes seconds where they hang,
// so that the first build need not wait for it.
func (d *Driver) Warm(ctx context.Context) error {
	_, err := d.accelerator(ctx)
	return err
}

// accelerator is how guests run on this host, found out once.
func (d *Driver) accelerator(ctx context.Context) (guest.Accel, error) {
	return d.accel.get(ctx, d)
}

// accelOnce remembers the answer. A probe that was cut short is repeated.
type accelOnce struct {
	mu    sync.Mutex
	known guest.Accel
}

func (o *accelOnce) get(ctx context.Context, d *Driver) (guest.Accel, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known != "" {
		return o.known, nil
	}
	want := d.cfg.Accelerator
	if want == "" {
		want = "auto"
	}
	memo := filepath.Join(d.cfg.Dir, "accelerator.json")
	found, ok := recallAccel(memo, want)
	if !ok {
		found = probedAccel{Boot: bootID(), Want: want}
		var err error
		if found.Accel, found.Why, err = host.Accelerator(ctx, want); err != nil {
			return "", err
		}
		if err := store.WriteJSON(memo, found); err != nil {
			return "", err
		}
	}
	d.log.WithField("accelerator", found.Accel).Infof("guests run with %s: %s", found.Accel, found.Why)
	o.known = guest.Accel(found.Accel)
	return o.known, nil
}

// probedAccel is what a probe said. It holds until the host is started again:
// then modules and settings may be others.
type probedAccel struct {
	Boot  string `json:"boot"`
	Want  string `json:"want"`
	Accel string `json:"accel"`
	Why   string `json:"why"`
}

func recallAccel(path, want string) (probedAccel, bool) {
	var known probedAccel
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &known) != nil {
		return known, false // there is none, or it cannot be used: the host is asked
	}
	return known, known.Boot != "" && known.Boot == bootID() && known.Want == want && known.Accel != ""
}

// bootID names this run of the host's kernel; empty where it cannot be known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
)

func TestASnapshotIsTheDisk(t *testing.T) {
	w := newWorld(t, nil)
	path := someDisk(t)
	var last publish.Progress
	calls := 0
	o := publish.Options{
		Key: "sha256:one", Dir: t.TempDir(), Tags: map[string]string{"ingot:build": "b-1"}, Description: "a disk",
		Progress: func(p publish.Progress) { last = p; calls++ },
	}
	s, err := w.upload(t, path, o)
	if err != nil {
		t.Fatal(err)
	}
	w.same(t, s.ID, path)
	if s.SizeGiB != 1 || s.Blocks != 21 || s.Written != 21 || s.Parent != "" || s.Reused {
		t.Errorf("made %+v, want 1 GiB and 21 blocks, all written", s)
	}
	if calls != 22 || last != (publish.Progress{Done: 22, Total: 22, Written: 21, Sent: 21 * publish.BlockSize}) {
		t.Errorf("progress ended after %d calls with %+v, want all 22, 21 of them written", calls, last)
	}
	all := w.service.Snapshots()
	if len(all) != 1 || !all[0].Complete || all[0].Tags["ingot:build"] != "b-1" {
		t.Errorf("there is %+v, want one complete snapshot with its tags", all)
	}

	again, err := w.upload(t, path, o)
	if err != nil || again.ID != s.ID || !again.Reused {
		t.Errorf("the second upload of the same content made %+v (%v), want %s again", again, err, s.ID)
	}
	w.service.Forget(s.ID)
	anew, err := w.upload(t, path, o)
	if err != nil || anew.ID == s.ID || anew.Reused {
		t.Errorf("after the snapshot was removed: %+v (%v), want another one", anew, err)
	}
}

func TestADiskWithoutData(t *testing.T) {
	w := newWorld(t, nil)
	s, err := w.upload(t, disk(t, "3G", ""), publish.Options{Key: "nothing", Dir: t.TempDir()})
	if err != nil || s.SizeGiB != 3 || s.Written != 0 {
		t.Fatalf("%+v (%v), want 3 GiB without a block", s, err)
	}
	s, err = w.upload(t, disk(t, "3145729k", ""), publish.Options{Key: "a bit more", Dir: t.TempDir()})
	if err != nil || s.SizeGiB != 4 {
		t.Fatalf("%+v (%v), want 4 GiB", s, err)
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	w := newWorld(t, nil)
	dir := t.TempDir()
	base := someDisk(t)
	first, err := w.upload(t, base, publish.Options{Key: "base", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// One block changes, one is emptied, one gets the same again, one is new.
	top := disk(t, "64M", base, "write -P 77 2M 4k", "write -z 4M 512k", "write -P 6 5140k 4k", "write -P 9 50M 8k")
	second, err := w.upload(t, top, publish.Options{Key: "top", Dir: dir, Parents: []string{"unknown", "base"}})
	if err != nil {
		t.Fatal(err)
	}
	w.same(t, second.ID, top)
	if second.Parent != first.ID || second.Written != 3 || second.Blocks != 21 {
		t.Errorf("made %+v, want three blocks over %s: changed, emptied and new", second, first.ID)
	}

	w.service.Forget(first.ID)
	third, err := w.upload(t, disk(t, "64M", base, "write -P 1 0 4k"), publish.Options{Key: "third", Dir: dir, Parents: []string{"base"}})
	if err != nil || third.Parent != "" || third.Written != 21 {
		t.Errorf("without the parent's snapshot: %+v (%v), want all 21 blocks", third, err)
	}
}

func TestAParentThatVanishesAtTheLastMoment(t *testing.T) {
	var w *world
	var parent atomic.Value
	w = newWorld(t, func(r *http.Request) publishtest.Fault {
		if id, ok := parent.Load().(string); ok && r.URL.Path == "/snapshots" {
			w.service.Forget(id)
		}
		return publishtest.None
	})
	dir, base := t.TempDir(), someDisk(t)
	first, err := w.upload(t, base, publish.Options{Key: "base", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	parent.Store(first.ID)
	top := disk(t, "64M", base, "write -P 77 2M 4k")
	second, err := w.upload(t, top, publish.Options{Key: "top", Dir: dir, Parents: []string{"base"}})
	if err != nil || second.Parent != "" {
		t.Fatalf("%+v (%v), want a snapshot without a parent", second, err)
	}
	w.same(t, second.ID, top)
}

// TestFaultsOnTheWire ends in one snapshot, whatever happens to one request in three.
func TestFaultsOnTheWire(t *testing.T) {
	for name, fault := range map[string]publishtest.Fault{
		"throttled": publishtest.Throttle, "status 500": publishtest.Break, "lost answer": publishtest.Lose,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			w := newWorld(t, func(*http.Request) publishtest.Fault {
				// The first of all is StartSnapshot, and its repeat must be recognised.
				if n := requests.Add(1); n%3 == 1 && n < 15 {
					return fault
				}
				return publishtest.None
			})
			path := someDisk(t)
			s, err := w.upload(t, path, publish.Options{Key: name, Dir: t.TempDir(), Workers: 4})
			if err != nil {
				t.Fatal(err)
			}
			w.same(t, s.ID, path)
			if all := w.service.Snapshots(); len(all) != 1 || !all[0].Complete {
				t.Errorf("there are %+v, want one complete snapshot", all)
			}
		})
	}
}

// TestTheAnswerOfTheLastCallIsLost: the snapshot is complete, and a repeat is refused.
func TestTheAnswerOfTheLastCallIsLost(t *testing.T) {
	var lost atomic.Bool
	w := newWorld(t, func(r *http.Request) publishtest.Fault {
		if strings.HasPrefix(r.URL.Path, "/snapshots/completion/") && !lost.Swap(true) {
			return publishtest.Lose
		}
		return publishtest.None
	})
	path := someDisk(t)
	s, err := w.upload(t, path, publish.Options{Key: "k", Dir: t.TempDir()})
	if err != nil || !lost.Load() {
		t.Fatal(err)
	}
	w.same(t, s.ID, path)
}

func TestWrongChecksumsAreNoticed(t *testing.T) {
	for name, fault := range map[string]publishtest.Fault{"on the way there": publishtest.Corrupt, "on the way back": publishtest.Mislead} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(r *http.Request) publishtest.Fault {
				if strings.HasSuffix(r.URL.Path, "/blocks/8") {
					return fault
				}
				return publishtest.None
			})
			s, err := w.upload(t, someDisk(t), publish.Options{Key: "k", Dir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), "checksum") {
				t.Fatalf("made %+v (%v), want an error about a checksum", s, err)
			}
			if all := w.service.Snapshots(); len(all) != 1 || all[0].Complete {
				t.Errorf("there is %+v, want it not to be complete", all)
			}
		})
	}
}

func TestAnErrorSaysWhoActs(t *testing.T) {
	for _, c := range []struct {
		fault publishtest.Fault
		path  string
		whose builder.Fault
		hint  string
	}{
		{publishtest.Deny, "/blocks/", builder.Internal, "ebs:PutSnapshotBlock"},
		{publishtest.Deny, "/completion/", builder.Internal, "ebs:CompleteSnapshot"},
		{publishtest.Limit, "/snapshots", builder.Transient, "quota"},
	} {
		w := newWorld(t, func(r *http.Request) publishtest.Fault {
			if strings.Contains(r.URL.Path, c.path) {
				return c.fault
			}
			return publishtest.None
		})
		_, err := w.upload(t, someDisk(t), publish.Options{Key: "k", Dir: t.TempDir()})
		var e *builder.Error
		if !errors.As(err, &e) || e.Fault != c.whose || !strings.Contains(e.Hint, c.hint) || e.Reason == "" {
			t.Errorf("%v at %s: %#v, want the fault %s and a hint with %q", c.fault, c.path, err, c.whose, c.hint)
		}
	}
}

func TestAnUploadThatWasGivenUpBeginsAnew(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	w := newWorld(t, func(r *http.Request) publishtest.Fault {
		if broken.Load() && strings.HasSuffix(r.URL.Path, "/blocks/10") {
			return publishtest.Deny
		}
		return publishtest.None
	})
	dir, path := t.TempDir(), someDisk(t)
	if s, err := w.upload(t, path, publish.Options{Key: "k", Dir: dir, Workers: 2}); err == nil {
		t.Fatalf("made %+v although a block was refused", s)
	}
	w.service.GiveUp(w.service.Snapshots()[0].ID)
	broken.Store(false)
	s, err := w.upload(t, path, publish.Options{Key: "k", Dir: dir, Workers: 2})
	if err != nil || s.Written != 21 {
		t.Fatalf("%+v (%v), want another snapshot with all blocks", s, err)
	}
	w.same(t, s.ID, path)
}

// uploadVariable makes the test's program one that uploads a disk and nothing else:
// its value is a folder with what it needs.
const uploadVariable = "INGOT_TEST_UPLOAD"

// uploadAlone is the program that is killed.
func uploadAlone(dir string) int {
	url, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		return 2
	}
	disk, err := chain.Open(context.Background(), filepath.Join(dir, "disk.qcow2"))
	if err != nil {
		return 3
	}
	_, err = publish.Upload(context.Background(), publish.NewBlocks(config(string(url)), 2), disk, publish.Options{
		Key: "killed", Dir: filepath.Join(dir, "records"), Snapshots: &publishtest.Service{}, Workers: 2, Tags: map[string]string{"ingot:build": "first"},
	})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestAKilledUploadGoesOn kills a process at each kind of moment: at the start, among
// the blocks, at the completion, each time before and after the service has acted.
func TestAKilledUploadGoesOn(t *testing.T) {
	for name, at := range map[string]struct {
		path   string
		fault  publishtest.Fault
		resend int // blocks that may be written twice: those in flight
	}{
		"start":           {"/snapshots", publishtest.Hang, 0},
		"start done":      {"/snapshots", publishtest.Stall, 0},
		"blocks":          {"/blocks/22", publishtest.Hang, 2},
		"blocks done":     {"/blocks/22", publishtest.Stall, 2},
		"completion":      {"/snapshots/completion/", publishtest.Hang, 0},
		"completion done": {"/snapshots/completion/", publishtest.Stall, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := make(chan struct{})
			var hanging atomic.Bool
			hanging.Store(true)
			var w *world
			w = newWorld(t, func(r *http.Request) publishtest.Fault {
				if !strings.Contains(r.URL.Path, at.path) || !hanging.Load() {
					return publishtest.None
				}
				if hanging.Swap(false) {
					close(reached)
				}
				return at.fault
			})
			path := someDisk(t)
			dir := filepath.Dir(path)
			if err := os.WriteFile(filepath.Join(dir, "url"), []byte(w.url), 0o600); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), uploadVariable+"="+dir)
			cmd.Stderr = &said
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-reached:
			case <-time.After(time.Minute):
				t.Error("the upload never came so far")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if cmd.Wait() == nil || said.Len() > 0 {
				t.Fatalf("it was not killed but ended by itself: %s", said.String())
			}

			before := 0
			for _, s := range w.service.Snapshots() {
				before += len(s.Puts)
			}
			var sent atomic.Int32
			s, err := w.upload(t, path, publish.Options{
				Key: "killed", Dir: filepath.Join(dir, "records"), Tags: map[string]string{"ingot:build": "second"},
				Progress: func(publish.Progress) { sent.Add(1) },
			})
			if err != nil {
				t.Fatal(err)
			}
			w.same(t, s.ID, path)
			all := w.service.Snapshots()
			if len(all) != 1 || !all[0].Complete {
				t.Fatalf("there are %+v, want one complete snapshot", all)
			}
			twice := 0
			for _, n := range all[0].Puts {
				twice += n - 1
			}
			if twice > at.resend {
				t.Errorf("%d blocks were written twice, want at most %d", twice, at.resend)
			}
			t.Logf("%d blocks before the kill, %d looked at after it, %d written twice", before, sent.Load(), twice)
		})
	}
}

func TestARecordWithATornLineIsUsed(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	w := newWorld(t, func(r *http.Request) publishtest.Fault {
		if broken.Load() && strings.HasSuffix(r.URL.Path, "/blocks/20") {
			return publishtest.Deny
		}
		return publishtest.None
	})
	dir, path := t.TempDir(), someDisk(t)
	if s, err := w.upload(t, path, publish.Options{Key: "k", Dir: dir, Workers: 1}); err == nil {
		t.Fatalf("made %+v although a block was refused", s)
	}
	journals, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("there are the journals %v (%v), want one", journals, err)
	}
	f, err := os.OpenFile(journals[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"put":{"i":30,"s":"AAA`); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	broken.Store(false)
	s, err := w.upload(t, path, publish.Options{Key: "k", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w.same(t, s.ID, path)
	if all := w.service.Snapshots(); len(all) != 1 {
		t.Errorf("%d snapshots were started, want one", len(all))
	}
}

// TestParentThatIsNotEncrypted, in an account that has begun to encrypt by default: the
// next version is written as a whole, and the one after that upon it.
func TestParentThatIsNotEncrypted(t *testing.T) {
	w := newWorld(t, nil)
	dir, path := t.TempDir(), someDisk(t)
	upload := func(key string) publish.Snapshot {
		t.Helper()
		s, err := w.upload(t, path, publish.Options{Key: key, Dir: dir, Lineage: "web"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := upload("1")
	w.service.Encrypts = true
	first := upload("2")
	if first.Parent != "" || first.Written != plain.Written {
		t.Errorf("%+v after %+v", first, plain)
	}
	w.same(t, first.ID, path)
	if second := upload("3"); second.Parent != first.ID || second.Written != 0 {
		t.Errorf("%+v after %+v", second, first)
	}
}

package relay

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// store is a store of objects: what is signed may be read, and forms may be sent.
type store struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string][]byte
	fault   func(r *http.Request) (status int, lose bool) // refuses, or loses the answer
	news    chan struct{}
}

func newStore(t *testing.T) *store {
	s := &store{objects: map[string][]byte{}, news: make(chan struct{}, 1000)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, lose := 0, false
	if s.fault != nil {
		status, lose = s.fault(r)
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	if r.Method == http.MethodGet {
		content, ok := s.objects[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(content)
		return
	}
	if err := r.ParseMultipartForm(4 << 20); err != nil || r.FormValue("policy") != "signed" || !strings.HasPrefix(r.FormValue("key"), "in/") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	defer file.Close()
	s.objects[r.FormValue("key")], _ = io.ReadAll(file)
	s.news <- struct{}{}
	if lose {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

// await returns when something was written.
func (s *store) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.news:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is told")
	}
}

// put stores an object and returns where it is.
func (s *store) put(name string, content []byte) Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = content
	return Source{URL: s.URL + "/" + name, SHA256: Digest(content), Size: int64(len(content))}
}

func (s *store) inbox(name string) Inbox {
	return Inbox{URL: s.URL, Fields: map[string]string{"policy": "signed"}, Prefix: "in/" + name + "/"}
}

func (s *store) request(t *testing.T, r Request, inbox string) Source {
	t.Helper()
	r.Inbox = s.inbox(inbox)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return s.put("requests/"+inbox, text)
}

// journal is what an inbox holds, put together by the places that the names say.
func (s *store) journal(t *testing.T, inbox string) (notes []Note, output string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.objects {
		if strings.HasPrefix(name, "in/"+inbox+"/") && !strings.HasSuffix(name, BeatName) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []byte
	for _, name := range names {
		if want := fmt.Sprintf("in/%s/%016d", inbox, len(all)); name != want {
			t.Fatalf("piece %s, want %s", name, want)
		}
		all = append(all, s.objects[name]...)
	}
	for line := range bytes.Lines(all) {
		var n Note
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		notes = append(notes, n)
		if n.Event != nil && n.Event.Kind == component.Output {
			output += n.Event.Text
		}
	}
	return notes, output
}

// outcome is how the operation ended, by what its inbox holds.
func (s *store) outcome(t *testing.T, inbox string) (Outcome, string) {
	t.Helper()
	notes, output := s.journal(t, inbox)
	if len(notes) == 0 || notes[len(notes)-1].Done == nil {
		t.Fatalf("inbox %s has no end: %d notes", inbox, len(notes))
	}
	return *notes[len(notes)-1].Done, output
}

func bash(id string, commands ...string) Request {
	text := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: Step\n        action: ExecuteBash\n        inputs:\n          commands:\n"
	for _, c := range commands {
		text += "            - |\n              " + c + "\n"
	}
	return Request{ID: id, Op: Run, Job: &component.Job{
		ID: id, Phases: []string{"build"}, Documents: []component.JobDocument{{Name: "case", Path: "case.yaml", Text: text}},
	}}
}

func newAgent(t *testing.T) *Agent {
	return &Agent{Dir: filepath.Join(t.TempDir(), "agent"), Client: Client{patience: 10 * time.Second}}
}

func TestRunTellsEventsAndOutcome(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	if err := a.Do(t.Context(), s.request(t, bash("op", "echo one; echo two; exit 3"), "x")); err != nil {
		t.Fatal(err)
	}
	done, output := s.outcome(t, "x")
	if output != "one\ntwo\n" || done.Result == nil || done.Result.Status != component.Failed || done.Error != "" {
		t.Errorf("output %q, outcome %+v", output, done)
	}
}

func TestOperationIsDoneOnceAndToldAgain(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	count := filepath.Join(t.TempDir(), "count")
	r := bash("op", "echo ran >> "+count)
	for _, inbox := range []string{"first", "second"} {
		if err := a.Do(t.Context(), s.request(t, r, inbox)); err != nil {
			t.Fatal(err)
		}
		if done, _ := s.outcome(t, inbox); done.Result == nil || done.Result.Status != component.Success {
			t.Errorf("%s: %+v", inbox, done)
		}
	}
	if text, err := os.ReadFile(count); string(text) != "ran\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSecondCommandFollowsTheFirst: a daemon that was restarted asks again while the
// operation still goes on.
func TestSecondCommandFollowsTheFirst(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	gate := filepath.Join(t.TempDir(), "gate")
	r := bash("op", "echo begun; until [ -e "+gate+" ]; do sleep 0.05; done; echo over")
	var both sync.WaitGroup
	both.Go(func() {
		if err := a.Do(t.Context(), s.request(t, r, "first")); err != nil {
			t.Errorf("first: %v", err)
		}
	})
	s.await(t) // something is told: the first one has the operation
	both.Go(func() {
		if err := a.Do(t.Context(), s.request(t, r, "second")); err != nil {
			t.Errorf("second: %v", err)
		}
	})
	for begun := ""; !strings.Contains(begun, "begun"); _, begun = s.journal(t, "second") {
		s.await(t)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	for _, inbox := range []string{"first", "second"} {
		if done, output := s.outcome(t, inbox); output != "begun\nover\n" || done.Result.Status != component.Success {
			t.Errorf("%s: %q %+v", inbox, output, done)
		}
	}
}

func TestRebootGoesOn(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	mark := filepath.Join(t.TempDir(), "mark")
	r := bash("op", "if [ -e "+mark+" ]; then echo back; else touch "+mark+"; echo going; exit 194; fi")
	source := s.request(t, r, "x")
	if err := a.Do(t.Context(), source); !errors.Is(err, ErrReboot) {
		t.Fatalf("first start: %v, want %v", err, ErrReboot)
	}
	if err := a.Do(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	done, output := s.outcome(t, "x")
	if output != "going\nback\n" || done.Result == nil || done.Result.Status != component.Success {
		t.Errorf("%q %+v", output, done)
	}
}

// TestFollowerLeavesARestartToTheMachine: when the operation that it follows ends for a
// restart, what comes after it is for the restarted machine.
func TestFollowerLeavesARestartToTheMachine(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	gate, mark := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "mark")
	r := bash("op", "if [ -e "+mark+" ]; then echo back; else touch "+mark+"; echo going; until [ -e "+gate+" ]; do sleep 0.05; done; exit 194; fi")
	var both sync.WaitGroup
	restarts := func(name string) {
		source := s.request(t, r, name)
		both.Go(func() {
			if err := a.Do(t.Context(), source); !errors.Is(err, ErrReboot) {
				t.Errorf("%s: %v, want %v", name, err, ErrReboot)
			}
		})
	}
	restarts("first")
	s.await(t)
	restarts("second")
	for going := ""; !strings.Contains(going, "going"); _, going = s.journal(t, "second") {
		s.await(t)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if _, output := s.journal(t, "second"); output != "going\n" {
		t.Errorf("before the restart the second one tells %q", output)
	}
	if err := a.Do(t.Context(), s.request(t, r, "third")); err != nil {
		t.Fatal(err)
	}
	if done, output := s.outcome(t, "third"); output != "going\nback\n" || done.Result == nil || done.Result.Status != component.Success {
		t.Errorf("%q %+v", output, done)
	}
}

func TestRestartThatNobodyAskedForIsNoSuccess(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	dir := filepath.Join(a.Dir, "ops", "op")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	half := `{"event":{"kind":"output","text":"half"}}` + "\n" + `{"event":{"ki`
	for name, text := range map[string]string{"begun": "", "journal": half} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Do(t.Context(), s.request(t, bash("op", "echo never"), "x")); err != nil {
		t.Fatal(err)
	}
	done, output := s.outcome(t, "x")
	if output != "half" || !strings.Contains(done.Error, "restarted") {
		t.Errorf("%q %+v", output, done)
	}
}

func TestStoreThatFailsIsAskedAgain(t *testing.T) {
	for name, fault := range map[string]func(n int) (int, bool){
		"unavailable": func(n int) (int, bool) {
			if n%2 == 1 {
				return http.StatusServiceUnavailable, false
			}
			return 0, false
		},
		"answer lost": func(n int) (int, bool) { return 0, n%2 == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s, a := newStore(t), newAgent(t)
			n := 0
			s.fault = func(r *http.Request) (int, bool) {
				n++
				return fault(n)
			}
			if err := a.Do(t.Context(), s.request(t, bash("op", "echo said"), "x")); err != nil {
				t.Fatal(err)
			}
			if done, output := s.outcome(t, "x"); output != "said\n" || done.Result.Status != component.Success {
				t.Errorf("%q %+v", output, done)
			}
		})
	}
}

// TestExpiredSignatureLosesNothing: the work goes on to its end, and a command with
// a new signature tells all of it.
func TestExpiredSignatureLosesNothing(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	s.fault = func(r *http.Request) (int, bool) {
		if r.Method == http.MethodPost {
			return http.StatusForbidden, false
		}
		return 0, false
	}
	r := bash("op", "echo heard")
	if err := a.Do(t.Context(), s.request(t, r, "x")); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), s.URL) {
		t.Fatalf("%v: want the refusal, and no address in it", err)
	}
	s.fault = nil
	if err := a.Do(t.Context(), s.request(t, r, "again")); err != nil {
		t.Fatal(err)
	}
	if done, output := s.outcome(t, "again"); output != "heard\n" || done.Result.Status != component.Success {
		t.Errorf("%q %+v", output, done)
	}
}

func TestCanceledRunTellsItsEnd(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Do(ctx, s.request(t, bash("op", "echo up; sleep 600"), "x")) }()
	for output := ""; !strings.Contains(output, "up"); _, output = s.journal(t, "x") {
		s.await(t)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if done, _ := s.outcome(t, "x"); done.Error == "" {
		t.Errorf("%+v", done)
	}
}

func TestRequestIsChecked(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	good := s.request(t, bash("op", "true"), "x")
	for want, source := range map[string]Source{
		"not what was announced": {URL: good.URL, SHA256: Digest(nil), Size: good.Size},
		"differs":                {URL: good.URL, SHA256: good.SHA256, Size: good.Size - 1},
		"404":                    {URL: s.URL + "/nowhere", SHA256: good.SHA256, Size: good.Size},
		"more than":              {URL: good.URL, SHA256: good.SHA256, Size: MaxRequest + 1},
		"no name of":             s.request(t, bash("../op", "true"), "y"),
		"read the request":       s.put("garbage", []byte("{")),
	} {
		if err := a.Do(t.Context(), source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := a.Do(t.Context(), s.request(t, Request{ID: "z", Op: "dance"}, "z")); err != nil {
		t.Fatal(err)
	}
	if done, _ := s.outcome(t, "z"); !strings.Contains(done.Error, "dance") {
		t.Errorf("%+v", done)
	}
}

func TestPut(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	a.Root = t.TempDir()
	for name, content := range map[string]string{"etc/old": "old", "victim": "untouched"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(a.Root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.Root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("victim", filepath.Join(a.Root, "replaced")); err != nil {
		t.Fatal(err)
	}
	archive := pack(t,
		tar.Header{Name: "etc", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "etc/old", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "srv/a/run", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "srv/a/link", Typeflag: tar.TypeSymlink, Linkname: "run"},
		tar.Header{Name: "replaced", Typeflag: tar.TypeReg, Mode: 0o600},
	)
	r := Request{ID: "put", Op: Put, Archive: new(s.put("files", archive))}
	if err := a.Do(t.Context(), s.request(t, r, "x")); err != nil {
		t.Fatal(err)
	}
	if done, _ := s.outcome(t, "x"); done.Error != "" {
		t.Fatal(done.Error)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(a.Root, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	if read("etc/old") != "content of etc/old" || read("srv/a/link") != "content of srv/a/run" || read("victim") != "untouched" {
		t.Error("content is not what it should be")
	}
	info, err := os.Stat(filepath.Join(a.Root, "srv/a/run"))
	if err != nil || info.Mode() != 0o755|fs.ModeSetuid {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if folder, err := os.Stat(filepath.Join(a.Root, "etc")); err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("a folder that was there has mode %v, %v", folder.Mode(), err)
	}
}

func TestTargets(t *testing.T) {
	for _, k := range []struct{ system, root, name, want string }{
		{"linux", "/", "srv/a", "/srv/a"},
		{"linux", "/mnt", "srv/a", "/mnt/srv/a"},
		{"linux", "/", "c:/a", "/c:/a"}, // a folder may have this name
		{"windows", `\`, "C:/web/a b", `C:\web\a b`},
		{"windows", `\`, `C:\web/a/b`, `C:\web\a\b`},
		{"windows", `\`, `d:\\web\a`, `d:\web\a`},
		{"windows", `\`, "C:", `C:\`}, // and not the folder that the agent works in
	} {
		if got := target(k.system, k.root, k.name); got != k.want {
			t.Errorf("%s: %s below %s is %s, want %s", k.system, k.name, k.root, got, k.want)
		}
	}
}

func TestPutSaysWhatIsWrong(t *testing.T) {
	for want, h := range map[string]tar.Header{
		"there is no user nobody-at-all":   {Name: "a", Typeflag: tar.TypeReg, Uname: "nobody-at-all"},
		"there is no group nobodies-group": {Name: "a", Typeflag: tar.TypeReg, Gname: "nobodies-group"},
		"not expected":                     {Name: "a", Typeflag: tar.TypeFifo},
		"directory not empty":              {Name: "full", Typeflag: tar.TypeReg},
	} {
		s, a := newStore(t), newAgent(t)
		a.Root = t.TempDir()
		if err := os.MkdirAll(filepath.Join(a.Root, "full/inside"), 0o700); err != nil {
			t.Fatal(err)
		}
		r := Request{ID: "put", Op: Put, Archive: new(s.put("files", pack(t, h)))}
		if err := a.Do(t.Context(), s.request(t, r, "x")); err != nil {
			t.Fatal(err)
		}
		if done, _ := s.outcome(t, "x"); !done.Author || !strings.Contains(done.Error, want) {
			t.Errorf("%+v, want %q", done, want)
		}
	}
}

func pack(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = "content of " + h.Name
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCleanAndRemove(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	a.Root = t.TempDir()
	key := filepath.Join(a.Root, "etc/ssh/ssh_host_rsa_key")
	if err := os.MkdirAll(filepath.Dir(key), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), s.request(t, Request{ID: "clean", Op: Clean, Clean: &CleanSpec{}}, "clean")); err != nil {
		t.Fatal(err)
	}
	if done, _ := s.outcome(t, "clean"); done.Error != "" {
		t.Fatal(done.Error)
	}
	if _, err := os.Stat(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the host key is there: %v", err)
	}
	if err := a.Do(t.Context(), s.request(t, Request{ID: "remove", Op: Remove}, "remove")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the agent's folder is there: %v", err)
	}
	if done, _ := s.outcome(t, "remove"); done.Error != "" {
		t.Error(done.Error)
	}
}

// TestManyLinesMakePieces: a long journal goes in pieces of bounded size.
func TestManyLinesMakePieces(t *testing.T) {
	s, a := newStore(t), newAgent(t)
	if err := a.Do(t.Context(), s.request(t, bash("op", "seq 1 200000"), "x")); err != nil {
		t.Fatal(err)
	}
	_, output := s.outcome(t, "x")
	if lines := strings.Count(output, "\n"); lines != 200000 || !strings.HasSuffix(output, "\n200000\n") {
		t.Errorf("%d lines", lines)
	}
	for name, content := range s.objects {
		if strings.HasPrefix(name, "in/") && len(content) > MaxLine {
			t.Errorf("%s has %d bytes", name, len(content))
		}
	}
}

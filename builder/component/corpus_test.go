//go:build linux

package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write what the tests see into testdata and docs")

const corpusDir = "testdata/corpus"

// TestCorpus runs every document below testdata/corpus/linux for real, each in a
// temporary folder, and compares what is left with the files in its folder want:
// run.txt (the outcome, and what the author was warned of), console.log,
// detailedoutput.json and tree.txt (the working folder). Run it with -update after
// adding a case, and read what was written against the reference.
//
// A case is a folder with document.yaml and, where they are needed, case.yaml (see
// corpusCase) and files, which lie in the working folder when the run begins.
func TestCorpus(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("documents run as root, and give files to other users: run it as root")
	}
	before := syscall.Umask(0o022)
	t.Cleanup(func() { syscall.Umask(before) })
	web := newCorpusWeb(t)
	for _, name := range corpusNames(t, "linux") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := loadCase(t, name)
			run := c.execute(t, web)
			golden(t, filepath.Join(c.folder, "want"), run.files(t), "")
		})
	}
}

// corpusCase is how a document is run, if not in the plainest way.
type corpusCase struct {
	Documents  []string          `yaml:"documents"`  // in order; default document.yaml
	Phases     []string          `yaml:"phases"`     // default: all
	Parameters map[string]string `yaml:"parameters"` // given to every document; $HTTP and $HTTPS are servers
	Secrets    []string          `yaml:"secrets"`    // masked, and found nowhere in what the run leaves behind
	Store      map[string]string `yaml:"store"`      // aws:ssm: values by name; "secret" and "list" in a name say what it is
	Objects    map[string]string `yaml:"objects"`    // of S3, by address; objects.txt shows what has become of them
	Components map[string]string `yaml:"components"` // files below the working folder, by ARN
	Path       string            `yaml:"path"`       // PATH of the programs; $WORK is the working folder

	folder string
	texts  map[string]string
}

func corpusNames(t testing.TB, kind string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(corpusDir, kind))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func loadCase(t testing.TB, name string) *corpusCase {
	t.Helper()
	c := &corpusCase{folder: filepath.Join(corpusDir, "linux", name), texts: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(c.folder, "case.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", name, err)
	}
	if len(c.Documents) == 0 {
		c.Documents = []string{"document.yaml"}
	}
	for _, file := range c.Documents {
		text, err := os.ReadFile(filepath.Join(c.folder, file))
		if err != nil {
			t.Fatal(err)
		}
		c.texts[file] = string(text)
	}
	return c
}

// corpusRun is one case while and after it runs.
type corpusRun struct {
	c       *corpusCase
	work    string // working folder
	root    string // of logs and state
	replace *strings.Replacer
	objects *buckets
	result  Result
	reboots int
	events  []Event
}

// execute runs the case as an agent does: the job comes as JSON, and comes again
// after each reboot that the engine asks for.
func (c *corpusCase) execute(t *testing.T, web *corpusWeb) *corpusRun {
	t.Helper()
	r := &corpusRun{c: c, work: filepath.Join(t.TempDir(), "work"), root: t.TempDir()}
	r.replace = strings.NewReplacer(r.work, "$WORK", r.root, "$ROOT", web.plain.URL, "$HTTP", web.tls.URL, "$HTTPS")
	given := strings.NewReplacer("$WORK", r.work, "$HTTPS", web.tls.URL, "$HTTP", web.plain.URL)
	r.layOut(t)
	job := Job{ID: "corpus", Phases: c.Phases, WorkingDir: r.work, Secrets: c.Secrets}
	parameters := map[string]string{}
	for name, value := range c.Parameters {
		parameters[name] = given.Replace(value)
	}
	for _, file := range c.Documents {
		job.Documents = append(job.Documents, JobDocument{Name: strings.TrimSuffix(file, ".yaml"), Path: file, Text: c.texts[file], Parameters: parameters})
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if c.Path != "" {
		path = given.Replace(c.Path)
	}
	env := Env{
		Platform: Linux, Root: r.root, Backoff: time.Millisecond,
		Environ: []string{"PATH=" + path, "LANG=C.UTF-8", "HOME=" + r.work},
	}
	if c.Store != nil {
		env.Store = corpusStore(c.Store)
	}
	if c.Objects != nil {
		r.objects = &buckets{owner: "012345678901", objects: maps.Clone(c.Objects)}
		env.Objects = r.objects
	}
	if c.Components != nil {
		env.Components = corpusComponents{r.work, c.Components}
	}
	sent, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	hear := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		r.events = append(r.events, e)
	}
	for {
		var received Job
		if err := json.Unmarshal(sent, &received); err != nil {
			t.Fatal(err)
		}
		if r.result, err = Run(t.Context(), received, env, hear); err != nil {
			t.Fatal(err)
		}
		pending, err := Pending(received, env)
		if err != nil || pending != r.result.Reboot {
			t.Fatalf("pending %v, %v after %+v", pending, err, r.result)
		}
		if !r.result.Reboot {
			break
		}
		r.reboots++
	}
	r.sound(t)
	return r
}

func (r *corpusRun) layOut(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(r.work, 0o755); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(r.c.folder, "files")
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(r.work, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// Git keeps no more of a mode than whether a file is a program.
		return os.WriteFile(target, text, 0o644|info.Mode().Perm()&0o111)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// sound holds the run against what is true of every run.
func (r *corpusRun) sound(t *testing.T) {
	t.Helper()
	open := map[string]bool{}
	console := ""
	if r.logFolder(t) != "" {
		console = r.log(t, "console.log")
	}
	for i, e := range r.events {
		key := e.Document + "/" + e.Phase + "/" + e.Step
		switch e.Kind {
		case StepStarted:
			if open[key] {
				t.Errorf("%s was started twice", key)
			}
			open[key] = true
		case StepFinished:
			if !open[key] {
				t.Errorf("%s ended without a start", key)
			}
			delete(open, key)
		case Output:
			// The log has the description of a failure besides, so what comes next may not follow at once.
			at := strings.Index(console, e.Text)
			if at < 0 {
				t.Fatalf("console.log lacks, or has too early, %q", e.Text)
			}
			console = console[at+len(e.Text):]
		case Finished:
			if last := i == len(r.events)-1; last == e.Result.Reboot {
				t.Errorf("event %d of %d is Finished: %+v", i, len(r.events), e.Result)
			}
		}
		if e.Time.IsZero() || !utf8.ValidString(e.Text) && e.Kind != Output {
			t.Errorf("event without a time or with broken text: %+v", e)
		}
	}
	if len(open) > 0 {
		t.Errorf("never ended: %v", slices.Collect(maps.Keys(open)))
	}
	r.secretsHidden(t)
	if scripts, err := filepath.Glob(filepath.Join(r.root, "log", "*", "*.sh")); err != nil || len(scripts) > 0 {
		t.Errorf("scripts are left: %v, %v", scripts, err)
	}
	if left, err := os.ReadDir(filepath.Join(r.root, "state")); err == nil && len(left) > 0 {
		t.Errorf("state is left: %v", left)
	}
}

func (r *corpusRun) secretsHidden(t *testing.T) {
	t.Helper()
	if len(r.c.Secrets) == 0 {
		return
	}
	told, err := json.Marshal(r.events)
	if err != nil {
		t.Fatal(err)
	}
	all := string(told)
	for _, name := range []string{"console.log", "application.log", "detailedoutput.json", "chaining.json", "document.yaml"} {
		all += r.log(t, name)
	}
	for _, secret := range r.c.Secrets {
		if strings.Contains(all, secret) {
			t.Errorf("the secret %q shows", secret)
		}
	}
}

// logFolder is "" for a job that was refused before it began.
func (r *corpusRun) logFolder(t *testing.T) string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(r.root, "log", "TOE_????-??-??_??-??-??_UTC-0_corpus"))
	if err != nil || len(folders) > 1 {
		t.Fatalf("log folders: %v, %v", folders, err)
	}
	if len(folders) == 0 {
		return ""
	}
	return folders[0]
}

func (r *corpusRun) log(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.logFolder(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files are the golden files of the run, by name.
func (r *corpusRun) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"run.txt": r.normal(r.summary()), "tree.txt": r.normal(r.tree(t))}
	if r.objects != nil {
		var b strings.Builder
		for _, address := range slices.Sorted(maps.Keys(r.objects.objects)) {
			b.WriteString(address + "\n" + content([]byte(r.objects.objects[address])))
		}
		out["objects.txt"] = r.normal(b.String())
	}
	if r.logFolder(t) != "" {
		out["console.log"] = repeated(r.normal(r.log(t, "console.log")))
		out["detailedoutput.json"] = shortened(r.normal(r.log(t, "detailedoutput.json")))
	}
	return out
}

var (
	stampPattern  = regexp.MustCompile(`"(startTime|endTime)": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d"`)
	folderPattern = regexp.MustCompile(`TOE_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC-0_`)
)

// normal takes out what differs between two runs.
func (r *corpusRun) normal(text string) string {
	text = r.replace.Replace(text)
	text = stampPattern.ReplaceAllString(text, `"$1": "TIME"`)
	return folderPattern.ReplaceAllString(text, "TOE_TIME_UTC-0_")
}

// shortened cuts very long texts of JSON, which stays JSON.
func shortened(text string) string {
	const most, kept = 8 << 10, 512
	var out strings.Builder
	for line := range strings.Lines(text) {
		if len(line) > most {
			begin := line[:kept]
			if i := strings.LastIndexByte(begin, '\\'); i >= 0 { // not inside of an escape
				begin = strings.TrimRight(begin[:i], `\`)
			}
			line = fmt.Sprintf("%s … %d bytes in all%s", begin, len(line), line[strings.LastIndexByte(line, '"'):])
		}
		out.WriteString(line)
	}
	return out.String()
}

// repeated writes a line that comes more than ten times in a row once.
func repeated(text string) string {
	lines := strings.SplitAfter(text, "\n")
	var out strings.Builder
	for i := 0; i < len(lines); {
		n := 1
		for i+n < len(lines) && lines[i+n] == lines[i] {
			n++
		}
		if n > 10 {
			fmt.Fprintf(&out, "[%d times] %s", n, lines[i])
		} else {
			out.WriteString(strings.Repeat(lines[i], n))
		}
		i += n
	}
	return out.String()
}

func (r *corpusRun) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %d reboots\n", r.result.Status, r.reboots)
	for _, d := range r.result.Documents {
		fmt.Fprintf(&b, "%s: %s\n", d.Name, d.Status)
		for _, s := range d.Steps {
			fmt.Fprintf(&b, "  %s/%s: %s, attempts: %d", s.Phase, s.Name, s.Status, s.Attempts)
			if s.Message != "" {
				fmt.Fprintf(&b, ": %s", s.Message)
			}
			b.WriteByte('\n')
		}
	}
	if f := r.result.Failure; f != nil {
		fmt.Fprintf(&b, "failure: %s (%s) %s/%s %s: %s\n", f.Document, f.Path, f.Phase, f.Step, f.Action, f.Message)
		if f.Stderr != "" {
			fmt.Fprintf(&b, "stderr: %s\n", f.Stderr)
		}
	}
	for _, e := range r.events {
		if e.Kind == Warning {
			fmt.Fprintf(&b, "warning: %s\n", strings.Join(slices.DeleteFunc([]string{e.Document, e.Phase, e.Step}, func(s string) bool { return s == "" }), "/")+": "+e.Text)
		}
	}
	return b.String()
}

// tree shows the working folder: modes, owners other than ours, links, contents.
func (r *corpusRun) tree(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(r.work, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == r.work {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		below := strings.TrimPrefix(path, r.work+"/")
		fmt.Fprintf(&b, "%s %s%s", info.Mode(), below, owners(t, info))
		switch {
		case e.IsDir():
			b.WriteString("/\n")
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s\n", target)
			return err
		default:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if as, err := os.ReadFile(filepath.Join(r.c.folder, "files", below)); err == nil && bytes.Equal(as, text) {
				b.WriteString(" (as it was)\n")
				return nil
			}
			b.WriteString("\n" + content(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func owners(t *testing.T, info fs.FileInfo) string {
	t.Helper()
	s := info.Sys().(*syscall.Stat_t)
	if int(s.Uid) == os.Geteuid() && int(s.Gid) == os.Getegid() {
		return ""
	}
	name := func(id uint32, find func(string) (string, error)) string {
		if name, err := find(strconv.Itoa(int(id))); err == nil {
			return name
		}
		return strconv.Itoa(int(id))
	}
	return " (" + name(s.Uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	}) + ":" + name(s.Gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	}) + ")"
}

func content(text []byte) string {
	if !utf8.Valid(text) || bytes.ContainsAny(text, "\x00\r\ufeff") {
		return fmt.Sprintf("    %q\n", text)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("    |" + line)
		if !strings.HasSuffix(line, "\n") {
			b.WriteString("\n    (no line end)\n")
		}
	}
	return b.String()
}

// golden compares files with those of a folder, no more and no fewer; suffix says
// which of its files are meant.
func golden(t *testing.T, folder string, got map[string]string, suffix string) {
	t.Helper()
	var there []string
	if entries, err := os.ReadDir(folder); err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), suffix) {
				there = append(there, e.Name())
			}
		}
	}
	if *update {
		errs := []error{os.MkdirAll(folder, 0o755)}
		for _, name := range there {
			errs = append(errs, os.Remove(filepath.Join(folder, name)))
		}
		for name, text := range got {
			errs = append(errs, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		there = nil
	}
	for _, name := range there {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is left over in %s", name, folder)
		}
	}
	for name, text := range got {
		want, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Errorf("%v; -update writes it", err)
			continue
		}
		if string(want) != text {
			t.Errorf("%s in %s: %s", name, folder, firstDifference(text, string(want)))
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n got %q\nwant %q\nafter\n%s", i+1, a, b, strings.Join(g[max(0, i-5):min(i, len(g))], ""))
		}
	}
	return "not at all"
}

// corpusStore is a parameter store whose names say what a value is.
type corpusStore map[string]string

func (s corpusStore) Parameter(_ context.Context, name string) (StoredValue, error) {
	text, ok := s[name]
	if !ok {
		return StoredValue{}, fmt.Errorf("there is no parameter %s", name)
	}
	v := StoredValue{Text: text, Secret: strings.Contains(name, "secret")}
	if strings.Contains(name, "list") {
		v.List = strings.Split(text, ",")
	}
	return v, nil
}

// corpusComponents are documents by ARN, kept as files.
type corpusComponents struct {
	dir   string
	files map[string]string
}

func (s corpusComponents) Component(_ context.Context, arn string) (string, error) {
	name, ok := s.files[arn]
	if !ok {
		return "", fmt.Errorf("there is no component %s", arn)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	return string(text), err
}

// corpusWeb is what documents download from.
type corpusWeb struct {
	plain, tls *httptest.Server

	mu    sync.Mutex
	asked map[string]int
}

func newCorpusWeb(t *testing.T) *corpusWeb {
	t.Helper()
	w := &corpusWeb{asked: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/tool.tar", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a tool, packed\n") })
	mux.HandleFunc("/readme.txt", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "read me\n") })
	mux.Handle("/latest", http.RedirectHandler("/tool.tar", http.StatusFound))
	mux.HandleFunc("/created", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	mux.HandleFunc("/busy/{times}/{name}", w.busy)
	w.plain, w.tls = httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	w.tls.Config.ErrorLog = log.New(io.Discard, "", 0) // a document that does not trust it is one of the cases
	w.tls.StartTLS()
	t.Cleanup(w.plain.Close)
	t.Cleanup(w.tls.Close)
	return w
}

// busy answers only after it has refused a number of times.
func (w *corpusWeb) busy(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[r.URL.Path]++
	times, err := strconv.Atoi(r.PathValue("times"))
	if err != nil || w.asked[r.URL.Path] <= times {
		http.Error(out, "busy", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(out, "after %d tries\n", w.asked[r.URL.Path])
}

package watcher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The benchmarks measure side by side, in one run, what the ways of doing the
// same thing cost, and report the ratio that is aimed at:
//
//	cpu-ratio    CPU time of ours by that of git ls-remote; at most 1/30
//	bytes-ratio  bytes received by ours by those of the bare request; at most 1.2
//	time-ratio   time of ours by that of git diff --name-only; at most 1
//
// Servers run in a process of their own where CPU time is measured: this program,
// started again.

const servedEnv = "INGOT_BENCH_SERVE"

func TestMain(m *testing.M) {
	if root := os.Getenv(servedEnv); root != "" {
		serveForBenchmark(root)
		return
	}
	os.Exit(m.Run())
}

// serveForBenchmark serves the repositories below root until standard input ends.
// GET /sent answers with the number of bytes sent before.
func serveForBenchmark(root string) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		panic(err)
	}
	server := makeGitServer(root, strings.TrimSpace(string(path)))
	server.mangle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/sent" {
			fmt.Fprint(w, server.sent.Load())
			return true
		}
		return false
	}
	server.Start()
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // the end of the other process is the end of this one
	server.Close()
}

// otherProcess starts serveForBenchmark and returns its address.
func otherProcess(b *testing.B, root string) string {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), servedEnv+"="+root)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n]))
}

// sent asks the server how much it has sent.
func sent(b *testing.B, server string) int64 {
	b.Helper()
	resp, err := http.Get(server + "/sent")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// cost is what something has taken.
type cost struct {
	cpu, wall time.Duration
	bytes     int64
}

func (c cost) report(b *testing.B, way string, n int) {
	b.ReportMetric(float64(c.cpu.Microseconds())/float64(n), way+"-cpu-µs/poll")
	b.ReportMetric(float64(c.wall.Microseconds())/float64(n), way+"-wall-µs/poll")
	b.ReportMetric(float64(c.bytes)/float64(n), way+"-B/poll")
}

// measure runs f and returns its cost; who says whose CPU time counts.
func measure(b *testing.B, server string, who int, f func()) cost {
	b.Helper()
	runtime.GC()
	bytes, cpu, start := sent(b, server), cpuTime(b, who), time.Now()
	f()
	wall, used := time.Since(start), cpuTime(b, who)-cpu
	return cost{cpu: used, wall: wall, bytes: sent(b, server) - bytes}
}

func cpuTime(b *testing.B, who int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// eightAtATime runs f for 0 to n-1.
func eightAtATime(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// pollThreeWays compares git ls-remote, the bare request and ours.
func pollThreeWays(b *testing.B, server string, names []string) {
	urls := make([]string, len(names))
	watchers := make([]*Watcher, len(names))
	transport := NewTransport()
	b.Cleanup(transport.CloseIdleConnections)
	for i, name := range names {
		urls[i] = server + "/" + name
		c := testConfig(b, urls[i], &book{})
		c.Name, c.Transport = strings.TrimSuffix(name, ".git"), transport
		watchers[i] = mustNew(b, c)
	}
	poll := func(i int) {
		if _, err := watchers[i].Poll(context.Background()); err != nil {
			b.Error(err)
		}
	}
	eightAtATime(len(names), poll) // finds and fetches what there is; from now on nothing changes

	bare := &http.Client{Transport: transport}
	body := lsRefsRequest([]string{"refs/heads/main"})
	var git, ask, ours cost
	rounds := 0
	for b.Loop() {
		rounds++
		add(&git, measure(b, server, syscall.RUSAGE_CHILDREN, func() {
			eightAtATime(len(names), func(i int) {
				if out, err := exec.Command("git", "ls-remote", urls[i], "refs/heads/main").CombinedOutput(); err != nil {
					b.Errorf("git ls-remote: %v\n%s", err, out)
				}
			})
		}))
		add(&ask, measure(b, server, syscall.RUSAGE_SELF, func() {
			eightAtATime(len(names), func(i int) { askBare(b, bare, urls[i], body) })
		}))
		add(&ours, measure(b, server, syscall.RUSAGE_SELF, func() { eightAtATime(len(names), poll) }))
	}
	n := rounds * len(names)
	git.report(b, "git", n)
	ask.report(b, "bare", n)
	ours.report(b, "ours", n)
	b.ReportMetric(float64(ours.cpu)/float64(git.cpu), "cpu-ratio")
	b.ReportMetric(float64(ours.bytes)/float64(ask.bytes), "bytes-ratio")
}

func add(to *cost, c cost) {
	to.cpu += c.cpu
	to.wall += c.wall
	to.bytes += c.bytes
}

// askBare sends one ls-refs request and reads the answer, and no more.
func askBare(b *testing.B, client *http.Client, url string, body []byte) {
	req, err := http.NewRequest(http.MethodPost, url+"/git-upload-pack", bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Content-Type", requestType)
	req.Header.Set("Git-Protocol", "version=2")
	resp, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(answer, []byte("refs/heads/main")) {
		b.Errorf("the bare request: %q, %v", answer, err)
	}
}

func BenchmarkPoll200Repositories(b *testing.B) {
	root := b.TempDir()
	first := newRepo(b, root, "r0.git")
	first.write("recipe.yaml", "name: x\n")
	first.push("one", "refs/heads/main")
	names := []string{"r0.git"}
	for i := 1; i < 200; i++ {
		name := fmt.Sprintf("r%d.git", i)
		if err := os.CopyFS(filepath.Join(root, name), os.DirFS(first.dir)); err != nil {
			b.Fatal(err)
		}
		names = append(names, name)
	}
	pollThreeWays(b, otherProcess(b, root), names)
}

func BenchmarkPoll20000Refs(b *testing.B) {
	root := b.TempDir()
	r := newRepo(b, root, "many.git")
	r.write("recipe.yaml", "name: x\n")
	hash := r.push("one", "refs/heads/main")
	var packed strings.Builder
	packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	fmt.Fprintf(&packed, "%s refs/heads/main\n", hash)
	refs := make([]string, 20_000)
	for i := range refs {
		refs[i] = fmt.Sprintf("%s refs/pull/%d/head\n", hash, 100_000+i)
	}
	packed.WriteString(strings.Join(refs, ""))
	writeFile(b, filepath.Join(r.dir, "packed-refs"), packed.String())
	pollThreeWays(b, otherProcess(b, root), []string{"many.git"})
}

// BenchmarkDiff5000Files compares the trees of two commits that differ in one file
// of 5,000, in 50 folders of ten, each time from a mirror that was not open.
func BenchmarkDiff5000Files(b *testing.B) {
	r := newRepo(b, b.TempDir(), "large.git")
	for i := range 5000 {
		r.write(fmt.Sprintf("d%02d/e%d/f%d.yaml", i/100, i/10%10, i), fmt.Sprintf("name: f%d\nversion: 1.0.%d\n", i, i))
	}
	before := r.commit("one")
	r.write("d10/e3/f1035.yaml", "name: changed\n")
	after := r.push("two", "refs/heads/main")
	server := newGitServer(b, false)
	if err := os.Rename(r.dir, filepath.Join(server.root, "large.git")); err != nil {
		b.Fatal(err)
	}
	c := testConfig(b, server.URL+"/large.git", &book{})
	w := mustNew(b, c)
	poll(b, w, &book{})
	mirror := filepath.Join(c.MirrorDir, "images.git")

	var git, ours time.Duration
	rounds := 0
	for b.Loop() {
		rounds++
		start := time.Now()
		out, err := exec.Command("git", "--git-dir="+mirror, "diff", "--name-only", before, after).CombinedOutput()
		git += time.Since(start)
		if err != nil || strings.TrimSpace(string(out)) != "d10/e3/f1035.yaml" {
			b.Fatalf("git diff: %v\n%s", err, out)
		}
		m := newMirror(w.remote, mirror, c.Log)
		start = time.Now()
		changed, err := Changed(b.Context(), treeOf(b, m, before), treeOf(b, m, after))
		ours += time.Since(start)
		if err != nil || len(changed) != 1 || changed[0] != "d10/e3/f1035.yaml" {
			b.Fatalf("Changed: %q, %v", changed, err)
		}
	}
	b.ReportMetric(float64(git.Microseconds())/float64(rounds), "git-µs/diff")
	b.ReportMetric(float64(ours.Microseconds())/float64(rounds), "ours-µs/diff")
	b.ReportMetric(float64(ours)/float64(git), "time-ratio")
}

// BenchmarkMemory1000Repositories reports the memory that 1,000 watched
// repositories take once all were looked at twice.
func BenchmarkMemory1000Repositories(b *testing.B) {
	head := strings.Repeat("a", 40)
	answer := stream(head+" refs/heads/main\n", flushPkt)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			w.Header().Set("Content-Type", advertType)
			_, _ = io.WriteString(w, stream("version 2\n", flushPkt))
			return
		}
		w.Header().Set("Content-Type", resultType)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	for b.Loop() {
		before := resident(b)
		transport := NewTransport()
		known := func(context.Context) (map[string]string, error) {
			return map[string]string{"refs/heads/main": head}, nil
		}
		var watchers []*Watcher
		for i := range 1000 {
			c := testConfig(b, fmt.Sprintf("%s/r%d.git", server.URL, i), &book{})
			c.Name, c.Transport, c.Known, c.Interval = fmt.Sprintf("r%d", i), transport, known, time.Second
			c.MirrorDir = "/nonexistent"
			watchers = append(watchers, mustNew(b, c))
		}
		ctx, stop := context.WithCancel(b.Context())
		seen := map[string]int{}
		twice := 0
		g, err := NewGroup(GroupConfig{Watchers: watchers, Log: testLog(b), Observe: func(o Observation) {
			if o.Err != nil {
				b.Error(o.Err)
			}
			if seen[o.Repository]++; seen[o.Repository] == 2 {
				if twice++; twice == len(watchers) {
					stop()
				}
			}
		}})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Run(ctx); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((resident(b)-before)/1000, "kB/repository")
		b.ReportMetric(resident(b)/1000, "MB-resident")
		runtime.KeepAlive(g)
		transport.CloseIdleConnections()
	}
}

// resident is the memory of this process, in kB, that is really used.
func resident(b *testing.B) float64 {
	b.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / 1000
}

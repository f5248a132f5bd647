package dashboard

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// memorySource is a Source that tests write to.
type memorySource struct {
	mu           sync.Mutex
	repositories []reporter.Repository
	builds       map[int64]reporter.Build
	images       []reporter.Image
	logs         map[int64][]reporter.LogPiece
	followers    map[int64]chan struct{} // closed at the next change
	broken       error                   // what every method answers, if not nil
	seen         reporter.BuildFilter
}

func newMemorySource() *memorySource {
	return &memorySource{builds: map[int64]reporter.Build{}, logs: map[int64][]reporter.LogPiece{}, followers: map[int64]chan struct{}{}}
}

func (s *memorySource) Repositories(context.Context) ([]reporter.Repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repositories, s.broken
}

func (s *memorySource) Builds(_ context.Context, f reporter.BuildFilter) ([]reporter.Build, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = f
	var out []reporter.Build
	for _, b := range s.builds {
		if f.State != "" && b.State != f.State || f.Recipe != "" && b.Recipe != f.Recipe || f.Repository != "" && b.Repository != f.Repository || f.Before != 0 && b.ID >= f.Before {
			continue
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b reporter.Build) int { return int(b.ID - a.ID) })
	return out[:min(f.Limit, len(out))], s.broken
}

func (s *memorySource) Build(_ context.Context, id int64) (reporter.Build, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return reporter.Build{}, s.broken
	}
	b, ok := s.builds[id]
	if !ok {
		return b, reporter.ErrNotFound
	}
	return b, nil
}

func (s *memorySource) Images(context.Context, reporter.ImageFilter) ([]reporter.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.images, s.broken
}

func (s *memorySource) Image(_ context.Context, id string) (reporter.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.images {
		if i.ID == id {
			return i, s.broken
		}
	}
	return reporter.Image{}, reporter.ErrNotFound
}

func (s *memorySource) Log(_ context.Context, build, after int64, limit int) ([]reporter.LogPiece, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []reporter.LogPiece
	size := 0
	for _, p := range s.logs[build] {
		if p.ID <= after {
			continue
		}
		if size += len(p.Text); len(out) > 0 && size > limit {
			break
		}
		out = append(out, p)
	}
	return out, s.broken
}

func (s *memorySource) Changed(build int64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[build] == nil {
		s.followers[build] = make(chan struct{})
	}
	return s.followers[build]
}

// change changes a build and tells those who follow it.
func (s *memorySource) change(id int64, f func(*reporter.Build)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.builds[id]
	b.Stages, b.Tests = slices.Clone(b.Stages), slices.Clone(b.Tests) // pages may still read the old ones
	f(&b)
	s.builds[id] = b
	s.tell(id)
}

// print adds to a build's log and tells those who follow it.
func (s *memorySource) print(id int64, p reporter.LogPiece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.ID = int64(len(s.logs[id])+1) * 3 // ids need not be dense
	s.logs[id] = append(s.logs[id], p)
	s.tell(id)
}

func (s *memorySource) tell(id int64) {
	if c := s.followers[id]; c != nil {
		close(c)
		delete(s.followers, id)
	}
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sampleSource holds what a small team's daemon might show at 12:00:41.
func sampleSource() *memorySource {
	s := newMemorySource()
	for _, b := range []reporter.Build{webBuild(), runningBuild(), failedBuild(), checkBuild()} {
		s.builds[b.ID] = b
		if b.Image != nil {
			s.images = append(s.images, *b.Image)
		}
	}
	s.repositories = []reporter.Repository{
		{
			Name: "golden-images", URL: "https://github.com/acme/golden-images.git", CodeHost: "acme/golden-images", Branch: "main",
			Head: "9d04e7c1b2a3948576e5d4c3b2a1908f7e6d5c4b", HeadTitle: "Add the bastion host", LastPoll: noon.Add(29 * time.Second), PullRequests: 2,
			Builds: []reporter.Build{webBuild(), runningBuild(), failedBuild()},
		},
		{Name: "edge", URL: "ssh://git@git.example/edge.git", Branch: "release", LastPoll: noon.Add(-time.Minute), Problem: "git.example: connection refused; trying again in 40 s"},
	}
	pieces := map[string]string{
		"resolve": "debian-12 is cached: sha256:7f21c4…, made 20 November 2026\n",
		"update":  "Its layer exists since 19 November 2026; nothing that it depends on has changed.\n",
		"nginx":   "The following NEW packages will be installed:\n  libnginx-mod-http-echo nginx-common nginx-light\nGet:1 nginx-common all 1.22.1-9+deb12u3 [112 kB]\nGet:2 nginx-light amd64 1.22.1-9+deb12u3 [521 kB]\n\x1b[32mSetting up nginx-light (1.22.1-9+deb12u3) ...\x1b[0m\n",
		"warn":    "W: policy-rc.d denied execution of start.\n",
		"enable":  "Created symlink /etc/systemd/system/multi-user.target.wants/nginx.service.\n",
		"login":   "Debian GNU/Linux 12 web-server ttyS0\nweb-server login:\n",
		"http":    "GET http://localhost:8080/status: 200 OK, 1.3 kB in 4 ms\n",
	}
	for _, p := range []reporter.LogPiece{
		{Stage: "resolve", Text: pieces["resolve"]},
		{Stage: "build", Name: "update-linux", Text: pieces["update"]},
		{Stage: "build", Name: "nginx", Step: "build/Install", Text: pieces["nginx"]},
		{Stage: "build", Name: "nginx", Step: "build/Install", Stderr: true, Text: pieces["warn"]},
		{Stage: "build", Name: "nginx", Step: "build/Enable", Text: pieces["enable"]},
		{Stage: "boot", Text: pieces["login"]},
		{Stage: "test", Name: "http", Step: "test/StatusPage", Text: pieces["http"]},
	} {
		s.print(41, p)
	}
	s.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Step: "build/Harden", Text: "PermitRootLogin no\nPasswordAuthentication no\n"})
	return s
}

func at(seconds float64) time.Time {
	return noon.Add(time.Duration(seconds * float64(time.Second)))
}

func webBuild() reporter.Build {
	packages := func(version string, more ...reporter.Package) []reporter.Package {
		return append(more, reporter.Package{Name: "libc6", Version: "2.36-9+deb12u14", Architecture: "amd64"}, reporter.Package{Name: "nginx-light", Version: version, Architecture: "amd64"}, reporter.Package{Name: "nginx-common", Version: version, Architecture: "all"})
	}
	return reporter.Build{
		ID: 41, Repository: "golden-images", CodeHost: "acme/golden-images", Ref: "refs/pull/7/head", PullRequest: 7,
		Commit: "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c", Title: "Serve the status page on port 8080", Author: "Ada Lovelace", Trigger: reporter.PullRequest,
		Recipe: "web-server", RecipePath: "recipes/web/recipe.yaml", Version: "1.4.0", PreviousVersion: "1.3.0", Action: reporter.ActionBuild,
		Why:   []string{"components/nginx.yaml changed", "version raised from 1.3.0 to 1.4.0"},
		State: reporter.Succeeded, Components: 3, TestComponents: 2,
		Stages: []reporter.Stage{
			{Stage: "resolve", State: "succeeded", Text: "debian-12", Started: at(0), Finished: at(0.1)},
			{Stage: "launch", State: "succeeded", Started: at(0.1), Finished: at(0.4)},
			{Stage: "build", Name: "update-linux", State: "reused", Started: at(0.4), Finished: at(0.4)},
			{Stage: "build", Name: "nginx", State: "succeeded", Started: at(0.4), Finished: at(3.6)},
			{Stage: "build", Name: "status-page", State: "succeeded", Started: at(3.6), Finished: at(4.1)},
			{Stage: "inventory", State: "succeeded", Text: "214 packages", Started: at(4.1), Finished: at(4.3)},
			{Stage: "clean", State: "succeeded", Started: at(4.3), Finished: at(4.5)},
			{Stage: "image", State: "succeeded", Started: at(4.5), Finished: at(5.2)},
			{Stage: "boot", State: "succeeded", Text: "to the login prompt", Started: at(5.2), Finished: at(16.3)},
			{Stage: "test", Name: "simple-boot-test-linux", State: "succeeded", Started: at(11.4), Finished: at(16.5)},
			{Stage: "test", Name: "http", State: "succeeded", Started: at(14.1), Finished: at(17.2)},
		},
		Tests: []reporter.Test{
			{Name: "simple-boot-test-linux", State: "succeeded", Steps: 1, Duration: 5100 * time.Millisecond},
			{Name: "http", State: "succeeded", Steps: 3, Duration: 3100 * time.Millisecond},
		},
		Image: &reporter.Image{
			ID: "img-3f9a1c2b4d5e", Published: "ami-0123456789abcdef0", Repository: "golden-images", Recipe: "web-server", Version: "1.4.0", Driver: "local", Ref: "/var/lib/ingot/images/img-3f9a1c2b4d5e.qcow2",
			Size: 612_400_000, Virtual: 8 << 30, OS: "Debian GNU/Linux 12 (bookworm)", Build: 41, Created: at(17.2),
			Packages: packages("1.22.1-9+deb12u3", reporter.Package{Name: "libnginx-mod-http-echo", Version: "1:0.63-4", Architecture: "amd64"}),
		},
		PreviousImage: &reporter.Image{ID: "img-00aa11bb22cc", Size: 609_300_000, Packages: packages("1.22.1-9+deb12u2")},
		Created:       at(-1), Started: at(0), Finished: at(17.2),
	}
}

func runningBuild() reporter.Build {
	b := webBuild()
	b.ID, b.Recipe, b.State, b.Version, b.PreviousVersion = 42, "bastion", reporter.Running, "0.2.0", ""
	b.Ref, b.PullRequest, b.Trigger, b.Release = "refs/heads/main", 0, reporter.Push, true
	b.Title, b.Commit, b.Author = "Add the bastion host", "9d04e7c1b2a3948576e5d4c3b2a1908f7e6d5c4b", "Grace Hopper"
	b.Why = []string{"recipes/bastion/recipe.yaml added"}
	b.Image, b.PreviousImage, b.Tests = nil, nil, nil
	b.Stages = []reporter.Stage{
		{Stage: "resolve", State: "succeeded", Started: at(36), Finished: at(36.1)},
		{Stage: "launch", State: "succeeded", Started: at(36.1), Finished: at(36.4)},
		{Stage: "build", Name: "sshd", State: "started", Step: "build/Harden", Started: at(36.4)},
	}
	b.Created, b.Started, b.Finished = at(35), at(36), time.Time{}
	return b
}

func failedBuild() reporter.Build {
	b := webBuild()
	b.ID, b.Recipe, b.State, b.Version, b.PreviousVersion = 40, "database", reporter.Failed, "2.1.0", "2.0.3"
	b.Image, b.PreviousImage, b.Tests = nil, nil, nil
	b.Stages = []reporter.Stage{
		{Stage: "resolve", State: "succeeded", Started: at(-80), Finished: at(-79.9)},
		{Stage: "launch", State: "succeeded", Started: at(-79.9), Finished: at(-79.6)},
		{Stage: "build", Name: "postgres", State: "failed", Step: "build/Install", Text: "exit status 100", Started: at(-79.6), Finished: at(-77)},
	}
	b.Failure = &reporter.Failure{
		Stage: "build", Name: "postgres", Step: "build/Install", Reason: "Step Install failed: exit status 100.",
		Hint:   "apt-get knows no package of that name in Debian 12; postgresql-15 is there.",
		Output: "Reading package lists...\nBuilding dependency tree...\nE: Unable to locate package postgresql-99\n",
		Replay: "ingot build --commit 3f9a1c2 recipes/db/recipe.yaml",
		Kept:   &reporter.Kept{Until: at(24 * 3600), Exec: "ingot exec 40 -- COMMAND"},
	}
	b.Created, b.Started, b.Finished = at(-81), at(-80), at(-77)
	return b
}

func checkBuild() reporter.Build {
	return reporter.Build{
		ID: 39, Repository: "golden-images", CodeHost: "acme/golden-images", Ref: "refs/heads/main", Commit: strings.Repeat("ab", 20), Title: "Start the cache recipe", Trigger: reporter.Push,
		Recipe: "recipes/cache/recipe.yaml", RecipePath: "recipes/cache/recipe.yaml", Action: reporter.ActionCheck, State: reporter.Failed,
		Findings: []reporter.Finding{{File: "recipes/cache/recipe.yaml", Line: 4, Column: 1, Excerpt: "parentImge: debian-12", Message: "unknown key parentImge", Expected: "parentImage", Blocking: true}},
		Created:  at(-300), Started: at(-300), Finished: at(-300),
	}
}

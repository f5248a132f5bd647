package githubfake

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Pull is a pull request. What is left empty gets a sensible value.
type Pull struct {
	Number   int
	Head     string // commit
	HeadRef  string // default: topic
	HeadRepo string // owner/name; default: the repository itself; "-": deleted since
	Base     string // default: main
	Author   string // default: octocat
	Title    string
	Draft    bool
	Closed   bool
}

// Review is a review of a pull request.
type Review struct {
	ID        int64
	User      string
	State     string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED
	Commit    string
	Submitted time.Time
}

// OpenPull adds a pull request, or replaces the one of that number.
func (s *Server) OpenPull(repo string, p Pull) {
	p.HeadRef = cmp.Or(p.HeadRef, "topic")
	p.HeadRepo = cmp.Or(p.HeadRepo, repo)
	p.Base = cmp.Or(p.Base, "main")
	p.Author = cmp.Or(p.Author, "octocat")
	s.with(repo, func(r *repository) { r.pulls[p.Number] = &p })
}

// ClosePull closes a pull request.
func (s *Server) ClosePull(repo string, number int) {
	s.with(repo, func(r *repository) { r.pulls[number].Closed = true })
}

// SetPermission says what a user may do: admin, maintain, write, triage, read or none.
func (s *Server) SetPermission(repo, user, permission string) {
	s.with(repo, func(r *repository) { r.permissions[user] = permission })
}

// AddReview adds a review, as the newest.
func (s *Server) AddReview(repo string, number int, review Review) {
	s.with(repo, func(r *repository) {
		review.Submitted, review.ID = s.tick()
		r.reviews[number] = append(r.reviews[number], review)
	})
}

// with runs f on a repository that must exist, under the lock.
func (s *Server) with(repo string, f func(*repository)) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.repos[repo]
	if !ok {
		s.t.Fatalf("githubfake: there is no repository %q: call AddRepository first", repo)
	}
	f(r)
}

func (s *Server) routePulls() {
	s.mux.HandleFunc("GET /repos/{owner}/{repo}/pulls", s.inRepository(s.listPulls))
	s.mux.HandleFunc("GET /repos/{owner}/{repo}/pulls/{number}/reviews", s.inRepository(listReviews))
	s.mux.HandleFunc("GET /repos/{owner}/{repo}/collaborators/{user}/permission", s.inRepository(getPermission))
}

func (s *Server) listPulls(repo *repository, r *http.Request) (int, any) {
	query := r.URL.Query()
	state := cmp.Or(query.Get("state"), "open")
	if state != "open" {
		s.t.Errorf("githubfake: listing pull requests in state %q is not supported", state)
		return http.StatusUnprocessableEntity, problem("Validation Failed")
	}
	var out []any
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(repo.pulls))) {
		p := repo.pulls[n]
		if p.Closed || query.Get("base") != "" && query.Get("base") != p.Base {
			continue
		}
		out = append(out, pullJSON(repo.name, p))
	}
	if query.Get("direction") == "asc" {
		slices.Reverse(out)
	}
	return http.StatusOK, listing(out)
}

// pullJSON is the part of GitHub's representation that clients here may rely on.
func pullJSON(repo string, p *Pull) map[string]any {
	var headRepo any
	if p.HeadRepo != "-" {
		headRepo = map[string]any{"full_name": p.HeadRepo, "fork": p.HeadRepo != repo}
	}
	return map[string]any{
		"number":             p.Number,
		"state":              "open",
		"title":              p.Title,
		"draft":              p.Draft,
		"html_url":           "https://github.example/" + repo + "/pull/" + strconv.Itoa(p.Number),
		"user":               map[string]any{"login": p.Author},
		"author_association": "CONTRIBUTOR",
		"head":               map[string]any{"ref": p.HeadRef, "sha": p.Head, "repo": headRepo},
		"base":               map[string]any{"ref": p.Base, "repo": map[string]any{"full_name": repo}},
	}
}

func listReviews(repo *repository, r *http.Request) (int, any) {
	n := number(r.PathValue("number"), 0)
	if repo.pulls[n] == nil {
		return http.StatusNotFound, problem("Not Found")
	}
	var out []any
	for _, review := range repo.reviews[n] {
		out = append(out, map[string]any{
			"id":                 review.ID,
			"user":               map[string]any{"login": review.User},
			"state":              review.State,
			"commit_id":          review.Commit,
			"submitted_at":       review.Submitted,
			"author_association": "CONTRIBUTOR",
		})
	}
	return http.StatusOK, listing(out)
}

// getPermission answers as GitHub does: permission knows four words only, and
// role_name has the finer one.
func getPermission(repo *repository, r *http.Request) (int, any) {
	role := cmp.Or(repo.permissions[r.PathValue("user")], "none")
	permission := role
	switch role {
	case "maintain":
		permission = "write"
	case "triage":
		permission = "read"
	}
	return http.StatusOK, map[string]any{
		"permission": permission,
		"role_name":  role,
		"user":       map[string]any{"login": r.PathValue("user")},
	}
}

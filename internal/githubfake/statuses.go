package githubfake

import (
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"
)

// What GitHub takes for a commit status.
const (
	maxDescription = 140
	maxContext     = 255
	maxStatuses    = 1000 // of one commit and context
)

// Status is a commit status.
type Status struct {
	ID          int64
	State       string // error, failure, pending, success
	Context     string
	Description string
	TargetURL   string
	Created     time.Time
}

// AddCommit makes a commit known; the heads of pull requests are known anyway.
func (s *Server) AddCommit(repo, commit string) {
	s.with(repo, func(r *repository) { r.statuses[commit] = slices.Clip(r.statuses[commit]) })
}

// AddStatuses gives a commit n statuses of a context, to come close to GitHub's limit.
func (s *Server) AddStatuses(repo, commit, context string, n int) {
	s.with(repo, func(r *repository) {
		for range n {
			created, id := s.tick()
			r.statuses[commit] = append(r.statuses[commit], Status{ID: id, State: "pending", Context: context, Created: created})
		}
	})
}

// Statuses returns the statuses of a commit, oldest first.
func (s *Server) Statuses(repo, commit string) []Status {
	var out []Status
	s.with(repo, func(r *repository) { out = slices.Clone(r.statuses[commit]) })
	return out
}

func (s *Server) routeStatuses() {
	s.mux.HandleFunc("GET /repos/{owner}/{repo}", s.inRepository(getRepository))
	s.mux.HandleFunc("POST /repos/{owner}/{repo}/statuses/{commit}", s.inRepository(s.createStatus))
}

func getRepository(repo *repository, _ *http.Request) (int, any) {
	return http.StatusOK, map[string]any{"full_name": repo.name, "private": true, "default_branch": "main"}
}

func (s *Server) createStatus(repo *repository, r *http.Request) (int, any) {
	var in struct {
		State       string `json:"state"`
		TargetURL   string `json:"target_url"`
		Description string `json:"description"`
		Context     string `json:"context"`
	}
	if err := s.decode(r, &in); err != nil {
		return http.StatusBadRequest, problem("Problems parsing JSON")
	}
	commit := r.PathValue("commit")
	if !repo.knows(commit) {
		return http.StatusUnprocessableEntity, problem("No commit found for SHA: " + commit)
	}
	st := Status{State: in.State, Context: in.Context, Description: in.Description, TargetURL: in.TargetURL}
	if st.Context == "" {
		st.Context = "default"
	}
	if why := st.invalid(); why != "" {
		s.t.Errorf("githubfake: status of %s: %s", commit, why)
		return http.StatusUnprocessableEntity, invalid("Status", why)
	}
	if repo.countStatuses(commit, st.Context) >= maxStatuses {
		return http.StatusUnprocessableEntity, invalid("Status", "This SHA and context has reached the maximum number of statuses.")
	}
	st.Created, st.ID = s.tick()
	repo.statuses[commit] = append(repo.statuses[commit], st)
	return http.StatusCreated, map[string]any{
		"id": st.ID, "state": st.State, "context": st.Context, "description": st.Description, "target_url": st.TargetURL,
	}
}

// knows reports whether a commit is the head of a pull request or was added.
func (repo *repository) knows(commit string) bool {
	if _, ok := repo.statuses[commit]; ok {
		return true
	}
	for _, p := range repo.pulls {
		if p.Head == commit {
			return true
		}
	}
	return false
}

func (repo *repository) countStatuses(commit, context string) int {
	n := 0
	for _, st := range repo.statuses[commit] {
		if st.Context == context {
			n++
		}
	}
	return n
}

// invalid says what GitHub would not take; empty: nothing.
func (st Status) invalid() string {
	switch {
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, st.State):
		return "state is not included in the list"
	case utf8.RuneCountInString(st.Description) > maxDescription:
		return "description is too long (maximum is 140 characters)"
	case utf8.RuneCountInString(st.Context) > maxContext:
		return "context is too long (maximum is 255 characters)"
	case beyondBasicPlane(st.Description) || beyondBasicPlane(st.Context):
		return "description contains 4-byte Unicode"
	case st.TargetURL != "" && !isWebAddress(st.TargetURL):
		return "target_url must use http(s) scheme"
	default:
		return ""
	}
}

func beyondBasicPlane(s string) bool {
	return slices.ContainsFunc([]rune(s), func(r rune) bool { return r > 0xffff })
}

func isWebAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// invalid is the value of an answer that refuses a field of a resource.
func invalid(resource, message string) any {
	return map[string]any{
		"message":           "Validation Failed",
		"documentation_url": "https://docs.github.com/rest",
		"errors":            []any{map[string]any{"resource": resource, "code": "custom", "message": message}},
	}
}

package githubfake

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// User is who the owner of a personal token is, and AppUser who an App's
// installation comments as.
const (
	User    = "ingot-bot"
	AppSlug = "ingot-app"
	AppUser = AppSlug + "[bot]"
)

// maxComment is what GitHub takes for a comment, in characters.
const maxComment = 65536

// Comment is a comment on an issue or pull request.
type Comment struct {
	ID      int64
	User    string
	Body    string
	Created time.Time
	Updated time.Time
}

// AddComment adds somebody's comment to a pull request and returns its id.
func (s *Server) AddComment(repo string, number int, user, body string) int64 {
	var id int64
	s.with(repo, func(r *repository) { id = s.comment(r, number, user, body).ID })
	return id
}

// DeleteComment removes a comment, as its author or a maintainer may.
func (s *Server) DeleteComment(repo string, id int64) {
	s.with(repo, func(r *repository) {
		for n, comments := range r.comments {
			r.comments[n] = slices.DeleteFunc(comments, func(c Comment) bool { return c.ID == id })
		}
	})
}

// Comments returns the comments on a pull request, oldest first.
func (s *Server) Comments(repo string, number int) []Comment {
	var out []Comment
	s.with(repo, func(r *repository) { out = slices.Clone(r.comments[number]) })
	return out
}

// comment adds a comment. s.mu is held.
func (s *Server) comment(repo *repository, number int, user, body string) Comment {
	created, id := s.tick()
	c := Comment{ID: id, User: user, Body: body, Created: created, Updated: created}
	repo.comments[number] = append(repo.comments[number], c)
	return c
}

func (s *Server) routeComments() {
	s.mux.HandleFunc("GET /user", getUser)
	s.mux.HandleFunc("GET /app", s.getApp)
	s.mux.HandleFunc("GET /repos/{owner}/{repo}/issues/{number}/comments", s.inRepository(listComments))
	s.mux.HandleFunc("POST /repos/{owner}/{repo}/issues/{number}/comments", s.inRepository(s.createComment))
	s.mux.HandleFunc("PATCH /repos/{owner}/{repo}/issues/comments/{id}", s.inRepository(s.editComment))
}

// loginOf is who made an authenticated request.
func loginOf(r *http.Request) string {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.HasPrefix(token, "ghs_") {
		return AppUser
	}
	return User
}

func getUser(w http.ResponseWriter, r *http.Request) {
	if loginOf(r) == AppUser {
		writeError(w, http.StatusForbidden, "Resource not accessible by integration")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"login": User, "type": "User"})
}

func (s *Server) getApp(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.verifyAssertion(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		writeError(w, http.StatusUnauthorized, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"id": id, "slug": AppSlug})
}

func listComments(repo *repository, r *http.Request) (int, any) {
	n := number(r.PathValue("number"), 0)
	if repo.pulls[n] == nil {
		return http.StatusNotFound, problem("Not Found")
	}
	out := []any{}
	for _, c := range repo.comments[n] {
		out = append(out, commentJSON(c))
	}
	return http.StatusOK, listing(out)
}

func (s *Server) createComment(repo *repository, r *http.Request) (int, any) {
	n := number(r.PathValue("number"), 0)
	if repo.pulls[n] == nil {
		return http.StatusNotFound, problem("Not Found")
	}
	body, refusal := s.commentBody(r)
	if refusal != nil {
		return http.StatusUnprocessableEntity, refusal
	}
	return http.StatusCreated, commentJSON(s.comment(repo, n, loginOf(r), body))
}

func (s *Server) editComment(repo *repository, r *http.Request) (int, any) {
	c := repo.findComment(r.PathValue("id"))
	if c == nil {
		return http.StatusNotFound, problem("Not Found")
	}
	if c.User != loginOf(r) {
		s.t.Errorf("githubfake: %s edits a comment of %s", loginOf(r), c.User)
		return http.StatusForbidden, problem("Resource not accessible by personal access token")
	}
	body, refusal := s.commentBody(r)
	if refusal != nil {
		return http.StatusUnprocessableEntity, refusal
	}
	c.Body = body
	c.Updated, _ = s.tick()
	return http.StatusOK, commentJSON(*c)
}

// commentBody reads a comment's text, or says why GitHub would not take it.
func (s *Server) commentBody(r *http.Request) (string, any) {
	var in struct {
		Body string `json:"body"`
	}
	if err := s.decode(r, &in); err != nil {
		return "", problem("Problems parsing JSON")
	}
	switch {
	case strings.TrimSpace(in.Body) == "":
		s.t.Errorf("githubfake: %s %s: an empty comment", r.Method, r.URL.Path)
		return "", invalid("IssueComment", "body can't be blank")
	case utf8.RuneCountInString(in.Body) > maxComment:
		s.t.Errorf("githubfake: %s %s: a comment that is too long", r.Method, r.URL.Path)
		return "", invalid("IssueComment", "body is too long (maximum is 65536 characters)")
	}
	return in.Body, nil
}

func (repo *repository) findComment(id string) *Comment {
	for _, comments := range repo.comments {
		for i := range comments {
			if strconv.FormatInt(comments[i].ID, 10) == id {
				return &comments[i]
			}
		}
	}
	return nil
}

func commentJSON(c Comment) map[string]any {
	return map[string]any{
		"id":         c.ID,
		"user":       map[string]any{"login": c.User},
		"body":       c.Body,
		"created_at": c.Created,
		"updated_at": c.Updated,
	}
}

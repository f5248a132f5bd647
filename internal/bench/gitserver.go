package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"path/filepath"
	"strings"
)

// serveGit serves one repository under every name, over git's own smart HTTP program.
func serveGit(ctx context.Context, gitDir string) (http.Handler, error) {
	path, err := command{name: "git", args: []string{"--exec-path"}}.output(ctx)
	if err != nil {
		return nil, err
	}
	backend := cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(path), "git-http-backend"),
		Env:    append(gitEnv(), "GIT_PROJECT_ROOT="+gitDir, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path = "/" + rest
		h := backend
		if protocol := r.Header.Get("Git-Protocol"); protocol != "" {
			h.Env = append(h.Env[:len(h.Env):len(h.Env)], "GIT_PROTOCOL="+protocol)
		}
		h.ServeHTTP(w, r)
	}), nil
}

// gitEnv keeps the settings of whoever runs the benchmark out of it.
func gitEnv() []string {
	return []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@example.com",
		"GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@example.com",
	}
}

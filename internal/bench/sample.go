package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/examples"
)

// sample is the example repository in a Git working tree of its own, and a folder
// for what is built from it.
type sample struct {
	dir    string // top of the working tree
	config string // of ingot
}

// The documents of the sample that the rounds change.
const (
	firstComponent = "recipes/web/nginx.yaml"
	lastComponent  = "recipes/web/site.yaml"
	lastTest       = "recipes/web/tests/http.yaml"
	sampleRecipe   = "recipes/web/recipe.yaml"
)

// noRepositories is the configuration of builds by hand.
const noRepositories = "repositories: []\n"

// workTree is where newSample puts the working tree of that name.
func (b *bench) workTree(name string) string { return filepath.Join(b.dir, name, "golden-images") }

// newSample makes a sample below the folder of this run. The text is added to its
// configuration.
func (b *bench) newSample(ctx context.Context, name, config string) (*sample, error) {
	top := filepath.Join(b.dir, name)
	s := &sample{dir: b.workTree(name), config: filepath.Join(top, "ingot.yaml")}
	if err := os.CopyFS(s.dir, examples.Recipes()); err != nil {
		return nil, err
	}
	if err := s.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("dataDir: %s\ncacheDir: %s\n", filepath.Join(top, "data"), b.cache) + config
	return s, os.WriteFile(s.config, []byte(text), 0o600)
}

func (s *sample) git(ctx context.Context, args ...string) error {
	return command{dir: s.dir, env: gitEnv(), name: "git", args: args}.run(ctx)
}

// commit commits the whole working tree and returns the commit's name.
func (s *sample) commit(ctx context.Context, message string) (string, error) {
	if err := s.git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	if err := s.git(ctx, "commit", "--quiet", "--message="+message); err != nil {
		return "", err
	}
	name, err := command{dir: s.dir, env: gitEnv(), name: "git", args: []string{"rev-parse", "HEAD"}}.output(ctx)
	return strings.TrimSpace(name), err
}

// remark changes a document without changing what it does, so that all that was
// made from it has to be made again.
func (s *sample) remark(path, text string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, path), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "# %s\n", text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// greet has the page of the sample say something else.
func (s *sample) greet(text string) error {
	path := filepath.Join(s.dir, lastComponent)
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, after, ok := strings.Cut(string(page), "<h1>")
	_, rest, ok2 := strings.Cut(after, "</h1>")
	if !ok || !ok2 {
		return fmt.Errorf("%s has no heading to change", lastComponent)
	}
	return os.WriteFile(path, []byte(before+"<h1>{{ Greeting }}, "+text+"</h1>"+rest), 0o644)
}

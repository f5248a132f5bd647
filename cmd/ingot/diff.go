package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
	"github.com/seed-6db18919/ingot/watcher"
)

func diffCommand(o *globals) *cobra.Command {
	var asJSON, all bool
	var repo string
	var paths []string
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what the daemon would build between two commits, and why",
		Long: `Compares the recipes of two commits of the repository around the current folder, as the daemon
does when a branch moves from OLD to NEW. Nothing is built.`,
		Args: exactly(2),
		RunE: func(c *cobra.Command, args []string) error {
			options, err := o.recipeOptions()
			if err != nil {
				return err
			}
			options.Paths = paths
			decisions, err := diff(c, repo, options, args[0], args[1], all)
			if err != nil {
				return err
			}
			return showDecisions(c, decisions, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "decisions as JSON lines")
	c.Flags().BoolVar(&all, "all", false, "list untouched recipes too")
	c.Flags().StringVar(&repo, "repository", ".", "the repository's `folder`")
	c.Flags().StringSliceVar(&paths, "paths", nil, "watched `folders` (default: all)")
	return c
}

func diff(c *cobra.Command, folder string, options recipe.Options, old, now string, all bool) ([]recipe.Decision, error) {
	where, err := placeOf(folder)
	if err != nil {
		return nil, err
	}
	repository, err := git.PlainOpen(where.root)
	if err != nil {
		return nil, fmt.Errorf("%s is in no Git repository: %w", where.root, err)
	}
	log := logrus.New()
	log.SetOutput(c.ErrOrStderr())
	// A repository on this machine is read where it is: nothing is mirrored or accepted.
	w, err := watcher.New(watcher.Config{
		Name: "here", URL: where.root, MirrorDir: os.TempDir(), Log: log,
		Known:  func(context.Context) (map[string]string, error) { return nil, nil },
		Accept: func(context.Context, watcher.Change) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	var trees [2]*watcher.Tree
	for i, name := range []string{old, now} {
		hash, err := repository.ResolveRevision(plumbing.Revision(name))
		if err != nil {
			return nil, fmt.Errorf("%q is no commit of %s: %w", name, where.root, err)
		}
		if trees[i], err = w.Mirror().Tree(c.Context(), hash.String()); err != nil {
			return nil, err
		}
	}
	before, err := recipe.Load(c.Context(), trees[0], options)
	if err != nil {
		return nil, err
	}
	changed, err := watcher.Changed(c.Context(), trees[0], trees[1])
	if err != nil {
		return nil, err
	}
	after, err := before.Update(c.Context(), trees[1], changed)
	if err != nil {
		return nil, err
	}
	return recipe.Plan(before, after, recipe.PlanOptions{All: all}), nil
}

func showDecisions(c *cobra.Command, decisions []recipe.Decision, asJSON bool) error {
	var err error
	for _, d := range decisions {
		if d.Action == recipe.ActionCheck {
			err = errAuthor
		}
		if asJSON {
			line := struct {
				Recipe  string   `json:"recipe"`
				Path    string   `json:"path"`
				Outcome string   `json:"outcome"`
				Action  string   `json:"action"`
				Why     []string `json:"why,omitempty"`
				After   string   `json:"after,omitempty"`

				Problems []yamldoc.Problem `json:"problems,omitempty"`
			}{d.Name, d.Path, string(d.Outcome), string(d.Action), d.Why, d.After, problemsOf(d)}
			if err := json.NewEncoder(c.OutOrStdout()).Encode(line); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(c.OutOrStdout(), d)
		for _, p := range problemsOf(d) {
			fmt.Fprintln(c.OutOrStdout(), indent(p.String()))
		}
	}
	if len(decisions) == 0 && !asJSON {
		fmt.Fprintln(c.OutOrStdout(), "no recipe is touched")
	}
	return err
}

// problemsOf is what an author should know about a recipe: why its documents are
// invalid, or what is worth a remark.
func problemsOf(d recipe.Decision) []yamldoc.Problem {
	all := slices.Clone(d.Problems)
	for _, f := range d.Findings {
		all = append(all, f.Problem)
	}
	return all
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

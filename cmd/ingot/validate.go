package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/recipe"
)

func validateCommand(o *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate [path]",
		Short: "Say what is wrong in recipes and the components they use",
		Long: `Reads every recipe at or below a path (default: the current folder) with everything it uses,
and shows each mistake with file, line and column. Nothing is built.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			at := "."
			if len(args) == 1 {
				at = args[0]
			}
			set, err := loadByHand(c.Context(), at)
			if err != nil {
				return err
			}
			return showProblems(c.OutOrStdout(), set, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "problems as JSON")
	return c
}

func showProblems(w io.Writer, set *recipe.Set, asJSON bool) error {
	problems := set.Problems()
	switch {
	case asJSON:
		if err := json.NewEncoder(w).Encode(append(problems[:0:0], problems...)); err != nil {
			return err
		}
	case len(problems) > 0:
		fmt.Fprintln(w, problems.Error())
	case len(set.Recipes) == 0:
		fmt.Fprintln(w, "no recipes found")
	default:
		for _, r := range sortedRecipes(set) {
			fmt.Fprintf(w, "%s: %s %s is valid\n", r.Path, r.Name, r.Version)
		}
	}
	if len(problems) > 0 {
		return errAuthor
	}
	return nil
}

// place is where a path of the command line lies in a repository.
type place struct {
	root string // the working tree; the folder itself when there is no repository around it
	path string // below it, slash-separated
}

// placeOf finds the working tree around a path, so that recipes may refer to
// everything in their repository and to nothing outside of it.
func placeOf(at string) (place, error) {
	abs, err := filepath.Abs(at)
	if err != nil {
		return place{}, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return place{}, err
	}
	folder := abs
	if !info.IsDir() {
		folder = filepath.Dir(abs)
	}
	root := folder
	for dir := folder; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			root = dir
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil {
		return place{}, err
	}
	return place{root: root, path: filepath.ToSlash(rel)}, nil
}

// loadByHand reads the recipes at or below a path of the host.
func loadByHand(ctx context.Context, at string) (*recipe.Set, error) {
	where, err := placeOf(at)
	if err != nil {
		return nil, err
	}
	tree, err := recipe.OpenDir(where.root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	options := recipeOptions()
	options.HostFiles = true
	set, err := recipe.Load(ctx, tree, options)
	if err != nil {
		return nil, err
	}
	return set.Within(where.path), nil
}

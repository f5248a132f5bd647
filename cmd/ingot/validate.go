package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

func validateCommand(o *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate [path]",
		Short: "Say what is wrong in recipes and the components they use",
		Long: `Reads every recipe at or below a path (default: the current folder) with everything it uses,
and shows each mistake with file, line and column. Nothing is built. The file of a component
document is checked by itself, for Linux; ` + "`ingot component validate`" + ` knows the other platforms.
With -c, recipes are also held against what that daemon can do.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			at := "."
			if len(args) == 1 {
				at = args[0]
			}
			options, err := o.recipeOptions()
			if err != nil {
				return err
			}
			set, err := loadByHand(c.Context(), at, options)
			if err != nil {
				return err
			}
			if len(set.Recipes) == 0 && len(set.Invalid) == 0 && isComponent(at) {
				alone := validation{documents: []string{at}, platform: component.Linux, asJSON: asJSON}
				return alone.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
			}
			return showProblems(c.OutOrStdout(), at, set, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "problems as JSON")
	return c
}

func showProblems(w io.Writer, at string, set *recipe.Set, asJSON bool) error {
	problems := set.Problems()
	switch {
	case len(problems) == 0 && len(set.Recipes) == 0:
		return fmt.Errorf("no recipe at or below %s: a recipe begins with apiVersion: %s and kind: ImageRecipe", at, recipe.APIVersion)
	case asJSON:
		// Without problems it is an empty list, not null.
		if err := json.NewEncoder(w).Encode(append(yamldoc.Problems{}, problems...)); err != nil {
			return err
		}
	case len(problems) > 0:
		fmt.Fprintln(w, problems.Error())
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

// isComponent tells whether a file is a component document, or was meant to be one.
func isComponent(path string) bool {
	text, err := readDocument(path)
	if err != nil {
		return false
	}
	return componentKey.Match(text)
}

var componentKey = regexp.MustCompile(`(?m)^["']?(schemaVersion|phases)["']?\s*:`)

// place is where a path of the command line lies in a repository.
type place struct {
	root string // the working tree around it
	path string // below it, slash-separated
}

// placeOf finds the working tree around a path, so that recipes may refer to
// everything in their repository and to nothing outside of it. Where there is no
// repository, the current folder stands for it, or else the path's own.
func placeOf(at string) (place, error) {
	abs, err := filepath.Abs(at)
	if err != nil {
		return place{}, err
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, fmt.Errorf("%s does not exist", at)
	}
	if err != nil {
		return place{}, err
	}
	root := abs
	if !info.IsDir() {
		root = filepath.Dir(abs)
	}
	if tree, ok := workingTree(root); ok {
		root = tree
	} else if here, err := os.Getwd(); err == nil && within(here, root) {
		root = here
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil {
		return place{}, err
	}
	return place{root: root, path: filepath.ToSlash(rel)}, nil
}

// workingTree is the nearest folder at or above dir that Git works in.
func workingTree(dir string) (string, bool) {
	for {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir, true
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", false
		}
		dir = above
	}
}

// within tells whether a path is a folder, or below it.
func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// loadByHand reads the recipes at or below a path of the host.
func loadByHand(ctx context.Context, at string, options recipe.Options) (*recipe.Set, error) {
	where, err := placeOf(at)
	if err != nil {
		return nil, err
	}
	tree, err := recipe.OpenDir(where.root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	options.HostFiles = true
	set, err := recipe.Load(ctx, tree, options)
	if err != nil {
		return nil, err
	}
	return set.Within(where.path), nil
}

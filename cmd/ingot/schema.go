package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/schema"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// schemaKinds are the documents that users write.
func schemaKinds() map[string]func(platform string) (map[string]any, error) {
	of := func(f yamldoc.Format) func(string) (map[string]any, error) {
		return func(string) (map[string]any, error) { return schema.Of(f) }
	}
	return map[string]func(string) (map[string]any, error){
		"document": func(platform string) (map[string]any, error) { return schema.Document(platform), nil },
		"recipe":   of(recipe.Format()),
		"config":   of(config.Format()),
	}
}

func schemaCommand() *cobra.Command {
	kinds := strings.Join(slices.Sorted(maps.Keys(schemaKinds())), "|")
	var platform platformFlag
	c := &cobra.Command{
		Use:   "schema " + kinds,
		Short: "Print the JSON Schema of what users write",
		Long: `Prints the JSON Schema (2020-12) of component documents, recipes, or the daemon's configuration, for
editors that complete and check:

  ingot schema recipe > recipe.schema.json

and, as the first line of a recipe:

  # yaml-language-server: $schema=./recipe.schema.json`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			write, ok := schemaKinds()[args[0]]
			if !ok {
				return fmt.Errorf("there is no schema %q: expected %s", args[0], strings.ReplaceAll(kinds, "|", ", "))
			}
			if platform != "" && args[0] != "document" {
				return fmt.Errorf("--platform concerns the schema document, not %s", args[0])
			}
			made, err := write(string(platform))
			if err != nil {
				return err
			}
			e := json.NewEncoder(c.OutOrStdout())
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(made)
		},
	}
	c.Flags().Var(&platform, "platform", "of a component document: leave out what does not exist there (default: any)")
	return c
}

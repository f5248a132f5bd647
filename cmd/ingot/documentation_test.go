package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-6db18919/ingot/builder/recipe"
)

// rowOf is the line of a page that begins with a cell, up to a word's end.
func rowOf(page, cell string) string {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "| `"+cell); ok && strings.ContainsAny(rest[:1], "` ") {
			return line
		}
	}
	return ""
}

// commandsBelow are those that can be run.
func commandsBelow(c *cobra.Command) (all []*cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		if !sub.HasSubCommands() || sub.Flags().HasFlags() {
			all = append(all, sub)
		}
		all = append(all, commandsBelow(sub)...)
	}
	return all
}

// TestEveryCommandIsDocumented: docs/command-line.md has a row for each command, with
// all of its options. Those of a run of components have a table of their own.
func TestEveryCommandIsDocumented(t *testing.T) {
	page := string(readFile(t, "../../docs/command-line.md"))
	commands := commandsBelow(rootCommand())
	if len(commands) < 20 {
		t.Fatalf("found %d commands", len(commands))
	}
	for _, c := range commands {
		row := rowOf(page, c.CommandPath())
		if row == "" {
			t.Errorf("docs/command-line.md does not tell of %s", c.CommandPath())
			continue
		}
		if c.CommandPath() == "ingot component run" {
			continue
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			if !strings.Contains(row, "`--"+f.Name+"`") && !strings.Contains(row, "`--"+f.Name+" ") {
				t.Errorf("docs/command-line.md does not tell of --%s in the row of %s", f.Name, c.CommandPath())
			}
			if f.Shorthand != "" && !strings.Contains(row, "`-"+f.Shorthand+"`") {
				t.Errorf("docs/command-line.md does not tell of -%s in the row of %s", f.Shorthand, c.CommandPath())
			}
		})
	}
}

// TestEveryKeyIsDocumented: docs/configuration.md tells of every key, by itself or as
// part of one above.
func TestEveryKeyIsDocumented(t *testing.T) {
	page := string(readFile(t, "../../docs/configuration.md"))
	made, err := schemaKinds()["config"]("")
	must(t, err)
	keys := keysOf(t, made)
	if !slices.Contains(keys, "aws.region") || !slices.Contains(keys, "repositories[].url") {
		t.Fatalf("found the keys %v", keys)
	}
	for _, key := range keys {
		if !strings.Contains(page, "`"+key+"`") {
			t.Errorf("docs/configuration.md does not tell of %s", key)
		}
	}
}

// TestEveryKeyOfRecipesIsDocumented: docs/recipes.md tells of every key.
func TestEveryKeyOfRecipesIsDocumented(t *testing.T) {
	page := string(readFile(t, "../../docs/recipes.md"))
	keys := recipe.Format().Keys
	if _, there := keys["blockDeviceMappings.ebs.iops"]; !there {
		t.Fatalf("found the keys %v", keys)
	}
	for key := range keys {
		word := key[strings.LastIndex(key, ".")+1:]
		if told := regexp.MustCompile(`(^|[^A-Za-z])` + word + "(`|:)"); !told.MatchString(page) {
			t.Errorf("docs/recipes.md does not tell of %s", key)
		}
	}
}

// keysOf are the keys of the configuration's schema, down to those of its parts.
func keysOf(t *testing.T, made map[string]any) (keys []string) {
	t.Helper()
	type part struct {
		Properties map[string]part
		Items      *part
	}
	text, err := json.Marshal(made)
	must(t, err)
	var whole part
	must(t, json.Unmarshal(text, &whole))
	for name, p := range whole.Properties {
		if p.Items != nil {
			name, p = name+"[]", *p.Items
		}
		if len(p.Properties) == 0 {
			keys = append(keys, name)
		}
		for key := range p.Properties {
			keys = append(keys, name+"."+key)
		}
	}
	slices.Sort(keys)
	return keys
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/gallery"
)

// galleryEntry is one component of the gallery, as its newest version is.
type galleryEntry struct {
	Name        string             `json:"name"`
	Versions    []string           `json:"versions"` // oldest first
	Platforms   []string           `json:"platforms"`
	Type        string             `json:"type"` // build or test
	Description string             `json:"description"`
	Parameters  []galleryParameter `json:"parameters"`
}

type galleryParameter struct {
	Name          string   `json:"name"`
	Description   string   `json:"description,omitempty"`
	Required      bool     `json:"required"`
	Default       string   `json:"default,omitempty"`
	AllowedValues []string `json:"allowedValues,omitempty"`
}

func componentListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the components that come with ingot",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			entries, err := galleryEntries(gallery.New())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(entries)
			}
			return printEntries(c.OutOrStdout(), entries)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, with parameters")
	return c
}

func componentShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME[@VERSION]",
		Short: "Print a component of the gallery",
		Long: `Prints the document as it is, so that it can be copied into a repository and edited there:

  ingot component show update-linux > components/update.yaml`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, _, text, err := gallery.New().Component(args[0])
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
}

func galleryEntries(g gallery.Gallery) ([]galleryEntry, error) {
	entries := []galleryEntry{}
	for _, name := range g.Names() {
		_, version, text, err := g.Component(name)
		if err != nil {
			return nil, err
		}
		d, problems := component.Parse("gallery:"+name+"@"+version, text)
		if err := problems.Err(); err != nil {
			return nil, err
		}
		e := galleryEntry{
			Name: name, Versions: g.Versions(name), Platforms: platformsOf(name, text), Type: "build",
			Description: strings.Join(strings.Fields(d.Description), " "), Parameters: []galleryParameter{},
		}
		if d.IsTest() {
			e.Type = "test"
		}
		for _, p := range d.Parameters {
			e.Parameters = append(e.Parameters, galleryParameter{p.Name, p.Description, p.Required, p.Default, p.AllowedValues})
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// platformsOf are those that the name of a component speaks of, or else those on
// which all of its actions exist. What a script needs is not known here; macOS, which
// has bash as well, is left out unless nothing else remains.
func platformsOf(name string, text []byte) []string {
	for word := range strings.SplitSeq(name, "-") {
		for _, p := range platforms() {
			if strings.EqualFold(word, p) {
				return []string{p}
			}
		}
	}
	fits := []string{}
	for _, p := range platforms() {
		if p == component.MacOS && len(fits) > 0 {
			break
		}
		if c := check(written{path: name, text: text}, p, nil, false); len(c.problems) == 0 {
			fits = append(fits, p)
		}
	}
	return fits
}

func printEntries(w io.Writer, entries []galleryEntry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVERSIONS\tPLATFORM\tTYPE\tDESCRIPTION")
	for _, e := range entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Name, strings.Join(e.Versions, " "), strings.Join(e.Platforms, " "), e.Type, e.Description)
	}
	return table.Flush()
}

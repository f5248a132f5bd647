package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/reporter/terminal"
)

func buildsCommand(o *globals) *cobra.Command {
	var f ledger.Filter
	var state string
	var asJSON bool
	c := &cobra.Command{
		Use:   "builds",
		Short: "List the daemon's builds, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f.State = reporter.State(state)
			if state != "" && !slices.Contains(states, f.State) {
				return fmt.Errorf("--state %s: there is no such state; there are %s", state, listed(states))
			}
			if err := checkLimit(f.Limit); err != nil {
				return err
			}
			p, err := o.open(c.Context())
			if err != nil {
				return err
			}
			defer p.close()
			builds, err := p.ledger.Builds(c.Context(), f)
			if err != nil {
				return err
			}
			if asJSON {
				return jsonLines(c.OutOrStdout(), builds)
			}
			if len(builds) == 0 {
				_, err = fmt.Fprintln(c.OutOrStdout(), "no builds")
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), terminal.BuildsTable(builds, time.Now(), terminalOptions(c.OutOrStdout())))
			return err
		},
	}
	c.Flags().StringVar(&f.Repository, "repository", "", "only of this repository")
	c.Flags().StringVar(&f.Recipe, "recipe", "", "only of this recipe")
	c.Flags().StringVar(&state, "state", "", "only in this state: "+listed(states))
	c.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	c.Flags().BoolVar(&asJSON, "json", false, "JSON lines")
	return c
}

func imagesCommand(o *globals) *cobra.Command {
	var f ledger.ImageFilter
	var asJSON bool
	c := &cobra.Command{
		Use:   "images",
		Short: "List images, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkLimit(f.Limit); err != nil {
				return err
			}
			p, err := o.open(c.Context())
			if err != nil {
				return err
			}
			defer p.close()
			images, err := p.images(c, f)
			if err != nil {
				return err
			}
			if asJSON {
				return jsonLines(c.OutOrStdout(), images)
			}
			if len(images) == 0 {
				_, err = fmt.Fprintln(c.OutOrStdout(), "no images")
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), terminal.ImagesTable(images, time.Now(), terminalOptions(c.OutOrStdout())))
			return err
		},
	}
	c.Flags().StringVar(&f.Recipe, "recipe", "", "only of this recipe")
	c.Flags().BoolVar(&f.Released, "released", false, "only those that went out under a version")
	c.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	c.Flags().BoolVar(&asJSON, "json", false, "JSON lines")
	return c
}

// images lists what the ledger knows, then what only the driver has: images that
// were built by hand.
func (p *parts) images(c *cobra.Command, f ledger.ImageFilter) ([]reporter.Image, error) {
	images, err := p.ledger.Images(c.Context(), f)
	if err != nil || f.Recipe != "" || f.Released {
		return images, err
	}
	held, err := p.driver.Images()
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(images))
	for _, i := range images {
		known[i.ID] = true
	}
	for _, i := range held {
		if !known[i.ID] && len(images) < f.Limit {
			published, err := p.ledger.PublishedAs(c.Context(), i.ID)
			if err != nil {
				return nil, err
			}
			images = append(images, reporter.Image{
				ID: i.ID, Published: published, Driver: i.Driver, Ref: i.Ref, Size: i.Size, Virtual: i.Virtual, OS: i.Inventory.OS, Created: i.Created,
			})
		}
	}
	return images, nil
}

func logsCommand(o *globals) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "logs BUILD",
		Short: "Show the log of a build",
		Args:  exactly(1),
		RunE: forBuild(o, func(c *cobra.Command, p *parts, b reporter.Build) error {
			return p.logs(c, b.ID, follow)
		}),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the build has ended")
	return c
}

// logs prints a build's log: what there is, or everything until the build has ended.
func (p *parts) logs(c *cobra.Command, id int64, follow bool) error {
	text := &logText{out: c.OutOrStdout()}
	if follow {
		for progress, err := range p.ledger.Follow(c.Context(), id, 0) {
			if err != nil {
				return err
			}
			if err := text.printAll(progress.Pieces); err != nil {
				return err
			}
		}
		return nil
	}
	for after := int64(0); ; {
		pieces, err := p.ledger.Log(c.Context(), id, after, 1<<20)
		if err != nil || len(pieces) == 0 {
			return err
		}
		if err := text.printAll(pieces); err != nil {
			return err
		}
		after = pieces[len(pieces)-1].ID
	}
}

// states are those that a build can be in, in the order of its life.
var states = []reporter.State{
	reporter.Waiting, reporter.Approval, reporter.Queued, reporter.Running, reporter.Succeeded,
	reporter.Failed, reporter.Errored, reporter.Cancelled, reporter.Superseded,
}

func listed(states []reporter.State) string {
	words := make([]string, len(states))
	for i, s := range states {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("--limit %d: at least 1 is shown", limit)
	}
	return nil
}

// build looks up a build that a command names.
func (p *parts) build(ctx context.Context, id int64) (reporter.Build, error) {
	b, err := p.ledger.Build(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return b, fmt.Errorf("there is no build %d; `ingot builds` lists them", id)
	}
	return b, err
}

func buildID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, fmt.Errorf("%q is not the number of a build; `ingot builds` lists them", text)
	}
	return id, nil
}

func jsonLines[T any](w io.Writer, rows []T) error {
	e := json.NewEncoder(w)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

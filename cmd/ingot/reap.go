package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/reporter"
)

// reap is one `ingot reap`.
type reap struct {
	dry, asJSON bool
	ledger      string // that is lost; empty: this configuration's is meant
}

func reapCommand(o *globals) *cobra.Command {
	var r reap
	c := &cobra.Command{
		Use:   "reap",
		Short: "Remove from the AWS account what no build owns",
		Long: `Lists instances, unfinished images, snapshots, volumes and imports of disks that builds of this ledger have made and
that no build owns any more, and removes or cancels them. Whatever does not carry ingot's own tags is never touched, nor are
finished images, and instances that are kept for a while (ingot kept). The daemon does the same every few minutes.

Other ledgers under the same aws.owner count their builds themselves: --dry-run lists what of theirs was not made
to stay, and what their daemons are at work on is among it. Of a ledger that is lost, --ledger removes that.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := o.open(c.Context())
			if err != nil {
				return err
			}
			defer p.close()
			if p.cloud == nil {
				return fmt.Errorf("there is no account to look into: aws.region is not configured")
			}
			return r.run(c, p)
		},
	}
	c.Flags().BoolVar(&r.dry, "dry-run", false, "only list, what other ledgers have made too")
	c.Flags().BoolVar(&r.asJSON, "json", false, "as a JSON list")
	c.Flags().StringVar(&r.ledger, "ledger", "", "what the ledger with this `ID` has left, which is lost: its builds own nothing any more")
	return c
}

func (r *reap) run(c *cobra.Command, p *parts) error {
	all, err := r.find(c.Context(), p)
	if err != nil {
		return err
	}
	if !r.dry {
		// What could be removed is shown beside what could not.
		all, err = p.cloud.driver.Reap(c.Context(), all)
	}
	if r.asJSON {
		if all == nil {
			all = []ec2.Leftover{}
		}
		return errors.Join(err, json.NewEncoder(c.OutOrStdout()).Encode(all))
	}
	if err := errors.Join(err, r.print(c, p.cloud.ledger, all)); err != nil {
		return err
	}
	return p.cloud.tellKept(c)
}

// find lists what the command is about.
func (r *reap) find(ctx context.Context, p *parts) ([]ec2.Leftover, error) {
	switch r.ledger {
	case "":
		all, err := p.cloud.leftovers(ctx, p.ledger)
		if err != nil || !r.dry {
			return all, err
		}
		others, err := p.cloud.foreign(ctx, p.ledger)
		return append(all, others...), err
	case p.cloud.ledger:
		return nil, fmt.Errorf("%s is the ledger of this configuration, which is not lost: leave --ledger out", r.ledger)
	default:
		all, err := p.cloud.foreign(ctx, p.ledger)
		return slices.DeleteFunc(all, func(l ec2.Leftover) bool { return l.Ledger != r.ledger }), err
	}
}

// print shows what is left over, or removed, and what there is of ledgers beside own.
func (r *reap) print(c *cobra.Command, own string, all []ec2.Leftover) error {
	verb := "REMOVED"
	if r.dry {
		verb = "LEFT OVER"
	}
	of := func(l ec2.Leftover) bool { return l.Foreign && r.ledger == "" }
	ours, others := slices.DeleteFunc(slices.Clone(all), of), slices.DeleteFunc(slices.Clone(all), func(l ec2.Leftover) bool { return !of(l) })
	out := c.OutOrStdout()
	if len(ours) == 0 {
		fmt.Fprintln(out, "nothing is left over")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(ours) > 0 {
		fmt.Fprintf(w, "%s\tID\tBUILD\tSINCE\tWHY\n", verb)
	}
	for _, l := range ours {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Kind, l.ID, reporter.Line(l.Build, 100), sinceOf(l), l.Why)
	}
	if err := w.Flush(); err != nil || len(others) == 0 {
		return err
	}
	fmt.Fprintln(w, "NOT THIS LEDGER'S\tID\tLEDGER\tBUILD\tSINCE\tWHY")
	for _, l := range others {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Kind, l.ID, reporter.Line(l.Ledger, 100), reporter.Line(l.Build, 100), sinceOf(l), l.Why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "this ledger is %s; of one that is lost, `ingot reap --ledger LEDGER` removes what it has left\n", own)
	return err
}

func sinceOf(l ec2.Leftover) string {
	if l.Since.IsZero() {
		return "-"
	}
	return l.Since.Local().Format(time.DateTime)
}

// tellKept says that there are instances which look left over and are not.
func (c *cloud) tellKept(command *cobra.Command) error {
	kept, err := c.driver.Kept(command.Context())
	if err != nil || len(kept) == 0 {
		return err
	}
	_, err = fmt.Fprintf(command.OutOrStdout(), "%s of failed builds kept for a while: `ingot kept`\n", reporter.Count(len(kept), "instance"))
	return err
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// forBuild is a command on one build of the ledger, named by its number.
func forBuild(o *globals, run func(c *cobra.Command, p *parts, b reporter.Build) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		id, err := buildID(args[0])
		if err != nil {
			return err
		}
		p, err := o.open(c.Context())
		if err != nil {
			return err
		}
		defer p.close()
		b, err := p.build(c.Context(), id)
		if err != nil {
			return err
		}
		return run(c, p, b)
	}
}

func rebuildCommand(o *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild BUILD",
		Short: "Have the daemon build the same recipe of the same commit again, with fresh packages",
		Args:  exactly(1),
		RunE:  forBuild(o, rebuild),
	}
}

func rebuild(c *cobra.Command, p *parts, b reporter.Build) error {
	if b.Action == reporter.ActionCheck {
		return fmt.Errorf("build %d only said what is wrong with %s; push a correction", b.ID, b.RecipePath)
	}
	ids, err := p.ledger.Request(c.Context(), ledger.Request{
		Source: ledger.Source{
			Repository: b.Repository, CodeHost: b.CodeHost, Ref: b.Ref, Commit: b.Commit,
			PullRequest: b.PullRequest, Fork: b.Fork, Title: b.Title, Author: b.Author,
		},
		Builds: []ledger.NewBuild{{
			Recipe: b.Recipe, RecipePath: b.RecipePath, Version: b.Version, PreviousVersion: b.PreviousVersion,
			Trigger: reporter.Manual, Release: b.Release, Action: reporter.ActionBuild,
			Why: []string{"asked for by hand"}, Fresh: true, State: admitted(b),
		}},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "build %d is queued\n", ids[0])
	return err
}

// admitted keeps a fork's commit that nobody approved from being built this way:
// what was never approved never began.
func admitted(b reporter.Build) reporter.State {
	if b.Fork && b.Started.IsZero() {
		return reporter.Approval
	}
	return reporter.Queued
}

func approveCommand(o *globals) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use:   "approve BUILD",
		Short: "Let a commit of a fork be built",
		Long: `Lets all builds of the commit start that the build is for. It is the operator's word; on the code
host, somebody with write permission says the same by an approving review of that commit, or by a comment with
the line "/ingot build COMMIT".`,
		Args: exactly(1),
		RunE: forBuild(o, func(c *cobra.Command, p *parts, b reporter.Build) error {
			if b.State != reporter.Approval {
				return fmt.Errorf("build %d waits for no approval: it is %s", b.ID, b.State)
			}
			n, err := p.ledger.Approve(c.Context(), b.Repository, b.PullRequest, b.Commit, by)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s of commit %s approved\n", reporter.Count(n, "build"), b.Commit)
			return err
		}),
	}
	c.Flags().StringVar(&by, "by", "operator", "who approves, for the record")
	return c
}

func cancelCommand(o *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel BUILD",
		Short: "Cancel a build that waits or runs",
		Args:  exactly(1),
		RunE: forBuild(o, func(c *cobra.Command, p *parts, b reporter.Build) error {
			err := p.ledger.Cancel(c.Context(), b.ID)
			if errors.Is(err, ledger.ErrFinal) {
				return fmt.Errorf("build %d has ended already: it is %s", b.ID, b.State)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "build %d is cancelled; one that runs ends in a moment\n", b.ID)
			return err
		}),
	}
}

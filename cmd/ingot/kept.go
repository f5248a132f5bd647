package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

func keptCommand(o *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "kept",
		Short: "List the kept instances of failed builds",
		Long: `Lists the instances on which builds failed whose recipes have infrastructure.keepOnFailure. Each is removed when
its time is over, when newer ones take its place (builds.keepMost), or by ` + "`ingot kept remove`" + `; until then ` + "`ingot exec`" + ` runs commands on it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			keepers, err := o.openKeepers(c.Context(), "")
			if err != nil {
				return err
			}
			defer keepers.close()
			all, err := keepers.list(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return jsonLines(c.OutOrStdout(), all)
			}
			return printKept(c, all)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "JSON lines")
	c.AddCommand(keptRemoveCommand(o))
	return c
}

func keptRemoveCommand(o *globals) *cobra.Command {
	var ledger string
	c := &cobra.Command{
		Use:   "remove BUILD",
		Short: "Remove the kept instance of a build before its time is over",
		Args:  exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			keepers, err := o.openKeepers(c.Context(), ledger)
			if err != nil {
				return err
			}
			defer keepers.close()
			if err := keepers.remove(c.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "what was kept of build %s is removed\n", reporter.Line(args[0], 100))
			return err
		},
	}
	ledgerFlag(c, &ledger)
	return c
}

// keepOf is what becomes of the instance on which a build of the recipe fails. Failures
// under the same name replace each other.
func keepOf(r *recipe.Recipe, c config.Builds, name string) builder.Keep {
	if !r.Infrastructure.KeepOnFailure {
		return builder.Keep{}
	}
	if never := keepsNone(c); never != "" {
		return builder.Keep{Never: never}
	}
	return builder.Keep{For: c.KeepFor, Most: c.KeepMost, Recipe: name}
}

// keepsNone says why no instance is ever kept, when the operator wants none.
func keepsNone(c config.Builds) string {
	const off = "the operator has switched that off (%s is 0 in the configuration)"
	switch {
	case c.KeepFor <= 0:
		return fmt.Sprintf(off, "builds.keepHours")
	case c.KeepMost <= 0:
		return fmt.Sprintf(off, "builds.keepMost")
	default:
		return ""
	}
}

// keptOf is what the author is told of the instance on which a build failed.
func keptOf(r builder.Result) (*reporter.Kept, string) {
	switch {
	case r.Kept != nil:
		return &reporter.Kept{Until: r.Kept.Until, Exec: "ingot exec " + shellWord(r.Kept.Build) + " -- COMMAND"}, ""
	case r.NotKept != "":
		return nil, "The instance is not kept: " + r.NotKept + "."
	default:
		return nil, ""
	}
}

// tellDisplaced has builds of the ledger tell that their instances are there no more.
func tellDisplaced(ctx context.Context, l *ledger.Ledger, all []builder.Displaced) error {
	var errs []error
	for _, d := range all {
		if id, err := strconv.ParseInt(d.Build, 10, 64); err == nil { // builds by hand have told all
			errs = append(errs, l.NotKept(ctx, id, "The instance is not kept any more: "+d.Why+"."))
		}
	}
	return errors.Join(errs...)
}

func printKept(c *cobra.Command, all []builder.Kept) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "nothing is kept")
		return err
	}
	ledgers := map[string]bool{}
	for _, k := range all {
		if k.Ledger != "" {
			ledgers[k.Ledger] = true
		}
	}
	last := func(cell string) string { // which says nothing where there is one ledger
		if len(ledgers) < 2 {
			return "\n"
		}
		return "\t" + cell + "\n"
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "BUILD\tRECIPE\tFAILED IN\tDRIVER\tINSTANCE\tSINCE\tUNTIL", last("LEDGER"))
	for _, k := range all {
		until := "removed by hand"
		if !k.Until.IsZero() {
			until = k.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s%s", reporter.Line(k.Build, 100), cmp.Or(reporter.Line(k.Recipe, 300), "-"), cmp.Or(string(k.Stage), "-"), k.Driver, k.Ref,
			k.Since.Local().Format(time.DateTime), until, last(cmp.Or(reporter.Line(k.Ledger, 100), "-")))
	}
	return w.Flush()
}

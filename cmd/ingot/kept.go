package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

func keptCommand(o *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "kept",
		Short: "List the kept instances of failed builds",
		Long: `Lists the instances on which builds failed whose recipes have infrastructure.keepOnFailure. Each is removed when
its time is over, or by ` + "`ingot kept remove`" + `; until then ` + "`ingot exec`" + ` runs commands on it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			keepers, err := o.openKeepers(c.Context())
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
	c.AddCommand(&cobra.Command{
		Use:   "remove BUILD",
		Short: "Remove the kept instance of a build before its time is over",
		Args:  exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			keepers, err := o.openKeepers(c.Context())
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
	})
	return c
}

func printKept(c *cobra.Command, all []builder.Kept) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.OutOrStdout(), "nothing is kept")
		return err
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUILD\tFAILED IN\tDRIVER\tINSTANCE\tSINCE\tUNTIL")
	for _, k := range all {
		until := "removed by hand"
		if !k.Until.IsZero() {
			until = k.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", reporter.Line(k.Build, 100), cmp.Or(string(k.Stage), "-"), k.Driver, k.Ref, k.Since.Local().Format(time.DateTime), until)
	}
	return w.Flush()
}

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/local/host"
)

func doctorCommand(o *globals) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can do, and what each lack means",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			report := host.Probe(c.Context(), cfg.DataDir)
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			for _, line := range report.Lines() {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "the report as JSON")
	return c
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// validation is one `ingot component validate`.
type validation struct {
	documents  []string
	platform   platformFlag
	parameters []string
	asJSON     bool
	sources    sources
}

func componentValidateCommand() *cobra.Command {
	v := validation{platform: component.Linux}
	var trace bool
	c := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Say what is wrong in component documents",
		Long: `Checks documents for a platform, which need not be this machine's, and shows every mistake of every
one with file, line and column. Values of parameters may be given, and are checked then.
Exits with 0 when all is well and with 1 otherwise. What is legal but probably not meant is a
warning on stderr.`,
		RunE: func(c *cobra.Command, args []string) error {
			v.documents = append(args, v.documents...)
			return v.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	documentsFlag(c, &v.documents)
	c.Flags().Var(&v.platform, "platform", "that the documents are for")
	c.Flags().StringArrayVar(&v.parameters, "parameters", nil, "`values` of parameters: name=value,name=value")
	c.Flags().BoolVar(&v.asJSON, "json", false, "problems as JSON")
	v.sources.flags(c)
	c.Flags().BoolVarP(&trace, "trace", "t", false, "accepted for the original's sake: everything is told anyway")
	return c
}

// documentsFlag is --documents, which a page of the original also spells --document.
func documentsFlag(c *cobra.Command, into *[]string) {
	c.Flags().StringSliceVarP(into, "documents", "d", nil, "`documents`, joined by commas: files, gallery names, s3:// addresses or ARNs of components")
	c.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "document" {
			name = "documents"
		}
		return pflag.NormalizedName(name)
	})
}

func (v *validation) run(ctx context.Context, out, warn io.Writer) error {
	if len(v.documents) == 0 {
		return errNoDocument
	}
	parameters, err := parseParameters(v.parameters)
	if err != nil {
		return err
	}
	var problems yamldoc.Problems
	var fine []string
	for _, ref := range v.documents {
		w, err := find(ctx, ref, v.sources)
		if err != nil {
			return err
		}
		c := check(w, string(v.platform), parameters, false)
		for _, warning := range c.warnings {
			fmt.Fprintln(warn, "warning:", warning)
		}
		problems = append(problems, c.problems...)
		if len(c.problems) == 0 {
			fine = append(fine, fmt.Sprintf("%s: valid for %s", w.path, v.platform))
		}
	}
	return showComponentProblems(out, problems, fine, v.asJSON)
}

var errNoDocument = errors.New("no document is given: name a file, or a gallery component; `ingot component list` shows the latter")

// showComponentProblems prints all problems, or what is fine where there are none.
func showComponentProblems(out io.Writer, problems yamldoc.Problems, fine []string, asJSON bool) error {
	var err error
	switch {
	case asJSON:
		err = json.NewEncoder(out).Encode(append(yamldoc.Problems{}, problems...))
	case len(problems) > 0:
		_, err = fmt.Fprintln(out, problems.Error())
	default:
		_, err = fmt.Fprintln(out, strings.Join(fine, "\n"))
	}
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return errAuthor
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/reporter"
)

// exitExec is how `ingot exec` ends when it could not run the command, as env and
// timeout do: 1 and 2 may be the command's.
const exitExec exitCode = 125

func execCommand(o *globals) *cobra.Command {
	var ledger string
	c := &cobra.Command{
		Use:   "exec BUILD -- COMMAND [ARGUMENT]...",
		Short: "Run a command on the kept instance of a failed build",
		Long: `Runs a command as root on the instance on which a build failed, where its recipe has infrastructure.keepOnFailure.
BUILD is the number of a daemon's build, or what ` + "`ingot build`" + ` said. The command is no shell line: for one, run
sh -c 'LINE' -- on Windows powershell -Command. It has no terminal and no input.

What it prints is shown as text, standard output and standard error apart; control sequences are taken out.
The exit code is the command's: 127 when there is no such program, 128 and the signal's number when it was killed,
125 when nothing could be run.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("a build and a command are needed: %s", c.UseLine())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			err := o.exec(c, ledger, args[0], args[1:])
			var status exitCode
			if err == nil || errors.As(err, &status) || c.Context().Err() != nil {
				return err
			}
			fmt.Fprintln(c.ErrOrStderr(), "ingot:", err)
			return exitExec
		},
	}
	ledgerFlag(c, &ledger)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; arguments of the command come after --", err)
	})
	return c
}

// ledgerFlag tells builds of one number apart, where no ledger is at hand to do so.
func ledgerFlag(c *cobra.Command, ledger *string) {
	c.Flags().StringVar(ledger, "ledger", "", "the ledger with this `ID` counts the build, where several keep instances on EC2")
}

// exec runs a command where the build's instance is.
func (o *globals) exec(c *cobra.Command, ledger, build string, command []string) error {
	keepers, err := o.openKeepers(c.Context(), ledger)
	if err != nil {
		return err
	}
	defer keepers.close()
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	show := &foreign{out: c.OutOrStdout(), err: c.ErrOrStderr()}
	for _, k := range keepers.all {
		status, err := k.Exec(ctx, build, command, func(e component.Event) {
			if err := show.event(e); err != nil {
				cancel(err)
			}
		})
		switch {
		case errors.Is(err, builder.ErrNotKept):
			continue
		case err != nil:
			return withHint(err)
		case status != 0:
			return exitCode(status)
		}
		return nil
	}
	return notKept(build)
}

func notKept(build string) error {
	return fmt.Errorf("nothing is kept of build %s; `ingot kept` lists what is", reporter.Line(build, 100))
}

// foreign shows what a program printed.
type foreign struct{ out, err io.Writer }

func (f *foreign) event(e component.Event) error {
	to, text := f.err, reporter.Plain(e.Text)
	switch {
	case e.Kind == component.Warning:
		text = "ingot: " + text + "\n"
	case e.Stream == "stdout":
		to = f.out
	}
	_, err := io.WriteString(to, text)
	return err
}

// keepers are the drivers of this configuration.
type keepers struct {
	all   []builder.Keeper
	cloud *cloud
}

// openKeepers connects the drivers, without the ledger, which may be out of reach from
// here: with its id alone, or with an empty one for what all ledgers of the owner keep.
func (o *globals) openKeepers(ctx context.Context, ledger string) (*keepers, error) {
	cfg, err := o.load()
	if err != nil {
		return nil, err
	}
	log, err := newLog(os.Stderr, config.Log{Level: "warn", Format: cfg.Log.Format})
	if err != nil {
		return nil, err
	}
	here, err := openDriver(cfg, log)
	if err != nil {
		return nil, err
	}
	k := &keepers{all: []builder.Keeper{here}}
	if k.cloud, err = openCloud(ctx, cfg, ledger, log); err != nil {
		return nil, err
	}
	if k.cloud != nil {
		k.all = append(k.all, k.cloud.driver)
	}
	return k, nil
}

func (k *keepers) close() { k.cloud.close() }

// list is all that is kept, the oldest first.
func (k *keepers) list(ctx context.Context) ([]builder.Kept, error) {
	var all []builder.Kept
	for _, keeper := range k.all {
		some, err := keeper.Kept(ctx)
		if err != nil {
			return nil, withHint(err)
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b builder.Kept) int { return cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()) })
	return all, nil
}

// remove removes what is kept of a build, wherever that is.
func (k *keepers) remove(ctx context.Context, build string) error {
	removed := false
	for _, keeper := range k.all {
		err := keeper.Remove(ctx, build)
		if err != nil && !errors.Is(err, builder.ErrNotKept) {
			return withHint(err)
		}
		removed = removed || err == nil
	}
	if !removed {
		return notKept(build)
	}
	return nil
}

// Command ingot casts golden machine images from Git: the daemon, and the same
// work by hand. It is the only place that has met every package; what a change
// becomes (plan.go), how a build is run (work.go) and reported (report.go), and
// who is started and stopped in which order (daemon.go) is decided here.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // calendars name time zones, and small hosts have none

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/reporter"
)

// version is set by the linker.
var version = "devel"

// Exit codes, as the help of the root command lists them.
const (
	exitOK      = 0
	exitAuthor  = 1 // documents are wrong, a component or a test failed: their author has to act
	exitOurs    = 2 // anything else: usage, configuration, the machine
	exitStopped = 130
)

// authorError is an outcome that the command has shown already; it only sets the
// exit code.
var errAuthor = errors.New("the documents or the build did not pass")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends the process at once, as without us
	os.Exit(run(ctx, os.Args[1:]))
}

// errNobodyReads is why the program stops when its output has no reader any more.
var errNobodyReads = errors.New("nobody reads the output any more")

// reader is who the program's standard output goes to.
type reader struct {
	*os.File
	left context.CancelCauseFunc
}

// Write stops the program in order when the reader has left: a build has disks mounted.
func (r reader) Write(p []byte) (int, error) {
	n, err := r.File.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		r.left(errNobodyReads)
	}
	return n, err
}

// stopSignals are those that end the program in order. A terminal that is closed is
// one of them, unless nohup was asked to outlive it.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// run is the whole program without its process.
func run(ctx context.Context, args []string) int {
	// Caught, and not ignored, which programs would inherit; what matters is the failed write.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, left := context.WithCancelCause(ctx)
	defer left(nil)
	root := rootCommand()
	root.SetOut(reader{os.Stdout, left})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errAuthor):
		return exitAuthor
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		fmt.Fprintln(root.ErrOrStderr(), "ingot: stopped")
		return exitStopped
	default:
		fmt.Fprintln(root.ErrOrStderr(), "ingot:", err)
		return exitOurs
	}
}

func rootCommand() *cobra.Command {
	var o globals
	root := &cobra.Command{
		Use:   "ingot",
		Short: "Cast golden machine images from Git",
		Long: `ingot builds machine images from recipes in Git, boots and tests them, and says so on the commit.

Exit codes: 0 all went well; 1 documents are wrong, or a component or test failed;
2 anything else; 130 stopped by a signal.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; `%s --help` lists the flags", err, c.CommandPath())
	})
	root.PersistentFlags().StringVarP(&o.config, "config", "c", "", "configuration `file` (default: ingot.yaml, if there is one)")
	root.AddCommand(
		daemonCommand(&o), demoCommand(),
		buildCommand(&o), validateCommand(&o), diffCommand(&o), planCommand(&o),
		buildsCommand(&o), imagesCommand(&o), logsCommand(&o),
		rebuildCommand(&o), approveCommand(&o), cancelCommand(&o),
		execCommand(&o), keptCommand(&o), reapCommand(&o),
		componentCommand(), schemaCommand(), doctorCommand(&o),
	)
	return root
}

// exactly is cobra.ExactArgs with an answer that shows what is missing.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s given, %d needed: %s", reporter.Count(len(args), "argument"), n, c.UseLine())
		}
		return nil
	}
}

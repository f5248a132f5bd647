// Command ingot-agent runs component documents inside an instance.
//
//	ingot-agent run [--attended]      a job on stdin, events on stdout
//	ingot-agent serve --port DEVICE   answer on a virtio-serial port
//	ingot-agent serve --socket PATH   answer on a unix socket
//	ingot-agent version
//
// run exits with 0 when the job succeeded, 194 when the machine has to be
// restarted and the same job run again, and 1 otherwise. With --attended, the end
// of stdin cancels the job.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

const usage = "usage: ingot-agent run [--attended] | serve --port DEVICE | serve --socket PATH | version"

func main() {
	// A host that stops reading must not kill this program before it has killed what
	// it runs. The signal is caught and not ignored: programs would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	status, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ingot-agent:", err)
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return agent.ExitFailure, errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		attended := flags.Bool("attended", false, "the end of stdin cancels the job")
		if err := flags.Parse(args[1:]); err != nil {
			return agent.ExitFailure, nil // flags has said why
		}
		return agent.RunStream(ctx, os.Stdin, os.Stdout, component.Env{}, *attended)
	case "serve":
		port := flags.String("port", "", "character device to answer on")
		socket := flags.String("socket", "", "unix socket to answer on")
		if err := flags.Parse(args[1:]); err != nil {
			return agent.ExitFailure, nil
		}
		return status(serve(ctx, *port, *socket))
	case "version":
		fmt.Println(component.EngineVersion)
		return agent.ExitSuccess, nil
	}
	return agent.ExitFailure, errors.New(usage)
}

func status(err error) (int, error) {
	if err != nil {
		return agent.ExitFailure, err
	}
	return agent.ExitSuccess, nil
}

func serve(ctx context.Context, port, socket string) error {
	boot, err := agent.BootID()
	if err != nil {
		return err
	}
	server := &agent.Server{Hello: agent.Hello{Version: component.EngineVersion, BootID: boot}, Power: agent.Power}
	switch {
	case port != "" && socket == "":
		return agent.ServePort(ctx, server, port, func(err error) { fmt.Fprintln(os.Stderr, "ingot-agent:", err) })
	case socket != "" && port == "":
		return agent.ServeSocket(ctx, server, socket)
	}
	return errors.New(usage)
}

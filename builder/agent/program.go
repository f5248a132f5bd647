package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// Main is the whole of an agent program: it does what the arguments of this
// process ask for and returns the exit status. env is what documents can reach.
//
//	run [--attended]      a job on stdin, events on stdout
//	run --restart DIR     the same, and restart this machine where a document asks for it
//	resume FILE           what goes on after such a restart
//	serve --port DEVICE   answer on a virtio-serial port
//	serve --socket PATH   answer on a unix socket
//	relay --dir DIR --url URL --sha256 SUM --size BYTES
//	                      do the operation of package relay that lies there
//	component ARN         print the document of an Image Builder component
//	version
//
// run and relay exit with ExitSuccess, with ExitReboot when the machine has to be
// restarted and the same done again, and with ExitFailure otherwise; for relay it is
// success to have told of a failure. With --attended, the
// end of stdin cancels the job.
func Main(name string, env component.Env) int {
	// A host that stops reading must not kill this program before it has killed what
	// it runs. The signal is caught and not ignored: programs would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	status, err := program{name, env}.run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	return status
}

type program struct {
	name string
	env  component.Env
}

func (p program) usage() error {
	more := ""
	if p.env.Components != nil {
		more = " | component ARN"
	}
	return fmt.Errorf("usage: %s run [--attended] | run --restart DIR | serve --port DEVICE | serve --socket PATH | relay --dir DIR --url URL --sha256 SUM --size BYTES%s | version", p.name, more)
}

func (p program) run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return ExitFailure, p.usage()
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		attended := flags.Bool("attended", false, "the end of stdin cancels the job")
		restart := flags.String("restart", "", "restart this machine and go on when a document asks for it; this folder keeps what that takes (Windows)")
		if err := flags.Parse(args[1:]); err != nil {
			return ExitFailure, nil // flags has said why
		}
		if *restart != "" {
			return p.standalone(func(s standalone) (int, error) { return s.run(ctx, os.Stdin, os.Stdout, *restart) })
		}
		return RunStream(ctx, os.Stdin, os.Stdout, p.env, *attended)
	case "resume":
		if len(args) != 2 {
			return ExitFailure, p.usage()
		}
		return p.standalone(func(s standalone) (int, error) { return s.resume(ctx, args[1]) })
	case "serve":
		port := flags.String("port", "", "character device to answer on")
		socket := flags.String("socket", "", "unix socket to answer on")
		if err := flags.Parse(args[1:]); err != nil {
			return ExitFailure, nil
		}
		if err := p.serve(ctx, *port, *socket); err != nil {
			return ExitFailure, err
		}
		return ExitSuccess, nil
	case "relay":
		dir := flags.String("dir", "", "folder of this program, its journals and logs")
		url := flags.String("url", "", "where the request lies")
		sum := flags.String("sha256", "", "of the request")
		size := flags.Int64("size", 0, "of the request, in bytes")
		if err := flags.Parse(args[1:]); err != nil {
			return ExitFailure, nil
		}
		return p.relay(ctx, *dir, relay.Source{URL: *url, SHA256: *sum, Size: *size})
	case "component":
		if len(args) != 2 || p.env.Components == nil {
			return ExitFailure, p.usage()
		}
		text, err := p.env.Components.Component(ctx, args[1])
		if err != nil {
			return ExitFailure, err
		}
		fmt.Print(text)
		return ExitSuccess, nil
	case "version":
		fmt.Println(component.EngineVersion)
		return ExitSuccess, nil
	}
	return ExitFailure, p.usage()
}

func (p program) relay(ctx context.Context, dir string, request relay.Source) (int, error) {
	if dir == "" || request.URL == "" {
		return ExitFailure, p.usage()
	}
	agent := relay.Agent{Dir: dir, Env: p.env}
	err := agent.Do(ctx, request)
	switch {
	case errors.Is(err, relay.ErrReboot):
		return ExitReboot, nil
	case err != nil:
		return ExitFailure, err
	}
	return ExitSuccess, nil
}

func (p program) serve(ctx context.Context, port, socket string) error {
	boot, err := BootID()
	if err != nil {
		return err
	}
	server := &Server{Hello: Hello{Version: component.EngineVersion, BootID: boot}, Env: p.env, Power: Power}
	switch {
	case port != "" && socket == "":
		return ServePort(ctx, server, port, func(err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err) })
	case socket != "" && port == "":
		return ServeSocket(ctx, server, socket)
	}
	return p.usage()
}

// standalone hands over what the machine has for running without a caller.
func (p program) standalone(do func(standalone) (int, error)) (int, error) {
	starter, err := machineStarter()
	if err != nil {
		return ExitFailure, err
	}
	self, err := os.Executable()
	if err != nil {
		return ExitFailure, err
	}
	return do(standalone{env: p.env, self: self, starter: starter, power: Power})
}

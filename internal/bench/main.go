// Command bench measures what ingot takes and what other ways of doing the same
// take, side by side on one machine in one run, and prints both with their ratio.
//
// It drives the programs in bin/ from outside, as a user does, and runs the
// benchmarks that stand beside the code; it changes nothing but a temporary folder
// and the cache of parent images. Only ratios carry over to another machine.
// `make bench` is the way to start it, docs/benchmarks.md explains the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run: what it was asked for, and what its parts learn from each other.
type bench struct {
	rounds int
	bin    string        // folder of ingot and ingot-agent
	cache  string        // folder of parent images, which outlive the run
	limit  time.Duration // of one part
	dir    string        // of this run; removed at its end
	out    io.Writer

	accelerator string // of QEMU: kvm or tcg

	// What the builds by hand have found; empty when they were left out.
	ours  map[string]time.Duration // medians, by the names of byhand.go
	image string                   // a finished image: a disk file
}

// part measures one subject. The tables that it returns beside an error are printed too.
type part struct {
	name, title string
	run         func(*bench, context.Context) ([]table, error)
}

func parts() []part {
	return []part{
		{"polling", "Polling without a change", (*bench).polling},
		{"planning", "Planning and recording", (*bench).planning},
		{"engine", "The component engine", (*bench).engine},
		{"memory", "Memory of a daemon that watches 1,000 repositories", (*bench).memory},
		{"build", "Building the sample by hand: Debian 12, nginx, one page; the parent image is there", (*bench).byHand},
		{"daemon", "The same through the daemon, from commit to status", (*bench).throughDaemon},
		{"limits", "Against what cannot be left out", (*bench).limits},
		{"publish", "Publishing an image: blocks of its disk to an EBS snapshot", (*bench).publishing},
		{"packer", "Against packer", (*bench).packer},
		{"mkosi", "Against mkosi", (*bench).mkosi},
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{out: out, ours: make(map[string]time.Duration)}
	chosen, err := b.flags(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("images are made as root: run it as root")
	}
	if err := b.check(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "ingot-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	if b.accelerator, err = b.probe(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, b.machine(ctx))
	var failed []string
	for _, p := range chosen {
		if err := b.one(ctx, p); err != nil {
			if ctx.Err() != nil {
				return errors.New("stopped")
			}
			fmt.Fprintf(out, "  could not be measured: %v\n", err)
			failed = append(failed, p.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not measured: %s", strings.Join(failed, ", "))
	}
	return nil
}

// one runs a part within its limit, and prints what it found.
func (b *bench) one(ctx context.Context, p part) error {
	fmt.Fprintf(os.Stderr, "== %s\n", p.title)
	fmt.Fprintf(b.out, "\n%s (load %s)\n", p.title, load())
	limited, cancel := context.WithTimeoutCause(ctx, b.limit, fmt.Errorf("%s took longer than %s; -limit allows more", p.name, b.limit))
	defer cancel()
	tables, err := p.run(b, limited)
	for _, t := range tables {
		if err := t.write(b.out); err != nil {
			return err
		}
	}
	if err != nil && limited.Err() != nil {
		return errors.Join(context.Cause(limited), err)
	}
	return err
}

// flags reads the command line and returns the parts that it asks for, in order.
func (b *bench) flags(args []string) ([]part, error) {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	all := strings.Join(names, ",")
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := f.String("only", all, "measure only these `parts`, separated by commas")
	skip := f.String("skip", "", "leave out these `parts`")
	f.IntVar(&b.rounds, "rounds", 3, "how often a build is repeated; medians are shown")
	f.StringVar(&b.bin, "bin", "bin", "`folder` with ingot and ingot-agent")
	f.StringVar(&b.cache, "cache", defaultCache(), "`folder` of parent images; what lacks is made and stays")
	f.DurationVar(&b.limit, "limit", 20*time.Minute, "the most that one part may take")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 || b.rounds < 1 || b.limit <= 0 {
		return nil, errors.New("usage: bench [flags]; -rounds and -limit are positive")
	}
	wanted, unwanted := words(*only), words(*skip)
	for _, name := range slices.Concat(wanted, unwanted) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%q is no part; the parts are %s", name, all)
		}
	}
	return slices.DeleteFunc(parts(), func(p part) bool {
		return !slices.Contains(wanted, p.name) || slices.Contains(unwanted, p.name)
	}), nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// defaultCache is the folder that the demonstration uses too.
func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/cache"
	}
	return filepath.Join(dir, "ingot")
}

// check finds early what would only be missed in the middle of a run.
func (b *bench) check() (err error) {
	for _, folder := range []*string{&b.bin, &b.cache} {
		if *folder, err = filepath.Abs(*folder); err != nil {
			return err
		}
	}
	for _, program := range []string{b.ingot(), filepath.Join(b.bin, "ingot-agent")} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w; `make build` makes it", err)
		}
	}
	for _, program := range []string{"git", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) ingot() string { return filepath.Join(b.bin, "ingot") }

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/seed-6db18919/ingot/reporter"
)

// logText prints pieces of a build's log, with a heading where they come from
// another place than those before. What comes out of a build is made safe for a
// terminal: it may hold control sequences.
type logText struct {
	out   io.Writer
	place string
	open  bool // the last line has no end yet
}

func (l *logText) printAll(pieces []reporter.LogPiece) error {
	for _, p := range pieces {
		if err := l.print(p); err != nil {
			return err
		}
	}
	return nil
}

func (l *logText) print(p reporter.LogPiece) error {
	if place := placeOfPiece(p); place != l.place {
		if err := l.heading(place); err != nil {
			return err
		}
	}
	text := reporter.Plain(p.Text)
	l.open = !strings.HasSuffix(text, "\n")
	_, err := io.WriteString(l.out, text)
	return err
}

func (l *logText) heading(place string) error {
	before := ""
	if l.open {
		before = "\n"
	}
	l.place = place
	_, err := fmt.Fprintf(l.out, "%s== %s\n", before, reporter.Line(place, 200))
	return err
}

func placeOfPiece(p reporter.LogPiece) string {
	return strings.Join(strings.Fields(p.Stage+" "+p.Name+" "+p.Step), " ")
}

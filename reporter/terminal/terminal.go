// Package terminal shows in a terminal how a build goes, and what builds and
// images there are.
//
// A Display draws a row for each part of a build and rewrites only the rows that
// changed; where there is no terminal it writes plain lines, one after the other.
// Summary, BuildsTable and ImagesTable are pure. What comes out of a build is
// hostile: nothing of it reaches the terminal but text that can be seen.
package terminal

import (
	"cmp"
	"os"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// Options say what the other side can show.
type Options struct {
	TTY    bool // rows can be rewritten
	Color  bool
	Width  int                        // in columns; default 80
	Height int                        // in lines; default 24
	Size   func() (width, height int) // asked before each redrawing; nil: Width and Height stay
	Quiet  bool                       // without a terminal, leave out what builds print
}

// Detect finds out what a file can show. It honours NO_COLOR and TERM=dumb.
func Detect(f *os.File, getenv func(string) string) Options {
	o := Options{TTY: isatty.IsTerminal(f.Fd()) && getenv("TERM") != "dumb"}
	if !o.TTY {
		return o
	}
	o.Color = getenv("NO_COLOR") == ""
	o.Size = func() (width, height int) {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0, 0
		}
		return int(size.Col), int(size.Row)
	}
	o.Width, o.Height = o.Size()
	return o
}

// size is how much room there is now.
func (o Options) size() (width, height int) {
	if o.Size != nil {
		width, height = o.Size()
	}
	return max(cmp.Or(width, o.Width, 80), 20), max(cmp.Or(height, o.Height, 24), 3)
}

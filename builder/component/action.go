package component

import (
	"context"
	"slices"
	"sync"
)

// InputType is what the value of an input has to be.
type InputType string

const (
	Text        InputType = "string"
	TextList    InputType = "list of strings"
	TextOrList  InputType = "string or list of strings"
	TextMap     InputType = "map of strings"
	Bool        InputType = "boolean"
	Number      InputType = "integer"
	Permissions InputType = "octal digits"
	Pairs       InputType = "list of name and value" // parameters of ExecuteDocument
	Comparison  InputType = "condition"              // the whole map, of Assert
)

// Input is one input of an action.
type Input struct {
	Name     string
	Type     InputType
	Required bool
	Default  string   // as text; empty: none
	Allowed  []string // values; empty: any
	POSIX    bool     // an error on Windows
	Doc      string
}

// Action is a verb that a step can use, as data: documents are checked against
// it, steps are run by it, and documentation is printed from it.
type Action struct {
	Name      string
	Doc       string
	Platforms []string
	List      bool // inputs is a list of operations; otherwise one map
	Bare      bool // inputs may be missing
	Inputs    []Input
	Outputs   []string

	// run does the work for one entry of the inputs. Nil: not in this engine.
	run actionFunc
	// separator joins the outputs of several entries into one; empty: one output for each entry.
	separator string
	// numbers are the outputs that the result file has as numbers.
	numbers []string
	// check adds what types alone do not say; nil: nothing.
	check func(s *source, st *Step)
}

// actionFunc does what an action is for and returns its outputs.
type actionFunc func(ctx context.Context, c *call) (map[string]string, error)

func (a *Action) input(name string) (Input, bool) {
	for _, in := range a.Inputs {
		if in.Name == name {
			return in, true
		}
	}
	return Input{}, false
}

func (a *Action) inputNames() []string {
	names := make([]string, len(a.Inputs))
	for i, in := range a.Inputs {
		names[i] = in.Name
	}
	return names
}

// timed: a reboot is not cut short, and a nested document has its own limits.
func (a *Action) timed() bool { return a.Name != "Reboot" && a.Name != "ExecuteDocument" }

// On reports whether the action exists on a platform.
func (a *Action) On(platform string) bool { return slices.Contains(a.Platforms, platform) }

// FindAction returns the action of that name.
func FindAction(name string) (*Action, bool) { return theRegistry().find(name) }

// made holds the registry once it was asked for; it never changes after that. To make
// one for each document would take a fifth of the time in which it is read and checked.
var made struct {
	once     sync.Once
	registry *registry
}

func theRegistry() *registry {
	made.once.Do(func() { made.registry = newRegistry() })
	return made.registry
}

// registry is all actions by name.
type registry struct {
	all    []Action
	byName map[string]*Action
}

func newRegistry() *registry {
	r := &registry{all: Actions(), byName: map[string]*Action{}}
	for i := range r.all {
		r.byName[r.all[i].Name] = &r.all[i]
	}
	return r
}

func (r *registry) find(name string) (*Action, bool) {
	a, ok := r.byName[name]
	return a, ok
}

func (r *registry) names() []string {
	names := make([]string, len(r.all))
	for i, a := range r.all {
		names[i] = a.Name
	}
	return names
}

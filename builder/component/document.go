// Package component is the component-document engine: it parses and checks
// documents of phases and steps, and runs them on the machine that it is on.
//
// Parse reads one document, Document.Check holds it against a platform and the
// values of its parameters, Run runs a Job of documents. What an action takes
// and gives is data (Actions), from which checks, runs and documentation come.
//
// The daemon uses it to check documents before anything is built; the agent uses
// it inside the instance. It therefore stays light: no cloud, no database, no
// templates. Which documents run, and what happens to the instance, is decided
// elsewhere.
package component

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// EngineVersion names the meaning of documents as this package runs them. It is
// raised by hand whenever the same document could leave a different machine
// behind, and is part of what names a build's content.
const EngineVersion = "2"

// Limits of a document, as the original service sets them.
const (
	MaxDocumentSize    = 64 << 10 // bytes
	MaxParameters      = 25
	MaxParameterLength = 1024 // characters of a value
	minNameLength      = 3
	maxNameLength      = 128
)

// Platforms that a document can be checked for.
const (
	Linux   = "Linux"
	Windows = "Windows"
	MacOS   = "macOS"
)

// Names of phases that have a meaning outside of the document.
const (
	PhaseBuild    = "build"
	PhaseValidate = "validate"
	PhaseTest     = "test"
)

// Document is one parsed component document. Nobody writes to it after Parse.
type Document struct {
	Path          string // for messages
	Name          string
	Description   string
	SchemaVersion string
	Parameters    []Parameter
	Constants     []Constant
	Phases        []Phase
	Warnings      yamldoc.Problems // worth telling the author, fails nothing

	text   []byte
	source *source
}

// Parameter is a value that the user of a document may or must give.
type Parameter struct {
	Name          string
	Description   string
	Default       string
	Required      bool // it has no default
	AllowedValues []string

	node *yaml.Node
}

// Constant is a name for a value inside one document.
type Constant struct {
	Name  string
	Value string

	node *yaml.Node
}

// Phase is a part of a document that can be run by itself.
type Phase struct {
	Name  string
	Steps []Step

	node *yaml.Node
}

// OnFailure says what a step's failure means for what follows it.
type OnFailure string

const (
	Abort    OnFailure = "Abort"    // nothing more of the document runs
	Continue OnFailure = "Continue" // the rest runs, and the document fails
	Ignore   OnFailure = "Ignore"   // the rest runs, and the document may succeed
)

// Step is one use of an action.
type Step struct {
	Name        string
	Action      string
	Timeout     time.Duration // of one attempt; 0: none
	MaxAttempts int           // total, at least 1
	OnFailure   OnFailure
	Loop        *Loop      // nil without one
	If          *Condition // nil without one

	inputs     []*yaml.Node // mappings; a bare mapping is a list of one
	inputsNode *yaml.Node   // as written, nil when absent
	node       *yaml.Node
	actionNode *yaml.Node
	timeoutSet bool
}

// HasPhase reports whether the document has a phase of that name.
func (d *Document) HasPhase(name string) bool {
	for _, p := range d.Phases {
		if p.Name == name {
			return true
		}
	}
	return false
}

// IsTest reports whether the document is a test component: its only phase is test.
func (d *Document) IsTest() bool {
	return len(d.Phases) == 1 && d.Phases[0].Name == PhaseTest
}

// Parameter returns the declared parameter of that name.
func (d *Document) Parameter(name string) (Parameter, bool) {
	for _, p := range d.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}

// Text is the document as it was written.
func (d *Document) Text() []byte { return d.text }

// Commands are the entries of the script that a step runs, as they are written;
// none for a step that runs no script.
func (s *Step) Commands() []string {
	n := mappingValue(s.inputs, 0, "commands")
	if n == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	var out []string
	for _, item := range n.Content {
		out = append(out, item.Value)
	}
	return out
}

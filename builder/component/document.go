// Package component is the component-document engine: it parses and checks
// documents of phases and steps, and runs them on the machine that it is on.
//
// The daemon uses it to check documents before anything is built; the agent uses
// it inside the instance. It therefore stays light: no cloud, no database, no
// templates. Which documents run, and what happens to the instance, is decided
// elsewhere.
package component

// Document is one parsed component document.
type Document struct {
	Name        string
	Description string
}

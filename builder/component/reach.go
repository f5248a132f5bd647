package component

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var storedReference = regexp.MustCompile(`\{\{\s*aws:ssm:`)

// NeedsAWS reports whether the document can only run where AWS can be reached: it
// moves objects, refers to a parameter store, or runs a document that lies there. A
// step that runs another document counts whatever that is: it is read only then.
func (d *Document) NeedsAWS() bool {
	for pi := range d.Phases {
		for si := range d.Phases[pi].Steps {
			if d.Phases[pi].Steps[si].needsAWS() {
				return true
			}
		}
	}
	return false
}

func (st *Step) needsAWS() bool {
	switch st.Action {
	case "S3Download", "S3Upload", "ExecuteDocument":
		return true
	case "InstallMSI", "UninstallMSI":
		// A reference may turn out to be an address.
		n := mappingValue(st.inputs, 0, "path")
		if n != nil && (strings.HasPrefix(n.Value, objectScheme) || strings.HasPrefix(n.Value, "{{")) {
			return true
		}
	}
	needs := false
	st.scalars(func(n *yaml.Node) { needs = needs || storedReference.MatchString(n.Value) })
	return needs
}

// NeedsAWS reports whether a document of the job needs it; see Document.NeedsAWS.
func (j Job) NeedsAWS() bool {
	for _, jd := range j.Documents {
		if d, _ := Parse(jd.Path, []byte(jd.Text)); d != nil && d.NeedsAWS() {
			return true
		}
	}
	return false
}

package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// What EC2 takes as user data. On other systems than Windows a part of it is ingot's,
// which installs the Systems Manager agent where it lacks.
const (
	maxUserData = 16 << 10
	OwnUserData = 2 << 10
)

// userData reads what the build instance does at its first boot. An instance that
// ingot starts is set up by it too, so that its form has to be known.
func (r *reading) userData(source text) {
	if source.Node == nil {
		return
	}
	most, forms, expected := maxUserData-OwnUserData, []string{"#!", "#cloud-config\n"}, "expected a script that begins with #!, or a #cloud-config, as plain text"
	if r.recipe.Platform == "Windows" {
		most, forms, expected = maxUserData, []string{"<powershell>", "<script>", "version:"}, "expected <powershell>, <script>, or the tasks of EC2Launch v2 that begin with version:"
	}
	switch built := r.recipe.Infrastructure.Driver; {
	case built == driverLocal:
		r.bad(source.Key, "expected infrastructure: {driver: ec2}, or a component that does the same", "the driver %s has no user data", built)
	case !slices.ContainsFunc(forms, func(form string) bool { return strings.HasPrefix(source.Value, form) }):
		r.bad(source.Key, expected, "the userData begins with %q", shorten(source.Value))
	case len(source.Value) > most:
		r.bad(source.Key, fmt.Sprintf("expected at most %d: EC2 takes %d, ingot's own among them; a component has no such limit", most, maxUserData), "the userData has %d bytes", len(source.Value))
	}
	r.recipe.UserData = source.Value
}

package component

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// packageName is what a package manager takes for a name or a pattern, and for
// nothing else.
var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._:*-]*$`)

// updateOS installs updates with the package manager that is there. The original
// knows apt-get and yum only; dnf and zypper are our extension.
func updateOS(ctx context.Context, c *call) (map[string]string, error) {
	if c.env.Platform == Windows {
		return nil, c.updateWindows(ctx)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can update the system")
	}
	include, exclude := c.list("include"), c.list("exclude")
	for _, name := range append(slices.Clone(include), exclude...) {
		if !packageName.MatchString(name) {
			return nil, fmt.Errorf("%q is no name of a package", name)
		}
	}
	for _, manager := range []string{"apt-get", "dnf", "yum", "zypper"} {
		if _, err := lookPath(manager, c.job.WorkingDir, c.environ()); err == nil {
			return nil, c.updateWith(ctx, manager, include, exclude)
		}
	}
	return nil, errors.New("this system has none of apt-get, dnf, yum and zypper")
}

func (c *call) updateWith(ctx context.Context, manager string, include, exclude []string) error {
	switch manager {
	case "apt-get":
		return c.updateWithApt(ctx, include, exclude)
	case "zypper":
		return c.updateWithZypper(ctx, include, exclude)
	}
	args := []string{manager, "-y"}
	for _, name := range exclude {
		args = append(args, "--exclude="+name)
	}
	_, err := c.execute(ctx, append(append(args, "upgrade"), include...)...)
	return err
}

// updateWithApt keeps configuration files that were changed: nobody is there to ask.
func (c *call) updateWithApt(ctx context.Context, include, exclude []string) error {
	apt := []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confold"}
	if _, err := c.execute(ctx, append(slices.Clone(apt), "update")...); err != nil {
		return err
	}
	if len(include) == 0 && len(exclude) == 0 {
		_, err := c.execute(ctx, append(apt, "dist-upgrade")...)
		return err
	}
	if len(include) == 0 {
		simulated, err := c.execute(ctx, append(slices.Clone(apt), "--simulate", "dist-upgrade")...)
		if err != nil {
			return err
		}
		include = upgradable(simulated["stdout"])
	}
	include = slices.DeleteFunc(slices.Clone(include), func(name string) bool {
		return slices.ContainsFunc(exclude, func(pattern string) bool { return wildcard(pattern, name) })
	})
	if len(include) == 0 {
		return nil
	}
	_, err := c.execute(ctx, append(append(apt, "--only-upgrade", "install"), include...)...)
	return err
}

// upgradable reads the names out of what apt-get says that it would install.
func upgradable(simulated string) []string {
	var names []string
	for line := range strings.Lines(simulated) {
		fields := strings.Fields(line)
		// Inst name [installed version] (…); without an installed version it is new.
		if len(fields) > 2 && fields[0] == "Inst" && strings.HasPrefix(fields[2], "[") && packageName.MatchString(fields[1]) {
			names = append(names, fields[1])
		}
	}
	return names
}

func (c *call) updateWithZypper(ctx context.Context, include, exclude []string) error {
	if len(exclude) > 0 {
		return errors.New("zypper cannot leave packages out of an update; name those to update in include")
	}
	_, err := c.execute(ctx, append([]string{"zypper", "--non-interactive", "update"}, include...)...)
	return err
}

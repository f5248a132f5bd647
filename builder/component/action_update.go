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
	// What is both asked for and left out is not updated. Managers would complain.
	wanted := slices.DeleteFunc(slices.Clone(include), func(name string) bool { return matchesAny(exclude, name) })
	if len(wanted) == 0 && len(include) > 0 {
		c.warn(c.at, "everything in include is also in exclude, so nothing is updated")
		return nil
	}
	switch manager {
	case "apt-get":
		return c.updateWithApt(ctx, wanted, exclude)
	case "zypper":
		return c.updateWithZypper(ctx, wanted, exclude)
	}
	args := []string{manager, "-y"}
	if manager == "dnf" {
		args = append(args, "--refresh") // what is cached may be two days old
	}
	for _, name := range exclude {
		args = append(args, "--exclude="+name)
	}
	_, err := c.execute(ctx, append(append(args, "upgrade"), wanted...)...)
	return err
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return wildcard(pattern, name) })
}

// chosen are the updates that are asked for: all without include, less exclude.
func chosen(updates, include, exclude []string) []string {
	return slices.DeleteFunc(slices.Clone(updates), func(name string) bool {
		return len(include) > 0 && !matchesAny(include, name) || matchesAny(exclude, name)
	})
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
	if len(exclude) > 0 && (len(include) == 0 || strings.Contains(strings.Join(include, ""), "*")) {
		simulated, err := c.execute(ctx, append(slices.Clone(apt), "--simulate", "dist-upgrade")...)
		if err != nil {
			return err
		}
		if include = chosen(upgradable(simulated["stdout"]), include, exclude); len(include) == 0 {
			return nil
		}
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

// zypper's exit statuses that are no failures, as its manual lists them.
const (
	zypperRebootNeeded  = 102
	zypperRestartNeeded = 103 // it has updated itself, and there may be more
	zypperRepoSkipped   = 106
)

// zypperRounds is how often zypper is run that keeps asking for it.
const zypperRounds = 3

// updateWithZypper leaves packages out by naming all others: zypper has no option
// for it.
func (c *call) updateWithZypper(ctx context.Context, include, exclude []string) error {
	zypper := []string{"zypper", "--non-interactive"}
	if _, err := c.zypper(ctx, append(slices.Clone(zypper), "refresh")...); err != nil {
		return err
	}
	for round := 1; ; round++ {
		names := include
		if len(exclude) > 0 {
			listed, err := c.execute(ctx, append(slices.Clone(zypper), "--xmlout", "list-updates")...)
			if err != nil {
				return err
			}
			if names = chosen(zypperUpdates(listed["stdout"]), include, exclude); len(names) == 0 {
				return nil
			}
		}
		again, err := c.zypper(ctx, append(append(slices.Clone(zypper), "update"), names...)...)
		if err != nil || !again || round == zypperRounds {
			return err
		}
	}
}

// zypper runs it and reports whether it asks to be run again.
func (c *call) zypper(ctx context.Context, args ...string) (again bool, err error) {
	status, _, err := c.start(ctx, program{args: args})
	switch {
	case err != nil:
		return false, err
	case status == zypperRestartNeeded:
		return true, nil
	case status == zypperRebootNeeded:
		c.warn(c.at, "the updates take effect after a reboot")
	case status == zypperRepoSkipped:
		c.warn(c.at, "zypper left out a repository that it could not read")
	case status != 0:
		return false, fmt.Errorf("exit status %d", status)
	}
	return false, nil
}

var (
	zypperUpdate = regexp.MustCompile(`<update\s[^>]*>`)
	zypperName   = regexp.MustCompile(`\sname="([^"]*)"`)
)

// zypperUpdates reads the names out of zypper's list in XML.
func zypperUpdates(listed string) []string {
	var names []string
	for _, element := range zypperUpdate.FindAllString(listed, -1) {
		if name := zypperName.FindStringSubmatch(element); name != nil && strings.Contains(element, `kind="package"`) && packageName.MatchString(name[1]) {
			names = append(names, name[1])
		}
	}
	return names
}

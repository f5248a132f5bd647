package component

import (
	"fmt"
	"regexp"
	"strings"
)

// msiProperty is one NAME=value on the command line of Windows Installer.
type msiProperty struct{ name, value string }

// msiRequest is what is asked of msiexec.
type msiRequest struct {
	option     string // /i installs, /x removes
	path       string
	logFile    string // empty: none is kept
	logOptions string
	properties []msiProperty
}

var (
	msiPropertyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)
	msiLogOptions   = regexp.MustCompile(`^[iwearucmopvxIWEARUCMOPVX+!*]+$`)
)

// msiReserved are the properties that the action itself decides on. The reference
// forbids one value of each; another value would decide just the same, so the
// names are forbidden (inferred).
var msiReserved = []string{"REBOOT", "REINSTALL", "REINSTALLMODE"}

// line is the whole command line. msiexec does not split it as other programs do,
// so it is written out here. Windows Installer never restarts the machine by
// itself: whether that happens is the step's to say.
func (m msiRequest) line() (string, error) {
	words := []string{"msiexec", m.option}
	path, err := msiPath("path", m.path)
	if err != nil {
		return "", err
	}
	words = append(words, path, "/qn", "/norestart")
	if m.logFile != "" {
		file, err := msiPath("logFile", m.logFile)
		if err != nil {
			return "", err
		}
		if !msiLogOptions.MatchString(m.logOptions) {
			return "", fmt.Errorf("logOptions %q: expected letters of iwearucmopvx and +, ! and *", m.logOptions)
		}
		words = append(words, "/L"+m.logOptions, file)
	}
	for _, p := range m.properties {
		word, err := p.word()
		if err != nil {
			return "", err
		}
		words = append(words, word)
	}
	return strings.Join(words, " "), nil
}

// msiPath quotes a path. Names of files hold no quotation marks on Windows, and a
// backslash before the closing one means nothing to msiexec.
func msiPath(what, path string) (string, error) {
	if path == "" || strings.ContainsAny(path, "\"\x00\r\n") {
		return "", fmt.Errorf("%s %q is no path", what, path)
	}
	return `"` + path + `"`, nil
}

// word is the property as msiexec reads it. A value with quotation marks around
// it is taken as it is; around one with blanks they are put. Inside, each has to
// be written twice.
func (p msiProperty) word() (string, error) {
	if !msiPropertyName.MatchString(p.name) {
		return "", fmt.Errorf("%q is no name of a property", p.name)
	}
	if containsFold(msiReserved, p.name) {
		return "", fmt.Errorf("property %s is not a document's to set", p.name)
	}
	if strings.ContainsAny(p.value, "\x00\r\n") {
		return "", fmt.Errorf("property %s: a value is one line of text", p.name)
	}
	inside, quoted := p.value, false
	if len(inside) >= 2 && inside[0] == '"' && inside[len(inside)-1] == '"' {
		inside, quoted = inside[1:len(inside)-1], true
	}
	if strings.Contains(strings.ReplaceAll(inside, `""`, ""), `"`) {
		return "", fmt.Errorf(`property %s: a quotation mark inside of a value is written twice: '"Acme ""W"""'`, p.name)
	}
	if quoted || inside == "" || strings.ContainsAny(inside, " \t\"") {
		inside = `"` + inside + `"`
	}
	return p.name + "=" + inside, nil
}

// Exit codes of Windows Installer that need a look; 0 is success.
const (
	msiUnknownProduct     = 1605
	msiProductUninstalled = 1614
	msiRebootInitiated    = 1641
	msiRebootRequired     = 3010
)

// msiSucceeded reports whether an exit code of msiexec is a success.
func msiSucceeded(option string, code int) bool {
	switch code {
	case 0, msiProductUninstalled, msiRebootInitiated, msiRebootRequired:
		return true
	case msiUnknownProduct:
		return option == msiUninstall
	}
	return false
}

// msiReboots reports whether the machine restarts after a success. What wants one
// and does not get it is told.
func msiReboots(wish string, code int) (restart, wanted bool) {
	wanted = code == msiRebootInitiated || code == msiRebootRequired
	switch {
	case strings.EqualFold(wish, "Force"):
		return true, wanted
	case strings.EqualFold(wish, "Skip"):
		return false, wanted
	}
	return wanted, wanted
}

package component

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const onWindows = runtime.GOOS == "windows"

// Env is the machine that a run happens on. The zero value is this machine.
type Env struct {
	Platform string           // default: what this program was built for
	Root     string           // where logs and state go when the Job names no folders; default /var/lib/ingot, on Windows %ProgramData%\ingot
	Now      func() time.Time // default time.Now
	Environ  []string         // of the programs that steps start; default: this program's own
	Backoff  time.Duration    // before the second try of a download, doubled for each further one; default 1 s

	// What lies outside of the machine. Where one is nil, a step that needs it fails.
	Store      ParameterStore
	Objects    ObjectStore
	Components ComponentSource

	registry registryWriter // default: this machine's
}

func (e Env) withDefaults() Env {
	if e.Platform == "" {
		e.Platform = map[string]string{"windows": Windows, "darwin": MacOS}[runtime.GOOS]
		if e.Platform == "" {
			e.Platform = Linux
		}
	}
	if e.Root == "" {
		e.Root = defaultRoot()
	}
	if e.Backoff == 0 {
		e.Backoff = time.Second
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.registry == nil {
		e.registry = systemRegistry{}
	}
	if e.Environ == nil {
		e.Environ = os.Environ()
	}
	if e.Platform != Windows && !slices.ContainsFunc(e.Environ, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		// An agent that is the first program of a container may have none.
		e.Environ = append(slices.Clone(e.Environ), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	return e
}

// rebootStatus is the exit status with which a program asks for a reboot. The
// other platform's status is an ordinary failure (inferred).
func (e Env) rebootStatus() int {
	if e.Platform == Windows {
		return 3010
	}
	return 194
}

func (e Env) logDir(j Job) string {
	if j.LogDir != "" {
		return j.LogDir
	}
	return filepath.Join(e.Root, "log")
}

func (e Env) stateDir(j Job) string {
	if j.StateDir != "" {
		return j.StateDir
	}
	return filepath.Join(e.Root, "state")
}

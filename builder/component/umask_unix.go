//go:build unix

package component

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// umask is this process's. Linux tells it without changing it; elsewhere it has
// to be changed for a moment.
func umask() fs.FileMode {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "Umask:"); ok {
				bits, err := strconv.ParseUint(strings.TrimSpace(value), 8, 12)
				if err == nil {
					return fs.FileMode(bits)
				}
			}
		}
	}
	bits := syscall.Umask(0o022)
	syscall.Umask(bits)
	return fs.FileMode(bits)
}

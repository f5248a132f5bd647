package guest

import (
	"fmt"
	"os"
	"path/filepath"
)

// Firmware is what the machine starts with.
type Firmware int

const (
	BIOS Firmware = iota
	UEFI          // the Debian package is ovmf
)

// The UEFI firmware and its variables as they leave the factory.
const (
	uefiCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	uefiVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// firmwareFiles are the flash chips of a machine; none for BIOS.
type firmwareFiles struct{ code, vars string }

// prepare gives a machine its own fresh variables: boot entries in used ones point
// to the slots of the machine that wrote them.
func (f Firmware) prepare(dir string) (firmwareFiles, error) {
	if f == BIOS {
		return firmwareFiles{}, nil
	}
	files := firmwareFiles{code: uefiCode, vars: filepath.Join(dir, varsFile)}
	factory, err := os.ReadFile(uefiVars)
	if err == nil {
		err = os.WriteFile(files.vars, factory, 0o600)
	}
	if err != nil {
		return files, hostError(err, "Install the Debian package ovmf.", "the UEFI firmware cannot be prepared")
	}
	return files, nil
}

func (f firmwareFiles) args() []string {
	if f.code == "" {
		return nil
	}
	return []string{
		"-blockdev", fmt.Sprintf(`{"driver":"file","node-name":"uefi-code","read-only":true,"filename":%q}`, f.code),
		"-blockdev", fmt.Sprintf(`{"driver":"file","node-name":"uefi-vars","filename":%q,"cache":{"no-flush":true}}`, f.vars),
		"-machine", "pflash0=uefi-code,pflash1=uefi-vars",
	}
}

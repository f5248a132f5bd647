package component

import (
	"cmp"
	"os"
	"path/filepath"
)

// systemPlace is a folder of the system, as its environment names it.
func systemPlace(name, otherwise string) string { return cmp.Or(os.Getenv(name), otherwise) }

// defaultRoot is where services keep what is theirs. The original's folder below
// %ProgramFiles% belongs to the original.
func defaultRoot() string {
	return filepath.Join(systemPlace("ProgramData", `C:\ProgramData`), "ingot")
}

func systemFolders() []string {
	windows := systemPlace("SystemRoot", `C:\Windows`)
	return []string{
		windows, filepath.Join(windows, "System32"), filepath.Join(windows, "SysWOW64"), filepath.Join(windows, "WinSxS"),
		systemPlace("ProgramFiles", `C:\Program Files`), systemPlace("ProgramFiles(x86)", `C:\Program Files (x86)`),
		systemPlace("ProgramData", `C:\ProgramData`), systemPlace("SystemDrive", "C:") + `\Users`,
	}
}

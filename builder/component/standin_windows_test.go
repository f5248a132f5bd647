package component

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets a copy of the test program be another program, by its name.
func TestMain(m *testing.M) {
	switch self, err := os.Executable(); {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case strings.EqualFold(filepath.Base(self), "powershell.exe"):
		os.Exit(powerShellStandIn(filepath.Dir(self), os.Args[1:]))
	case strings.EqualFold(filepath.Base(self), "helper.exe"):
		os.Exit(helper(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// tempDir is a folder that may stay: Wine 8 cannot delete folders the way that Go
// does, and goes as a whole.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// helper is a program for ExecuteBinary.
func helper(args []string) int {
	switch args[0] {
	case "args":
		text, err := json.Marshal(args[1:])
		if err != nil {
			return 1
		}
		fmt.Println(string(text))
	case "exit":
		status, err := strconv.Atoi(args[1])
		if err != nil {
			return 1
		}
		return status
	case "once": // asks for a restart unless it has done so before
		if _, err := os.Stat(args[1]); err == nil {
			return 0
		}
		if err := os.WriteFile(args[1], nil, 0o666); err != nil {
			return 1
		}
		return 3010
	case "family": // a child that is on its own, and that outlives its parent
		return family(args[1])
	case "beat": // writes into a file for as long as it lives
		for i := 0; ; i++ {
			if err := os.WriteFile(args[1], []byte(strconv.Itoa(i)), 0o666); err != nil {
				return 1
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return 0
}

func family(file string) int {
	const detachedProcess = 0x8
	cmd := exec.Command(os.Args[0], "beat", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP | detachedProcess}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		if _, err := os.Stat(file); err == nil {
			fmt.Println("started")
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Millisecond)
	}
}

// powerShellStandIn stands in for Windows PowerShell, which Wine does not have: it
// insists on how it is called and on the script's mark of UTF-8. The engine's own
// scripts it only recognises, and answers from files beside it; of others it
// understands Write-Output, Set-Content, Test-Path in an if, throw and exit.
func powerShellStandIn(here string, args []string) int {
	complain := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		return 99
	}
	if len(args) < 6 || !slices.Equal(args[:5], []string{"-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"}) {
		return complain("called as %q", args)
	}
	text, err := os.ReadFile(args[5])
	if err != nil {
		return complain("%v", err)
	}
	script, marked := strings.CutPrefix(string(text), byteOrderMark)
	own := filepath.Base(args[5]) != "theirs.ps1"
	if marked != own || own && strings.Contains(strings.ReplaceAll(script, "\r\n", ""), "\n") {
		return complain("%s: marked as UTF-8 %v, text %q", args[5], marked, script)
	}
	switch {
	case strings.Contains(script, "Get-AuthenticodeSignature"):
		return show(filepath.Join(here, "signature"))
	case strings.Contains(script, "Microsoft.Update.UpdateColl"):
		return standInInstalls(here, args[6:])
	case strings.Contains(script, "Microsoft.Update.Session"):
		return show(filepath.Join(here, "offered"))
	}
	return standInRuns(script)
}

func show(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	os.Stdout.Write(text)
	return 0
}

// standInInstalls asks for a restart after the first of several updates, and for
// none after that.
func standInInstalls(here string, ids []string) int {
	rest := "[]"
	if len(ids) > 1 {
		rest = fmt.Sprintf(`[{"id":%q,"title":"Second","kb":[]}]`, ids[1])
	}
	if err := os.WriteFile(filepath.Join(here, "offered"), []byte(rest), 0o666); err != nil {
		return 99
	}
	fmt.Println("installed", ids[0])
	if len(ids) > 1 {
		return 3010
	}
	return 0
}

var standInStatement = regexp.MustCompile(`^(?:if \(Test-Path '([^']*)'\) \{ (.*) \}|Write-Output '([^']*)'|Set-Content -Path '([^']*)' -Value '([^']*)'|exit (\d+)|throw '([^']*)')$`)

func standInRuns(script string) int {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		m := standInStatement.FindStringSubmatch(line)
		if m != nil && m[2] != "" {
			if _, err := os.Stat(m[1]); err != nil {
				continue
			}
			m = standInStatement.FindStringSubmatch(m[2])
		}
		switch {
		case line == "":
		case m == nil:
			fmt.Fprintf(os.Stderr, "the stand-in does not know %q\n", line)
			return 99
		case m[3] != "":
			fmt.Println(m[3])
		case m[4] != "":
			if err := os.WriteFile(m[4], []byte(m[5]), 0o666); err != nil {
				return 1
			}
		case m[6] != "":
			status, err := strconv.Atoi(m[6])
			if err != nil {
				return 99
			}
			return status
		case m[7] != "":
			fmt.Fprintln(os.Stderr, m[7])
			return 1
		}
	}
	return 0
}

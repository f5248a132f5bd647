package component

import (
	"os"
	"path/filepath"
	"testing"
)

// powerShellStandIn stands in for Windows PowerShell, which this system does not
// have: it insists on how it is called, on the script's mark of UTF-8 and on its
// line ends, and then gives the script to bash. The engine's own scripts it only
// recognises: for those it answers from files of its folder. An exit status has
// eight bits here, so restarts, which 3010 asks for, are left to Windows.
const powerShellStandIn = `#!/bin/bash
[ "$1 $2 $3 $4 $5" = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File" ] || { echo "called as $*" >&2; exit 99; }
[ -r "$6" ] || { echo "no file $6" >&2; exit 64; }
here=$(dirname "$0") script=$6
shift 6
if [ "$script" = "${script%theirs.ps1}" ]; then
	[ "$(head -c 3 "$script" | od -An -tx1)" = " ef bb bf" ] || { echo "no mark of UTF-8" >&2; exit 99; }
	grep -qv $'\r$' "$script" && { echo "a line ends in LF" >&2; exit 99; }
fi
text=$(tail -c +4 "$script" | tr -d '\r')
case $text in
*Get-AuthenticodeSignature*) cat "$here/signature" ;;
*ConvertTo-Json*) cat "$here/offered" ;;
*Microsoft.Update.UpdateColl*) echo "$*" >>"$here/installed"; . "$here/install" ;;
*) [ "$script" = "${script%theirs.ps1}" ] || text=$(cat "$script"); bash -c "$text" ;;
esac
`

// windowsBench is a bench that takes itself for Windows, with the stand-in.
func windowsBench(t *testing.T, steps string) *bench {
	t.Helper()
	b := newBench(t, oneStep(steps))
	bin := filepath.Join(b.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "powershell.exe"), []byte(powerShellStandIn), 0o755); err != nil {
		t.Fatal(err)
	}
	b.env.Platform, b.env.Environ = Windows, []string{"PATH=" + bin + ":/usr/bin:/bin"}
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func powerShellStep(name, inputs string) string {
	return "- name: " + name + "\n  action: ExecutePowerShell\n  inputs:\n" + indent(inputs, "    ")
}

func TestPowerShellRunsCommandsAsOneScript(t *testing.T) {
	b := windowsBench(t, powerShellStep("A", "commands:\n  - x=1\n  - |\n    echo \"a$x grün\"\n")+
		powerShellStep("B", "file: theirs.ps1\n")+
		powerShellStep("C", "commands: echo '{{ build.A.outputs.stdout }} {{ build.B.outputs.stdout }}'\n"))
	b.write("theirs.ps1", "echo from a file\n")
	b.ok()
	if want := "a1 grün\nfrom a file\na1 grün from a file\n"; b.printed() != want {
		t.Errorf("printed %q", b.printed())
	}
	if left, err := filepath.Glob(filepath.Join(b.dir, "log", "*", "input.ps1")); err != nil || len(left) > 0 {
		t.Errorf("the script was left: %v, %v", left, err)
	}
}

func TestPowerShellTakesOneOfCommandsAndFile(t *testing.T) {
	for inputs, message := range map[string]string{
		"commands: [a]\nfile: b.ps1\n": "exactly one of commands and file",
		"x: y\n":                       "exactly one of commands and file",
		"file: ''\n":                   "exactly one of commands and file",
		"commands: []\n":               "exactly one of commands and file",
		"file: missing.ps1\n":          "missing.ps1: no such file",
		"commands: [exit 7]\n":         "exit status 7",
		"commands: [exit 194]\n":       "exit status 194",
	} {
		windowsBench(t, powerShellStep("A", inputs)).fails(message)
	}
}

func TestWindowsUpdates(t *testing.T) {
	const list = `[{"id":"00000000-0000-0000-0000-000000000001","title":"One","kb":["5000001"]},{"id":"00000000-0000-0000-0000-000000000002","title":"Two","kb":[]}]`
	update := func(inputs, install string) *bench {
		b := windowsBench(t, "- {name: A, action: UpdateOS"+inputs+"}\n")
		b.write("bin/offered", list)
		b.write("bin/install", install)
		return b
	}
	t.Run("all", func(t *testing.T) {
		b := update("", `echo '[]' >"$here/offered"; echo "One: installed"`)
		b.prints("One: installed\n")
		if got := b.read("bin/installed"); got != "00000000-0000-0000-0000-000000000001 00000000-0000-0000-0000-000000000002\n" {
			t.Errorf("installed %q", got)
		}
	})
	t.Run("one by its article", func(t *testing.T) {
		b := update(", inputs: {include: [KB5000001]}", `sed -i 's/{[^}]*},//' "$here/offered"`)
		b.ok()
		if got := b.read("bin/installed"); got != "00000000-0000-0000-0000-000000000001\n" {
			t.Errorf("installed %q", got)
		}
	})
	t.Run("offered again", func(t *testing.T) { update("", "exit 0").fails("still offered after it was installed: One") })
	t.Run("failed", func(t *testing.T) { update("", "echo 'One: failed'; exit 1").fails("exit status 1") })
	t.Run("none", func(t *testing.T) {
		b := update(", inputs: {exclude: ['*']}", "exit 1")
		b.prints("")
	})
	t.Run("no agent", func(t *testing.T) {
		b := update("", "")
		b.write("bin/offered", "not a list")
		b.fails("ask the Windows Update agent: its answer is no list")
	})
}

// What comes before msiexec, which this system does not have either.
func TestInstallersAreJudgedBeforeTheyRun(t *testing.T) {
	for _, c := range []struct{ inputs, signature, message string }{
		{"path: missing.msi", "Valid", "missing.msi: no such file"},
		{"path: bin", "Valid", "bin is a folder"},
		{"path: a.msi", "NotSigned\r\nThe file is not signed.\r\n", "a.msi is not signed"},
		{"path: a.msi\nallowUnsignedInstaller: true", "HashMismatch\r\nChanged.\r\n", "HashMismatch: Changed."},
		{"path: a.msi", "Valid\r\n", "msiexec.exe: not found in PATH"},
		{"path: a.msi\nignoreAuthenticodeSignatureErrors: true\nallowUnsignedInstaller: true", "unheard", "msiexec.exe: not found in PATH"},
		{"path: s3://acme/a.msi", "NotSigned", "installer.msi is not signed"},
		{"path: s3://acme/b.msi", "Valid", "no such object"},
		{"path: a.msi\nproperties: {REBOOT: ReallySuppress}", "Valid", "property REBOOT"},
		{"path: a.msi\nproperties: {A: '{{ Bad }}'}", "Valid", "written twice"},
		{"path: a.msi\nlogOptions: z", "Valid", "logOptions"},
		{"path: a.msi\nlogFile: a.log\nlogOptions: '{{ Bad }}'", "Valid", "logOptions"},
		{"path: a.msi\nreboot: Maybe", "Valid", "one of Allow, Force, Skip"},
	} {
		b := windowsBench(t, "- name: A\n  action: InstallMSI\n  inputs:\n"+indent(c.inputs+"\n", "    "))
		b.job.Documents[0].Text = "constants: [{Bad: {type: string, value: 'b\"c'}}]\n" + b.job.Documents[0].Text
		b.env.Objects = &buckets{objects: map[string]string{"s3://acme/a.msi": "a package"}}
		b.write("bin/signature", c.signature)
		b.write("a.msi", "a package")
		b.fails(c.message)
		if left, err := filepath.Glob(filepath.Join(b.dir, "log", "*", "installer-*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", c.inputs, left, err)
		}
	}
}

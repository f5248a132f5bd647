package component

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	winregistry "golang.org/x/sys/windows/registry"
)

// tools are copies of the test program under other names, in the working folder.
func (b *bench) tools(names ...string) {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		b.write(name, string(text))
	}
	b.env.Environ = append(os.Environ(), "Path="+b.dir+`;`+os.Getenv("PATH"))
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o777); err != nil {
		b.t.Fatal(err)
	}
}

// step is a step of an action, its inputs as YAML.
func step(name, action, inputs string, fields ...string) string {
	out := "- name: " + name + "\n  action: " + action + "\n"
	for _, f := range fields {
		out += indent(f+"\n", "  ")
	}
	return out + "  inputs:\n" + indent(inputs, "    ")
}

// tree lists what a folder holds, with / between names.
func (b *bench) tree(name string) string {
	b.t.Helper()
	var all []string
	root := filepath.Join(b.dir, name)
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			below, _ := filepath.Rel(root, path)
			all = append(all, filepath.ToSlash(below))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestWindowsFileActions(t *testing.T) {
	b := newBench(t, oneStep(
		step("Create", "CreateFile", `- {path: 'in\one.TXT', content: "a\nb"}
- {path: 'in/two.txt', content: grün}
- {path: '{{ Dir }}\in\three.log', content: c}
- {path: '{{ Rooted }}\in\sub\four.txt', content: d}
`)+
			step("Append", "AppendFile", "- {path: 'in\\one.TXT', content: more}\n")+
			step("Copy", "CopyFile", `- {source: 'in\*.txt', destination: 'out\'}
- {source: 'in\three.log', destination: 'out\renamed.log'}
- {source: 'in\three.log', destination: 'out/'}
`)+
			step("Folders", "CopyFolder", `- {source: 'in', destination: 'contents'}
- {source: 'in', destination: 'kept\'}
`)+
			step("Move", "MoveFile", `- {source: 'out\RENAMED.log', destination: 'moved\again.log'}
- {source: 'out\t*', destination: 'moved\'}
`)+
			step("MoveFolders", "MoveFolder", "- {source: 'kept\\in', destination: 'last\\'}\n")+
			step("Encode", "SetFileEncoding", "- {path: 'contents\\two.txt', encoding: utf-16}\n")+
			step("Delete", "DeleteFile", "- path: 'contents\\*.Log'\n- path: 'contents\\one.txt'\n")+
			step("Empty", "CreateFolder", "- path: 'out'\n")+
			step("Gone", "DeleteFolder", "- {path: 'kept', force: true}\n")+
			step("List", "ListFiles", "- {path: 'last\\', fileNamePattern: '*.TXT', recursive: true}\n")+
			step("Read", "ReadFile", "- {path: 'contents\\two.txt', encoding: UTF16, printFileContent: true}\n")+
			step("There", "Assert", `and: [{fileExists: 'last\in\ONE.txt'}, {folderExists: '{{ Dir }}\moved'}, {binaryExists: cmd}, {not: [{binaryExists: no-such-program}]}, {not: [{folderExists: 'kept'}]}]
`)))
	rooted := strings.TrimPrefix(b.dir, filepath.VolumeName(b.dir))
	b.job.Documents[0].Text = "constants: [{Dir: {type: string, value: '" + b.dir + "'}}, {Rooted: {type: string, value: '" + rooted + "'}}]\n" + b.job.Documents[0].Text
	r := b.ok()
	for folder, want := range map[string]string{
		"in":       "one.TXT sub/four.txt three.log two.txt",
		"out":      "",
		"contents": "sub/four.txt two.txt",
		"moved":    "again.log three.log two.txt",
		"last":     "in/one.TXT in/sub/four.txt in/three.log in/two.txt",
	} {
		if got := b.tree(folder); got != want {
			t.Errorf("%s holds %s, want %s", folder, got, want)
		}
	}
	if got := b.read(`in\one.TXT`); got != "a\nbmore" {
		t.Errorf("one.TXT: %q", got)
	}
	if got := b.read(`contents\two.txt`); got != "g\x00r\x00\xfc\x00n\x00" {
		t.Errorf("two.txt: %q", got)
	}
	if got := b.printed(); got != "grün" && got != "grün\n" {
		t.Errorf("printed %q", got)
	}
	if list, want := b.logFile("detailedoutput.json"), `last\\\\in\\\\one.TXT`; r.Status != Success || !strings.Contains(list, want) {
		t.Errorf("no %s in %s", want, list)
	}
}

func TestWindowsFileActionsThatFail(t *testing.T) {
	for _, c := range []struct{ step, message string }{
		{step("A", "CreateFile", "- {path: a, owner: me}\n"), "owner of CreateFile does not exist on Windows"},
		{step("A", "CreateFolder", "- {path: a, permissions: 0755}\n"), "permissions of CreateFolder does not exist on Windows"},
		{step("A", "CreateFolder", "- {path: a, group: g}\n"), "group of CreateFolder does not exist on Windows"},
		{step("A", "SetFileOwner", "- {path: a, owner: me}\n"), "SetFileOwner is not available on Windows"},
		{step("A", "ExecuteBash", "commands: [a]\n"), "ExecuteBash is not available on Windows"},
		{step("A", "CopyFile", "- {source: 'x\\*.txt', destination: y}\n"), "x"},
		{step("A", "CopyFile", "- {source: 'x*\\a.txt', destination: y}\n"), "only in the last element"},
		{step("A", "CreateFolder", "- path: 'C:\\windows\\'\n"), "would be emptied"},
		{step("A", "CreateFolder", "- path: 'C:\\'\n"), "would be emptied"},
		{step("A", "DeleteFolder", "- {path: 'c:\\program files', force: true}\n"), "part of the system"},
		{step("A", "DeleteFile", "- path: missing\n"), "missing"},
		{step("A", "CreateFile", "- {path: here, overwrite: false}\n"), "overwrite is false"},
	} {
		b := newBench(t, oneStep(c.step))
		b.write("here", "")
		b.fails(c.message)
	}
}

func TestWindowsProgramsGetTheirArguments(t *testing.T) {
	b := newBench(t, oneStep(
		step("A", "ExecuteBinary", `path: helper
arguments: [args, 'two words', 'a "quoted" word', 'C:\path\', '', '%PATH%', '*']
`)+
			step("B", "ExecuteBinary", "path: '.\\helper.exe'\narguments: [args, relative]\n")+
			step("C", "ExecuteBinary", "path: '"+`{{ build.D.outputs.stdout }}`+"'\n")))
	b.job.Documents[0].Text = strings.Split(b.job.Documents[0].Text, "- name: C")[0]
	b.tools("helper.exe")
	b.prints(`["two words","a \"quoted\" word","C:\\path\\","","%PATH%","*"]` + "\n[\"relative\"]\n")
}

// Trap 2, on Windows: 3010 runs the step again, and 194 means nothing there.
func TestWindowsTrapExit3010RunsTheStepAgainAfterTheReboot(t *testing.T) {
	b := newBench(t, oneStep(
		step("A", "ExecuteBinary", "path: helper.exe\narguments: [once, first]\n")+
			step("B", "ExecutePowerShell", "commands:\n  - Write-Output 'again'\n  - |\n    if (Test-Path 'second') { exit 0 }\n    Set-Content -Path 'second' -Value 'grün'\n  - exit 3010\n")+
			step("C", "Reboot", "delaySeconds: 0\n")+
			step("D", "ExecuteBinary", "path: helper.exe\narguments: [exit, 194]\n", "onFailure: Ignore")+
			step("E", "ExecutePowerShell", "commands: [\"throw 'no'\"]\n", "onFailure: Ignore")))
	b.tools("helper.exe", "powershell.exe")
	for range 3 {
		if r := b.run(); !r.Reboot {
			t.Fatalf("no reboot: %+v %+v", r, r.Failure)
		}
	}
	r := b.run()
	if want := "doc1/build/A=success doc1/build/B=success doc1/build/C=success doc1/build/D=ignoredFailure doc1/build/E=ignoredFailure"; b.steps(r) != want {
		t.Errorf("steps: %s\n%+v", b.steps(r), r)
	}
	if b.printed() != "again\nagain\nno\n" || b.read("second") != "grün" {
		t.Errorf("printed %q, wrote %q", b.printed(), b.read("second"))
	}
}

func TestWindowsPowerShellFollowsAFile(t *testing.T) {
	b := newBench(t, oneStep(step("A", "ExecutePowerShell", "file: 'sub folder\\theirs.ps1'\n")+
		step("B", "ExecutePowerShell", "commands: \"Write-Output '{{ build.A.outputs.stdout }}!'\"\n")))
	b.tools("powershell.exe")
	if err := os.Mkdir(filepath.Join(b.dir, "sub folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	b.write(`sub folder\theirs.ps1`, "Write-Output 'theirs'\r\n")
	b.prints("theirs\ntheirs!\n")
}

// Trap 33, on Windows: a child without a console, in a group of its own. A timeout
// ends a step the same way.
func TestWindowsTrapTheWholeTreeIsKilled(t *testing.T) {
	b := newBench(t, oneStep(step("A", "ExecuteBinary", "path: helper.exe\narguments: [family, heart]\n")))
	b.tools("helper.exe")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, err := Run(ctx, b.job, b.env, func(e Event) {
		b.hear(e)
		if e.Kind == Output && strings.Contains(e.Text, "started") {
			cancel()
		}
	})
	if err == nil || result.Status != Failed {
		t.Fatalf("result %+v, error %v", result, err)
	}
	// A program that lives has its file open again and again; one that is dead leaves it alone.
	before := b.read("heart")
	for range 20 {
		if now := b.read("heart"); now != before {
			t.Fatalf("the child still writes: %s, then %s", before, now)
		}
		b.write("later", "") // takes a moment
	}
}

func TestWindowsRegistry(t *testing.T) {
	b := newBench(t, oneStep(step("A", "SetRegistry", `- {path: 'HKLM:\SOFTWARE\Ingot Test\Deep', name: Text, value: 'grün, %TEMP%', type: SZ}
- {path: 'HKLM:\SOFTWARE\Ingot Test\Deep', name: Text2, value: '', type: SZ}
- {path: 'HKEY_LOCAL_MACHINE\SOFTWARE\Ingot Test', name: Expand, value: '%SystemRoot%\x', type: EXPAND_SZ}
- {path: 'HKCU:\Software\Ingot Test', name: List, value: [one, two words], type: MULTI_SZ}
- {path: 'HKCU:\Software\Ingot Test', name: Small, value: 0xFFFFFFFF, type: DWORD}
- {path: 'HKCU:\Software\Ingot Test', name: Large, value: 18446744073709551615, type: QWORD}
- {path: 'HKCU:\Software\Ingot Test', name: Bytes, value: 00 ff 7f, type: BINARY}
- {path: 'HKCR:\.ingot', name: Class, value: a, type: SZ}
- {path: 'HKU:\.DEFAULT\Software\Ingot Test', name: User, value: b, type: SZ}
- {path: 'HKCC:\Software\Ingot Test', name: Config, value: c, type: SZ}
- {path: 'HKCU:\Software\Ingot Test', name: Small, value: 7, type: DWORD}
`)))
	b.ok()
	text := func(hive winregistry.Key, path, name, want string, kind uint32) {
		t.Helper()
		k, err := winregistry.OpenKey(hive, path, winregistry.QUERY_VALUE)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		defer k.Close()
		got, have, err := k.GetStringValue(name)
		if err != nil || got != want || have != kind {
			t.Errorf("%s of %s: %q of type %d, %v", name, path, got, have, err)
		}
	}
	text(winregistry.LOCAL_MACHINE, `SOFTWARE\Ingot Test\Deep`, "Text", "grün, %TEMP%", winregistry.SZ)
	text(winregistry.LOCAL_MACHINE, `SOFTWARE\Ingot Test\Deep`, "Text2", "", winregistry.SZ)
	text(winregistry.LOCAL_MACHINE, `SOFTWARE\Ingot Test`, "Expand", `%SystemRoot%\x`, winregistry.EXPAND_SZ)
	text(winregistry.CLASSES_ROOT, `.ingot`, "Class", "a", winregistry.SZ)
	text(winregistry.USERS, `.DEFAULT\Software\Ingot Test`, "User", "b", winregistry.SZ)
	text(winregistry.CURRENT_CONFIG, `Software\Ingot Test`, "Config", "c", winregistry.SZ)
	k, err := winregistry.OpenKey(winregistry.CURRENT_USER, `Software\Ingot Test`, winregistry.QUERY_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if got, kind, err := k.GetStringsValue("List"); err != nil || kind != winregistry.MULTI_SZ || !slices.Equal(got, []string{"one", "two words"}) {
		t.Errorf("List: %q, %v", got, err)
	}
	if got, kind, err := k.GetIntegerValue("Small"); err != nil || kind != winregistry.DWORD || got != 7 {
		t.Errorf("Small: %d, %v", got, err)
	}
	if got, kind, err := k.GetIntegerValue("Large"); err != nil || kind != winregistry.QWORD || got != 1<<64-1 {
		t.Errorf("Large: %d, %v", got, err)
	}
	if got, kind, err := k.GetBinaryValue("Bytes"); err != nil || kind != winregistry.BINARY || string(got) != "\x00\xff\x7f" {
		t.Errorf("Bytes: %x, %v", got, err)
	}
}

// installed is what the sample package leaves: a file, and a value of the registry.
func installed(t *testing.T) (file bool, company string) {
	t.Helper()
	_, err := os.Stat(filepath.Join(systemPlace("ProgramFiles", ""), "Sample", "readme.txt"))
	k, keyErr := winregistry.OpenKey(winregistry.LOCAL_MACHINE, `SOFTWARE\Sample`, winregistry.QUERY_VALUE)
	if keyErr == nil {
		defer k.Close()
		if company, _, keyErr = k.GetStringValue("Company"); keyErr != nil {
			t.Error(keyErr)
		}
	}
	return err == nil, company
}

func TestWindowsInstallerPackages(t *testing.T) {
	sample := os.Getenv("INGOT_WINE_MSI")
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatalf("INGOT_WINE_MSI names the package to install: %v", err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(text) }))
	defer server.Close()
	run := func(steps string) *bench {
		b := newBench(t, oneStep(steps))
		b.tools("powershell.exe")
		b.env.Objects = &buckets{objects: map[string]string{"s3://acme/sample.msi": string(text)}}
		b.write("signature", "NotSigned\r\nThe file is not signed.\r\n")
		b.write("my package.msi", string(text))
		return b
	}

	b := run(step("A", "InstallMSI", "path: my package.msi\n"))
	b.fails("is not signed; allowUnsignedInstaller")
	if file, _ := installed(t); file {
		t.Error("a package that is not signed was installed")
	}

	// Wine's msiexec does not read two quotation marks as one, which the tables test.
	b = run(step("A", "InstallMSI", `path: my package.msi
allowUnsignedInstaller: true
logFile: 'logs\install 1.log'
properties: {COMPANYNAME: '"Acme Widgets"'}
`) + step("B", "Assert", "stringEquals: '0'\nvalue: '{{ build.A.outputs.msiExitCode }}'\n") +
		step("C", "Assert", "stringEquals: 'logs\\install 1.log'\nvalue: '{{ build.A.outputs.logFile }}'\n"))
	b.ok()
	if file, company := installed(t); !file || company != "Acme Widgets" {
		t.Errorf("installed %v for %q", file, company)
	}
	if info, err := os.Stat(filepath.Join(b.dir, "logs", "install 1.log")); err != nil || info.Size() == 0 {
		t.Errorf("log: %v, %v", info, err)
	}

	b = run(step("A", "UninstallMSI", "path: my package.msi\nallowUnsignedInstaller: true\n"))
	b.ok()
	if file, company := installed(t); file || company != "" {
		t.Errorf("after it was removed: %v, %q", file, company)
	}

	// By http and from an object, with a restart that the package asks for, or the document.
	b = run(step("A", "InstallMSI", "path: "+server.URL+"/sample.msi\nallowUnsignedInstaller: true\nproperties: {RESTART: 1}\n") +
		step("B", "ExecutePowerShell", "commands: [\"Write-Output '{{ build.A.outputs.msiExitCode }}'\"]\n") +
		step("C", "UninstallMSI", "path: my package.msi\nallowUnsignedInstaller: true\nignoreAuthenticodeSignatureErrors: true\nreboot: Force\n") +
		step("D", "InstallMSI", "path: my package.msi\nallowUnsignedInstaller: true\nreboot: Skip\nproperties: {RESTART: 1}\n") +
		step("E", "UninstallMSI", "path: s3://acme/sample.msi\nallowUnsignedInstaller: true\n"))
	for range 2 {
		if r := b.run(); !r.Reboot {
			t.Fatalf("no reboot: %+v %+v", r, r.Failure)
		}
	}
	b.prints("3010\n")
	if !slices.ContainsFunc(b.events, func(e Event) bool {
		return e.Kind == Warning && e.Step == "D" && strings.Contains(e.Text, "reboot is Skip")
	}) {
		t.Error("nobody was told of a restart that is left out")
	}
	if file, _ := installed(t); file {
		t.Error("what came from an object was not removed")
	}

	b = run(step("A", "InstallMSI", "path: broken.msi\nallowUnsignedInstaller: true\n"))
	b.write("broken.msi", "not a package")
	b.fails("Windows Installer ended with exit code 1")
}

func TestWindowsUpdates(t *testing.T) {
	b := newBench(t, oneStep(step("A", "UpdateOS", "exclude: ['*Preview*', KB5000009]\n")))
	b.tools("powershell.exe")
	b.write("offered", `[{"id":"00000000-0000-0000-0000-000000000001","title":"First","kb":["5000001"]},
{"id":"00000000-0000-0000-0000-000000000002","title":"Second","kb":[]},
{"id":"00000000-0000-0000-0000-000000000003","title":"A Preview of more","kb":["5000003"]},
{"id":"00000000-0000-0000-0000-000000000009","title":"Ninth","kb":["5000009"]}]`)
	if r := b.run(); !r.Reboot {
		t.Fatalf("no reboot: %+v %+v", r, r.Failure)
	}
	b.prints("installed 00000000-0000-0000-0000-000000000001\ninstalled 00000000-0000-0000-0000-000000000002\n")
}

func TestWindowsDownloads(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("a file")) }))
	defer server.Close()
	b := newBench(t, oneStep(step("A", "WebDownload", "- {source: '"+server.URL+"/some/tool.exe', destination: 'new folder\\'}\n")+
		step("B", "Assert", "fileMD5Equals: d6d0c756fb8abfb33e652a20e85b70bc\npath: '{{ build.A.outputs.destination }}'\n")))
	b.ok()
	if got := b.read(`new folder\tool.exe`); got != "a file" {
		t.Errorf("downloaded %q", got)
	}
}

// Without a folder of its own a run keeps its files where services do.
func TestWindowsRunsKeepTheirFilesInProgramData(t *testing.T) {
	b := newBench(t, oneStep(step("A", "CreateFolder", "- path: x\n")))
	b.env.Root = ""
	b.ok()
	found, err := filepath.Glob(filepath.Join(os.Getenv("ProgramData"), "ingot", "log", "TOE_*_UTC-0_run-1", "detailedoutput.json"))
	if err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
}

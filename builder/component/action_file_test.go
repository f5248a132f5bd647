package component

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// act is a step with one entry of inputs.
func act(action, inputs string) string {
	return "- {name: Act, action: " + action + ", inputs: [" + inputs + "]}\n"
}

func (b *bench) put(name, content string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) mode(name string) os.FileMode {
	b.t.Helper()
	info, err := os.Lstat(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return info.Mode()
}

func (b *bench) missing(name string) bool {
	_, err := os.Lstat(filepath.Join(b.dir, name))
	return os.IsNotExist(err)
}

// prepared is a bench with the files that most cases start from.
func prepared(t *testing.T, step string) *bench {
	t.Helper()
	b := newBench(t, oneStep(step))
	b.put("a.log", "a")
	b.put("b.log", "b")
	b.put("c.txt", "c")
	b.put("folder/in.log", "in")
	b.put("folder/sub/deep.log", "deep")
	return b
}

func TestTrap18CreateIsSubjectToTheUmask(t *testing.T) {
	b := newBench(t, oneStep(act("CreateFile", `{path: new/plain, content: 'a\nb'}`)))
	b.ok()
	if b.mode("new/plain").Perm() != 0o666&^umask() || b.read("new/plain") != `a\nb` {
		t.Errorf("%v %q", b.mode("new/plain"), b.read("new/plain"))
	}
	b = newBench(t, oneStep(act("CreateFile", `{path: f, permissions: 0777, owner: root, group: 0, content: x}`)))
	b.ok()
	if b.mode("f").Perm() != 0o777&^umask() {
		t.Errorf("%v", b.mode("f"))
	}
	b = prepared(t, act("CreateFile", `{path: a.log, content: new, permissions: 600}`))
	b.ok()
	if b.read("a.log") != "new" || b.mode("a.log").Perm() != 0o600 {
		t.Errorf("%q %v", b.read("a.log"), b.mode("a.log"))
	}
}

func TestTrap17CreateFolderEmptiesWhatIsThere(t *testing.T) {
	b := prepared(t, act("CreateFolder", "{path: folder, permissions: '700'}"))
	b.ok()
	if !b.missing("folder/in.log") || b.mode("folder").Perm() != 0o700 {
		t.Error("the folder was left as it was")
	}
	b = prepared(t, act("CreateFolder", "{path: folder, overwrite: false}"))
	b.fails("overwrite is false")
	if b.missing("folder/in.log") {
		t.Error("the folder was emptied")
	}
	b = newBench(t, oneStep(act("CreateFolder", "{path: /etc}")))
	b.fails("would be emptied")
	b = newBench(t, oneStep(act("CreateFolder", "{path: x/y/z}")))
	b.ok()
	if b.mode("x/y/z").Perm() != 0o777&^umask() {
		t.Errorf("%v", b.mode("x/y/z"))
	}
}

// Traps 21 and 22, and what the actions refuse.
func TestFileActionsRefuse(t *testing.T) {
	for _, c := range []struct{ step, want string }{
		{act("DeleteFile", "{path: none}"), "no such file"},
		{act("DeleteFile", "{path: folder, force: true}"), "is a folder; use DeleteFolder"},
		{act("DeleteFile", "{path: 'fol*/in.log'}"), "only in the last element"},
		{act("CopyFile", "{source: '*.log', destination: target}"), "has to end in a separator"},
		{act("CopyFile", "{source: '*.none', destination: target/}"), "matches nothing"},
		{act("CopyFile", "{source: none, destination: target}"), "no such file"},
		{act("CopyFile", "{source: folder, destination: target}"), "is a folder"},
		{act("CopyFile", "{source: a.log, destination: a.log}"), "are the same file"},
		{act("CopyFile", "{source: a.log, destination: b.log, overwrite: 'FALSE'}"), "overwrite is false"},
		{act("CreateFile", "{path: f, overwrite: '{{ Maybe }}'}"), `"{{ Maybe }}" is not true or false`},
		{act("CreateFile", "{path: f, owner: nobody-at-all}"), "owner nobody-at-all"},
		{act("CreateFile", "{path: f, group: nobody-at-all}"), "group nobody-at-all"},
		{act("CreateFile", "{path: f, encoding: latin1}"), "unknown encoding"},
		{act("CreateFile", "{path: folder}"), "is a directory"},
	} {
		prepared(t, c.step).fails(c.want)
	}
}

func TestFileActionsDo(t *testing.T) {
	b := prepared(t, act("DeleteFile", "{path: '*.log'}, {path: 'no*thing'}, {path: folder/in.log}"))
	b.ok()
	if !b.missing("a.log") || !b.missing("b.log") || b.missing("c.txt") || !b.missing("folder/in.log") {
		t.Error("the wrong files are gone")
	}
	b = prepared(t, act("CopyFile", "{source: '*.log', destination: new/place/}, {source: c.txt, destination: d/e}"))
	b.ok()
	if b.read("new/place/a.log") != "a" || b.read("new/place/b.log") != "b" || b.read("d/e") != "c" {
		t.Error("the copies are wrong")
	}
	b = newBench(t, oneStep(act("CreateFile", "{path: f, content: hé, encoding: UTF-16-BE}")))
	b.ok()
	if b.read("f") != "\x00h\x00\xe9" {
		t.Errorf("%q", b.read("f"))
	}
}

// Trap 10, and a list whose second entry fails: what the first did stays.
func TestTrap10ABareMapIsAListOfOne(t *testing.T) {
	b := newBench(t, oneStep("- {name: Make, action: CreateFile, inputs: {path: one, content: x}}\n"+bash("B", "echo {{ build.Make.inputs[0].path }} {{ build.Make.inputs.path }}")))
	b.prints("one one\n")
	b = newBench(t, oneStep(act("CreateFile", "{path: one}, {path: /dev/null/two}")))
	if r := b.fails("inputs[1]: "); b.missing("one") {
		t.Errorf("%+v", r)
	}
}

func TestWildcard(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "x", true}, {"*", "", true}, {"a*", "abc", true}, {"a*", "ba", false}, {"*c", "abc", true}, {"a*c", "abc", true},
		{"a*b*c", "axbxc", true}, {"a*b*c", "axc", false}, {"ab*b", "ab", false}, {"[a]*", "ab", false}, {"a.c", "abc", false}, {"**", "x", true},
	} {
		if got := wildcard(c.pattern, c.name); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.name, got)
		}
	}
}

func TestEncodingsAreReversible(t *testing.T) {
	text := "plain, é, 漢, 🙂\n"
	for _, name := range []string{"utf8", "UTF-8", "utf16", "utf-16", "utf16-LE", "utf-16-le", "utf16-BE", "utf-32", "UTF32-be"} {
		content, err := encode(text, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(content, name); got != text || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		marked, err := encode("\ufeff"+text, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(marked, name); got != text || err != nil {
			t.Errorf("%s with a mark: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"utf16", "utf32", "utf8"} {
		if _, err := decode([]byte{0xff, 0xfe, 0x41}, name); err == nil {
			t.Errorf("%s: half a character was accepted", name)
		}
	}
	if !strings.Contains(text, "🙂") {
		t.Fatal("the text lacks a character outside of the basic plane")
	}
}

func TestFilesAndFoldersAreMovedCopiedListed(t *testing.T) {
	b := prepared(t, act("MoveFile", "{source: '*.log', destination: moved/}, {source: c.txt, destination: moved/d.txt}"))
	b.ok()
	if !b.missing("a.log") || b.read("moved/b.log") != "b" || b.read("moved/d.txt") != "c" {
		t.Error("MoveFile")
	}
	b = prepared(t, act("CopyFolder", "{source: folder, destination: copy}, {source: 'fol*', destination: keep/}"))
	b.ok()
	if b.read("copy/sub/deep.log") != "deep" || b.read("keep/folder/in.log") != "in" || b.missing("folder/in.log") {
		t.Error("CopyFolder")
	}
	b = prepared(t, act("MoveFolder", "{source: folder, destination: there/new}"))
	b.ok()
	if b.read("there/new/sub/deep.log") != "deep" || !b.missing("folder") {
		t.Error("MoveFolder")
	}
	b = prepared(t, act("CopyFolder", "{source: folder, destination: folder/sub/again}"))
	b.fails("copied into itself")
	b = prepared(t, "- {name: L, action: ListFiles, inputs: [{path: folder, recursive: true, fileNamePattern: '*.log'}, {path: .}]}\n"+bash("P", "echo '{{ build.L.outputs.files }}'"))
	b.ok()
	if want := strings.Join([]string{b.dir + "/folder/in.log", b.dir + "/folder/sub/deep.log", b.dir + "/a.log", b.dir + "/b.log", b.dir + "/c.txt"}, ",") + "\n"; b.printed() != want {
		t.Errorf("ListFiles: %q, want %q", b.printed(), want)
	}
	b = prepared(t, act("DeleteFolder", "{path: folder}"))
	b.fails("not empty")
	b = prepared(t, act("DeleteFolder", "{path: folder, force: true}"))
	b.ok()
	if !b.missing("folder") {
		t.Error("DeleteFolder")
	}
}

func TestTextActions(t *testing.T) {
	b := prepared(t, act("AppendFile", "{path: a.log, content: '+more'}"))
	b.ok()
	if b.read("a.log") != "a+more" {
		t.Errorf("%q", b.read("a.log"))
	}
	prepared(t, act("AppendFile", "{path: none, content: x}")).fails("no such file")
	b = prepared(t, "- {name: R, action: ReadFile, inputs: [{path: a.log}, {path: b.log, printFileContent: true}]}\n"+bash("P", "echo {{ build.R.outputs.content }} {{ build.R.outputs[1].content }}"))
	b.prints("ba b\n")
	b = prepared(t, act("SetFileEncoding", "{path: a.log, encoding: utf16}"))
	b.ok()
	if b.read("a.log") != "a\x00" {
		t.Errorf("%q", b.read("a.log"))
	}
}

func TestTrap20SymlinksReplaceOnlyLinks(t *testing.T) {
	b := prepared(t, act("CreateSymlink", "{path: x/link, target: ../a.log}, {path: x/link, target: ../b.log, force: true}"))
	b.ok()
	if b.read("x/link") != "b" {
		t.Error("the link leads elsewhere")
	}
	prepared(t, act("CreateSymlink", "{path: link, target: none}")).fails("no such file")
	prepared(t, act("CreateSymlink", "{path: a.log, target: b.log, force: true}")).fails("is no symbolic link")
	prepared(t, act("CreateSymlink", "{path: l, target: a.log}, {path: l, target: b.log}")).fails("force is not set")
}

// Traps 18 and 19.
func TestTrap19SetActionsAreRecursive(t *testing.T) {
	b := prepared(t, act("SetFolderPermissions", "{path: folder, permissions: 0707}"))
	b.ok()
	for _, name := range []string{"folder", "folder/in.log", "folder/sub/deep.log"} {
		if b.mode(name).Perm() != 0o707 {
			t.Errorf("%s: %v", name, b.mode(name))
		}
	}
	b = prepared(t, act("SetFolderPermissions", "{path: folder, permissions: 1777, recursive: false}"))
	b.ok()
	if b.mode("folder")&os.ModeSticky == 0 || b.mode("folder/sub").Perm() == 0o777 {
		t.Errorf("%v %v", b.mode("folder"), b.mode("folder/sub"))
	}
	b = prepared(t, act("SetFilePermissions", "{path: a.log, permissions: 4755}"))
	b.ok()
	if b.mode("a.log")&os.ModeSetuid == 0 || b.mode("a.log").Perm() != 0o755 {
		t.Errorf("%v", b.mode("a.log"))
	}
	b = prepared(t, "- {name: A, action: SetFolderOwner, inputs: [{path: folder, owner: nobody}]}\n- {name: B, action: SetFileOwner, inputs: [{path: a.log, owner: '65534', group: root}]}\n"+bash("S", "stat -c '%u %g' folder folder/sub/deep.log a.log"))
	b.prints("65534 65534\n65534 65534\n65534 0\n")
}

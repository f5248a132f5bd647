//go:build linux

package component

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -run ^TestComponentsPage$ -update .

const componentsPage = "../../docs/components.md"

// generatedPart is what stands between two marks of the page: the name of a part,
// then its text.
var generatedPart = regexp.MustCompile(`(?s)<!-- (actions|example: [^>]*?) -->\n.*?<!-- end -->`)

// TestComponentsPage writes the tables of actions from the engine's own, and the
// examples from the documents that TestCorpus runs. With -update it writes the page.
func TestComponentsPage(t *testing.T) {
	page, err := os.ReadFile(componentsPage)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	want := generatedPart.ReplaceAllFunc(page, func(part []byte) []byte {
		parts++
		name := string(generatedPart.FindSubmatch(part)[1])
		text := ""
		if place, ok := strings.CutPrefix(name, "example: "); ok {
			text = example(t, place)
		} else {
			text = actionsReference(t)
		}
		return []byte("<!-- " + name + " -->\n" + text + "<!-- end -->")
	})
	if parts < 2 {
		t.Fatalf("%s has %d generated parts", componentsPage, parts)
	}
	if *update {
		if err := os.WriteFile(componentsPage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(page, want) {
		t.Errorf("%s is not up to date; go generate ./builder/component writes it. %s", componentsPage, firstDifference(string(page), string(want)))
	}
	for operator := range operators() {
		if !bytes.Contains(page, []byte("`"+operator+"`")) {
			t.Errorf("%s does not explain %s", componentsPage, operator)
		}
	}
}

// examples are the steps that show each action, in the corpus.
func examples() map[string]string {
	return map[string]string{
		"ExecuteBash": "linux/bash-one-script Script", "ExecutePowerShell": "windows/powershell.yaml Install", "ExecuteBinary": "linux/execute-binary InPath",
		"ExecuteDocument": "linux/execute-document Inner", "Assert": "linux/assert Known",
		"S3Download": "linux/s3-download Fetch", "S3Upload": "linux/s3-upload Upload", "WebDownload": "linux/web-download Fetch",
		"AppendFile": "linux/append-file Hosts", "CopyFile": "linux/copy-file Copy", "CreateFile": "linux/create-file Configuration",
		"CreateSymlink": "linux/create-symlink Link", "DeleteFile": "linux/delete-file Delete", "ListFiles": "linux/list-files Some",
		"MoveFile": "linux/move-file Move", "ReadFile": "linux/read-file Read", "SetFileEncoding": "linux/file-encodings Convert",
		"SetFileOwner": "linux/owners Files", "SetFilePermissions": "linux/permissions Files",
		"CopyFolder": "linux/copy-folder Copy", "CreateFolder": "linux/create-folder Make", "DeleteFolder": "linux/delete-folder Force",
		"MoveFolder": "linux/move-folder Move", "SetFolderOwner": "linux/owners Folders", "SetFolderPermissions": "linux/permissions Folders",
		"InstallMSI": "windows/packages.yaml Install", "UninstallMSI": "windows/packages.yaml RemoveOld", "SetRegistry": "windows/registry.yaml Values",
		"Reboot": "linux/reboot WithADelay", "UpdateOS": "linux/update-os-apt NotTheKernel",
	}
}

// actionsReference is the section of the page with every action.
func actionsReference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n| action | Linux | macOS | Windows | outputs |\n|---|---|---|---|---|\n")
	tick := map[bool]string{true: "yes"}
	for _, a := range Actions() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s |\n", a.Name, strings.ToLower(a.Name), tick[a.On(Linux)], tick[a.On(MacOS)], tick[a.On(Windows)], code(a.Outputs))
	}
	for _, a := range Actions() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", a.Name, a.Doc)
		if a.Inputs[0].Type == Comparison {
			fmt.Fprintf(&b, "%s\n", a.Inputs[0].Doc)
		} else {
			b.WriteString(inputsTable(a))
		}
		place, ok := examples()[a.Name]
		if !ok {
			t.Fatalf("%s has no example", a.Name)
		}
		b.WriteString("\n" + example(t, place))
	}
	return b.String()
}

func inputsTable(a Action) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | type | default | |\n|---|---|---|---|\n", map[bool]string{true: "input of each entry", false: "input"}[a.List])
	for _, in := range a.Inputs {
		def := "none"
		switch {
		case in.Required:
			def = "required"
		case in.Default != "":
			def = "`" + in.Default + "`"
		}
		doc := in.Doc
		if len(in.Allowed) > 0 {
			doc = strings.TrimSpace(doc + " One of " + code(in.Allowed) + ".")
		}
		if in.POSIX && a.On(Windows) {
			doc = strings.TrimSpace(doc + " Not on Windows.")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", in.Name, in.Type, def, strings.ReplaceAll(doc, "|", `\|`))
	}
	return b.String()
}

func code(words []string) string {
	quoted := slices.Clone(words)
	for i := range quoted {
		quoted[i] = "`" + quoted[i] + "`"
	}
	return strings.Join(quoted, ", ")
}

// example is a document of the corpus, or one step of it, as it is written there.
func example(t *testing.T, place string) string {
	t.Helper()
	file, step, _ := strings.Cut(place, " ")
	if !strings.HasSuffix(file, ".yaml") {
		file += "/document.yaml"
	}
	text, err := os.ReadFile(filepath.Join(corpusDir, file))
	if err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf("From [%s](../builder/component/%s/%s):\n\n", file, corpusDir, file)
	if step == "" {
		return source + "```yaml\n" + string(text) + "```\n"
	}
	d, problems := Parse(file, text)
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for _, p := range d.Phases {
		for i := range p.Steps {
			if st := &p.Steps[i]; st.Name == step {
				return source + "```yaml\n" + stepText(lines[st.node.Line-1:]) + "```\n"
			}
		}
	}
	t.Fatalf("%s has no step %s", file, step)
	return ""
}

// stepText is one entry of a list, up to what is indented less than its fields.
func stepText(lines []string) string {
	indent := strings.Index(lines[0], "-")
	var b strings.Builder
	b.WriteString(lines[0][indent:])
	for _, line := range slices.DeleteFunc(lines[1:], func(line string) bool { return line == "" }) {
		if strings.TrimSpace(line) != "" && len(line)-len(strings.TrimLeft(line, " ")) <= indent {
			break
		}
		b.WriteString(line[min(indent, len(line)-1):])
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

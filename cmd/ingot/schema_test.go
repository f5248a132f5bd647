package main

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/gallery"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/builder/recipe/recipetest"
	"github.com/seed-6db18919/ingot/config"
)

// onlyTheParser lists the wrong documents, or folders of them, that a schema has to let
// pass, by the reason. The tests fail when one of them is refused after all, or does
// not exist.
func onlyTheParser() map[string][]string {
	return map[string][]string{
		"what a path or a name leads to is not in the document": {
			"recipe bad/component-arn", "recipe bad/component-folder", "recipe bad/dangling-component", "recipe bad/dangling-gallery",
			"recipe bad/files-link-outside", "recipe bad/link-loop", "recipe bad/outside-absolute", "recipe bad/outside-by-dots",
			"recipe bad/outside-by-link", "config testdata/bad/auth.yaml", "config testdata/bad/secrets.yaml",
		},
		"a component that is used is wrong, or is used in a wrong way": {
			"recipe bad/component-large", "recipe bad/component-problems", "recipe bad/parameter-missing", "recipe bad/parameter-too-long",
			"recipe bad/parameter-unknown", "recipe bad/parameters-of-none", "recipe bad/test-without-phase",
		},
		"a parent image may be named in eight ways, and has to exist": {
			"recipe bad/alias-of-driver", "recipe bad/dangling-parent", "recipe bad/parent-cloud", "recipe bad/parent-file", "recipe bad/parent-url",
			"recipe bad/parent-values", "recipe bad/parent-version", "recipe bad/unknown-alias",
		},
		"the document is right by itself, and wrong beside another one": {
			"recipe bad/duplicate-name", "recipe bad/reference-cycle", "recipe bad/three-of-a-name",
		},
		"two values of it do not go together": {
			"recipe bad/block-devices-of-local", "recipe bad/publish-of-ami", "recipe bad/user-data", "recipe bad/user-data-of-local",
			"recipe bad/user-data-of-windows", "recipe bad/windows-in-container", "config testdata/bad/aws-region.yaml",
		},
		"calendars, time zones, URLs and names with variables are more than a pattern can tell": {
			"recipe bad/cron-nonsense", "recipe bad/time-zone", "recipe bad/tags", "recipe bad/tags-and-names", "config testdata/bad/urls.yaml",
		},
		"it is about the text, and not about what the text says": {
			"recipe bad/duplicate-key", "recipe bad/two-documents", "recipe bad/utf16", "document corpus/refused/keys-twice.yaml",
		},
		"entries of a list that have the same name are different entries": {
			"document corpus/refused/names-twice.yaml",
		},
		"references are text": {
			"document corpus/refused/references-that-lead-nowhere.yaml",
		},
	}
}

// verdicts compares what a schema and the parser say of documents.
type verdicts struct {
	*testing.T
	schema *jsonschema.Schema
	known  map[string]bool // of onlyTheParser: whether it was met
}

func newVerdicts(t *testing.T, kind, platform string) *verdicts {
	t.Helper()
	made, err := schemaKinds()[kind](platform)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made)
	must(t, err)
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	must(t, c.AddResource("schema.json", document))
	compiled, err := c.Compile("schema.json")
	must(t, err)
	v := &verdicts{T: t, schema: compiled, known: map[string]bool{}}
	for _, names := range onlyTheParser() {
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, kind+" "); ok {
				v.known[rest] = false
			}
		}
	}
	return v
}

// judge compares the two on one document. Text that is no YAML has no schema.
func (v *verdicts) judge(name string, text []byte, parserAccepts bool) {
	v.Helper()
	var root yaml.Node
	if yaml.Unmarshal(text, &root) != nil || len(root.Content) != 1 {
		if parserAccepts {
			v.Errorf("%s: the parser accepts what is no YAML", name)
		}
		return
	}
	budget := 100_000
	value, ok := plainJSON(root.Content[0], &budget)
	if !ok {
		return // no editor shows it either
	}
	err := v.schema.Validate(value)
	switch {
	case parserAccepts && err != nil:
		v.Errorf("%s: the parser accepts what the schema refuses: %v", name, err)
	case !parserAccepts && err == nil && !v.excused(name):
		v.Errorf("%s: the schema accepts what the parser refuses", name)
	}
}

// excused tells whether only the parser can see what is wrong.
func (v *verdicts) excused(name string) bool {
	for ; name != "." && name != "/"; name = filepath.Dir(name) {
		if _, ok := v.known[name]; ok {
			v.known[name] = true
			return true
		}
	}
	return false
}

// finish fails when the list names what needs no excuse.
func (v *verdicts) finish() {
	v.Helper()
	for name, met := range v.known {
		if !met {
			v.Errorf("%s is on the list of what only the parser sees; the schema refuses it, or it does not exist", name)
		}
	}
}

// plainJSON is what an editor holds against a schema: aliases and merges written out,
// numbers and booleans as YAML knows them, everything else as text. Not ok is what
// aliases make too large to be written out, and what JSON cannot say.
func plainJSON(n *yaml.Node, budget *int) (value any, ok bool) {
	if *budget--; *budget < 0 {
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return plainJSON(n.Alias, budget)
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i := range n.Content {
			if out[i], ok = plainJSON(n.Content[i], budget); !ok {
				return nil, false
			}
		}
		return out, true
	case yaml.MappingNode:
		return plainMapping(n, budget)
	}
	switch n.Tag {
	case "!!null":
		return nil, true
	case "!!int", "!!float", "!!bool":
		if n.Decode(&value) == nil {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, false // such as .inf
			}
			value, err = jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
			return value, err == nil
		}
	}
	return n.Value, true
}

func plainMapping(n *yaml.Node, budget *int) (any, bool) {
	own, merged := map[string]any{}, map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		value, ok := plainJSON(n.Content[i+1], budget)
		if !ok {
			return nil, false
		}
		if n.Content[i].Tag != "!!merge" {
			own[n.Content[i].Value] = value
			continue
		}
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, entry := range slices.Backward(list) {
			if m, ok := entry.(map[string]any); ok {
				maps.Copy(merged, m)
			}
		}
	}
	maps.Copy(merged, own)
	return merged, true
}

func TestSchemaOfRecipesAgreesWithTheParser(t *testing.T) {
	v := newVerdicts(t, "recipe", "")
	examples := openTree(t, "../../examples/recipes")
	v.recipes("examples", examples, "../../examples/recipes")
	cases, err := os.ReadDir("../../builder/recipe/testdata/bad")
	must(t, err)
	for _, c := range cases {
		dir := t.TempDir()
		recipetest.LayOut(t, filepath.Join("../../builder/recipe/testdata/bad", c.Name()), dir)
		v.recipes("bad/"+c.Name(), openTree(t, dir), dir)
	}
	v.finish()
}

func openTree(t *testing.T, dir string) *recipe.DirTree {
	t.Helper()
	tree, err := recipe.OpenDir(dir)
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree
}

// recipes judges every recipe of a tree.
func (v *verdicts) recipes(name string, tree *recipe.DirTree, dir string) {
	v.Helper()
	set, err := recipe.Load(v.Context(), tree, recipeOptions())
	must(v.T, err)
	for _, r := range set.Recipes {
		v.judge(name+"/"+r.Path, readFile(v.T, filepath.Join(dir, r.Path)), true)
	}
	for at := range set.Invalid {
		v.judge(name+"/"+at, readFile(v.T, filepath.Join(dir, at)), false)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}

func TestSchemaOfTheConfigurationAgreesWithTheParser(t *testing.T) {
	v := newVerdicts(t, "config", "")
	noEnv := func(string) string { return "" }
	for _, pattern := range []string{"../../examples/daemon/*.yaml", "../../examples/deploy/ingot.yaml", "../../config/testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		if len(files) == 0 {
			t.Errorf("nothing is like %s", pattern)
		}
		for _, file := range files {
			_, err := config.Load(file, noEnv)
			// The files with secrets that an example names are on its reader's machine.
			missing := err != nil && strings.HasPrefix(file, "../../examples/")
			v.judge(strings.TrimPrefix(strings.TrimPrefix(file, "../../"), "config/"), readFile(t, file), err == nil || missing)
		}
	}
	v.finish()
}

// TestSchemaOfDocumentsAgreesWithTheParser looks at every component document that there is.
func TestSchemaOfDocumentsAgreesWithTheParser(t *testing.T) {
	v := newVerdicts(t, "document", "")
	g := gallery.New()
	for _, name := range g.Names() {
		for _, version := range g.Versions(name) {
			_, _, text, err := g.Component(name + "@" + version)
			must(t, err)
			v.document("gallery/"+name+"@"+version, text)
		}
	}
	found := 0
	for _, root := range []string{"../../examples/recipes", "../../builder/component/testdata", "../../builder/recipe/testdata"} {
		must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			if text := readFile(t, path); isComponent(path) {
				found++
				v.document(strings.TrimPrefix(path, "../../builder/component/testdata/"), text)
			}
			return nil
		}))
	}
	if found < 60 {
		t.Errorf("only %d documents were found", found)
	}
	v.finish()
}

// document judges a document, which is right when it is right on any platform.
func (v *verdicts) document(name string, text []byte) {
	v.Helper()
	accepts := slices.ContainsFunc(platforms(), func(platform string) bool {
		return len(check(written{path: name, text: text}, platform, nil, false).problems) == 0
	})
	v.judge(name, text, accepts)
}

// TestSchemaOfStepsAgreesWithTheParser goes through the corners of the language: whatever
// the parser says of a step, the schema has to say as well.
func TestSchemaOfStepsAgreesWithTheParser(t *testing.T) {
	v := newVerdicts(t, "document", "")
	bash := "action: ExecuteBash, inputs: {commands: [x]}"
	steps := map[bool]int{}
	for _, step := range []string{
		bash, "action: ExecuteBash", "action: ExecuteBash, inputs: {}", "action: ExecuteBash, inputs: []", "action: ExecuteBash, inputs:", "inputs: {commands: [x]}",
		"action: ExecuteBash, inputs: {commands: x}", "action: ExecuteBash, inputs: {commands: [1, true, ~, 2.5]}", "action: ExecuteBash, inputs: {commands: [[x]]}",
		"action: ExecuteBash, inputs: {commands: {a: b}}", "action: ExecuteBash, inputs: [{commands: [x]}]", "action: ExecuteBash, inputs: [{commands: [x]}, {commands: [x]}]",
		"action: executebash, inputs: {commands: [x]}", "action: [ExecuteBash], inputs: {commands: [x]}", "action: ''",
		bash + ", timeoutSeconds: 1", bash + ", timeoutSeconds: '60'", bash + ", timeoutSeconds: -1", bash + ", timeoutSeconds: 0", bash + ", timeoutSeconds: -2",
		bash + ", timeoutSeconds: '{{ X }}'", bash + ", timeoutSeconds: 1.5", bash + ", timeoutSeconds: 2147483649", bash + ", timeoutSeconds:",
		bash + ", maxAttempts: 3", bash + ", maxAttempts: 0", bash + ", maxAttempts: 1001", bash + ", maxAttempts: many",
		bash + ", onFailure: Ignore", bash + ", onFailure: ignore", bash + ", onFailure: true", bash + ", unknown: 1", bash + ", onFailure:",
		bash + ", loop: {for: {start: 0, end: 2, updateBy: 1}}", bash + ", loop: {for: {start: '0', end: 2, updateBy: 1}, name: x}", bash + ", loop: {for: {start: 0, end: 2}}",
		bash + ", loop: {for: {start: 0, end: 2, updateBy: 0}}", bash + ", loop: {for: {start: 0, end: x, updateBy: 1}}", bash + ", loop: {for: {start: 0, end: 2, updateBy: 1, by: 1}}",
		bash + ", loop: {forEach: [a, 1, true]}", bash + ", loop: {forEach: []}", bash + ", loop: {forEach: a}", bash + ", loop: {forEach: '{{ aws:ssm:/list }}'}",
		bash + ", loop: {forEach: {list: 'a,b'}}", bash + ", loop: {forEach: {list: a, delimiter: ';'}}", bash + ", loop: {forEach: {list: a, delimiter: '|'}}",
		bash + ", loop: {forEach: {list: a, delimiter: \"\\n\"}}", bash + ", loop: {forEach: {list: a, delimiter: '\\n'}}", bash + ", loop: {forEach: {delimiter: ','}}",
		bash + ", loop: {forEach: [a], for: {start: 0, end: 2, updateBy: 1}}", bash + ", loop: {}", bash + ", loop: {name: x}", bash + ", loop: {while: x, forEach: [a]}", bash + ", loop:",
		bash + ", if: {fileExists: /x}", bash + ", if: {fileexists: /x, then: Skip, else: Execute}", bash + ", if: {fileExists: /x, else: Abort}", bash + ", if: {fileExists: /x, then: skip}",
		bash + ", if: {stringEquals: a, value: b}", bash + ", if: {value: b, stringequals: a, then: Abort}", bash + ", if: {stringEquals: a}", bash + ", if: {stringEquals: a, path: b}",
		bash + ", if: {stringIsEmpty: a, value: b}", bash + ", if: {fileSHA256Equals: a, path: b}", bash + ", if: {fileSHA256Equals: a, value: b}", bash + ", if: {then: Skip}", bash + ", if: {}", bash + ", if:",
		bash + ", if: {fileExists: a, folderExists: b}", bash + ", if: {fileExist: a}", bash + ", if: {fileExists: [a]}", bash + ", if: {numberEquals: 1, value: 2.5}",
		bash + ", if: {and: [{fileExists: a}, {not: {fileExists: b}}], else: Abort}", bash + ", if: {and: []}", bash + ", if: {and: {fileExists: a}}", bash + ", if: {or: [{fileExists: a, then: Skip}]}",
		bash + ", if: {not: [{fileExists: a}]}", bash + ", if: {not: [{fileExists: a}, {fileExists: b}]}", bash + ", if: {NOT: {fileExists: a}}", bash + ", if: {not: a}",
		"action: Assert, inputs: {fileExists: /x}", "action: Assert, inputs: [{fileExists: /x}]", "action: Assert, inputs: {fileExists: /x, then: Skip}", "action: Assert, inputs: {}", "action: Assert",
		"action: Reboot", "action: Reboot, inputs:", "action: Reboot, inputs: {}", "action: Reboot, inputs: {delaySeconds: 5}", "action: Reboot, inputs: {delaySeconds: '{{ X }}'}",
		"action: Reboot, inputs: {delaySeconds: soon}", "action: Reboot, inputs: {delaySeconds: -1}", "action: Reboot, inputs: {delaySeconds: ''}", "action: UpdateOS, inputs: {include: [a]}", "action: UpdateOS, inputs: {include: a}",
		"action: DeleteFile, inputs: {path: /x}", "action: DeleteFile, inputs: [{path: /x}, {path: /y}]", "action: DeleteFile, inputs: {path: /x, force: true}", "action: DeleteFile, inputs: {path: ''}", "action: DeleteFile, inputs: {path: }",
		"action: DeleteFile, inputs: {path: 5}", "action: DeleteFile, inputs: [/x]", "action: DeleteFile, inputs: []", "action: DeleteFile, inputs: {force: true}",
		"action: CreateFile, inputs: {path: /x, permissions: 0755}", "action: CreateFile, inputs: {path: /x, permissions: 755}", "action: CreateFile, inputs: {path: /x, permissions: '0755'}",
		"action: CreateFile, inputs: {path: /x, permissions: u+x}", "action: CreateFile, inputs: {path: /x, permissions: '{{ Mode }}'}", "action: CreateFile, inputs: {path: /x, permissions: 75555}", "action: CreateFile, inputs: {path: /x, content: , owner: 0}",
		"action: CreateFile, inputs: {path: /x, overwrite: false}", "action: CreateFile, inputs: {path: /x, overwrite: 'TRUE'}", "action: CreateFile, inputs: {path: /x, overwrite: no}", "action: CreateFile, inputs: {path: /x, overwrite: '{{ X }}'}", "action: CreateFile, inputs: {path: /x, overwrite: }",
		"action: WebDownload, inputs: {source: 'https://x/y', destination: /x, checksum: a, algorithm: sha256}", "action: WebDownload, inputs: {source: 'https://x/y', destination: /x, checksum: a, algorithm: CRC}",
		"action: WebDownload, inputs: {source: 'https://x/y', destination: /x, checksum: a, algorithm: '{{ X }}'}", "action: ExecuteBinary, inputs: {path: x, arguments: [1, -v, '{{ X }}']}",
		"action: ExecuteDocument, inputs: {document: x.yaml}", "action: ExecuteDocument, inputs: {document: x.yaml}, timeoutSeconds: -1, maxAttempts: 1", "action: ExecuteDocument, inputs: {document: x.yaml}, timeoutSeconds: 60",
		"action: ExecuteDocument, inputs: {document: x.yaml}, maxAttempts: 2", "action: ExecuteDocument, inputs: {document: x.yaml, parameters: [{name: a, value: 1}]}",
		"action: ExecuteDocument, inputs: {document: x.yaml, parameters: {a: 1}}", "action: ExecuteDocument, inputs: {document: x.yaml, parameters: [{name: a}]}",
		"action: ExecutePowerShell, inputs: {commands: [x]}", "action: ExecutePowerShell, inputs: {file: x.ps1}", "action: ExecutePowerShell, inputs: {commands: [x], file: x.ps1}", "action: ExecutePowerShell, inputs: {}",
		"action: InstallMSI, inputs: {path: x.msi, properties: {A: 1}, reboot: skip}", "action: InstallMSI, inputs: {path: x.msi, properties: [A]}", "action: InstallMSI, inputs: {path: x.msi, reboot: Never}",
	} {
		text := []byte("schemaVersion: 1.0\nparameters: [{Mode: {type: string, default: '0644'}}]\nphases: [{name: build, steps: [{name: A, " + step + "}]}]\n")
		accepted := slices.ContainsFunc(platforms(), func(platform string) bool {
			return len(check(written{path: step, text: text}, platform, nil, false).problems) == 0
		})
		steps[accepted]++
		v.judge(step, text, accepted)
	}
	if steps[true] < 40 || steps[false] < 40 {
		t.Errorf("%d steps are right and %d wrong: a table that leans to one side proves little", steps[true], steps[false])
	}
	for _, top := range []string{
		"schemaVersion: 1", "schemaVersion: '1.0'", "schemaVersion: 2", "schemaVersion:", "name: x", "schemaVersion: 1.0\nunknown: x", "schemaVersion: 1.0\ndescription: [x]", "schemaVersion: 1.0\nname:",
		"schemaVersion: 1.0\nparameters:", "schemaVersion: 1.0\nparameters: {Abc: {type: string}}", "schemaVersion: 1.0\nparameters: [{Abc: {type: string}}]", "schemaVersion: 1.0\nparameters: [{Ab: {type: string}}]",
		"schemaVersion: 1.0\nparameters: [{A bc: {type: string}}]", "schemaVersion: 1.0\nparameters: [{Abc: {type: integer}}]", "schemaVersion: 1.0\nparameters: [{Abc: {default: x}}]", "schemaVersion: 1.0\nparameters: [{Abc: }]",
		"schemaVersion: 1.0\nparameters: [{Abc: {type: string, default: 5, allowedValues: [5, x]}}]", "schemaVersion: 1.0\nparameters: [{Abc: {type: string, allowedValues: x}}]", "schemaVersion: 1.0\nparameters: [{Abc: {type: string}, Abd: {type: string}}]",
		"schemaVersion: 1.0\nconstants: [{Abc: {type: string, value: 1}}]", "schemaVersion: 1.0\nconstants: [{Abc: {type: string}}]", "schemaVersion: 1.0\nconstants: [Abc]",
	} {
		text := []byte(top + "\nphases: [{name: build, steps: []}]\n")
		v.judge(top, text, len(check(written{path: top, text: text}, component.Linux, nil, false).problems) == 0)
	}
	for _, phases := range []string{"", "[]", "{}", "[{name: other, steps: []}]", "[{name: build}]", "[{steps: []}]", "[{name: build, steps: }]", "[{name: other, steps: []}, {name: test, steps: []}]", "[{name: '', steps: []}, {name: test, steps: []}]", "[{name: build, steps: [x]}]", "[{name: build, steps: [{name: '', " + bash + "}]}]"} {
		text := []byte("schemaVersion: 1.0\nphases: " + phases + "\n")
		v.judge(phases, text, len(check(written{path: phases, text: text}, component.Linux, nil, false).problems) == 0)
	}
}

// TestSchemaOfAPlatform refuses what the platform lacks, as the parser does.
func TestSchemaOfAPlatform(t *testing.T) {
	document := func(step string) []byte {
		return []byte("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, " + step + "}]}]\n")
	}
	for _, text := range [][]byte{
		document("action: ExecuteBash, inputs: {commands: [x]}"),
		document("action: ExecutePowerShell, inputs: {commands: [x]}"),
		document("action: CreateFile, inputs: {path: x, owner: root}"),
		document("action: Reboot"),
		document("action: SetRegistry, inputs: {path: 'HKEY_LOCAL_MACHINE\\SOFTWARE\\x', name: x, value: x, type: SZ}"),
	} {
		for _, platform := range platforms() {
			v := newVerdicts(t, "document", platform)
			v.known = nil
			v.judge(platform+": "+string(text), text, len(check(written{text: text}, platform, nil, false).problems) == 0)
		}
	}
}

// TestSchemaKnowsEveryAction holds the schema against the engine's list.
func TestSchemaKnowsEveryAction(t *testing.T) {
	made, err := schemaKinds()["document"]("")
	must(t, err)
	definitions := made["$defs"].(map[string]any)
	for _, a := range component.Actions() {
		d, ok := definitions[a.Name].(map[string]any)
		if !ok {
			t.Errorf("%s is not in the schema", a.Name)
			continue
		}
		properties, _ := d["properties"].(map[string]any)
		for _, in := range a.Inputs {
			if _, ok := properties[in.Name]; !ok && in.Type != component.Comparison {
				t.Errorf("%s of %s is not in the schema", in.Name, a.Name)
			}
		}
	}
}

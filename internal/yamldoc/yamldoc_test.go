package yamldoc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// port is a value that decodes itself, as other packages declare them.
type port struct{ number string }

func (p *port) DecodeNode(d *Document, n *yaml.Node) Problems {
	if n.Value == "0" {
		return Problems{d.Problem(n, "port 0 is reserved", "expected 1 to 65535")}
	}
	p.number = n.Value
	return nil
}

type common struct {
	Note string `yaml:"note"`
}

type sample struct {
	common
	Name     At[string]        `yaml:"name,required" example:"web"`
	Version  string            `yaml:"version"`
	Count    int               `yaml:"count"`
	On       bool              `yaml:"on"`
	Every    time.Duration     `yaml:"every"`
	List     []string          `yaml:"list"`
	Map      map[string]string `yaml:"map"`
	Inner    *inner            `yaml:"inner"`
	Many     []inner           `yaml:"many"`
	Raw      *yaml.Node        `yaml:"raw"`
	Port     port              `yaml:"port"`
	Untagged int
}

type inner struct {
	Mode string `yaml:"mode,required"`
}

func decode(text string) (sample, Problems) {
	var s sample
	d, problems := Parse("file.yaml", []byte(text))
	if d == nil {
		return s, problems
	}
	return s, append(problems, d.Decode(d.Root, &s)...)
}

func TestDecodeKeepsSourceText(t *testing.T) {
	s, problems := decode("\xef\xbb\xbfname: yes\r\nversion: 1.10\r\nnote: 007\r\ncount: 3\r\non: true\r\nevery: 1m30s\r\n" +
		"list: [0755, 1e3, no]\r\nmap: {Port: 8080, Quoted: \"null\"}\r\ninner: {mode: 0700}\r\nmany: [{mode: a}]\r\nport: 0x50\r\nraw: [1]\r\n")
	if len(problems) > 0 {
		t.Fatalf("problems:\n%v", problems)
	}
	if s.Name.Value != "yes" || s.Name.Node.Column != 7 || s.Name.Key.Column != 1 || s.Version != "1.10" || s.Note != "007" || s.Count != 3 || !s.On || s.Every != 90*time.Second {
		t.Errorf("scalars: %+v", s)
	}
	if !reflect.DeepEqual(s.List, []string{"0755", "1e3", "no"}) || s.Map["Port"] != "8080" || s.Map["Quoted"] != "null" {
		t.Errorf("lists and maps: %v %v", s.List, s.Map)
	}
	if s.Inner.Mode != "0700" || s.Many[0].Mode != "a" || s.Port.number != "0x50" || s.Raw.Kind != yaml.SequenceNode {
		t.Errorf("nested: %+v", s)
	}
}

func TestDecodeFollowsAliasesAndMerges(t *testing.T) {
	s, problems := decode("name: &n web\nversion: *n\ninner: &i {mode: 0644}\nmany: [*i, {<<: *i}, {<<: *i, mode: x}]\n")
	if len(problems) > 0 {
		t.Fatalf("problems:\n%v", problems)
	}
	if s.Version != "web" || !reflect.DeepEqual(s.Many, []inner{{"0644"}, {"0644"}, {"x"}}) {
		t.Errorf("got %+v", s)
	}
}

func TestAKeyWithoutValueIsNotGiven(t *testing.T) {
	s, problems := decode("name: web\nlist:\ninner:\ncount: ~\n")
	if len(problems) > 0 || s.List != nil || s.Inner != nil {
		t.Errorf("got %+v, problems %v", s, problems)
	}
}

func TestProblems(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // one line each: line:column: message; expected
	}{
		"unknown key, near":    {"name: a\nverson: 1\n", []string{`2:1: unknown key "verson"; did you mean "version"?`}},
		"unknown key, far":     {"name: a\ninner: {mode: x, zzzzzz: 1}\n", []string{`2:18: inner: unknown key "zzzzzz"; known keys: mode`}},
		"missing":              {"version: 1\n", []string{`1:1: the key "name" is missing; for example name: web`}},
		"missing inside":       {"name: a\nmany:\n  - {mode: x}\n  - {}\n", []string{`4:5: many[1]: the key "mode" is missing`}},
		"required but empty":   {"name:\n", []string{`1:1: the key "name" is missing; for example name: web`}},
		"map for a list":       {"name: a\nlist: {a: b}\n", []string{`2:7: list: found a map; expected a list of texts`}},
		"text for a list":      {"name: a\nmany: x\n", []string{`2:7: many: found "x"; expected a list of maps`}},
		"list for text":        {"name: [a]\n", []string{`1:7: name: found a list; expected text`}},
		"nothing in a map":     {"name: a\nmap: {a: }\n", []string{`2:10: map.a: found nothing; expected text`}},
		"yes for a boolean":    {"name: a\non: yes\n", []string{`2:5: on: found "yes"; expected true or false`}},
		"octal for a number":   {"name: a\ncount: 0755\n", []string{`2:8: count: found "0755"; expected a whole number`}},
		"quoted number":        {"name: a\ncount: \"5\"\n", []string{`2:8: count: found "5"; expected a whole number`}},
		"huge number":          {"name: a\ncount: 99999999999999999999\n", []string{`2:8: count: the number 99999999999999999999 is too large`}},
		"duration":             {"name: a\nevery: 30\n", []string{`2:8: every: found "30"; expected a duration such as 30s or 1h30m`}},
		"own decoder":          {"name: a\nport: 0\n", []string{`2:7: port 0 is reserved; expected 1 to 65535`}},
		"unquoted reference":   {"name: {{ X }}\n", []string{`1:8: a map is used as a key; quote a text that begins with a brace: "{{ Name }}"`, `1:7: name: found a map; expected text, such as "{{ Name }}" in quotes`}},
		"duplicate key":        {"name: a\nname: b\n", []string{`2:1: the key "name" is given twice; it stands on line 1 already`}},
		"several at once":      {"version: [1]\non: no\nvershun: 1\n", []string{`1:1: the key "name" is missing; for example name: web`, `1:10: version: found a list; expected text`, `2:5: on: found "no"; expected true or false`, `3:1: unknown key "vershun"; did you mean "version"?`}},
		"empty":                {"", []string{`the file is empty; expected a YAML document`}},
		"only comments":        {"# nothing\n", []string{`the file is empty; expected a YAML document`}},
		"a list":               {"- a\n", []string{`1:1: found a list; expected a map`}},
		"second document":      {"name: a\n---\nname: b\n", []string{`2:1: a second document starts here; expected one document in a file`}},
		"tab":                  {"name: a\ninner:\n\tmode: x\n", []string{`3:2: a tab is used for indentation; expected spaces`}},
		"unclosed quote":       {"name: a\nversion: \"1\n", []string{`2:1: not valid YAML: a quoted text has no end; expected a closing quote`}},
		"colon":                {"name: a\nversion: b: c\n", []string{"2:1: a colon starts a map where none can be; quote a text that contains \": \", and check the indentation"}},
		"star":                 {"name: a\nversion: *log\n", []string{`2:1: unknown anchor 'log' referenced; quote a text that begins with *`}},
		"windows path":         {"name: a\nversion: \"c:\\Users\"\n", []string{`2:1: unknown escape after a backslash; use single quotes, in which a backslash is just a backslash`}},
		"at sign":              {"name: @a\n", []string{`1:1: a text begins with a character that has a meaning in YAML; quote it`}},
		"indentation":          {"inner:\n    mode: x\n  name: y\n", []string{`3:3: not valid YAML: did not find expected key; check the indentation and the quotes of this line and the one above`}},
		"key without colon":    {"name: a\nversion\ncount: 1\n", []string{`2:1: not valid YAML: a key without a colon; expected "key: value"`}},
		"tag":                  {"name: !Ref a\n", []string{`1:7: unknown tag !Ref; quote a text that begins with !`}},
		"binary":               {"name: a\nve\x00rsion\n", []string{`2:3: the file is binary: it contains a zero byte; expected a YAML document, which is UTF-8 text`}},
		"latin-1":              {"name: a\nnote: caf\xe9\n", []string{`2:10: the file is not UTF-8: byte 0xE9; save it as UTF-8`}},
		"utf-16":               {"\xff\xfen\x00", []string{`the file is UTF-16; save it as UTF-8`}},
		"control character":    {"name: a\x1b[31m\n", []string{"1:8: control character U+001B; write it as an escape in double quotes, such as \"\\u0007\""}},
		"contains itself":      {"name: a\nlist: &l [*l]\n", []string{`2:7: an alias refers to a value that contains it`}},
		"nested too deep":      {"name: " + strings.Repeat("[", 150) + strings.Repeat("]", 150), []string{`1:107: lists and maps are nested more than 100 deep`}},
		"unlike line ends":     {"name: a\rcount: b\r\non: c\n", []string{`2:8: count: found "b"; expected a whole number`, `3:5: on: found "c"; expected true or false`}},
		"a merge that is none": {"name: a\ninner: {<<: 3}\n", []string{`2:8: inner: the key "mode" is missing`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := decode(test.text)
			var got []string
			for _, p := range problems {
				line, _, _ := strings.Cut(p.String(), "\n")
				got = append(got, strings.TrimPrefix(strings.TrimPrefix(line, "file.yaml:"), " "))
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func TestAliasBombIsRefusedWithoutBeingUnpacked(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	d, problems := Parse("bomb.yaml", []byte(bomb.String()))
	if d != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "more than 200000 values") || problems[0].Line != 6 {
		t.Errorf("got document %v, problems %v", d, problems)
	}
}

func TestSizeLimit(t *testing.T) {
	if _, problems := Parse("big.yaml", make([]byte, 10<<20)); problems.Error() != "big.yaml: the file has 10485760 bytes; a document has at most 1048576 bytes" {
		t.Errorf("got %v", problems)
	}
	if _, problems := Parse("big.yaml", []byte("a: 12345\n"), MaxBytes(8)); len(problems) != 1 {
		t.Errorf("with MaxBytes: %v", problems)
	}
}

func TestProblemShowsThePlace(t *testing.T) {
	_, problems := decode("name: a\ninner: {mode: x, mdoe: \"ü\"}\n")
	want := "file.yaml:2:18: inner: unknown key \"mdoe\"; did you mean \"mode\"?\n" +
		"    2 | inner: {mode: x, mdoe: \"ü\"}\n" +
		"      |                  ^"
	if problems.Error() != want {
		t.Errorf("got\n%v\nwant\n%v", problems, want)
	}
}

func TestExcerptIsFitToBeShown(t *testing.T) {
	_, problems := decode("name: a\nverson:\t\"\u202e" + strings.Repeat("x", 500) + "\"\n")
	if got := problems[0].Excerpt; got != "verson: \"\ufffd"+strings.Repeat("x", 150)+"…" {
		t.Errorf("excerpt %q", got)
	}
	_, problems = decode("name: a\nmap: {" + strings.Repeat("k", 300) + ": [1]}\n")
	if strings.Contains(problems.Error(), "^") {
		t.Errorf("a caret beyond the end of the excerpt:\n%v", problems)
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	_, problems := decode("name: a\n" + strings.Repeat("list: x\n", 1) + "many: [" + strings.Repeat("x, ", 1000) + "]\n")
	if len(problems) != maxProblems+1 || problems[maxProblems].Message != "951 more problems are not shown" {
		t.Errorf("%d problems, the last: %v", len(problems), problems[len(problems)-1])
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"name", "parentImage", "components", "version"}
	for word, want := range map[string]string{
		"componets": "components", "ParentImage": "parentImage", "nmae": "name", "parent": "", "x": "", "": "",
		strings.Repeat("v", 1000): "",
	} {
		if got := Suggest(word, known); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzParseAndDecode(f *testing.F) {
	for _, seed := range []string{
		"name: a\ncount: 1\n", "name: &a [*a]\n", "a: {<<: *x}\n", "\xef\xbb\xbfname: {{ X }}\r\n", "name: a\n---\n", "\t\n", "? [a]\n: b\n",
		"inner: &i {mode: x}\nmany: [*i, {<<: [*i, *i]}]\nevery: 3s\nraw: !!binary x\n", "name: \"\\x\"\n", "list: |\n  a\n \x85b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, problems := Parse("fuzz.yaml", data)
		if d == nil && len(problems) == 0 {
			t.Fatal("neither a document nor a problem")
		}
		if d != nil {
			problems = append(problems, d.Decode(d.Root, new(sample))...)
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > 0 && p.Column < 1 || p.Message == "" || p.File == "" {
				t.Fatalf("a problem without place or message: %+v", p)
			}
			if strings.ContainsAny(p.String(), "\x1b\x00\r") {
				t.Fatalf("a problem that is not fit for a terminal: %q", p.String())
			}
		}
	})
}

func TestWithinFindsThePlaceInAScalar(t *testing.T) {
	text := "plain: {a: 'é x y', b: x}\nlong: plain words\n  over lines x\nblock: |\n    first\n    x there\nlast: x\n"
	d, problems := Parse("f.yaml", []byte(text))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	value := func(keys ...string) *yaml.Node {
		n := d.Root
		for _, key := range keys {
			for i := 0; i < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					n = n.Content[i+1]
					break
				}
			}
		}
		return n
	}
	for _, c := range []struct {
		n            *yaml.Node
		line, column int
	}{
		{value("plain", "a"), 1, 15}, {value("plain", "b"), 1, 24}, {value("long"), 3, 14}, {value("block"), 6, 5}, {value("last"), 7, 7},
	} {
		if at := d.Within(c.n, "x"); at.Line != c.line || at.Column != c.column {
			t.Errorf("%q: %d:%d, want %d:%d", c.n.Value, at.Line, at.Column, c.line, c.column)
		}
	}
	if n := value("block"); d.Within(n, "none") != n || d.Within(nil, "x") != nil {
		t.Error("what is not found is the scalar itself")
	}
}

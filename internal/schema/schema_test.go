package schema

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

type example struct {
	Name  string             `yaml:"name,required" example:"web"`
	Size  yamldoc.At[int]    `yaml:"size"`
	Every *time.Duration     `yaml:"every"`
	Kind  yamldoc.At[string] `yaml:"kind"`
	Parts []part             `yaml:"parts"`
	Tags  map[string]string  `yaml:"tags"`
	From  source             `yaml:"from"`
	note  string
}

type part struct {
	On bool `yaml:"on,required"`
}

type source struct {
	URL string `yaml:"url,required"`
	Sum string `yaml:"sum"`
}

func (s *source) DecodeNode(d *yamldoc.Document, n *yaml.Node) yamldoc.Problems {
	return d.Decode(n, &s.URL)
}

func format() yamldoc.Format {
	return yamldoc.Format{
		Title: "example", Doc: "An example.", Type: reflect.TypeFor[example](),
		Keys: map[string]yamldoc.Key{
			"name": {Doc: "n", Pattern: "^w", Word: true}, "size": {Doc: "s", Min: 1, Max: 9, Default: "3"}, "every": {Doc: "e"},
			"kind": {Doc: "k", Allowed: []string{"a", "b"}, Default: "a"}, "parts": {Doc: "p", Most: 2}, "parts.on": {Doc: "o"},
			"tags": {Doc: "t", Most: 5}, "from": {Doc: "f"}, "from.url": {Doc: "u"}, "from.sum": {Doc: "m"},
		},
	}
}

func TestOfWritesEveryShape(t *testing.T) {
	got, err := Of(format())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","additionalProperties":false,"description":"An example.","properties":{` +
		`"every":{"anyOf":[{"pattern":` + quoted(durations) + `,"type":"string"},{"const":0},{"type":"null"}],"description":"e"},` +
		`"from":{"anyOf":[{"type":["string","number","boolean"]},{"additionalProperties":false,"properties":{"sum":{"description":"m","type":["string","number","boolean","null"]},"url":{"description":"u","type":["string","number","boolean"]}},"required":["url"],"type":"object"},{"type":"null"}],"description":"f"},` +
		`"kind":{"default":"a","description":"k","enum":["a","b",null]},` +
		`"name":{"description":"n","examples":["web"],"pattern":"^w","type":"string"},` +
		`"parts":{"description":"p","items":{"additionalProperties":false,"properties":{"on":{"description":"o","type":"boolean"}},"required":["on"],"type":"object"},"maxItems":2,"type":["array","null"]},` +
		`"size":{"default":3,"description":"s","maximum":9,"minimum":1,"type":["integer","null"]},` +
		`"tags":{"additionalProperties":{"type":["string","number","boolean"]},"description":"t","maxProperties":5,"type":["object","null"]}` +
		`},"required":["name"],"title":"example","type":"object"}`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func quoted(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// A key that nobody described, and a description that nobody needs any more.
func TestOfMissesDescriptions(t *testing.T) {
	f := format()
	delete(f.Keys, "parts.on")
	f.Keys["gone"] = yamldoc.Key{Doc: "g"}
	_, err := Of(f)
	for _, want := range []string{"the key parts.on has no description", "the key gone is described, but does not exist"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

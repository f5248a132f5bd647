package component

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxIterations bounds what a for loop may count; ours, the original has no limit.
const maxIterations = 1 << 20

// storedList is text that stands for a list in a parameter store.
var storedList = regexp.MustCompile(`^\s*\{\{\s*aws:ssm:[^{}]+\}\}\s*$`)

// Loop repeats a step. Exactly one of the three shapes is used.
type Loop struct {
	Name string

	counter   *counter     // for
	entries   []*yaml.Node // forEach with a list
	list      *yaml.Node   // forEach with text that is split; without a delimiter, a stored list
	delimiter string
}

// counter is a for loop; both ends are inclusive.
type counter struct{ start, end, by int64 }

func (s *source) loop(n *yaml.Node) *Loop {
	l := &Loop{}
	shapes := 0
	for _, f := range s.fields(n, "loop") {
		switch f.key.Value {
		case "name":
			l.Name = s.text(f.value, "the name of a loop")
		case "for":
			shapes++
			l.counter = s.counter(f.value)
		case "forEach":
			shapes++
			s.forEach(l, f.value)
		default:
			s.fail(f.key, didYouMean(f.key.Value, []string{"name", "for", "forEach"}), "unknown key %q in loop", f.key.Value)
		}
	}
	if shapes != 1 && n.Kind == yaml.MappingNode {
		s.fail(n, "exactly one of for and forEach", "loop has %d shapes", shapes)
	}
	return l
}

func (s *source) counter(n *yaml.Node) *counter {
	c := &counter{}
	places := map[string]*int64{"start": &c.start, "end": &c.end, "updateBy": &c.by}
	given := 0
	sound := true
	for _, f := range s.fields(n, "for") {
		place, ok := places[f.key.Value]
		if !ok {
			s.fail(f.key, didYouMean(f.key.Value, []string{"start", "end", "updateBy"}), "unknown key %q in for", f.key.Value)
			continue
		}
		given++
		before := len(s.problems)
		*place = s.integer(f.value, f.key.Value, math.MinInt32, math.MaxInt32, "a whole number; expressions are not possible here")
		sound = sound && len(s.problems) == before
	}
	switch {
	case n.Kind != yaml.MappingNode || !sound:
	case given != len(places):
		s.fail(n, "start, end and updateBy", "for does not have all of its fields")
	case c.by == 0:
		s.fail(n, "a number other than 0", "updateBy is 0, so the loop would never end")
	case (c.end > c.start && c.by < 0) || (c.end < c.start && c.by > 0):
		s.fail(n, "an updateBy that leads from start to end", "a loop from %d by %d never reaches %d", c.start, c.by, c.end)
	case (c.end-c.start)/c.by >= maxIterations:
		s.fail(n, "", "the loop would run %d times", (c.end-c.start)/c.by+1)
	}
	return c
}

func (s *source) forEach(l *Loop, n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			s.text(item, "an entry of forEach")
		}
		l.entries = n.Content
		return
	}
	if n.Kind == yaml.ScalarNode && storedList.MatchString(n.Value) {
		l.list = n
		return
	}
	l.delimiter = ","
	for _, f := range s.fields(n, "forEach") {
		switch f.key.Value {
		case "list":
			s.text(f.value, "list")
			l.list = f.value
		case "delimiter":
			l.delimiter = s.delimiter(f.value)
		default:
			s.fail(f.key, didYouMean(f.key.Value, []string{"list", "delimiter"}), "unknown key %q in forEach", f.key.Value)
		}
	}
	if l.list == nil && n.Kind == yaml.MappingNode {
		s.fail(n, "list: the text to split", "forEach has no list")
	}
}

// delimiter accepts the documented characters; \n and \t also as they look in a plain scalar.
func (s *source) delimiter(n *yaml.Node) string {
	v := s.text(n, "delimiter")
	switch v {
	case `\n`:
		v = "\n"
	case `\t`:
		v = "\t"
	}
	if utf8.RuneCountInString(v) != 1 || !strings.Contains(".,;:\n\t -_", v) {
		s.fail(n, `one of . , ; : "\n" "\t" " " - _`, "delimiter is %q", v)
		return ","
	}
	return v
}

// values are what the loop goes through, the expressions in it resolved.
func (l *Loop) values(s *scope) ([]string, error) {
	switch {
	case l.counter != nil:
		return l.counter.values(), nil
	case l.list != nil && l.delimiter == "":
		return s.expandList(l.list.Value)
	case l.list != nil:
		text, err := s.expand(l.list.Value)
		if err != nil {
			return nil, err
		}
		return split(text, l.delimiter), nil
	}
	var out []string
	for _, n := range l.entries {
		texts, err := s.expandList(n.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, texts...)
	}
	return out, nil
}

func (c *counter) values() []string {
	var out []string
	for v := c.start; (c.by > 0 && v <= c.end) || (c.by < 0 && v >= c.end); v += c.by {
		out = append(out, strconv.FormatInt(v, 10))
	}
	return out
}

// split cuts text at the delimiter. Pieces are not trimmed and empty ones stay,
// but the empty piece after a last line end is none: captured output ends there
// (inferred).
func split(text, delimiter string) []string {
	if text == "" {
		return nil
	}
	pieces := strings.Split(text, delimiter)
	if last := len(pieces) - 1; delimiter == "\n" && pieces[last] == "" {
		pieces = pieces[:last]
	}
	return pieces
}

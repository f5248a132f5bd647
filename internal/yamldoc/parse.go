package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits that a document must keep. MaxBytes changes the first one.
const (
	DefaultMaxBytes = 1 << 20 // of the text
	maxNodes        = 200_000 // values and keys, aliases counted as often as they are used
	maxDepth        = 100     // lists and maps inside each other, through aliases too
)

// Option changes how Parse reads a document.
type Option func(*limits)

type limits struct{ bytes int }

// MaxBytes sets the largest size that Parse accepts, in bytes.
func MaxBytes(n int) Option { return func(l *limits) { l.bytes = n } }

// Document is one parsed YAML document.
type Document struct {
	File string     // as it was given to Parse; every Problem carries it
	Root *yaml.Node // the outermost value, never nil and never an alias

	lines []string
}

// Parse reads one document. The Document is nil when the text cannot be read at
// all; otherwise it may come together with problems (a duplicate key, an unknown
// tag), so that the caller can go on and report its own findings too.
//
// A UTF-8 byte order mark and CRLF line ends are accepted: editors make them.
func Parse(file string, data []byte, options ...Option) (*Document, Problems) {
	limits := limits{bytes: DefaultMaxBytes}
	for _, option := range options {
		option(&limits)
	}
	if len(data) > limits.bytes {
		return nil, Problems{TooLarge(file, int64(len(data)), limits.bytes)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	d := &Document{File: file}
	if problem, ok := d.checkText(data); !ok {
		return nil, Problems{problem}
	}
	d.lines = splitLines(string(data))

	root, problem := d.parse(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	d.Root = root
	if problem := d.checkSize(root); problem != nil {
		return nil, Problems{*problem}
	}
	d.Root = resolve(root)
	return d, d.checkNodes(root)
}

// TooLarge is the problem of a file whose size alone forbids to read it.
func TooLarge(file string, size int64, limit int) Problem {
	return Problem{
		File:     file,
		Message:  fmt.Sprintf("the file has %d bytes", size),
		Expected: fmt.Sprintf("a document has at most %d bytes", limit),
	}
}

// checkText refuses what is not plain UTF-8 text, and names the first place.
func (d *Document) checkText(data []byte) (Problem, bool) {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return Problem{File: d.File, Message: "the file is UTF-16", Expected: "save it as UTF-8"}, false
	case bytes.IndexByte(data, 0) >= 0:
		return d.textProblem(data, bytes.IndexByte(data, 0), "the file is binary: it contains a zero byte", "expected a YAML document, which is UTF-8 text"), false
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return d.textProblem(data, i, fmt.Sprintf("the file is not UTF-8: byte 0x%02X", data[i]), "save it as UTF-8"), false
		case isControl(r) && r != '\t' && r != '\n' && r != '\r' && r != 0x85:
			return d.textProblem(data, i, fmt.Sprintf("control character %U", r), `write it as an escape in double quotes, such as "\u0007"`), false
		}
		i += size
	}
	return Problem{}, true
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// textProblem places a problem at a byte offset of a text that is not parsed yet.
func (d *Document) textProblem(data []byte, offset int, message, expected string) Problem {
	before := splitLines(string(data[:offset]))
	line := len(before)
	return Problem{
		File: d.File, Line: line, Column: utf8.RuneCountInString(before[line-1]) + 1,
		Excerpt: excerpt(splitLines(string(data))[line-1]),
		Message: message, Expected: expected,
	}
}

// parse turns text into nodes and refuses what is not exactly one document.
func (d *Document) parse(data []byte) (*yaml.Node, *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, &Problem{File: d.File, Message: "the file is empty", Expected: "expected a YAML document"}
	case err != nil:
		return nil, d.syntaxProblem(data, err)
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, d.syntaxProblem(data, err)
	default:
		return nil, new(d.at(second.Line, second.Column, "a second document starts here", "expected one document in a file"))
	}
	if len(first.Content) != 1 {
		return nil, &Problem{File: d.File, Message: "the file is empty", Expected: "expected a YAML document"}
	}
	return first.Content[0], nil
}

var lineOfError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem places the library's message at the line that causes it. The
// line the library names is often where the enclosing list or map begins, so the
// shortest beginning of the text that fails alike is looked for.
func (d *Document) syntaxProblem(data []byte, err error) *Problem {
	text, line := err.Error(), 1
	if m := lineOfError.FindStringSubmatch(text); m != nil {
		text = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if len(data) <= 64<<10 {
		line = d.failingLine(err.Error())
	}
	line = min(max(line, 1), len(d.lines))
	shown := d.lines[line-1]
	column := len(shown) - len(strings.TrimLeft(shown, " \t")) + 1
	message, expected := explainSyntax(text, shown)
	return new(d.at(line, column, message, expected))
}

func (d *Document) failingLine(message string) int {
	low, high := 1, len(d.lines)
	for low < high {
		middle := (low + high) / 2
		if syntaxError(strings.Join(d.lines[:middle], "\n")) == message {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// syntaxError returns the message of the first error of a stream, or nothing.
func syntaxError(text string) string {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return ""
		case err != nil:
			return err.Error()
		}
	}
}

// explainSyntax says in an author's words what a parser message means.
func explainSyntax(text, line string) (message, expected string) {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		return "a tab is used for indentation", "expected spaces"
	case strings.HasPrefix(text, "unknown anchor"):
		return text, "quote a text that begins with *"
	case strings.Contains(text, "mapping values are not allowed"):
		return "a colon starts a map where none can be", `quote a text that contains ": ", and check the indentation`
	case strings.Contains(text, "cannot start any token"):
		return "a text begins with a character that has a meaning in YAML", "quote it"
	case strings.Contains(text, "alphabetic or numeric character"):
		return "* and & begin a reference in YAML", "quote a text that begins with one of them"
	case strings.Contains(text, "unknown escape character"), strings.Contains(text, "hexdecimal number"):
		return "unknown escape after a backslash", "use single quotes, in which a backslash is just a backslash"
	case strings.Contains(text, "did not find expected key"), strings.Contains(text, "expected '-' indicator"):
		return "not valid YAML: " + text, "check the indentation and the quotes of this line and the one above"
	case strings.Contains(text, "did not find expected ','") && strings.Contains(line, "{{"):
		return "not valid YAML: " + text, "quote a text with {{ }} in it that stands inside of [ ] or { }"
	case strings.Contains(text, "could not find expected ':'"):
		return "not valid YAML: a key without a colon", `expected "key: value"`
	case strings.Contains(text, "found unexpected end of stream"):
		return "not valid YAML: a quoted text has no end", "expected a closing quote"
	default:
		return "not valid YAML: " + text, ""
	}
}

package terminal

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// virtual is a terminal of a fixed size. It knows what a Display uses, and refuses
// the rest.
type virtual struct {
	mu            sync.Mutex
	width, height int
	lines         []string // everything, also what has been scrolled away
	row           int
	written       int
	problem       error
}

var sequence = regexp.MustCompile(`^\x1b\[(\d*(?:;\d+)*)([A-Za-z])`)

func (v *virtual) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.written += len(p)
	text := string(p)
	column := 0
	for text != "" {
		if match := sequence.FindStringSubmatch(text); match != nil {
			v.obey(match[1], match[2], column)
			text = text[len(match[0]):]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch {
		case r == '\r':
			column = 0
		case r == '\n':
			v.row++
			column = 0
		case r < ' ' || r == 0x7f:
			v.problem = fmt.Errorf("control character %q", r)
		default:
			v.put(r, column)
			column += runeColumns(r)
		}
	}
	v.grow()
	return len(p), nil
}

func (v *virtual) grow() {
	for len(v.lines) <= v.row {
		v.lines = append(v.lines, "")
	}
}

func (v *virtual) put(r rune, column int) {
	v.grow()
	if column+runeColumns(r) > v.width {
		v.problem = fmt.Errorf("a line wider than %d columns: %q", v.width, v.lines[v.row])
	}
	before := []rune(pad(v.lines[v.row], column))
	v.lines[v.row] = string(before[:min(column, len(before))]) + string(r) + string(before[min(column+1, len(before)):])
}

func (v *virtual) obey(parameter, command string, column int) {
	n, err := strconv.Atoi(parameter)
	v.grow()
	switch {
	case command == "m":
	case command == "K" && parameter == "":
		v.lines[v.row] = string([]rune(v.lines[v.row])[:min(column, len([]rune(v.lines[v.row])))])
	case command == "A" && err == nil:
		v.row -= n
		if v.row < max(len(v.lines)-v.height, 0) {
			v.problem = fmt.Errorf("the cursor left the screen: line %d of %d", v.row, len(v.lines))
			v.row = max(v.row, 0)
		}
	case command == "B" && err == nil:
		v.row += n
	default:
		v.problem = fmt.Errorf("sequence %q%q", parameter, command)
	}
}

// text is what was shown, from the first line on.
func (v *virtual) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.TrimRight(strings.Join(v.lines, "\n"), "\n") + "\n"
}

func (v *virtual) bytes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.written
}

package guest

// Longest escape sequences that are believed, in bytes: a longer one is text.
const (
	csiMax    = 64
	stringMax = 1024
)

// cleaner turns a terminal's bytes into lines of text: escape sequences go, and
// whatever moves the cursor to another line, or back to the start of this one,
// begins a new line. It works on a stream that is cut anywhere.
type cleaner struct {
	mode      cleanMode
	length    int  // of the escape sequence so far
	returned  bool // a carriage return whose meaning the next byte shows
	lineEmpty bool // nothing was written since the last newline
}

type cleanMode int

const (
	plain     cleanMode = iota
	escape              // after ESC
	csi                 // after ESC [
	charset             // after ESC ( and the like: one byte follows
	str                 // after ESC ] P X ^ _: up to BEL or ESC \
	strEscape           // ESC within str
)

// clean appends the text of p to out.
func (c *cleaner) clean(out, p []byte) []byte {
	for _, b := range p {
		switch c.mode {
		case plain:
			out = c.plain(out, b)
		case escape:
			c.escape(b)
		case csi:
			out = c.csi(out, b)
		case charset:
			c.mode = plain
		case str, strEscape:
			c.str(b)
		}
	}
	return out
}

func (c *cleaner) plain(out []byte, b byte) []byte {
	if b == '\r' {
		c.returned = true
		return out
	}
	if c.returned && b != '\n' && b >= ' ' {
		out = c.newline(out)
	}
	switch {
	case b == '\n':
		c.returned, c.lineEmpty = false, true
		return append(out, b)
	case b == 0x1b:
		c.mode, c.length = escape, 0
	case b == '\t' || b >= ' ' && b != 0x7f:
		c.returned, c.lineEmpty = false, false
		return append(out, b)
	}
	return out
}

// newline ends a line that has text.
func (c *cleaner) newline(out []byte) []byte {
	c.returned = false
	if c.lineEmpty {
		return out
	}
	c.lineEmpty = true
	return append(out, '\n')
}

func (c *cleaner) escape(b byte) {
	switch b {
	case '[':
		c.mode = csi
	case ']', 'P', 'X', '^', '_':
		c.mode = str
	case '(', ')', '*', '+', '#', '%':
		c.mode = charset
	case 0x1b: // the last one starts the sequence
	default:
		c.mode = plain
	}
}

func (c *cleaner) csi(out []byte, b byte) []byte {
	c.length++
	switch {
	case b == 0x1b:
		c.mode, c.length = escape, 0
	case b >= 0x40 && b <= 0x7e:
		c.mode = plain
		if b == 'H' || b == 'f' || b == 'E' || b == 'B' || b == 'd' {
			return c.newline(out)
		}
	case c.length > csiMax:
		c.mode = plain
	}
	return out
}

func (c *cleaner) str(b byte) {
	c.length++
	switch {
	case b == 0x07, c.mode == strEscape && b == '\\', c.length > stringMax:
		c.mode = plain
	case b == 0x1b:
		c.mode = strEscape
	default:
		c.mode = str
	}
}

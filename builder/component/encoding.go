package component

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// textEncoding is how text lies in a file. Without an order, utf-16 and utf-32
// are little-endian; no byte order mark is written, and one is dropped on reading
// (inferred).
type textEncoding struct {
	bits  int
	order byteOrder
}

// byteOrder both reads and appends.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func parseEncoding(name string) (textEncoding, error) {
	e := textEncoding{order: binary.LittleEndian}
	switch strings.ReplaceAll(strings.ToLower(name), "-", "") {
	case "", "utf8":
		e.bits = 8
	case "utf16", "utf16le":
		e.bits = 16
	case "utf16be":
		e.bits, e.order = 16, binary.BigEndian
	case "utf32", "utf32le":
		e.bits = 32
	case "utf32be":
		e.bits, e.order = 32, binary.BigEndian
	default:
		return e, fmt.Errorf("unknown encoding %q: expected utf8, or utf16 or utf32 with an optional -LE or -BE", name)
	}
	return e, nil
}

// encode turns text into the bytes of a file.
func encode(text, encoding string) ([]byte, error) {
	e, err := parseEncoding(encoding)
	if err != nil || e.bits == 8 {
		return []byte(text), err
	}
	var out []byte
	if e.bits == 16 {
		for _, unit := range utf16.Encode([]rune(text)) {
			out = e.order.AppendUint16(out, unit)
		}
		return out, nil
	}
	for _, r := range text {
		out = e.order.AppendUint32(out, uint32(r))
	}
	return out, nil
}

// decode turns the bytes of a file into text.
func decode(content []byte, encoding string) (string, error) {
	e, err := parseEncoding(encoding)
	if err != nil {
		return "", err
	}
	var text string
	switch e.bits {
	case 8:
		text = string(content)
		if !utf8.ValidString(text) {
			return "", fmt.Errorf("the file is not %s text", encoding)
		}
	case 16:
		text, err = e.decode16(content)
	default:
		text, err = e.decode32(content)
	}
	return strings.TrimPrefix(text, "\ufeff"), err
}

func (e textEncoding) decode16(content []byte) (string, error) {
	if len(content)%2 != 0 {
		return "", fmt.Errorf("the file has %d bytes, which is no whole number of UTF-16 units", len(content))
	}
	units := make([]uint16, 0, len(content)/2)
	for ; len(content) > 0; content = content[2:] {
		units = append(units, e.order.Uint16(content))
	}
	return string(utf16.Decode(units)), nil
}

func (e textEncoding) decode32(content []byte) (string, error) {
	if len(content)%4 != 0 {
		return "", fmt.Errorf("the file has %d bytes, which is no whole number of UTF-32 units", len(content))
	}
	runes := make([]rune, 0, len(content)/4)
	for ; len(content) > 0; content = content[4:] {
		runes = append(runes, rune(e.order.Uint32(content)))
	}
	return string(runes), nil
}

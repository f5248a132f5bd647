package component

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// maxText is the largest file whose text is read or converted, in bytes.
const maxText = 64 << 20

// appendFile adds to a file that exists; none is made.
func appendFile(_ context.Context, c *call) (_ map[string]string, err error) {
	content, err := encode(c.text("content"), c.text("encoding"))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.path("path"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(content)
	return nil, err
}

func readText(path, encoding string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no regular file", path)
	case info.Size() > maxText:
		return "", fmt.Errorf("%s has %d bytes; at most %d can be read", path, info.Size(), maxText)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text, err := decode(content, encoding)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// readFile gives the text of a file to later steps. It is printed only on request.
func readFile(_ context.Context, c *call) (map[string]string, error) {
	text, err := readText(c.path("path"), c.text("encoding"))
	if err != nil {
		return nil, err
	}
	if c.bool("printFileContent") {
		out := c.newOutputs(c.at)
		if _, err := out.stdout.Write([]byte(text)); err != nil {
			return nil, err
		}
		out.flush()
	}
	if len(text) > maxCapture {
		text, c.state.Cut = "", true
	}
	return map[string]string{"content": text}, nil
}

// setFileEncoding converts a file from UTF-8.
func setFileEncoding(_ context.Context, c *call) (map[string]string, error) {
	path := c.path("path")
	text, err := readText(path, "utf8")
	if err != nil {
		return nil, err
	}
	content, err := encode(text, c.text("encoding"))
	if err != nil {
		return nil, err
	}
	return nil, writeFile(path, content, 0, false)
}

// Package botomodel holds requests to AWS against the service models of botocore:
// that the operation exists, that every parameter is one of it, that the required
// ones are there, and that values have the type, range, length, pattern and
// enumeration that the model states.
//
// It checks what was put on the wire, not what a client was given, and also requests
// that no emulator answers. It knows the protocols ec2 (forms), json and rest-json.
package botomodel

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Model is the model of one service. It does not change, and serves several
// goroutines at once.
type Model struct {
	Metadata struct {
		APIVersion string `json:"apiVersion"`
		Protocol   string `json:"protocol"`
		ServiceID  string `json:"serviceId"`
	} `json:"metadata"`
	Operations map[string]operation `json:"operations"`
	Shapes     map[string]*shape    `json:"shapes"`
}

type operation struct {
	HTTP struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
	} `json:"http"`
	Input struct {
		Shape string `json:"shape"`
	} `json:"input"`
}

type shape struct {
	Type     string            `json:"type"`
	Required []string          `json:"required"`
	Members  map[string]member `json:"members"`
	Member   member            `json:"member"`
	Key      member            `json:"key"`
	Value    member            `json:"value"`
	Enum     []string          `json:"enum"`
	Min      *float64          `json:"min"`
	Max      *float64          `json:"max"`
	Pattern  string            `json:"pattern"`
	Payload  string            `json:"payload"`

	pattern *regexp.Regexp // nil if there is none, or none that Go understands
}

type member struct {
	Shape        string `json:"shape"`
	Location     string `json:"location"`
	LocationName string `json:"locationName"`
	QueryName    string `json:"queryName"`
}

// Open reads the newest model of a service that a Python environment has. The
// environment is that of a program in its bin folder.
func Open(program, service string) (*Model, error) {
	pattern := filepath.Join(filepath.Dir(program), "..", "lib", "python3*", "site-packages", "botocore", "data", service, "*", "service-2.json*")
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no model of %s at %s", service, pattern)
	}
	slices.Sort(found) // versions are dates
	return Load(found[len(found)-1])
}

// Load reads a model, compressed or not.
func Load(path string) (*Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	m := &Model{}
	if err := json.NewDecoder(text).Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range m.Shapes {
		if s.Pattern != "" {
			// Java's expressions; those with more than Go's can do are passed over.
			s.pattern, _ = regexp.Compile("^(?:" + s.Pattern + ")$")
		}
	}
	return m, nil
}

// input is what an operation takes; nil if that is nothing.
func (m *Model) input(name string) (*shape, error) {
	op, known := m.Operations[name]
	if !known {
		return nil, fmt.Errorf("%s has no operation %q", m.Metadata.ServiceID, name)
	}
	return m.Shapes[op.Input.Shape], nil
}

// report collects what is wrong with one request.
type report struct {
	model *Model
	errs  []error
}

func (r *report) add(path, format string, arguments ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, arguments...)))
}

func (r *report) err(operation string) error {
	if len(r.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s: %w", r.model.Metadata.ServiceID, operation, errors.Join(r.errs...))
}

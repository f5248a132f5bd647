package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/gallery"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

func componentCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "component",
		Short: "Run and check component documents, and look at the gallery",
		Long: `Component documents are those of EC2 Image Builder: phases of steps. Wherever a FILE is asked for,
the name of a gallery component will do as well, with or without a version: update-linux@1.x.x.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(componentRunCommand(), componentValidateCommand(), componentListCommand(), componentShowCommand())
	return c
}

// written is a component document as a command finds it.
type written struct {
	name string // for people: of the file without its extension, or of the gallery component
	path string // for messages: as given, or gallery:name@version
	text []byte
}

var galleryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(@.*)?$`)

// find reads a document: a file where there is one, or else a gallery component.
func find(ctx context.Context, ref string, from sources) (written, error) {
	if from.remote(ref) {
		return from.fetch(ctx, ref)
	}
	text, err := readDocument(ref)
	switch {
	case err == nil:
		return written{name: strings.TrimSuffix(filepath.Base(ref), filepath.Ext(ref)), path: ref, text: text}, nil
	case !errors.Is(err, fs.ErrNotExist) || !galleryName.MatchString(ref) || filepath.Ext(ref) == ".yaml" || filepath.Ext(ref) == ".yml":
		return written{}, plainPathError(ref, err)
	}
	name, version, text, err := gallery.New().Component(ref)
	if err != nil {
		return written{}, fmt.Errorf("%s is no file here, and %w", ref, err)
	}
	return written{name: name, path: "gallery:" + name + "@" + version, text: text}, nil
}

// readDocument reads one byte more than a document may have, which parsing then refuses.
func readDocument(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, component.MaxDocumentSize+1))
	return text, errors.Join(err, f.Close())
}

func plainPathError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist; `ingot component list` shows what the gallery has", path)
	}
	return err
}

// checked is a document with what is wrong with it on a platform.
type checked struct {
	written
	document   *component.Document // nil when it cannot be read at all
	parameters map[string]string   // that it is given
	problems   yamldoc.Problems
	warnings   yamldoc.Problems
}

// check holds a document against a platform. Without complete, parameters that
// have no value yet are nobody's mistake.
func check(w written, platform string, parameters map[string]string, complete bool) checked {
	c := checked{written: w, parameters: parameters}
	c.document, c.problems = component.Parse(w.path, w.text)
	if c.document == nil {
		return c
	}
	c.warnings = c.document.Warnings
	given := maps.Clone(parameters)
	if given == nil {
		given = map[string]string{}
	}
	for _, p := range c.document.Parameters {
		if _, ok := given[p.Name]; p.Required && !ok && !complete {
			given[p.Name] = strings.Join(p.AllowedValues[:min(len(p.AllowedValues), 1)], "")
		}
	}
	c.problems = append(c.problems, c.document.Check(platform, given)...)
	c.problems.Sort()
	return c
}

// platformFlag is the value of --platform; the zero value is this machine's.
type platformFlag string

func platforms() []string {
	return []string{component.Linux, component.Windows, component.MacOS}
}

func (p *platformFlag) String() string { return string(*p) }

func (p *platformFlag) Type() string { return strings.Join(platforms(), "|") }

// Set accepts the platforms in any case.
func (p *platformFlag) Set(text string) error {
	i := slices.IndexFunc(platforms(), func(known string) bool { return strings.EqualFold(known, text) })
	if i < 0 {
		return fmt.Errorf("expected one of %s", strings.Join(platforms(), ", "))
	}
	*p = platformFlag(platforms()[i])
	return nil
}

// parseParameters reads what --parameters gives: n1=v1,n2=v2, as often as wanted.
func parseParameters(given []string) (map[string]string, error) {
	values := map[string]string{}
	for _, list := range given {
		for pair := range strings.SplitSeq(list, ",") {
			name, value, ok := strings.Cut(pair, "=")
			name = strings.TrimSpace(name)
			_, twice := values[name]
			switch {
			case !ok || name == "":
				return nil, fmt.Errorf("--parameters: %q is not name=value; a value with a comma needs --config", pair)
			case value == "":
				return nil, fmt.Errorf("--parameters: %s has no value", name)
			case twice:
				return nil, fmt.Errorf("--parameters: %s is given twice", name)
			}
			values[name] = value
		}
	}
	return values, nil
}

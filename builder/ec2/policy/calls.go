package policy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Found is what the source below a folder asks of AWS.
type Found struct {
	Operations []string            // service.Operation, sorted
	Documents  []string            // of Systems Manager, sorted
	At         map[string][]string // the packages that ask for an operation, by its name
}

const sdk = "github.com/aws/aws-sdk-go-v2/"

// document is a name that AWS gave to one of its documents, as code writes it.
var document = regexp.MustCompile(`^AWS(EC2)?-Run[A-Z][A-Za-z]+$`)

// Calls reads the Go files below some folders, and tells what is asked of AWS there:
// nobody makes a call without its input, which is a type of the SDK. Tests, and
// packages for tests (whose names end in test), are left out, and so are folders that
// are named in without.
func Calls(folders []string, without ...string) (Found, error) {
	f := finder{at: map[string]map[string]bool{}, documents: map[string]bool{}}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(at string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (slices.Contains(without, filepath.Clean(at)) || entry.Name() == "testdata" || strings.HasSuffix(entry.Name(), "test")):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(at, ".go") || strings.HasSuffix(at, "_test.go"):
				return nil
			}
			return f.file(at)
		})
		if err != nil {
			return Found{}, err
		}
	}
	found := Found{Operations: slices.Sorted(maps.Keys(f.at)), Documents: slices.Sorted(maps.Keys(f.documents)), At: map[string][]string{}}
	for op, packages := range f.at {
		found.At[op] = slices.Sorted(maps.Keys(packages))
	}
	return found, nil
}

type finder struct {
	at        map[string]map[string]bool // operation: folders
	documents map[string]bool
}

func (f *finder) add(operation, at string) {
	if f.at[operation] == nil {
		f.at[operation] = map[string]bool{}
	}
	f.at[operation][filepath.Dir(at)] = true
}

func (f *finder) file(at string) error {
	text, err := os.ReadFile(at)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), at, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	services := map[string]string{} // the name in this file: the service
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if err := f.imported(imported, at); err != nil {
			return err
		}
		service, ok := strings.CutPrefix(imported, sdk+"service/")
		if !ok || strings.Contains(service, "/") {
			continue
		}
		name := service
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			return fmt.Errorf("%s: what a dot import of %s is used for cannot be seen", at, imported)
		}
		services[name] = service
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && services[x.Name] != "" {
				if operation, ok := strings.CutSuffix(n.Sel.Name, "Input"); ok {
					f.add(services[x.Name]+"."+operation, at)
				}
			}
		case *ast.BasicLit:
			if value, err := strconv.Unquote(n.Value); err == nil && document.MatchString(value) {
				f.documents[value] = true
			}
		}
		return true
	})
	return nil
}

// imported takes care of packages that make calls without their callers' inputs.
func (f *finder) imported(name, at string) error {
	if !strings.HasPrefix(name, sdk+"feature/s3/") {
		return nil
	}
	operations, ok := managers[path.Clean(name)]
	if !ok && !strings.HasSuffix(name, "/types") {
		return fmt.Errorf("%s: it is not known which calls %s makes: add it to managers in package policy", at, name)
	}
	for _, op := range operations {
		f.add(op, at)
	}
	return nil
}

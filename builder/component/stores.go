package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ParameterStore knows the values that {{ aws:ssm:… }} stands for.
type ParameterStore interface {
	// Parameter returns the value of a name such as /path/name.
	Parameter(ctx context.Context, name string) (StoredValue, error)
}

// StoredValue is one value of a parameter store.
type StoredValue struct {
	Text   string   // of a list: its entries, joined by commas
	List   []string // nil for a value that is no list
	Secret bool     // masked in everything that the run writes
}

// ObjectStore keeps what s3:// addresses name.
type ObjectStore interface {
	// Open returns the content of an object, which the caller closes.
	Open(ctx context.Context, o Object) (io.ReadCloser, error)
	// List returns the keys that begin with prefix.Key, in order, and at most most of them.
	List(ctx context.Context, prefix Object, most int) ([]string, error)
	// Put makes an object of a file, from its present offset to its end.
	Put(ctx context.Context, o Object, file *os.File) error
}

// Object names something in an ObjectStore.
type Object struct {
	Bucket string
	Key    string
	Owner  string // the account that must own the bucket; empty: any
}

// String is the object's address.
func (o Object) String() string { return objectScheme + o.Bucket + "/" + o.Key }

// ComponentSource knows the documents that component ARNs name.
type ComponentSource interface {
	// Component returns the text of a document.
	Component(ctx context.Context, arn string) (text string, err error)
}

const objectScheme = "s3://"

// What a plain agent says of steps that reach beyond the machine.
var (
	errNoObjects    = errors.New("there is no access to S3 here" + whoReaches)
	errNoStore      = errors.New("there is no access to a parameter store here" + whoReaches)
	errNoComponents = errors.New("there is no access to Image Builder here" + whoReaches)
)

const whoReaches = ": only builds and runs by hand have it, and only where ingot-agent-aws is installed beside ingot"

// parseObject reads an s3://bucket/key address; the key may be empty.
func parseObject(address, owner string) (Object, error) {
	rest, ok := strings.CutPrefix(address, objectScheme)
	bucket, key, slash := strings.Cut(rest, "/")
	if !ok || bucket == "" || !slash {
		return Object{}, fmt.Errorf("%.200q is no address of the form s3://bucket/key", address)
	}
	return Object{Bucket: bucket, Key: key, Owner: owner}, nil
}

// fetchObject writes an object to a file, which appears under its name only when
// it is complete. The folder has to be there.
func (c *call) fetchObject(ctx context.Context, o Object, target string) (err error) {
	if c.env.Objects == nil {
		return errNoObjects
	}
	if err := mustBe(filepath.Dir(target), true); err != nil {
		return err
	}
	content, err := c.env.Objects.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	f, err := os.CreateTemp(filepath.Dir(target), ".download-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, copyErr := io.Copy(f, &interruptible{ctx, content})
	if err := errors.Join(copyErr, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return place(f.Name(), target)
}

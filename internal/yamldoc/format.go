package yamldoc

import (
	"fmt"
	"reflect"
)

// Format describes one kind of document to those who write it, as far as the Go type
// that Decode fills does not say it already.
type Format struct {
	Title string
	Doc   string       // one sentence
	Type  reflect.Type // what a document is decoded into
	// Keys by their path, such as schedule.cron; the entries of lists and maps have
	// no name in it.
	Keys map[string]Key
}

// Key is what an author may want to know of one key, and what its value has to be
// beyond its type. Bounds that depend on other keys are not told here.
type Key struct {
	Doc     string
	Default string   // as it would be written; empty: none, or not a fixed one
	Allowed []string // values; empty: any
	Pattern string   // of a text; a regular expression without flags
	Word    bool     // of a text: one that looks like a number is wrong
	Min     int64    // of a number, with Max; both 0: any
	Max     int64
	Most    int // entries of a list or map; 0: any number
}

// ShapeKind says what a part of a document is written as.
type ShapeKind int

const (
	ShapeText ShapeKind = iota
	ShapeBool
	ShapeNumber
	ShapeDuration
	ShapeList
	ShapeMap
	ShapeStruct
)

// Shape is how Decode wants a value to be written.
type Shape struct {
	Kind   ShapeKind
	Entry  *Shape     // of a list or map
	Keys   []ShapeKey // of a struct
	OrText bool       // a struct that decodes itself: a text stands for its first key
}

// ShapeKey is one key of a struct.
type ShapeKey struct {
	Name     string
	Required bool
	Example  string
	Shape    Shape
}

// ShapeOf looks at a type that Decode fills. A type that Decode cannot fill is a
// mistake of the program, and panics.
func ShapeOf(t reflect.Type) Shape {
	switch {
	case t == durationType:
		return Shape{Kind: ShapeDuration}
	case t.Kind() == reflect.Pointer:
		return ShapeOf(t.Elem())
	case reflect.PointerTo(t).Implements(reflect.TypeFor[placed]()):
		return ShapeOf(t.Field(0).Type)
	case t.Kind() == reflect.String:
		return Shape{Kind: ShapeText}
	case t.Kind() == reflect.Bool:
		return Shape{Kind: ShapeBool}
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return Shape{Kind: ShapeNumber}
	case t.Kind() == reflect.Slice:
		return Shape{Kind: ShapeList, Entry: new(ShapeOf(t.Elem()))}
	case t.Kind() == reflect.Map:
		return Shape{Kind: ShapeMap, Entry: new(ShapeOf(t.Elem()))}
	case t.Kind() == reflect.Struct:
		s := Shape{Kind: ShapeStruct, OrText: reflect.PointerTo(t).Implements(reflect.TypeFor[NodeDecoder]())}
		for _, f := range fields(t) {
			s.Keys = append(s.Keys, ShapeKey{f.name, f.required, f.example, ShapeOf(t.FieldByIndex(f.index).Type)})
		}
		return s
	}
	panic(fmt.Sprintf("%s is no type of a document", t))
}

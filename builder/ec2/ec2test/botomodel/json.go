package botomodel

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// JSON checks a request of the protocol json: its body.
func (m *Model) JSON(name string, body []byte) error {
	input, err := m.input(name)
	if err != nil {
		return err
	}
	r := &report{model: m}
	value, ok := r.parse(body)
	if ok && input != nil {
		r.json("", input, value)
	}
	return r.err(name)
}

// parse reads a body, in which numbers stay as they are written.
func (r *report) parse(body []byte) (any, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		r.add("body", "%v", err)
		return nil, false
	}
	if _, err := decoder.Token(); err != io.EOF {
		r.add("body", "more than one value")
	}
	return value, true
}

func (r *report) json(path string, s *shape, value any) {
	switch s.Type {
	case "structure":
		if object, ok := value.(map[string]any); ok {
			r.jsonStructure(path, s, object)
			return
		}
	case "map":
		if object, ok := value.(map[string]any); ok {
			r.jsonMap(path, s, object)
			return
		}
	case "list":
		if members, ok := value.([]any); ok {
			r.bounds(path, s, "members", float64(len(members)))
			for i, v := range members {
				r.json(item(path, i+1), r.model.Shapes[s.Member.Shape], v)
			}
			return
		}
	case "string", "blob":
		if text, ok := value.(string); ok {
			r.text(path, s, text)
			return
		}
	case "boolean":
		if _, ok := value.(bool); ok {
			return
		}
	case "integer", "long":
		if n, ok := value.(json.Number); ok {
			r.text(path, s, n.String())
			return
		}
	default: // float, double, timestamp
		if n, ok := value.(json.Number); ok {
			if f, err := n.Float64(); err == nil {
				r.number(path, s, f)
				return
			}
		}
	}
	r.add(path, "%T where a %s belongs", value, s.Type)
}

func (r *report) jsonStructure(path string, s *shape, object map[string]any) {
	names := map[string]member{}
	for name, m := range s.Members {
		if m.Location == "" {
			names[jsonName(name, m)] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if m, known := names[name]; known {
			r.json(at(path, name), r.model.Shapes[m.Shape], object[name])
		} else {
			r.add(at(path, name), "there is no such parameter")
		}
	}
	r.required(path, s, func(name string) bool {
		m := s.Members[name]
		_, there := object[jsonName(name, m)]
		return there || m.Location != "" // which is not in the body
	})
}

func (r *report) jsonMap(path string, s *shape, object map[string]any) {
	r.bounds(path, s, "members", float64(len(object)))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		r.text(path+" key", r.model.Shapes[s.Key.Shape], key)
		r.json(at(path, key), r.model.Shapes[s.Value.Shape], object[key])
	}
}

func jsonName(name string, m member) string {
	if m.LocationName != "" {
		return m.LocationName
	}
	return name
}

// REST checks a request of the protocol rest-json. The body is given apart, because
// whoever answers the request reads it too.
func (m *Model) REST(request *http.Request, body []byte) error {
	name, places := m.route(request)
	input, err := m.input(name)
	if err != nil {
		return err
	}
	r := &report{model: m}
	query := request.URL.Query()
	for _, memberName := range slices.Sorted(maps.Keys(input.Members)) {
		mb := input.Members[memberName]
		value, there := "", false
		switch mb.Location {
		case "uri":
			value, there = places[mb.LocationName], true
		case "querystring":
			value, there = query.Get(mb.LocationName), query.Has(mb.LocationName)
			query.Del(mb.LocationName)
		case "header":
			value = request.Header.Get(mb.LocationName)
			there = len(request.Header.Values(mb.LocationName)) > 0
		default:
			continue
		}
		if there {
			r.text(memberName, m.Shapes[mb.Shape], value)
		} else if slices.Contains(input.Required, memberName) {
			r.add(memberName, "is missing")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		if key != "x-id" { // the SDK's name for the operation
			r.add(key, "there is no such parameter")
		}
	}
	inBody := slices.ContainsFunc(slices.Collect(maps.Values(input.Members)), func(mb member) bool { return mb.Location == "" })
	if inBody && input.Payload == "" {
		if value, ok := r.parse(body); ok {
			r.json("", input, value)
		}
	}
	return r.err(name)
}

// route finds the operation of an address, the values in it, and prefers the one
// that spells out most of it.
func (m *Model) route(request *http.Request) (name string, places map[string]string) {
	best := -1
	for candidate, op := range m.Operations {
		if op.HTTP.Method != request.Method {
			continue
		}
		if found, literal := match(op.HTTP.URI, request.URL.Path); found != nil && literal > best {
			name, places, best = candidate, found, literal
		}
	}
	return name, places
}

// match holds a path against a template; literal is how many parts are alike.
func match(template, path string) (places map[string]string, literal int) {
	template, _, _ = strings.Cut(template, "?")
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, 0
	}
	places = map[string]string{}
	for i, part := range want {
		inner, isPlace := strings.CutPrefix(part, "{")
		switch {
		case isPlace:
			places[strings.TrimSuffix(inner, "}")] = have[i]
		case part == have[i]:
			literal++
		default:
			return nil, 0
		}
	}
	return places, literal
}

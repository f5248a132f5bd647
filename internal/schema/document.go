package schema

import (
	"maps"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Document makes the schema of component documents. With a platform, only what
// exists there is accepted; without one, whatever exists anywhere.
func Document(platform string) map[string]any {
	l := &language{Language: component.Describe(), platform: platform, definitions: node{}}
	out := node{
		"$schema": dialect, "title": "component document",
		"description": "Phases of steps, in the language of EC2 Image Builder's component documents.",
		"type":        "object", "required": []string{"schemaVersion", "phases"},
		"properties": node{
			"name":          described("Name of the document.", scalar()),
			"description":   described("For people.", scalar()),
			"schemaVersion": described("The version of the language; there is only one.", node{"enum": []any{1, "1.0", "1"}}),
			"parameters":    described("Values that whoever uses the document gives.", l.named(component.MaxParameters, l.parameter())),
			"constants":     described("Names for values inside of the document.", l.named(0, constant())),
			"phases":        described("Run in this order, from the top of each to its end.", l.phases()),
		},
	}
	l.definitions["condition"], l.definitions["guard"] = l.condition(false), l.condition(true)
	out["$defs"] = l.definitions
	return out
}

// language is one Document on its way.
type language struct {
	component.Language
	platform    string
	definitions node // that are used in several places, by name
}

func described(doc string, n node) node {
	if doc != "" {
		n["description"] = doc
	}
	return n
}

// scalar is a single value, which is read as the text that stands there.
func scalar() node { return node{"type": []any{"string", "number", "boolean", "null"}} }

// filled is a single value that may not be empty.
func filled() node {
	return node{"type": []any{"string", "number", "boolean"}, "minLength": 1}
}

// named is a list of mappings with one key each. Unknown keys are ignored with a
// warning everywhere, as documents in use have them.
func (l *language) named(most int, value node) node {
	out := node{"type": []any{"array", "null"}, "items": node{
		"type": "object", "minProperties": 1, "maxProperties": 1,
		"propertyNames":        node{"pattern": l.NamePattern, "minLength": l.MinName, "maxLength": l.MaxName},
		"additionalProperties": value,
	}}
	if most > 0 {
		out["maxItems"] = most
	}
	return out
}

func (l *language) parameter() node {
	def := scalar()
	def["maxLength"] = component.MaxParameterLength
	return node{"type": "object", "required": []string{"type"}, "properties": node{
		"type":          described("The only type there is.", node{"const": "string"}),
		"default":       described("Without one, a value has to be given.", def),
		"description":   described("For people.", scalar()),
		"allowedValues": described("The values that may be given.", node{"type": "array", "items": scalar()}),
	}}
}

func constant() node {
	return node{"type": "object", "required": []string{"type", "value"}, "properties": node{
		"type":        described("The only type there is.", node{"const": "string"}),
		"value":       described("What the name stands for.", scalar()),
		"description": described("For people.", scalar()),
	}}
}

func (l *language) phases() node {
	known := []string{component.PhaseBuild, component.PhaseValidate, component.PhaseTest}
	name := filled()
	name["examples"] = list(known)
	return node{
		"type":     "array",
		"contains": node{"type": "object", "required": []string{"name"}, "properties": node{"name": node{"enum": list(known)}}},
		"items": node{"type": "object", "required": []string{"name", "steps"}, "properties": node{
			"name":  described("build and validate run on the build instance, test in a new instance of the image. Other names run when they are asked for.", name),
			"steps": node{"type": "array", "items": l.step()},
		}},
	}
}

func (l *language) step() node {
	var names, docs, rules []any
	for _, a := range component.Actions() {
		if l.platform != "" && !a.On(l.platform) {
			continue
		}
		names = append(names, a.Name)
		docs = append(docs, actionDoc(a))
		rules = append(rules, node{
			"if":   node{"required": []string{"action"}, "properties": node{"action": node{"const": a.Name}}},
			"then": l.use(a),
		})
	}
	return node{
		"type": "object", "required": []string{"name", "action"},
		"properties": node{
			"name":           described("Unique in its phase; {{ phase.step.outputs.… }} refers to it.", filled()),
			"action":         described("What the step does.", node{"enum": names, "markdownEnumDescriptions": docs}),
			"timeoutSeconds": described("Of one attempt; -1 for no limit.", l.timeout()),
			"maxAttempts":    described("How often the step is tried altogether.", whole(1, int64(l.MaxAttempts), "1")),
			"onFailure":      described("Abort: nothing more of the document runs. Continue: the rest runs, and the document fails. Ignore: the rest runs, and the document may succeed.", node{"enum": list(l.OnFailure), "default": l.OnFailure[0]}),
			"inputs":         described("What the action takes.", node{}),
			"loop":           described("Repeats the step.", l.loop()),
			"if":             described("Runs the step only when a condition holds.", node{"$ref": "#/$defs/guard"}),
		},
		"allOf": rules,
	}
}

// actionDoc is what an editor shows of an action.
func actionDoc(a component.Action) string {
	doc := a.Doc
	if len(a.Platforms) < 3 {
		doc += " Only on " + strings.Join(a.Platforms, " and ") + "."
	}
	if len(a.Outputs) > 0 {
		doc += " Outputs: " + strings.Join(a.Outputs, ", ") + "."
	}
	return doc
}

// whole is a whole number within bounds, with quotes or without.
func whole(least, most int64, def string) node {
	out := node{"anyOf": []any{
		node{"type": "integer", "minimum": least, "maximum": most},
		node{"type": "string", "pattern": `^[-+]?[0-9]+$`},
	}}
	if def != "" {
		out["default"] = def
	}
	return out
}

func (l *language) timeout() node {
	return node{"default": l.DefaultTimeout, "anyOf": []any{
		node{"const": -1},
		node{"type": "integer", "minimum": 1, "maximum": l.MaxTimeout},
		node{"type": "string", "pattern": `^(-1|\+?0*[1-9][0-9]*)$`},
	}}
}

// use is what a step with an action has to look like.
func (l *language) use(a component.Action) node {
	l.definitions[a.Name] = l.entry(a)
	entry := node{"$ref": "#/$defs/" + a.Name}
	most := node{"type": "array", "items": entry, "minItems": 1}
	if !a.List {
		most["maxItems"] = 1
	}
	inputs := node{"anyOf": []any{entry, most}}
	out := node{"properties": node{"inputs": inputs}}
	if a.Bare {
		delete(most, "minItems")
		inputs["anyOf"] = append(inputs["anyOf"].([]any), node{"type": "null"})
	} else {
		out["required"] = []string{"inputs"}
	}
	if a.Name == "ExecuteDocument" {
		properties := out["properties"].(node)
		properties["timeoutSeconds"] = node{"enum": []any{-1, "-1"}}
		properties["maxAttempts"] = node{"enum": []any{1, "1"}}
	}
	return out
}

// entry is one set of inputs. Inputs that the action does not know are ignored with a
// warning, unless they look like a slip of the pen, which only the parser sees.
func (l *language) entry(a component.Action) node {
	if len(a.Inputs) > 0 && a.Inputs[0].Type == component.Comparison {
		return node{"$ref": "#/$defs/condition"}
	}
	properties, required := node{}, []string{}
	for _, in := range a.Inputs {
		if in.POSIX && l.platform == component.Windows {
			properties[in.Name] = false
			continue
		}
		properties[in.Name] = l.input(in)
		if in.Required {
			required = append(required, in.Name)
		}
	}
	out := node{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if a.Name == "ExecutePowerShell" {
		out["oneOf"] = []any{node{"required": []string{"commands"}}, node{"required": []string{"file"}}}
	}
	return out
}

// expression is text that is not known before the step runs.
const expression = `\{\{`

func (l *language) input(in component.Input) node {
	doc := in.Doc
	if in.POSIX {
		doc = strings.TrimSpace(doc + " Not on Windows.")
	}
	out := described(doc, l.typed(in))
	if in.Default != "" {
		out["default"] = in.Default
	}
	return out
}

func (l *language) typed(in component.Input) node {
	texts := node{"type": "array", "items": scalar()}
	switch in.Type {
	case component.TextList, component.TextOrList:
		return node{"anyOf": []any{texts, scalar()}}
	case component.TextMap:
		return node{"type": "object", "additionalProperties": scalar()}
	case component.Pairs:
		return node{"type": "array", "items": node{
			"type": "object", "required": []string{"name", "value"}, "additionalProperties": scalar(),
			"properties": node{"name": described("Of the parameter.", scalar()), "value": described("For it.", scalar())},
		}}
	case component.Bool:
		return l.choice(in, node{"type": "boolean"}, node{"type": "string", "pattern": folded("true", "false")})
	case component.Number:
		return l.choice(in, node{"type": "integer", "minimum": 0, "maximum": l.MaxTimeout}, node{"type": "string", "pattern": "^[0-9]+$"})
	case component.Permissions:
		return l.choice(in, node{"type": "integer", "minimum": 0, "maximum": 7777}, node{"type": "string", "pattern": l.Permissions})
	case component.Text:
		if len(in.Allowed) > 0 {
			return l.choice(in, node{"enum": list(in.Allowed)}, node{"type": "string", "pattern": folded(in.Allowed...)})
		}
		if in.Required {
			return filled()
		}
		return scalar()
	}
	panic("no schema for inputs of type " + string(in.Type))
}

// choice is a value of one of some forms, or an expression that becomes one.
func (l *language) choice(in component.Input, forms ...node) node {
	all := append(list(forms), node{"type": "string", "pattern": expression})
	if !in.Required {
		all = append(all, node{"enum": []any{"", nil}})
	}
	return node{"anyOf": all}
}

// folded matches words whatever their case; JSON Schema has no flag for it.
func folded(words ...string) string {
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte('|')
		}
		for _, r := range word {
			lower, upper := strings.ToLower(string(r)), strings.ToUpper(string(r))
			if lower == upper {
				b.WriteString(lower)
				continue
			}
			b.WriteString("[" + lower + upper + "]")
		}
	}
	return "^(" + b.String() + ")$"
}

func (l *language) loop() node {
	count := func(doc string) node { return described(doc, whole(l.MinCount, l.MaxCount, "")) }
	by := count("Added after each turn; not 0.")
	by["not"] = node{"const": 0}
	return node{
		"type": "object", "additionalProperties": false,
		"oneOf": []any{node{"required": []string{"for"}}, node{"required": []string{"forEach"}}},
		"properties": node{
			"name": described("{{ name.value }} works beside {{ loop.value }}.", scalar()),
			"for": described("Counts; both ends are included.", node{
				"type": "object", "additionalProperties": false, "required": []string{"start", "end", "updateBy"},
				"properties": node{"start": count("The first value."), "end": count("The last value."), "updateBy": by},
			}),
			"forEach": described("Goes through a list, or through text that is split.", node{"anyOf": []any{
				node{"type": "array", "items": scalar()},
				node{"type": "string", "pattern": l.StoredList},
				node{"type": "object", "additionalProperties": false, "required": []string{"list"}, "properties": node{
					"list":      described("The text to split.", scalar()),
					"delimiter": described("One character.", node{"enum": list(l.Delimiters), "default": l.Delimiters[0]}),
				}},
			}}),
		},
	}
}

// condition is exactly one operator with its operands; as a guard, with then and else
// beside it. The number of keys makes sure that there is one operator, in whatever case.
func (l *language) condition(guard bool) node {
	beside := [][]string{{}}
	if guard {
		beside = append(beside, []string{"then"}, []string{"else"}, []string{"then", "else"})
	}
	var shapes []any
	for _, operand := range []string{"", "value", "path"} {
		for _, keys := range beside {
			shapes = append(shapes, l.shape(operand, keys))
		}
	}
	return node{"type": "object", "anyOf": shapes}
}

func (l *language) shape(operand string, beside []string) node {
	properties, patterns := node{}, node{}
	required := slices.Clone(beside)
	if operand != "" {
		required = append(required, operand)
		properties[operand] = described("What is looked at.", scalar())
	}
	for _, key := range beside {
		properties[key] = node{"enum": list(l.Verdicts)}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Operators)) {
		if l.Operators[name] != operand {
			continue
		}
		properties[name] = operands(name)
		patterns[folded(name)] = operands(name)
	}
	return node{
		"properties": properties, "patternProperties": patterns, "additionalProperties": false,
		"required": required, "minProperties": len(required) + 1, "maxProperties": len(required) + 1,
	}
}

// operands are what stands behind the key of an operator.
func operands(name string) node {
	condition := node{"$ref": "#/$defs/condition"}
	switch name {
	case "and", "or":
		return node{"type": "array", "items": condition, "minItems": 1}
	case "not":
		return node{"anyOf": []any{condition, node{"type": "array", "items": condition, "minItems": 1, "maxItems": 1}}}
	}
	return scalar()
}

package ec2test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// tree is an element of an answer in XML, which can be changed and written again.
type tree struct {
	name     string
	space    string // the namespace, of the outermost element only
	text     string
	children []*tree
}

func element(name string, children ...*tree) *tree { return &tree{name: name, children: children} }

func value(name, text string) *tree { return &tree{name: name, text: text} }

func parseTree(text []byte) (*tree, error) {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	root := &tree{}
	open := []*tree{root}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			child := &tree{name: token.Name.Local}
			if top == root {
				child.space = token.Name.Space
			}
			top.children = append(top.children, child)
			open = append(open, child)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text += string(token)
		}
	}
	if len(root.children) != 1 {
		return nil, errors.New("an answer that is not one element")
	}
	return root.children[0], nil
}

func (n *tree) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	n.write(&b)
	return b.Bytes()
}

func (n *tree) write(b *bytes.Buffer) {
	b.WriteString("<" + n.name)
	if n.space != "" {
		b.WriteString(` xmlns="` + n.space + `"`)
	}
	b.WriteString(">")
	if len(n.children) == 0 {
		_ = xml.EscapeText(b, []byte(n.text)) // a buffer takes everything
	}
	for _, child := range n.children {
		child.write(b)
	}
	b.WriteString("</" + n.name + ">")
}

// find returns the first element at a path of names, nil if there is none.
func (n *tree) find(path ...string) *tree {
	for _, name := range path {
		if n == nil {
			return nil
		}
		at := slices.IndexFunc(n.children, func(c *tree) bool { return c.name == name })
		if at < 0 {
			return nil
		}
		n = n.children[at]
	}
	return n
}

// get is the text at a path, empty if it leads nowhere.
func (n *tree) get(path ...string) string {
	if found := n.find(path...); found != nil {
		return strings.TrimSpace(found.text)
	}
	return ""
}

// items are the members of a list.
func (n *tree) items(path ...string) []*tree {
	if found := n.find(path...); found != nil {
		return found.children
	}
	return nil
}

// put sets a child, in place of one of that name.
func (n *tree) put(child *tree) {
	if at := slices.IndexFunc(n.children, func(c *tree) bool { return c.name == child.name }); at >= 0 {
		n.children[at] = child
		return
	}
	n.children = append(n.children, child)
}

func (n *tree) remove(name string) {
	n.children = slices.DeleteFunc(n.children, func(c *tree) bool { return c.name == name })
}

// keep drops the members of a list that keep is false for.
func (n *tree) keep(keep func(*tree) bool, path ...string) {
	if list := n.find(path...); list != nil {
		list.children = slices.DeleteFunc(list.children, func(c *tree) bool { return !keep(c) })
	}
}

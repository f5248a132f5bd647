package ec2test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Resource is something in the account.
type Resource struct {
	ID    string
	Name  string // of an image
	State string
	Tags  map[string]string
}

// Leftovers is what is in the account besides what it had from the start.
type Leftovers struct {
	Instances []Resource // neither terminated nor about to be
	Volumes   []Resource // attached to none of those
	Snapshots []Resource // that no image is made of
	Images    []Resource
	Imports   []Resource // that go on
}

// String is for messages of tests; it is empty if nothing is left.
func (l Leftovers) String() string {
	var words []string
	for _, all := range [][]Resource{l.Instances, l.Volumes, l.Snapshots, l.Images, l.Imports} {
		for _, r := range all {
			words = append(words, fmt.Sprintf("%s (%s, tags %v)", r.ID, r.State, r.Tags))
		}
	}
	return strings.Join(words, ", ")
}

// With are those that have a tag of that value.
func (l Leftovers) With(tag, value string) Leftovers {
	with := func(all []Resource) []Resource {
		return slices.DeleteFunc(slices.Clone(all), func(r Resource) bool { return r.Tags[tag] != value })
	}
	return Leftovers{with(l.Instances), with(l.Volumes), with(l.Snapshots), with(l.Images), with(l.Imports)}
}

// Leftovers lists what is in the account as it really is, seen by describes or not. It
// counts as no call and moves no state.
func (c *Cloud) Leftovers(ctx context.Context) Leftovers {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var l Leftovers
	for _, reserved := range c.look(ctx, "DescribeInstances").items("reservationSet") {
		for _, item := range reserved.items("instancesSet") {
			r := resource(item, "instanceId")
			if i := c.instances[r.ID]; i != nil {
				r.State = i.state
			}
			if r.State != stateTerminated && r.State != stateShuttingDown {
				l.Instances = append(l.Instances, r)
			}
		}
	}
	for _, item := range c.look(ctx, "DescribeVolumes").items("volumeSet") {
		if owner := item.get("attachmentSet", "item", "instanceId"); !slices.ContainsFunc(l.Instances, func(r Resource) bool { return r.ID == owner }) {
			l.Volumes = append(l.Volumes, resource(item, "volumeId"))
		}
	}
	used := map[string]bool{}
	for _, item := range c.look(ctx, "DescribeImages").items("imagesSet") {
		r := resource(item, "imageId")
		img := c.images[r.ID]
		if img == nil || img.public {
			continue
		}
		r.Name, r.State = img.name, img.state
		l.Images = append(l.Images, r)
		for _, d := range img.devices {
			used[d.snapshot] = true
		}
	}
	for _, item := range c.look(ctx, "DescribeSnapshots").items("snapshotSet") {
		r := resource(item, "snapshotId")
		if s := c.snapshots[r.ID]; item.get("ownerId") == c.Account && !used[r.ID] && (s == nil || !s.hidden) {
			l.Snapshots = append(l.Snapshots, r)
		}
	}
	for _, t := range c.imports {
		if t.state == "" && len(t.snapshots) == 0 {
			l.Imports = append(l.Imports, Resource{ID: t.id, State: "active", Tags: maps.Clone(t.tags)})
		}
	}
	return l
}

// look describes everything of a kind. The lock is held.
func (c *Cloud) look(ctx context.Context, operation string) *tree {
	c.t.Helper()
	parsed, a := c.form(ctx, url.Values{"Action": {operation}})
	if parsed == nil {
		c.t.Fatalf("%s: status %d %s %v", operation, a.status, a.body, a.err)
	}
	return parsed
}

func resource(item *tree, id string) Resource {
	r := Resource{ID: item.get(id), State: cmp.Or(item.get("instanceState", "name"), item.get("status")), Tags: map[string]string{}}
	for _, tag := range item.items("tagSet") {
		r.Tags[tag.get("key")] = tag.get("value")
	}
	return r
}

// Objects are the keys in the bucket that begin with a prefix, at most a thousand.
func (c *Cloud) Objects(ctx context.Context, prefix string) []string {
	c.t.Helper()
	a := c.emulator.ask(ctx, http.MethodGet, "/"+c.Bucket+"?list-type=2&prefix="+url.QueryEscape(prefix), "s3", "")
	c.emulator.must(c.t, a)
	parsed, err := parseTree(a.body)
	if err != nil {
		c.t.Fatal(err)
	}
	var keys []string
	for _, n := range parsed.children {
		if n.name == "Contents" {
			keys = append(keys, n.get("Key"))
		}
	}
	return keys
}

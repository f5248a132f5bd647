package recipe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Keys name results by everything that can change them: equal keys mean that the
// work need not be done again. A recipe's name, version and description are in
// none of them, so that a candidate can become a release as it is.
type Keys struct {
	Layers []string // one for the files, if there are any, then one for each of BuildUses
	Build  string   // the finished image
	Test   string   // the outcome of TestUses on that image
}

// Keys computes the keys of a recipe on a parent image of that content, built by
// that version of the engine.
func (r *Recipe) Keys(baseDigest, engine string) Keys {
	base := []string{engine, baseDigest, r.Platform, strconv.Itoa(r.DiskGiB),
		r.Infrastructure.Driver, string(r.Infrastructure.Isolation), r.WorkingDir}
	if len(r.BlockDevices) > 0 {
		base = append(base, devicesDigest(r.BlockDevices))
	}
	if r.UserData != "" {
		base = append(base, hash("user data", r.UserData))
	}
	below := hash("base", base...)
	var keys Keys
	for _, content := range r.layers() {
		below = hash("layer", below, content)
		keys.Layers = append(keys.Layers, below)
	}
	keys.Build = hash("image", below, "finish")
	keys.Test = hash("test", keys.Build, r.testDigest())
	return keys
}

// testDigest names what the image is tested with.
func (r *Recipe) testDigest() string {
	tested := []string{usesDigest(r.TestUses())}
	for _, size := range r.Infrastructure.TestDisks {
		tested = append(tested, strconv.Itoa(size))
	}
	if r.Publish != nil { // it is the published image that is tested
		tested = append(tested, r.Publish.digest())
	}
	return hash("tests", tested...)
}

func (p *Publish) digest() string {
	if p.Via.Imports() {
		return hash("publish", p.Driver, p.Region, string(p.Via))
	}
	return hash("publish", p.Driver, p.Region)
}

// ReleaseKey names what becomes of an image, given by its build key, when it is
// released: where it goes, in which formats, under which tags.
func (r *Recipe) ReleaseKey(build string) string {
	released := []string{build, r.distributionDigest()}
	if r.Publish != nil {
		released = append(released, r.Publish.digest())
	}
	return hash("release", released...)
}

// BuildUses are the components that run on the build instance, in order: those
// with a build or validate phase.
func (r *Recipe) BuildUses() []Use {
	return slices.DeleteFunc(slices.Clone(r.Components), func(u Use) bool {
		return u.Document != nil && !u.Document.HasPhase(component.PhaseBuild) && !u.Document.HasPhase(component.PhaseValidate)
	})
}

// TestUses are what runs on an instance of the finished image, in order: the
// components with a test phase, then the tests.
func (r *Recipe) TestUses() []Use {
	uses := slices.DeleteFunc(slices.Clone(r.Components), func(u Use) bool {
		return u.Document == nil || !u.Document.HasPhase(component.PhaseTest)
	})
	return append(uses, r.Tests...)
}

// layers digests what each layer adds to the one below.
func (r *Recipe) layers() []string {
	var layers []string
	if len(r.Files) > 0 {
		layers = append(layers, r.filesDigest())
	}
	for _, u := range r.BuildUses() {
		layers = append(layers, useDigest(u))
	}
	return layers
}

func (r *Recipe) filesDigest() string {
	var entries []string
	for _, files := range r.Files {
		for _, f := range files.Entries {
			entries = append(entries, hash("file", f.Target, f.Mode.String(), f.Link, f.Digest, files.Owner, files.Group, files.Permissions))
		}
	}
	return hash("files", entries...)
}

// useDigest leaves the name out: a renamed file does the same.
func useDigest(u Use) string {
	parts := []string{u.Digest}
	for _, name := range slices.Sorted(maps.Keys(u.Parameters)) {
		parts = append(parts, name, u.Parameters[name])
	}
	return hash("component", parts...)
}

func usesDigest(uses []Use) string {
	digests := make([]string, len(uses))
	for i, u := range uses {
		digests[i] = useDigest(u)
	}
	return hash("components", digests...)
}

func (r *Recipe) distributionDigest() string {
	var tags []string
	for _, name := range slices.Sorted(maps.Keys(r.AMITags)) {
		tags = append(tags, name, r.AMITags[name])
	}
	return hash("distribution", r.placesDigest(), hash("tags", tags...))
}

// placesDigest names where a release is sent, and in which formats.
func (r *Recipe) placesDigest() string {
	var places, formats []string
	for _, d := range r.Distribution {
		places = append(places, hash("place", append([]string{d.Region, d.Name}, d.LaunchPermission.UserIDs...)...))
	}
	for _, e := range r.Exports {
		formats = append(formats, e.Format)
	}
	return hash("sent", hash("places", places...), hash("formats", formats...))
}

// signature is what a plan compares: digests of the recipe without its parent's
// content, which a plan does not know.
type signature struct{ build, test, distribution string }

func (r *Recipe) sign() signature {
	p := r.Parent
	return signature{
		build:        hash("plan", string(p.Kind), p.Name, p.Version, p.Checksum, r.parentDigest, r.Keys("", "").Build),
		test:         r.testDigest(),
		distribution: r.distributionDigest(),
	}
}

// hash digests texts so that no two different lists give the same bytes: each
// text goes with its length, and each use of hash has a tag of its own.
func hash(tag string, texts ...string) string {
	sum := sha256.New()
	buffer := make([]byte, 0, 256)
	for _, text := range append([]string{"ingot/v1", tag}, texts...) {
		buffer = binary.AppendUvarint(buffer[:0], uint64(len(text)))
		sum.Write(append(buffer, text...))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

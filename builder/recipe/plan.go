package recipe

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Outcome says what happened to a recipe between two trees.
type Outcome string

const (
	Added               Outcome = "added"
	Removed             Outcome = "removed"
	VersionRaised       Outcome = "version raised"
	ContentChanged      Outcome = "content changed" // of what goes into the image, under the same version
	TestsChanged        Outcome = "tests changed"
	DistributionChanged Outcome = "distribution changed"
	SettingsChanged     Outcome = "settings changed" // nothing that an image, its tests or its distribution depend on
	VersionLowered      Outcome = "version lowered"
	Broken              Outcome = "invalid"
	Untouched           Outcome = "untouched"
)

// Action is what has to be done. Each of build, test and distribute includes the
// ones after it; only releases are distributed.
type Action string

const (
	ActionBuild      Action = "build"
	ActionTest       Action = "test"
	ActionDistribute Action = "distribute"
	ActionCheck      Action = "check" // say what the documents are worth, and nothing more
	ActionNone       Action = "none"
)

// Decision is what a plan says about one recipe.
type Decision struct {
	Name     string  // of the recipe; empty when its document could not be read that far
	Path     string  // of its document; the old one when it was removed
	Recipe   *Recipe // as it is now; nil when removed or invalid
	Old      *Recipe // as it was; nil when added
	Outcome  Outcome
	Action   Action
	Why      []string         // in words of the author: "components/nginx.yaml changed"
	After    string           // the recipe of the same plan whose image is the parent, if that is built first
	Findings []Finding        // about a valid recipe
	Problems yamldoc.Problems // of an invalid one
}

// Finding is something about a valid recipe that its author should know.
type Finding struct {
	yamldoc.Problem
	Blocking bool // the recipe is not built because of it
}

// PlanOptions changes what a plan looks at.
type PlanOptions struct {
	All        bool // list untouched recipes too
	AllInvalid bool // list invalid documents that were as invalid before
	// Released returns the newest released version of a recipe; nil: none is known.
	Released func(name string) (Version, bool)
}

// Plan decides what has to be done after a tree changed from old to now. An old
// Set of nil means that everything is new. It touches nothing. A recipe comes
// after the recipe that it stands on; otherwise names are in order.
func Plan(old, now *Set, options PlanOptions) []Decision {
	if old == nil {
		old = &Set{}
	}
	p := &planner{old: old, now: now, options: options, made: map[string]*Decision{}}
	p.invalid()
	p.changed()
	p.inherited()
	return p.sorted()
}

type planner struct {
	old, now *Set
	options  PlanOptions
	made     map[string]*Decision // of valid and removed recipes, by name
	broken   []Decision
}

// candidates are the names of recipes that may differ.
func (p *planner) candidates() iter.Seq[string] {
	switch {
	case p.options.All:
	case p.old == p.now:
		return slices.Values[[]string](nil)
	case p.now.base.Value() == p.old:
		return slices.Values(p.now.fresh)
	}
	return func(yield func(string) bool) {
		for name := range p.now.Recipes {
			if !yield(name) {
				return
			}
		}
		for name := range p.old.Recipes {
			if p.now.Recipes[name] == nil && !yield(name) {
				return
			}
		}
	}
}

// changed decides about every recipe that differs by itself.
func (p *planner) changed() {
	var gone []*Recipe
	for name := range p.candidates() {
		old, now := p.old.Recipes[name], p.now.Recipes[name]
		switch {
		case now == nil && old == nil: // it was as invalid before
		case now == nil:
			gone = append(gone, old)
		case old == now && !p.options.All:
		default:
			if d := compare(old, now); d.Outcome != Untouched || p.options.All {
				p.judge(d)
				p.made[name] = d
			}
		}
	}
	p.removed(gone)
}

// inherited decides again about the recipes that stand on one that is built, and
// on those in turn. A recipe has one parent, so it is met once.
func (p *planner) inherited() {
	var built []*Decision
	for _, d := range p.made {
		if d.Action == ActionBuild {
			built = append(built, d)
		}
	}
	if len(built) == 0 {
		return
	}
	for i := 0; i < len(built); i++ {
		for _, name := range p.now.children[built[i].Name] {
			child := p.now.Recipes[name]
			if child == nil {
				continue
			}
			if d, already := p.rebuilt(child, built[i].Recipe); d != nil && !already {
				built = append(built, d)
			}
		}
	}
}

// rebuilt decides about a recipe whose parent recipe is built. It returns nothing
// when the recipe is not built because of that, and whether it would be anyway.
func (p *planner) rebuilt(child, parent *Recipe) (d *Decision, already bool) {
	pattern, err := ParsePattern(child.Parent.Version)
	if err != nil || !pattern.Match(parent.Version) {
		return nil, false
	}
	if d = p.made[child.Name]; d == nil {
		d = compare(child, child)
		p.made[child.Name] = d
	}
	already = d.Action == ActionBuild
	switch {
	case d.Outcome == VersionLowered:
		return nil, false
	case !already:
		d.Outcome, d.Action, d.Findings = ContentChanged, ActionBuild, nil
	}
	d.After = parent.Name
	d.Why = append(d.Why, "parent recipe "+parent.Name+" changes")
	if !already {
		p.judge(d)
	}
	if d.Action != ActionBuild {
		return nil, false
	}
	return d, already
}

func (p *planner) invalid() {
	for at, invalid := range p.now.Invalid {
		before, was := p.old.Invalid[at]
		if was && before.fingerprint == invalid.fingerprint && !p.options.AllInvalid {
			continue
		}
		d := Decision{
			Name: invalid.Name, Path: at, Outcome: Broken, Action: ActionCheck,
			Problems: invalid.Problems, Why: []string{at + " is not valid"},
		}
		if d.Old = p.old.Recipes[d.Name]; d.Old == nil {
			d.Old = p.old.at(at)
		}
		if d.Name == "" && d.Old != nil {
			d.Name = d.Old.Name
		}
		p.broken = append(p.broken, d)
	}
}

// at returns the recipe of the document at a path.
func (s *Set) at(path string) *Recipe {
	if doc := s.documents[path]; doc != nil && doc.recipe != nil && s.Recipes[doc.name] == doc.recipe {
		return doc.recipe
	}
	return nil
}

// removed says of recipes that are gone which of them nobody mentions any more.
func (p *planner) removed(gone []*Recipe) {
	if len(gone) == 0 {
		return
	}
	alive := map[string]bool{}
	for at, invalid := range p.now.Invalid {
		alive[invalid.Name] = true
		if r := p.old.at(at); r != nil {
			alive[r.Name] = true
		}
	}
	for _, r := range gone {
		if !alive[r.Name] {
			p.made[r.Name] = &Decision{Name: r.Name, Path: r.Path, Old: r, Outcome: Removed, Action: ActionNone, Why: []string{p.whyRemoved(r)}}
		}
	}
}

func (p *planner) whyRemoved(r *Recipe) string {
	if p.now.documents[r.Path] != nil {
		return r.Path + " no longer defines it"
	}
	return r.Path + " was removed"
}

// compare holds two states of a recipe against each other; old is nil for a new one.
func compare(old, now *Recipe) *Decision {
	d := &Decision{Name: now.Name, Path: now.Path, Recipe: now, Old: old, Outcome: Untouched, Action: ActionNone}
	if old == now {
		return d
	}
	if old == nil {
		d.Outcome, d.Action, d.Why = Added, ActionBuild, []string{"new recipe"}
		return d
	}
	before, after := old.signed(), now.signed()
	order := now.Version.Compare(old.Version)
	switch {
	case order < 0:
		d.Outcome, d.Action = VersionLowered, ActionCheck
	case order > 0:
		d.Outcome, d.Action = VersionRaised, ActionBuild
	case before.build != after.build:
		d.Outcome, d.Action = ContentChanged, ActionBuild
	case before.test != after.test:
		d.Outcome, d.Action = TestsChanged, ActionTest
	case before.distribution != after.distribution:
		d.Outcome, d.Action = DistributionChanged, ActionDistribute
	case old.document != now.document || old.Path != now.Path:
		d.Outcome, d.Action = SettingsChanged, ActionCheck
	default:
		return d
	}
	d.Why = why(old, now)
	return d
}

func (r *Recipe) signed() signature {
	if r.signature == (signature{}) {
		return r.sign()
	}
	return r.signature
}

// judge holds the version against what was there and what is released.
func (p *planner) judge(d *Decision) {
	if d.Outcome == Untouched {
		return
	}
	version := d.Recipe.Version
	newest, known := Version{}, false
	if p.options.Released != nil {
		newest, known = p.options.Released(d.Name)
	}
	released := newest
	if d.Old != nil && (!known || d.Old.Version.Compare(newest) > 0) {
		newest = d.Old.Version
	}
	switch {
	case d.Outcome == VersionLowered, known && d.Action != ActionCheck && version.Compare(released) < 0:
		d.Outcome, d.Action, d.After = VersionLowered, ActionCheck, ""
		d.find(true, fmt.Sprintf("the version %s is below %s", version, newest), "raise it, for example to "+newest.NextPatch().String())
	case known && version == released && d.contentOfDocumentChanged():
		d.find(false, fmt.Sprintf("the recipe changed, but its version %s is released already", version), "raise it, for example to "+version.NextPatch().String())
	}
	if d.Action == ActionBuild || d.Action == ActionTest {
		for _, warning := range d.Recipe.Warnings() {
			d.Findings = append(d.Findings, Finding{warning, false})
		}
	}
}

func (d *Decision) contentOfDocumentChanged() bool {
	return d.Old != nil && d.Old.document != d.Recipe.document && d.Old.signed().build != d.Recipe.signed().build
}

func (d *Decision) find(blocking bool, message, expected string) {
	problem := d.Recipe.versionAt
	if problem.File == "" {
		problem.File = d.Path
	}
	problem.Message, problem.Expected = message, expected
	d.Findings = append(d.Findings, Finding{problem, blocking})
}

func (p *planner) sorted() []Decision {
	decisions := p.broken
	for _, d := range p.made {
		if d.Outcome != Untouched || p.options.All {
			decisions = append(decisions, *d)
		}
	}
	depths := map[string]int{}
	slices.SortFunc(decisions, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(p.depth(a.Recipe, depths), p.depth(b.Recipe, depths)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path))
	})
	return decisions
}

// depth counts the recipes that one stands on; cycles are invalid, so every chain
// of valid recipes ends.
func (p *planner) depth(r *Recipe, known map[string]int) int {
	if r == nil || r.Parent.Kind != ParentRecipe {
		return 0
	}
	n, ok := known[r.Name]
	if !ok {
		n = 1 + p.depth(p.now.Recipes[r.Parent.Name], known)
		known[r.Name] = n
	}
	return n
}

// String is the decision in one line: "web 1.3.0 → 1.4.0: build (version raised): …".
func (d Decision) String() string {
	name := d.Name
	if name == "" {
		name = d.Path
	}
	line := fmt.Sprintf("%s%s: %s (%s)", name, d.versions(), d.Action, d.Outcome)
	reasons := slices.Clone(d.Why)
	for _, f := range d.Findings {
		if f.File == d.Path {
			reasons = append(reasons, f.Message)
		}
	}
	if len(d.Problems) > 0 {
		noun := "problems"
		if len(d.Problems) == 1 {
			noun = "problem"
		}
		reasons = []string{fmt.Sprintf("%d %s in %s", len(d.Problems), noun, strings.Join(problemFiles(d.Problems), ", "))}
	}
	if len(reasons) > 0 {
		line += ": " + strings.Join(reasons, "; ")
	}
	return line
}

func (d Decision) versions() string {
	switch {
	case d.Recipe == nil && d.Old == nil:
		return ""
	case d.Recipe == nil:
		return " " + d.Old.Version.String()
	case d.Old == nil || d.Old.Version == d.Recipe.Version:
		return " " + d.Recipe.Version.String()
	default:
		return fmt.Sprintf(" %s → %s", d.Old.Version, d.Recipe.Version)
	}
}

func problemFiles(problems yamldoc.Problems) []string {
	files := map[string]bool{}
	for _, p := range problems {
		files[p.File] = true
	}
	return slices.Sorted(maps.Keys(files))
}

package dashboard

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// badge is a state in a word and a class of colour.
type badge struct{ Class, Text string }

func badgeOf(s reporter.State) badge {
	switch s {
	case reporter.Succeeded:
		return badge{"ok", "Succeeded"}
	case reporter.Failed:
		return badge{"bad", "Failed"}
	case reporter.Errored:
		return badge{"warn", "Error"}
	case reporter.Running:
		return badge{"run", "Running"}
	case reporter.Approval:
		return badge{"warn", "Needs approval"}
	case reporter.Queued:
		return badge{"idle", "Queued"}
	case reporter.Waiting:
		return badge{"idle", "Waiting"}
	case reporter.Cancelled:
		return badge{"idle", "Cancelled"}
	case reporter.Superseded:
		return badge{"idle", "Superseded"}
	default:
		return badge{"idle", reporter.Line(string(s), 20)}
	}
}

// moment is a time for people and for machines.
type moment struct {
	ISO, Full, Ago string
}

func momentOf(t, now time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &moment{t.Format(time.RFC3339), t.Format("2 January 2006, 15:04:05 UTC"), reporter.Ago(now.Sub(t))}
}

// clock is a duration that grows while something runs.
type clock struct {
	Text  string
	Since int64 // milliseconds since 1970 at which it began; 0: it stands still
}

func clockOf(started, finished, now time.Time) *clock {
	switch {
	case started.IsZero():
		return nil
	case finished.IsZero():
		return &clock{reporter.Elapsed(now.Sub(started)), started.UnixMilli()}
	default:
		return &clock{Text: reporter.Elapsed(finished.Sub(started))}
	}
}

// link is a text that may lead somewhere.
type link struct{ Text, Href string }

// codeHost returns an address at the code host; empty: the build has none.
func (h *handler) codeHost(ownerRepo string, parts ...string) string {
	owner, name, ok := strings.Cut(ownerRepo, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return ""
	}
	address := h.CodeHostURL + "/" + url.PathEscape(owner) + "/" + url.PathEscape(name)
	for _, part := range parts {
		address += "/" + url.PathEscape(part)
	}
	return address
}

func (h *handler) commitLink(b reporter.Build) link {
	l := link{Text: reporter.Line(reporter.ShortCommit(b.Commit), 7)}
	if b.Commit != "" {
		l.Href = h.codeHost(b.CodeHost, "commit", b.Commit)
	}
	return l
}

// refLink is the pull request or branch that a build is of.
func (h *handler) refLink(b reporter.Build) link {
	if b.PullRequest != 0 {
		return link{fmt.Sprintf("pull request #%d", b.PullRequest), h.codeHost(b.CodeHost, "pull", fmt.Sprint(b.PullRequest))}
	}
	branch, isBranch := strings.CutPrefix(b.Ref, "refs/heads/")
	l := link{Text: reporter.Line(branch, 60)}
	if isBranch {
		l.Href = h.codeHost(b.CodeHost, append([]string{"tree"}, strings.Split(branch, "/")...)...)
	}
	return l
}

func triggerText(b reporter.Build) string {
	switch b.Trigger {
	case reporter.Push:
		return "push"
	case reporter.PullRequest:
		if b.PullRequest != 0 {
			return fmt.Sprintf("pull request #%d", b.PullRequest)
		}
		return "pull request"
	case reporter.Schedule:
		return "schedule"
	case reporter.Dependency:
		return "dependency update"
	case reporter.Manual:
		return "by hand"
	default:
		return reporter.Line(string(b.Trigger), 30)
	}
}

// buildRow is a build in a list.
type buildRow struct {
	ID         int64
	Badge      badge
	Recipe     string
	Version    string
	Repository string
	Title      string
	Commit     link
	Ref        link
	Trigger    string
	Tests      string
	Clock      *clock
	Created    *moment
}

func (h *handler) buildRow(b reporter.Build) buildRow {
	row := buildRow{
		ID:         b.ID,
		Badge:      badgeOf(b.State),
		Recipe:     reporter.Line(b.Recipe, 80),
		Version:    reporter.Line(b.Version, 30),
		Repository: reporter.Line(b.Repository, 80),
		Title:      reporter.Line(b.Title, 100),
		Commit:     h.commitLink(b),
		Ref:        h.refLink(b),
		Trigger:    triggerText(b),
		Tests:      testsText(b.Tests),
		Clock:      clockOf(b.Started, b.Finished, h.Now()),
		Created:    momentOf(b.Created, h.Now()),
	}
	if b.Action == reporter.ActionCheck {
		row.Clock = nil
	}
	return row
}

func (h *handler) buildRows(builds []reporter.Build) []buildRow {
	rows := make([]buildRow, len(builds))
	for i, b := range builds {
		rows[i] = h.buildRow(b)
	}
	return rows
}

func testsText(tests []reporter.Test) string {
	passed := 0
	for _, t := range tests {
		if t.State == "succeeded" {
			passed++
		}
	}
	switch {
	case len(tests) == 0:
		return ""
	case passed == len(tests):
		return fmt.Sprintf("%d passed", passed)
	default:
		return fmt.Sprintf("%d of %d passed", passed, len(tests))
	}
}

// repositoriesView is the page of all repositories.
type repositoriesView struct{ Repositories []repositoryRow }

func (repositoriesView) template() (string, string) { return "repositories", "Repositories" }

type repositoryRow struct {
	Name     string
	URL      string
	Home     string // address at the code host
	Branch   string
	Head     link
	Title    string
	LastPoll *moment
	Problem  string
	Pulls    string
	Builds   []buildRow
}

func (h *handler) repositoriesView(list []reporter.Repository) repositoriesView {
	var v repositoriesView
	for _, r := range list {
		row := repositoryRow{
			Name:     reporter.Line(r.Name, 80),
			URL:      reporter.Line(r.URL, 120),
			Home:     h.codeHost(r.CodeHost),
			Branch:   reporter.Line(r.Branch, 60),
			Head:     h.commitLink(reporter.Build{CodeHost: r.CodeHost, Commit: r.Head}),
			Title:    reporter.Line(r.HeadTitle, 100),
			LastPoll: momentOf(r.LastPoll, h.Now()),
			Problem:  reporter.Line(r.Problem, 300),
			Builds:   h.buildRows(r.Builds),
		}
		if r.PullRequests > 0 {
			row.Pulls = reporter.Count(r.PullRequests, "open pull request")
		}
		v.Repositories = append(v.Repositories, row)
	}
	return v
}

// buildsView is a list of builds.
type buildsView struct {
	Filter     reporter.BuildFilter
	Repository link // the filter, and the address without it
	Recipe     link
	States     []stateLink
	Builds     []buildRow
	Older      string // address; empty: there are none
}

type stateLink struct {
	Text, Href string
	Current    bool
}

func (buildsView) template() (string, string) { return "builds", "Builds" }

func (h *handler) buildsView(f reporter.BuildFilter, list []reporter.Build) buildsView {
	v := buildsView{Filter: f}
	if len(list) > listLength {
		list = list[:listLength]
		older := f
		older.Before = list[listLength-1].ID
		v.Older = h.buildsAddress(older)
	}
	v.Builds = h.buildRows(list)
	f.Before = 0
	with := func(change func(*reporter.BuildFilter)) string {
		changed := f
		change(&changed)
		return h.buildsAddress(changed)
	}
	v.Repository = link{reporter.Line(f.Repository, 80), with(func(f *reporter.BuildFilter) { f.Repository = "" })}
	v.Recipe = link{reporter.Line(f.Recipe, 80), with(func(f *reporter.BuildFilter) { f.Recipe = "" })}
	v.States = append(v.States, stateLink{"All", with(func(f *reporter.BuildFilter) { f.State = "" }), f.State == ""})
	for _, s := range states() {
		v.States = append(v.States, stateLink{badgeOf(s).Text, with(func(f *reporter.BuildFilter) { f.State = s }), f.State == s})
	}
	return v
}

func (h *handler) buildsAddress(f reporter.BuildFilter) string {
	query := url.Values{}
	for key, value := range map[string]string{"repository": f.Repository, "recipe": f.Recipe, "state": string(f.State)} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if f.Before > 0 {
		query.Set("before", fmt.Sprint(f.Before))
	}
	if len(query) == 0 {
		return h.base + "/builds"
	}
	return h.base + "/builds?" + query.Encode()
}

// imagesView is a list of images.
type imagesView struct {
	Filter reporter.ImageFilter
	Images []imageRow
}

func (imagesView) template() (string, string) { return "images", "Images" }

// imageRow is an image in a list or on its page.
type imageRow struct {
	ID         string
	Short      string
	Name       string
	Published  string
	Repository string
	Recipe     string
	Version    string
	Driver     string
	Ref        string
	OS         string
	Size       string
	Virtual    string
	Build      int64
	Created    *moment
}

func (h *handler) imageRow(i reporter.Image) imageRow {
	row := imageRow{
		ID:         i.ID,
		Short:      reporter.ShortImage(i.ID),
		Name:       reporter.Line(i.Name, 100),
		Published:  reporter.Line(i.Published, 100),
		Repository: reporter.Line(i.Repository, 80),
		Recipe:     reporter.Line(i.Recipe, 80),
		Version:    reporter.Line(i.Version, 30),
		Driver:     reporter.Line(i.Driver, 30),
		Ref:        reporter.Line(i.Ref, 300),
		OS:         reporter.Line(i.OS, 80),
		Size:       reporter.Bytes(i.Size),
		Build:      i.Build,
		Created:    momentOf(i.Created, h.Now()),
	}
	if i.Virtual > 0 {
		row.Virtual = reporter.Bytes(i.Virtual)
	}
	return row
}

func (h *handler) imagesView(f reporter.ImageFilter, list []reporter.Image) imagesView {
	v := imagesView{Filter: f}
	for _, i := range list {
		v.Images = append(v.Images, h.imageRow(i))
	}
	return v
}

// imageView is the page of one image.
type imageView struct {
	Image    imageRow
	Packages []reporter.Package
}

func (v imageView) template() (string, string) {
	return "image", cmp.Or(v.Image.Name, v.Image.Short)
}

func (h *handler) imageView(i reporter.Image) imageView {
	v := imageView{Image: h.imageRow(i)}
	for _, p := range i.Packages {
		v.Packages = append(v.Packages, reporter.Package{
			Name: reporter.Line(p.Name, 100), Version: reporter.Line(p.Version, 80), Architecture: reporter.Line(p.Architecture, 20),
		})
	}
	return v
}

// lastPart is the last part of a slash-separated name.
func lastPart(s string) string {
	if s == "" {
		return ""
	}
	return path.Base(s)
}

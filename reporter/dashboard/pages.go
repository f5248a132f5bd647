package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

//go:embed templates
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

const (
	listLength   = 50  // rows of a list of builds or images
	maxParameter = 200 // bytes of a query parameter
)

// pages are the parsed templates, and a name for the present static files.
type pages struct {
	templates *template.Template
	version   string
}

func newPages() pages {
	sum := sha256.New()
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		panic(err) // embedded: either every program has it or none
	}
	for _, entry := range entries {
		data, err := staticFiles.ReadFile("static/" + entry.Name())
		if err != nil {
			panic(err)
		}
		sum.Write(data)
	}
	return pages{
		templates: template.Must(template.ParseFS(templateFiles, "templates/*.html")),
		version:   fmt.Sprintf("%x", sum.Sum(nil)[:6]),
	}
}

// view is the content of a page: a value that the template of that name shows.
type view interface{ template() (name, title string) }

// frame is what a page's template gets.
type frame struct {
	Base    string
	Static  string // version of the static files
	Version string
	Title   string
	Section string // of the navigation
	Reload  bool   // without JavaScript, load the page again soon
	Now     time.Time
	View    view
}

// page turns a function that reads what a page shows into a handler.
func (h *handler) page(read func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content, err := read(r)
		status := http.StatusOK
		if err != nil {
			status, content = h.problem(r, err)
		}
		name, title := content.template()
		f := frame{Base: h.base, Static: h.pages.version, Version: h.Version, Title: title, Section: name, Now: h.Now(), View: content}
		if b, ok := content.(*buildView); ok {
			f.Reload = b.Live != ""
		}
		var out bytes.Buffer
		if err := h.pages.templates.ExecuteTemplate(&out, name+".html", f); err != nil {
			h.Log.WithError(err).WithField("path", r.URL.Path).Error("dashboard: rendering a page")
			writeText(w, http.StatusInternalServerError, "This page could not be rendered; the daemon's log says why.\n")
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(status)
		_, _ = w.Write(out.Bytes()) // a client that has gone needs no answer
	}
}

// errBadRequest is the client's fault.
type errBadRequest struct{ text string }

func (e errBadRequest) Error() string { return e.text }

// problemView is a page that tells why there is no other.
type problemView struct{ Heading, Text string }

func (problemView) template() (string, string) { return "problem", "Problem" }

func (h *handler) problem(r *http.Request, err error) (int, view) {
	if bad, ok := errors.AsType[errBadRequest](err); ok {
		return http.StatusBadRequest, problemView{"That address makes no sense", bad.text}
	}
	if errors.Is(err, reporter.ErrNotFound) {
		return http.StatusNotFound, problemView{"There is nothing here", "It may have been removed, or the address has a mistake."}
	}
	if !errors.Is(err, context.Canceled) {
		h.Log.WithError(err).WithField("path", r.URL.Path).Error("dashboard: reading a page")
	}
	return http.StatusInternalServerError, problemView{"This page could not be read", "The daemon's log says why. Trying again may help."}
}

func (h *handler) repositories(r *http.Request) (view, error) {
	list, err := h.Source.Repositories(r.Context())
	if err != nil {
		return nil, err
	}
	return h.repositoriesView(list), nil
}

func (h *handler) builds(r *http.Request) (view, error) {
	filter, err := buildFilter(r)
	if err != nil {
		return nil, err
	}
	filter.Limit = listLength + 1 // one more tells whether there are more
	list, err := h.Source.Builds(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	return h.buildsView(filter, list), nil
}

// buildFilter reads and checks the query of a list of builds.
func buildFilter(r *http.Request) (reporter.BuildFilter, error) {
	var f reporter.BuildFilter
	var err error
	if f.Repository, err = parameter(r, "repository"); err != nil {
		return f, err
	}
	if f.Recipe, err = parameter(r, "recipe"); err != nil {
		return f, err
	}
	state, err := parameter(r, "state")
	if err != nil {
		return f, err
	}
	f.State = reporter.State(state)
	if state != "" && !slices.Contains(states(), f.State) {
		return f, errBadRequest{fmt.Sprintf("There is no state %q.", reporter.Line(state, 40))}
	}
	before, err := parameter(r, "before")
	if err != nil {
		return f, err
	}
	if before != "" {
		if f.Before, err = strconv.ParseInt(before, 10, 64); err != nil || f.Before < 1 {
			return f, errBadRequest{"The parameter before is not the number of a build."}
		}
	}
	return f, nil
}

func parameter(r *http.Request, name string) (string, error) {
	value := r.URL.Query().Get(name)
	if len(value) > maxParameter {
		return "", errBadRequest{fmt.Sprintf("The parameter %s is too long.", name)}
	}
	return value, nil
}

// states are those that a list can be narrowed to.
func states() []reporter.State {
	return []reporter.State{
		reporter.Running, reporter.Queued, reporter.Waiting, reporter.Approval, reporter.Succeeded,
		reporter.Failed, reporter.Errored, reporter.Cancelled, reporter.Superseded,
	}
}

func (h *handler) build(r *http.Request) (view, error) {
	id, err := buildID(r)
	if err != nil {
		return nil, err
	}
	at, err := parameter(r, "line")
	if err != nil {
		return nil, err
	}
	from := 0
	if at != "" {
		if from, err = strconv.Atoi(at); err != nil || from < 1 {
			return nil, errBadRequest{"The parameter line is not the number of a line."}
		}
	}
	// The log is read after the build: a build that has ended has its whole log.
	b, err := h.Source.Build(r.Context(), id)
	if err != nil {
		return nil, err
	}
	log, err := h.readLog(r.Context(), id, b.State.Final(), from)
	if err != nil {
		return nil, err
	}
	v := h.buildView(b)
	v.Log = log
	if !b.State.Final() && from == 0 {
		v.Live = fmt.Sprintf("%s/builds/%d/events?after=%s", h.base, id, log.end)
	}
	return v, nil
}

func buildID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, reporter.ErrNotFound
	}
	return id, nil
}

func (h *handler) images(r *http.Request) (view, error) {
	repository, err := parameter(r, "repository")
	if err != nil {
		return nil, err
	}
	recipe, err := parameter(r, "recipe")
	if err != nil {
		return nil, err
	}
	filter := reporter.ImageFilter{Repository: repository, Recipe: recipe, Limit: 4 * listLength}
	list, err := h.Source.Images(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	return h.imagesView(filter, list), nil
}

func (h *handler) image(r *http.Request) (view, error) {
	id := r.PathValue("id")
	if len(id) > maxParameter {
		return nil, reporter.ErrNotFound
	}
	image, err := h.Source.Image(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return h.imageView(image), nil
}

// static serves the embedded files, for ever where the address has their version.
func (h *handler) static(w http.ResponseWriter, r *http.Request) {
	data, err := staticFiles.ReadFile("static/" + r.PathValue("name"))
	if err != nil {
		writeText(w, http.StatusNotFound, "no such file\n")
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.PathValue("name"))))
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == h.pages.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

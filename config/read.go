package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const maxSecret = 64 << 10 // of a file that holds a secret, in bytes

// reading is a configuration file on its way to a Config.
type reading struct {
	document *yamldoc.Document
	folder   string
	env      func(string) string
	problems yamldoc.Problems
}

// bad reports a mistake at a node.
func (r *reading) bad(n *yaml.Node, expected, format string, args ...any) {
	r.problems = append(r.problems, r.document.Problem(n, fmt.Sprintf(format, args...), expected))
}

// hideLine takes the author's line out of the last problem: it may hold a password.
func (r *reading) hideLine() { r.problems[len(r.problems)-1].Excerpt = "" }

// badEnv reports a mistake in an environment variable, without its value.
func (r *reading) badEnv(name, expected, format string, args ...any) {
	r.problems = append(r.problems, yamldoc.Problem{File: "environment", Message: name + ": " + fmt.Sprintf(format, args...), Expected: expected})
}

func (r *reading) config(f *file) Config {
	var c Config
	c.DataDir = r.path(f.DataDir, filepath.Join(r.folder, "data"))
	c.CacheDir = r.path(f.CacheDir, filepath.Join(c.DataDir, "cache"))
	c.Database = r.database(f.Database, c.DataDir)
	c.Server = r.server(&f.Server)
	c.GitHub = r.github(&f.GitHub)
	c.Builds = Builds{
		Workers:  r.number(f.Builds.Workers, "builds.workers", 1, 1, maxWorkers),
		Timeout:  time.Duration(r.number(f.Builds.TimeoutMinutes, "builds.timeoutMinutes", 180, 1, maxBuildMinutes)) * time.Minute,
		KeepFor:  time.Duration(r.number(f.Builds.KeepHours, "builds.keepHours", 24, 0, maxKeepHours)) * time.Hour,
		KeepMost: r.number(f.Builds.KeepMost, "builds.keepMost", 5, 0, maxKeepMost),
	}
	c.Local = r.local(&f.Local)
	c.AWS = r.aws(&f.AWS)
	c.Repositories = r.repositories(f.Repositories, c.GitHub.APIURL)
	c.Log = Log{
		Level:  r.oneOf(f.Log.Level, "log.level", logLevels()...),
		Format: r.oneOf(f.Log.Format, "log.format", logFormats()...),
	}
	return c
}

// path makes a path relative to the file usable from anywhere.
func (r *reading) path(value text, fallback string) string {
	switch {
	case value.Node == nil:
		return fallback
	case value.Value == "" || strings.ContainsRune(value.Value, 0):
		r.bad(value.Node, "expected a path", "%q is not a path", value.Value)
		return fallback
	case filepath.IsAbs(value.Value):
		return filepath.Clean(value.Value)
	default:
		return filepath.Join(r.folder, value.Value)
	}
}

// existing is path for a file that must be there.
func (r *reading) existing(value text, key string) string {
	at := r.path(value, "")
	if value.Node == nil || at == "" {
		return at
	}
	if info, err := os.Stat(at); err != nil {
		r.bad(value.Node, "expected the path of a file", "%s: %v", key, withoutOperation(err))
	} else if !info.Mode().IsRegular() {
		r.bad(value.Node, "expected the path of a file", "%s: %s is no file", key, at)
	}
	return at
}

func (r *reading) number(value yamldoc.At[int], key string, fallback, least, most int) int {
	if value.Node == nil {
		return fallback
	}
	if value.Value < least || value.Value > most {
		r.bad(value.Node, fmt.Sprintf("expected %d to %d", least, most), "%s: %d is out of bounds", key, value.Value)
	}
	return value.Value
}

// oneOf returns a value out of a few; the first is the default.
func (r *reading) oneOf(value text, key string, known ...string) string {
	if value.Node == nil {
		return known[0]
	}
	if !slices.Contains(known, value.Value) {
		expected := "expected " + strings.Join(known, ", ")
		if near := yamldoc.Suggest(value.Value, known); near != "" {
			expected = fmt.Sprintf("did you mean %q?", near)
		}
		r.bad(value.Node, expected, "%s: unknown value %q", key, value.Value)
	}
	return value.Value
}

// secret reads a secret from the environment or, if it is not there, from a file.
func (r *reading) secret(value text, key, variable string) Secret {
	if s := strings.TrimSpace(r.env(variable)); s != "" {
		return Secret(s)
	}
	if value.Node == nil {
		return ""
	}
	data, err := readSecret(r.path(value, ""))
	if err != nil {
		r.bad(value.Node, "expected a file that holds the secret, or the variable "+variable, "%s: %v", key, err)
	}
	return Secret(data)
}

func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", withoutOperation(err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return "", withoutOperation(err)
	}
	text := strings.TrimSpace(string(data))
	switch {
	case len(data) > maxSecret:
		return "", fmt.Errorf("%s is too large", path)
	case text == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// withoutOperation leaves out what an author did not ask for: "open", "read".
func withoutOperation(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return fmt.Errorf("%s: %w", at.Path, at.Err)
	}
	return err
}

func (r *reading) database(value text, dataDir string) Secret {
	written, report := value.Value, func(expected, message string) {
		r.bad(value.Node, expected, "database: %s", message)
		r.hideLine()
	}
	if variable := r.env("INGOT_DATABASE"); variable != "" {
		written, report = variable, func(expected, message string) { r.badEnv("INGOT_DATABASE", expected, "%s", message) }
	} else if value.Node == nil {
		return Secret("sqlite:" + filepath.Join(dataDir, "ingot.db"))
	}
	switch kind, rest, _ := strings.Cut(written, ":"); {
	case kind == "sqlite" && rest != "" && !strings.HasPrefix(rest, "//"):
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(r.folder, rest)
		}
		return Secret("sqlite:" + rest)
	case kind == "postgres" || kind == "postgresql":
		if u, err := url.Parse(written); err != nil || u.Opaque != "" {
			report("expected postgres://user:password@host/name", "not a URL")
		}
		return Secret(written)
	default:
		report("expected sqlite:./data/ingot.db or postgres://…", "neither SQLite nor PostgreSQL")
		return ""
	}
}

func (r *reading) server(f *serverFile) Server {
	s := Server{Listen: "127.0.0.1:8080"}
	if f.Listen.Node != nil {
		s.Listen = f.Listen.Value
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || n < 0 || n > 65535 {
		r.bad(f.Listen.Node, "expected host:port, such as 127.0.0.1:8080", "server.listen: %q is not an address", s.Listen)
		return s
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	s.PublicURL = "http://" + net.JoinHostPort(host, port)
	if f.PublicURL.Node != nil {
		s.PublicURL = strings.TrimSuffix(f.PublicURL.Value, "/")
		if u, err := url.Parse(s.PublicURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			r.bad(f.PublicURL.Node, "expected an absolute URL such as https://ingot.example.org", "server.publicURL: %q is not one", f.PublicURL.Value)
		}
	}
	return s
}

func (r *reading) github(f *githubFile) GitHub {
	g := GitHub{
		APIURL:        "https://api.github.com/",
		Token:         r.secret(f.TokenFile, "github.tokenFile", "INGOT_GITHUB_TOKEN"),
		WebhookSecret: r.secret(f.WebhookSecretFile, "github.webhookSecretFile", "INGOT_WEBHOOK_SECRET"),
	}
	if f.APIURL.Node != nil {
		g.APIURL = strings.TrimSuffix(f.APIURL.Value, "/") + "/"
		if u, err := url.Parse(g.APIURL); err != nil || u.Host == "" || !isSafe(u) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			r.bad(f.APIURL.Node, "expected an https URL such as https://github.example.org/api/v3/", "github.apiURL: %q is not one", f.APIURL.Value)
		}
	}
	if app := f.App.Value; app != nil {
		g.App = App{
			ID: app.ID.Value, InstallationID: app.InstallationID.Value,
			PrivateKey: r.secret(app.PrivateKeyFile, "github.app.privateKeyFile", "INGOT_GITHUB_APP_PRIVATE_KEY"),
		}
		r.app(f, g)
	}
	return g
}

func (r *reading) app(f *githubFile, g GitHub) {
	app := f.App.Value
	for key, id := range map[string]yamldoc.At[int64]{"id": app.ID, "installationID": app.InstallationID} {
		if id.Node != nil && id.Value < 1 {
			r.bad(id.Node, "expected a number above 0", "github.app.%s: %d is not an id", key, id.Value)
		}
	}
	if g.App.PrivateKey == "" && app.PrivateKeyFile.Node == nil {
		r.bad(f.App.Node, "add privateKeyFile, or set INGOT_GITHUB_APP_PRIVATE_KEY", "github.app: the private key is missing")
	}
	switch {
	case f.TokenFile.Node != nil:
		r.bad(f.TokenFile.Node, "expected one of them", "github: tokenFile and app are both given")
	case g.Token != "":
		r.badEnv("INGOT_GITHUB_TOKEN", "expected one of them", "a token is given together with github.app")
	}
}

func (r *reading) local(f *localFile) Local {
	l := Local{
		Mirror:      f.Mirror.Value,
		MemoryMiB:   r.number(f.MemoryMiB, "local.memoryMiB", 1024, minMemoryMiB, maxMemoryMiB),
		CPUs:        r.number(f.CPUs, "local.cpus", 2, 1, maxCPUs),
		Accelerator: r.oneOf(f.Accelerator, "local.accelerator", accelerators()...),
	}
	if f.Mirror.Node != nil {
		if u, err := url.Parse(l.Mirror); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			r.bad(f.Mirror.Node, "expected an http or https URL: packages are signed", "local.mirror: %q is not a mirror", l.Mirror)
		}
	}
	for _, dir := range f.ParentDirs {
		if dir.Node != nil && !filepath.IsAbs(dir.Value) {
			r.bad(dir.Node, "expected an absolute path", "local.parentDirs: %q is relative", dir.Value)
		}
		l.ParentDirs = append(l.ParentDirs, filepath.Clean(dir.Value))
	}
	return l
}

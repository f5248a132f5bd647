// Package config reads the daemon's configuration, ingot.yaml: strictly, over
// documented defaults, and with every mistake at once.
//
// The result is plain values that the command hands on; no other package imports
// this one. Relative paths in the file are relative to the file. Secrets are
// never written into it: a key names the file that holds one, or an environment
// variable holds it, and the variable goes first:
//
//	INGOT_DATABASE                  instead of database
//	INGOT_GITHUB_TOKEN              instead of github.tokenFile
//	INGOT_GITHUB_APP_PRIVATE_KEY    instead of github.app.privateKeyFile
//	INGOT_WEBHOOK_SECRET            instead of github.webhookSecretFile
//	INGOT_REPOSITORY_TOKEN_<NAME>   instead of auth.tokenFile of a repository;
//	                                its name in capitals, other characters as _
//
// An absent key has its default; so has a key without a value.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Config is a checked configuration with all defaults filled in.
type Config struct {
	DataDir      string // state; default ./data
	CacheDir     string // parent images, layers, mirrors; default cache in DataDir
	Database     Secret // sqlite:path or postgres://…; default sqlite:ingot.db in DataDir
	Server       Server
	GitHub       GitHub
	Builds       Builds
	Local        Local
	AWS          AWS
	Repositories []Repository
	Log          Log
}

// Server is the dashboard and the receiver of webhooks.
type Server struct {
	Listen    string // host:port; default 127.0.0.1:8080
	PublicURL string // without a slash at its end; default http:// and Listen
}

// GitHub is how the daemon talks to the code host. Without a token and without an
// App, nothing is reported there.
type GitHub struct {
	APIURL        string // with a slash at its end; default https://api.github.com/
	Token         Secret
	App           App    // zero: none; never together with Token
	WebhookSecret Secret // empty: webhooks are refused
}

// App is an installed GitHub App.
type App struct {
	ID             int64
	InstallationID int64
	PrivateKey     Secret // PEM
}

// Builds limits what runs at the same time and how long.
type Builds struct {
	Workers  int           // builds at the same time; default 1
	Timeout  time.Duration // of any build, whatever its recipe says; default 3 hours
	KeepFor  time.Duration // instances of failed builds, where the recipe asks for it; default 24 hours; 0: they are not kept
	KeepMost int           // of them at once, on this host and on EC2 each; default 5; 0: none is kept
}

// Local is the local driver.
type Local struct {
	Mirror      string   // Debian mirror; empty: what the host's tools use
	ParentDirs  []string // absolute folders from which recipes may take disk files
	MemoryMiB   int      // of a guest; default 1024
	CPUs        int      // of a guest; default 2
	Accelerator string   // auto (default), kvm or tcg
}

// AWS is the driver ec2. Credentials come from where the SDK finds them: environment,
// shared files, the role of the machine or task.
type AWS struct {
	Region     string // empty: there is no such driver
	Bucket     string
	Prefix     string // of the keys in the bucket; default ingot/
	Owner      string // tells ingot's things in the account from those of others; default ingot
	ImportRole string // of VM Import; default vmimport
	Tags       map[string]string

	Infrastructure                            // for recipes that name none
	Infrastructures map[string]Infrastructure // which recipes may name
}

// Infrastructure is what instances of EC2 run on.
type Infrastructure struct {
	InstanceProfile string
	InstanceTypes   []string // in order; default t3.medium
	Subnets         []string // in order; default: the default network
	SecurityGroups  []string
	KeyPair         string
	Spot            bool
}

// Repository is a Git repository that is watched.
type Repository struct {
	Name         string // default: the last part of the URL
	URL          string // https, ssh, scp-like, or an absolute path
	GitHub       string // owner/name at the code host; empty: none
	Branch       string // the release branch; default main
	PollInterval time.Duration
	Paths        []string // folders with recipes; default: the whole repository
	PullRequests PullRequests
	Auth         Auth
}

// PullRequests says which pull requests are built.
type PullRequests struct {
	Enabled bool   // default: true with a code host
	Forks   string // approval (default): after someone with write permission approved; or never
}

// Auth is how a repository is fetched. Without it, https uses what GitHub uses.
type Auth struct {
	Token          Secret // for https
	SSHKeyFile     string // for ssh
	KnownHostsFile string // for ssh; default: the user's
}

// Log is what the daemon writes about itself.
type Log struct {
	Level  string // debug, info (default), warn or error
	Format string // text (default) or json
}

// Secret is a text that does not print itself.
type Secret string

// String hides the secret; Reveal shows it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Load reads a configuration file. env looks up environment variables, as
// os.Getenv does. An error that lists mistakes of the author is a yamldoc.Problems.
func Load(path string, env func(string) string) (Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, yamldoc.DefaultMaxBytes+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return Read(path, data, env)
}

// Read is Load for a text that is there already; name is its path.
func Read(name string, data []byte, env func(string) string) (Config, error) {
	document, problems := yamldoc.Parse(name, data)
	if document == nil {
		return Config{}, problems.Err()
	}
	r := &reading{document: document, folder: filepath.Dir(name), env: env, problems: problems}
	var written file
	r.problems = append(r.problems, document.Decode(document.Root, &written)...)
	config := r.config(&written)
	r.problems.Sort()
	if err := r.problems.Err(); err != nil {
		return Config{}, err
	}
	return config, nil
}

package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the tests see into testdata")

func noEnv(string) string { return "" }

// read reads a configuration that lies in /etc/ingot, in name only.
func read(t *testing.T, text string, env map[string]string) Config {
	t.Helper()
	c, err := Read("/etc/ingot/ingot.yaml", []byte(text), func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMinimalExampleHasTheDefaults(t *testing.T) {
	folder, err := filepath.Abs("../examples/daemon")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(filepath.Join(folder, "ingot.yaml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		DataDir: folder + "/data", CacheDir: folder + "/data/cache", Database: Secret("sqlite:" + folder + "/data/ingot.db"),
		Server: Server{Listen: "127.0.0.1:8080", PublicURL: "http://127.0.0.1:8080"},
		GitHub: GitHub{APIURL: "https://api.github.com/"},
		Builds: Builds{Workers: 1, Timeout: 3 * time.Hour, KeepFor: 24 * time.Hour, KeepMost: 5},
		Local:  Local{MemoryMiB: 1024, CPUs: 2, Accelerator: "auto"},
		Repositories: []Repository{{
			Name: "golden-images", URL: "https://github.com/acme/golden-images.git", GitHub: "acme/golden-images",
			Branch: "main", PollInterval: 30 * time.Second, Paths: []string{"."}, PullRequests: PullRequests{Enabled: true, Forks: "approval"},
		}},
		Log: Log{Level: "info", Format: "text"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// fullExample reads the example with every key, beside secrets made for it.
func fullExample(t *testing.T) (string, Config) {
	t.Helper()
	text, err := os.ReadFile("../examples/daemon/ingot-full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app.pem", "webhook", "fetch-token", "id_ed25519", "known_hosts"} {
		if err := os.WriteFile(filepath.Join(folder, "secrets", name), []byte("the "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(folder, "ingot.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return folder, c
}

func TestFullExample(t *testing.T) {
	folder, got := fullExample(t)
	want := Config{
		DataDir: folder + "/data", CacheDir: folder + "/cache", Database: Secret("sqlite:" + folder + "/data/ingot.db"),
		Server: Server{Listen: "127.0.0.1:8080", PublicURL: "https://ingot.example.org"},
		GitHub: GitHub{
			APIURL: "https://github.example.org/api/v3/", WebhookSecret: "the webhook",
			App: App{ID: 123456, InstallationID: 12345678, PrivateKey: "the app.pem"},
		},
		Builds: Builds{Workers: 2, Timeout: 2 * time.Hour, KeepFor: 8 * time.Hour, KeepMost: 3},
		Local:  Local{Mirror: "http://mirror.example.org/debian", ParentDirs: []string{"/srv/images"}, MemoryMiB: 2048, CPUs: 4, Accelerator: "auto"},
		AWS: AWS{
			Region: "eu-central-1", Bucket: "acme-ingot", Prefix: "ingot/", Owner: "ingot", ImportRole: "vmimport",
			Tags: map[string]string{"team": "platform"},
			Infrastructure: Infrastructure{
				InstanceProfile: "ingot-instance", InstanceTypes: []string{"m6i.large", "m5.large"},
				Subnets: []string{"subnet-0a1b2c3d", "subnet-4e5f6a7b"}, SecurityGroups: []string{"sg-0a1b2c3d"},
			},
			Infrastructures: map[string]Infrastructure{"gpu": {
				InstanceProfile: "ingot-instance", InstanceTypes: []string{"g5.xlarge"},
				Subnets: []string{"subnet-0a1b2c3d", "subnet-4e5f6a7b"}, SecurityGroups: []string{"sg-0a1b2c3d"}, Spot: true,
			}},
		},
		Repositories: []Repository{{
			Name: "golden-images", URL: "https://github.example.org/acme/golden-images.git", GitHub: "acme/golden-images",
			Branch: "main", PollInterval: 30 * time.Second, Paths: []string{"recipes"},
			PullRequests: PullRequests{Enabled: true, Forks: "approval"}, Auth: Auth{Token: "the fetch-token"},
		}, {
			Name: "appliances", URL: "git@git.example.org:infra/appliances.git", Branch: "release",
			PollInterval: 30 * time.Second, Paths: []string{"."}, PullRequests: PullRequests{Forks: "approval"},
			Auth: Auth{SSHKeyFile: folder + "/secrets/id_ed25519", KnownHostsFile: folder + "/secrets/known_hosts"},
		}},
		Log: Log{Level: "info", Format: "text"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestFullExampleNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../examples/daemon/ingot-full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys(reflect.TypeFor[file]()) {
		if !strings.Contains(string(text), key+":") {
			t.Errorf("examples/daemon/ingot-full.yaml does not explain the key %s", key)
		}
	}
}

// keys lists the keys of a struct and of all structs inside.
func keys(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); tag != "" {
			all = append(append(all, tag), keys(t.Field(i).Type)...)
		}
	}
	return all
}

func TestTheEnvironmentGoesFirst(t *testing.T) {
	c := read(t, "database: sqlite:x.db\nrepositories: [{name: my.repo-1, url: 'https://example.org/a/b.git'}]\n", map[string]string{
		"INGOT_DATABASE": "postgres://u:p@h/db", "INGOT_GITHUB_TOKEN": "token\n", "INGOT_WEBHOOK_SECRET": "hook", "INGOT_REPOSITORY_TOKEN_MY_REPO_1": "fetch",
	})
	if c.Database != "postgres://u:p@h/db" || c.GitHub.Token != "token" || c.GitHub.WebhookSecret != "hook" || c.Repositories[0].Auth.Token != "fetch" {
		t.Errorf("got %#v", c)
	}
	_, err := Read("x.yaml", []byte("github: {app: {id: 1, installationID: 2}}"), func(name string) string {
		return map[string]string{"INGOT_DATABASE": "oracle:secret", "INGOT_GITHUB_TOKEN": "secret", "INGOT_GITHUB_APP_PRIVATE_KEY": "key"}[name]
	})
	want := "environment: INGOT_DATABASE: neither SQLite nor PostgreSQL; expected sqlite:./data/ingot.db or postgres://…\n" +
		"environment: INGOT_GITHUB_TOKEN: a token is given together with github.app; expected one of them"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestSecretsDoNotPrintThemselves(t *testing.T) {
	_, c := fullExample(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, c) + fmt.Sprintf(format, c.GitHub.App); strings.Contains(text, "the webhook") || strings.Contains(text, "the app.pem") {
			t.Errorf("%s prints a secret: %s", format, text)
		}
	}
	if c.GitHub.WebhookSecret.Reveal() != "the webhook" {
		t.Error("Reveal does not show the secret")
	}
}

func TestCodeHostIsFoundFromTheURL(t *testing.T) {
	for _, test := range []struct{ url, github, api, want string }{
		{"https://github.com/acme/images.git", "", "", "acme/images"},
		{"git@github.com:acme/images.git", "", "", "acme/images"},
		{"ssh://git@github.com:22/acme/images", "", "", "acme/images"},
		{"https://github.com/acme/images", `github: ""`, "", ""},
		{"https://github.com/acme/images", `github: other/place`, "", "other/place"},
		{"https://github.com/acme/deep/images", "", "", ""},
		{"https://gitlab.com/acme/images", "", "", ""},
		{"/srv/git/acme/images", "", "", ""},
		{"file:///srv/git/images", "", "", ""},
		{"https://ghe.example.org/acme/images", "", "https://ghe.example.org/api/v3", "acme/images"},
		{"https://github.com/acme/images", "", "https://ghe.example.org/api/v3", ""},
		{"http://127.0.0.1:3000/acme/images.git", "", "http://127.0.0.1:4000", "acme/images"},
	} {
		text := "repositories:\n  - url: " + test.url + "\n    " + test.github + "\n"
		if test.api != "" {
			text += "github: {apiURL: '" + test.api + "'}\n"
		}
		r := read(t, text, nil).Repositories[0]
		if r.GitHub != test.want || r.PullRequests.Enabled != (test.want != "") {
			t.Errorf("%+v: %q, pull requests %v", test, r.GitHub, r.PullRequests.Enabled)
		}
	}
}

func TestPublicURLFollowsListen(t *testing.T) {
	for listen, want := range map[string]string{"127.0.0.1:1": "http://127.0.0.1:1", ":80": "http://localhost:80", "0.0.0.0:80": "http://localhost:80", "[::1]:80": "http://[::1]:80", "[::]:80": "http://localhost:80"} {
		if got := read(t, "server: {listen: '"+listen+"'}", nil).Server.PublicURL; got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

// TestBadExamples compares what the author of each file in testdata/bad is told
// with the text beside it; -update writes it.
func TestBadExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file, noEnv)
			if err == nil {
				t.Fatal("nothing is wrong with it")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "secret@") {
				t.Errorf("a password is repeated:\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the author sees\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestAFileThatIsNotThere(t *testing.T) {
	if _, err := Load("testdata/none.yaml", noEnv); !os.IsNotExist(unwrapped(err)) {
		t.Errorf("got %v", err)
	}
}

func unwrapped(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return err
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../examples/daemon/ingot-full.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Read("fuzz.yaml", data, noEnv)
		if err != nil {
			return
		}
		for _, r := range c.Repositories {
			if r.Name == "" || r.URL == "" || r.Branch == "" || r.PollInterval < time.Second || len(r.Paths) == 0 {
				t.Errorf("a repository that cannot be watched: %+v", r)
			}
		}
	})
}

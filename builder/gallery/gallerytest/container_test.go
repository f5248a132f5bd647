package gallerytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
)

//go:embed testdata/fixtures.sh
var fixturesScript string

// vendor is an https server with packages, repositories and keys.
type vendor struct {
	*httptest.Server
	files map[string][]byte
}

// newVendor makes the fixtures on a Debian and serves them; the machine trusts
// its certificate.
func newVendor(m *machine) vendor {
	m.t.Helper()
	m.bash(fixturesScript)
	packed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(m.bash("tar -C /srv/fixtures -cz . | base64 -w 0")))
	if err != nil {
		m.t.Fatal(err)
	}
	v := vendor{files: untar(m.t, packed)}
	v.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := v.files[strings.TrimPrefix(path.Clean(r.URL.Path), "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(content) // an error is the client's to notice
	}))
	v.Config.ErrorLog = log.New(m.t.Output(), "vendor: ", 0) // of who only looks whether the port is open
	v.StartTLS()
	m.t.Cleanup(v.Close)
	v.trustedBy(m)
	return v
}

func (v vendor) trustedBy(m *machine) {
	m.t.Helper()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Certificate().Raw})
	m.bash("cat > /usr/local/share/ca-certificates/vendor.crt <<'CERTIFICATE'\n" + string(certificate) + "CERTIFICATE\nupdate-ca-certificates\n")
}

func (v vendor) text(name string) string { return strings.TrimSpace(string(v.files[name])) }

func (v vendor) sha256(name string) string {
	sum := sha256.Sum256(v.files[name])
	return hex.EncodeToString(sum[:])
}

func untar(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestComponentsInContainers runs every component for Linux that a container can
// run, on Debian with apt, then with dnf and with zypper as the only package manager
// that is seen, and on another release.
func TestComponentsInContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("installs many packages")
	}
	t.Parallel()
	disk := disktest.Debian12(t)
	m := &machine{t: t, on: launch(t, newDriver(t, disk), disk, "gallery", 8)}
	v := newVendor(m)

	m.passes("hello-world-linux", nil, "Hello from the build phase on Linux")
	m.passes("update-linux", nil)
	aptRepositories(m, v)
	distributionPackages(m, v)
	answerFiles(m)
	vendorArchives(m, v)
	complianceScan(t, disk)
	noPackageManagerButDnf(m, v)
	noPackageManagerButZypper(m, v)
	anotherRelease(t, v)
}

// aptRepositories registers the fixtures in every way that there is.
func aptRepositories(m *machine, v vendor) {
	const name = "add-apt-repository-linux"
	with := func(more parameters) parameters {
		p := parameters{"RepositoryName": "fixtures", "Uris": v.URL + "/apt", "Suites": "stable"}
		for k, value := range more {
			p[k] = value
		}
		return p
	}
	vendorKey := v.URL + "/vendor.asc"
	for reason, given := range map[string]parameters{
		"Give exactly one of":                 nil,
		"without KeyChecksum or":              {"KeyUrl": vendorKey},
		"Give exactly one of KeyUrl, KeyFile": {"KeyUrl": vendorKey, "KeyChecksum": v.sha256("vendor.asc"), "KeyFile": "/srv/fixtures/vendor.asc"},
		"The key's SHA-256 is":                {"KeyUrl": vendorKey, "KeyChecksum": v.sha256("other.asc")},
		"does not have the fingerprint":       {"KeyUrl": vendorKey, "KeyFingerprint": v.text("other.fingerprint")},
		"KeyFile /nowhere is not there":       {"KeyFile": "/nowhere"},
		"use letters, digits, - and _":        {"RepositoryName": "../evil", "KeyFile": "/srv/fixtures/vendor.asc"},
		// Signed, but by somebody else.
		"The repository fixtures cannot be used": {"KeyFile": "/srv/fixtures/other.asc"},
	} {
		m.fails(name, with(given), reason)
	}
	m.bash("rm /etc/apt/sources.list.d/fixtures.sources")
	m.passes(name, with(parameters{"KeyUrl": vendorKey, "KeyChecksum": v.sha256("vendor.asc")}))
	m.passes(name, with(parameters{"KeyFile": "/srv/fixtures/vendor.asc"}))
	// Only the key that is asked for is taken out of a file with more.
	m.passes(name, with(parameters{"KeyUrl": v.URL + "/both.asc", "KeyFingerprint": v.text("vendor.fingerprint")}))
	if keys := m.bash("gpg --show-keys --with-colons /etc/apt/keyrings/fixtures.asc | grep '^fpr'"); strings.Contains(keys, v.text("other.fingerprint")) || !strings.Contains(keys, v.text("vendor.fingerprint")) {
		m.t.Errorf("the keyring holds\n%s", keys)
	}
	m.passes(name, parameters{"RepositoryName": "short", "Uris": v.URL + "/flat", "Suites": "./", "KeyText": v.text("short.asc")})
	m.bash("rm /etc/apt/sources.list.d/short.sources")

	m.fails("install-package-from-repository", parameters{"PackageName": "--fix-broken"}, "cannot begin with a dash")
	m.fails("install-package-from-repository", parameters{"PackageName": " "}, "names no package")
	m.passes("install-package-from-repository", parameters{"PackageName": "fixture-hello"})
	if got := m.bash("fixture-hello"); got != "hello\n" {
		m.t.Errorf("the package prints %q", got)
	}

	tests := &machine{t: m.t, on: m.on, tests: true, jobs: 1000}
	required := parameters{"RepositoryAccess": "required"}
	tests.passes("apt-repository-test-linux", required, v.URL+"/apt stable")
	for reason, script := range map[string]string{
		"take that setting out":                     "echo 'Acquire::AllowInsecureRepositories \"yes\";' > /etc/apt/apt.conf.d/insecure",
		"is trusted without a signature":            "sed -i 's/^Suites/Trusted: yes\\n&/' /etc/apt/sources.list.d/fixtures.sources",
		"fixtures.asc of a repository is not there": "rm /etc/apt/keyrings/fixtures.asc",
		"NO_PUBKEY": "cp /srv/fixtures/other.asc /etc/apt/keyrings/fixtures.asc",
		"/nowhere":  "sed -i 's|/apt$|/nowhere|' /etc/apt/sources.list.d/fixtures.sources",
	} {
		m.bash("cp -a /etc/apt /srv/apt-before\n" + script)
		tests.fails("apt-repository-test-linux", nil, reason)
		m.bash("rm -r /etc/apt; mv /srv/apt-before /etc/apt")
	}
	m.bash("mv /etc/apt /srv/apt-before; mkdir -p /etc/apt")
	tests.fails("apt-repository-test-linux", nil, "apt has no repository")
	m.bash("rm -r /etc/apt; mv /srv/apt-before /etc/apt; apt-get -q update")
	m.bash("sed -i '/^Package: fixture-hello$/,/^$/s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status")
	tests.fails("apt-repository-test-linux", nil, "fixture-hello")
	m.bash("dpkg --configure --pending")
}

// distributionPackages installs what Debian has.
func distributionPackages(m *machine, v vendor) {
	m.passes("python-3-linux", nil, "Python 3.11")
	m.passes("go-stable-linux", nil, "Installing the distribution's Go", "go version go1.19")
	m.passes("amazon-corretto-17-jdk", parameters{"KeyUrl": v.URL + "/nowhere"}, "The repository of Corretto cannot be reached.", "Installing the distribution's OpenJDK 17.", "javac 17")
	m.passes("aws-cli-version-2-linux", nil, "Installing the distribution's package, version 2.", "aws-cli/2.")
	m.bash("useradd --create-home admin")
	m.fails("docker-ce-linux", parameters{"DockerUsers": "nobody-knows"}, "There is no account nobody-knows")
	m.passes("docker-ce-linux", nil, "Installing the distribution's build of Docker.", "admin may use Docker.", "Docker version")
	m.passes("nginx", parameters{"DefaultSite": "remove"})
	m.passes("chrony", nil, "pool 2.debian.pool.ntp.org")
	// Twice: what was written before is replaced.
	m.passes("chrony", parameters{"TimeServers": "time.example.com"}, "server time.example.com iburst")
	m.passes("chrony", parameters{"TimeServers": "169.254.169.123 ntp.example.com"}, "server ntp.example.com iburst")
	got := m.bash(`id -nG admin
test ! -e /etc/nginx/sites-enabled/default
grep -E '^(pool|server|sourcedir)' /etc/chrony/chrony.conf`)
	if want := "admin docker\nserver 169.254.169.123 prefer iburst minpoll 4 maxpoll 4\nserver ntp.example.com iburst\n"; got != want {
		m.t.Errorf("got %q, want %q", got, want)
	}
}

// vendorArchives installs what comes from a vendor's own locations.
func vendorArchives(m *machine, v vendor) {
	archive := "vendor/go9.8.7.linux-amd64.tar.gz"
	m.fails("go-stable-linux", parameters{"GoVersion": "9.8.7", "DownloadUrl": v.URL + "/vendor"}, "without Checksum")
	m.passes("go-stable-linux", parameters{"GoVersion": "9.8.7", "DownloadUrl": v.URL + "/vendor", "Checksum": v.sha256(archive)}, "go version go9.8.7")

	m.fails("aws-cli-version-2-linux", parameters{"DownloadUrl": v.URL + "/vendor/awscli.zip"}, "without Checksum")
	m.passes("aws-cli-version-2-linux", parameters{"DownloadUrl": v.URL + "/vendor/awscli.zip", "Checksum": v.sha256("vendor/awscli.zip")}, "Installing the vendor's archive", "aws-cli/2.99.0")

	agent := func(from string, more parameters) parameters {
		p := parameters{"DownloadUrl": v.URL + "/" + from + "/amazon-cloudwatch-agent.deb", "KeyUrl": v.URL + "/vendor.asc", "KeyFingerprint": v.text("vendor.fingerprint")}
		for k, value := range more {
			p[k] = value
		}
		return p
	}
	m.fails("amazon-cloudwatch-agent-linux", agent("vendor", parameters{"Checksum": v.sha256("vendor.asc")}), "The package's SHA-256 is")
	m.fails("amazon-cloudwatch-agent-linux", agent("other", nil), "The package's signature is wrong")
	m.fails("amazon-cloudwatch-agent-linux", agent("other", parameters{"KeyUrl": v.URL + "/both.asc"}), "is not signed by the key")
	m.fails("amazon-cloudwatch-agent-linux", parameters{"DownloadUrl": v.URL + "/vendor.asc", "Checksum": v.sha256("vendor.asc")}, "neither a .deb nor an .rpm")
	m.passes("amazon-cloudwatch-agent-linux", agent("vendor", nil))
	m.passes("amazon-cloudwatch-agent-linux", agent("vendor", parameters{"Checksum": v.sha256("vendor/amazon-cloudwatch-agent.deb")}))
	ssmAgent(m, v, "deb")

	file := parameters{"SourceUrl": v.URL + "/vendor.asc", "Destination": "/opt/fetched/key", "Checksum": "none", "FileMode": "0750"}
	m.fails("download-file-linux", file, "give the 64 digits that sha256sum prints")
	file["Checksum"] = v.sha256("vendor.asc")
	m.passes("download-file-linux", file)
	if got := m.bash("stat -c %a /opt/fetched/key; cmp /opt/fetched/key /srv/fixtures/vendor.asc; ls -A /var/tmp"); got != "750\n" {
		m.t.Errorf("the file's mode, and what is left in /var/tmp: %q", got)
	}

	m.bash("rm /etc/apt/sources.list.d/fixtures.sources")
	corretto := parameters{"Source": "amazon", "RepositoryUrl": v.URL + "/apt", "KeyUrl": v.URL + "/both.asc", "KeyFingerprint": v.text("other.fingerprint")}
	m.fails("amazon-corretto-17-jdk", corretto, "InRelease")
	m.bash("rm /etc/apt/sources.list.d/corretto.sources")
}

// answerFiles installs a package that asks a question.
func answerFiles(m *machine) {
	const name = "debconf-preseed-linux"
	m.fails(name, nil, "give AnswerFile or Answers")
	m.fails(name, parameters{"AnswerFile": "/nowhere"}, "put it on the instance with the files of the recipe")
	m.fails(name, parameters{"Answers": "fixture-question fixture-question/colour"}, "is not written as debconf wants it")
	m.passes(name, parameters{"Answers": "fixture-question fixture-question/colour string deep blue", "Packages": "fixture-question"}, "fixture-question/colour is answered.")
	if got := m.bash("cat /etc/fixture-colour"); got != "deep blue\n" {
		m.t.Errorf("the package was given %q", got)
	}
	m.bash("printf '# a comment\\nfixture-question fixture-question/colour \\\\\\nstring red\\n' > /srv/answers")
	m.passes(name, parameters{"AnswerFile": "/srv/answers", "Packages": "fixture-question"})
	if got := m.bash("cat /etc/fixture-colour"); got != "red\n" {
		m.t.Errorf("the package was given %q", got)
	}
}

// complianceScan scans a container. What it finds there says nothing of a machine;
// that two scanners add up to one score shows here as well, and in seconds.
func complianceScan(t *testing.T, disk string) {
	tests := &machine{t: t, on: launch(t, newDriver(t, disk), disk, "scan", 0), tests: true}
	const name = "compliance-scan"
	_, printed := tests.fails(name, parameters{"MinimumScore": "100"}, "it has to be at least 100", "ingot:scan profile anssi_bp28_enhanced, data 0.1.76")
	for _, rule := range []string{"no_files_unowned_by_user", "file_permissions_ungroupowned", "file_permissions_unauthorized_world_writable"} {
		if strings.Contains(printed, rule) {
			t.Errorf("the rule %s fails on Debian as it is", rule)
		}
	}
	tests.bash("touch /srv/nobodys; chown 4321:4321 /srv/nobodys")
	tests.passes(name, nil, "ingot:scan failed medium file_permissions_ungroupowned Ensure All Files Are Owned by a Group", "ingot:scan failed medium no_files_unowned_by_user Ensure")
	tests.fails(name, parameters{"Profile": "nonsense"}, "nonsense")
	tests.fails(name, parameters{"MinimumScore": "many"}, "MinimumScore is no number")
}

// noPackageManagerButDnf hides apt, so that the components take the next one.
func noPackageManagerButDnf(m *machine, v vendor) {
	m.bash("mv /usr/bin/apt-get /usr/bin/apt-get.hidden; rm -f /usr/bin/java /usr/bin/javac; rm -rf /opt/aws /usr/bin/amazon-ssm-agent")
	m.fails("add-apt-repository-linux", parameters{"RepositoryName": "fixtures", "Uris": v.URL, "Suites": "./", "KeyFile": "/srv/fixtures/vendor.asc"}, "use add-yum-repository-linux")
	rpmRepositories(m, v)
	// zypper does not work with a database in which there is nothing.
	m.passes("install-package-from-repository", parameters{"PackageName": "fixture-stays"})
	m.bash("rm /etc/yum.repos.d/*.repo; mv /usr/bin/dnf /usr/bin/dnf.hidden; mv /usr/bin/dnf-3 /usr/bin/dnf-3.hidden")
}

// noPackageManagerButZypper goes on with the one that is left.
func noPackageManagerButZypper(m *machine, v vendor) {
	m.bash("zypper --non-interactive remove fixture-hello fixture-goodbye java-17-amazon-corretto-devel amazon-cloudwatch-agent amazon-ssm-agent; ! command -v fixture-hello fixture-goodbye javac amazon-ssm-agent")
	rpmRepositories(m, v)
	m.bash("mv /usr/bin/zypper /usr/bin/zypper.hidden")
	for _, name := range []string{"python-3-linux", "go-stable-linux", "docker-ce-linux", "nginx", "chrony", "update-linux", "install-package-from-repository", "amazon-corretto-17-jdk"} {
		m.fails(name, parameters{"PackageName": "x", "Source": "distribution"}, "none of apt-get, dnf, yum and zypper")
	}
	m.fails("add-yum-repository-linux", parameters{"RepositoryName": "x", "BaseUrl": v.URL}, "none of dnf, yum and zypper")
	m.fails("aws-cli-version-2-linux", nil, "has no version 2 of the AWS command line (it has: none)")
}

// rpmRepositories uses whatever package manager for rpm packages is seen.
func rpmRepositories(m *machine, v vendor) {
	const name = "add-yum-repository-linux"
	with := func(folder string, more parameters) parameters {
		p := parameters{"RepositoryName": "fixtures", "BaseUrl": v.URL + "/" + folder}
		for k, value := range more {
			p[k] = value
		}
		return p
	}
	key := parameters{"KeyUrl": v.URL + "/vendor.asc", "KeyChecksum": v.sha256("vendor.asc")}
	m.fails(name, with("yum", nil), "Give exactly one of")
	m.fails(name, with("yum", parameters{"KeyUrl": v.URL + "/vendor.asc"}), "without KeyChecksum or KeyFingerprint")
	m.fails(name, with("nowhere", key), "The repository fixtures cannot be used")
	m.passes(name, with("yum", key))
	m.passes(name, with("yum", parameters{"KeyFile": "/srv/fixtures/both.asc", "KeyFingerprint": v.text("vendor.fingerprint")}))
	m.passes("install-package-from-repository", parameters{"PackageName": "fixture-hello"})
	m.passes("install-package-from-repository", parameters{"PackageName": "fixture-goodbye"})
	m.passes(name, with("yum-newer", key))
	m.updates("exclude: [fixture-good*]")
	if got := m.bash("fixture-hello; fixture-goodbye"); got != "newer hello\ngoodbye\n" {
		m.t.Errorf("after an update of all but one the packages print %q", got)
	}
	m.passes("install-package-from-repository", parameters{"PackageName": "fixture-stays"})
	m.updates("include: [fixture-stays]")
	if got := m.bash("fixture-goodbye"); got != "goodbye\n" {
		m.t.Errorf("after an update of another the package prints %q", got)
	}
	m.updates("include: [fixture-goodbye, fixture-hello], exclude: [fixture-hello]")
	if got := m.bash("fixture-goodbye"); got != "newer goodbye\n" {
		m.t.Errorf("after its update the package prints %q", got)
	}
	m.passes("update-linux", nil)

	tests := &machine{t: m.t, on: m.on, tests: true, jobs: m.jobs + 1000}
	tests.passes("yum-repository-test-linux", parameters{"RepositoryAccess": "required"})
	tests.fails("apt-repository-test-linux", nil, "use yum-repository-test-linux")
	for reason, script := range map[string]string{
		"gpgcheck is off":           "sed -i 's/gpgcheck=1/gpgcheck=0/' fixtures.repo",
		"No repository is switched": "sed -i 's/enabled=1/enabled=0/' fixtures.repo",
		"There is no repository in": "rm fixtures.repo",
		"/nowhere":                  "sed -i 's|^baseurl=.*|baseurl=" + v.URL + "/nowhere|' fixtures.repo",
	} {
		m.bash("cd /etc/yum.repos.d; ls *.repo > /dev/null 2>&1 || cd /etc/zypp/repos.d; cp fixtures.repo /srv; " + script)
		tests.fails("yum-repository-test-linux", nil, reason)
		m.bash("cd /etc/yum.repos.d; command -v dnf > /dev/null || cd /etc/zypp/repos.d; mv /srv/fixtures.repo .")
	}

	m.passes("amazon-corretto-17-jdk", parameters{"Source": "amazon", "RepositoryUrl": v.URL + "/yum", "KeyUrl": v.URL + "/both.asc", "KeyFingerprint": v.text("vendor.fingerprint")}, "Installing Amazon Corretto 17.", "javac 17")
	m.passes("amazon-cloudwatch-agent-linux", parameters{
		"DownloadUrl": v.URL + "/vendor/amazon-cloudwatch-agent.rpm", "KeyUrl": v.URL + "/vendor.asc", "KeyFingerprint": v.text("vendor.fingerprint"),
	})
	ssmAgent(m, v, "rpm")
	m.fails("aws-cli-version-2-linux", nil, "Give DownloadUrl and Checksum")
}

// ssmAgent installs the agent of Systems Manager from a package of that form.
func ssmAgent(m *machine, v vendor, form string) {
	const name = "amazon-ssm-agent-linux"
	with := func(from string, more parameters) parameters {
		p := parameters{"DownloadUrl": v.URL + "/" + from + "/amazon-ssm-agent." + form, "KeyFingerprint": v.text("vendor.fingerprint")}
		for k, value := range more {
			p[k] = value
		}
		return p
	}
	key, sum := parameters{"KeyUrl": v.URL + "/vendor.asc"}, v.sha256("vendor/amazon-ssm-agent."+form)
	if form == "deb" {
		m.fails(name, with("vendor", nil), "Give exactly one of Checksum")
		m.fails(name, with("vendor", parameters{"KeyUrl": v.URL + "/vendor.asc", "Checksum": sum}), "Give exactly one of Checksum")
		m.fails(name, with("vendor", parameters{"KeyUrl": v.URL + "/vendor.asc", "KeyFingerprint": ""}), "without KeyFingerprint")
		m.fails(name, with("vendor", parameters{"KeyFile": "/nowhere"}), "KeyFile /nowhere is not there")
		m.fails(name, with("vendor", parameters{"Checksum": v.sha256("vendor.asc")}), "The package's SHA-256 is")
		m.fails(name, with("other", key), "The package's signature is wrong")
		m.fails(name, with("other", parameters{"KeyFile": "/srv/fixtures/both.asc"}), "is not signed by the key")
		m.fails(name, parameters{"DownloadUrl": v.URL + "/vendor.asc", "Checksum": v.sha256("vendor.asc")}, "neither a .deb nor an .rpm")
	}
	m.passes(name, with("vendor", parameters{"KeyFile": "/srv/fixtures/both.asc"}))
	m.passes(name, with("vendor", key))
	m.passes(name, with("vendor", parameters{"Checksum": sum}))
}

// anotherRelease runs what differs on the next Debian.
func anotherRelease(t *testing.T, v vendor) {
	disk := disktest.Debian13(t)
	m := &machine{t: t, on: launch(t, newDriver(t, disk), disk, "gallery-13", 0)}
	v.trustedBy(m)
	m.passes("add-apt-repository-linux", parameters{
		"RepositoryName": "fixtures", "Uris": v.URL + "/apt", "Suites": "stable", "KeyUrl": v.URL + "/both.asc", "KeyFingerprint": v.text("vendor.fingerprint"),
	})
	m.fails("amazon-corretto-17-jdk", parameters{"Source": "distribution"}, "This distribution has no openjdk-17-jdk-headless")
	m.bash("rm /etc/apt/sources.list.d/fixtures.sources") // apt takes one key for one repository
	m.passes("amazon-corretto-17-jdk", parameters{"RepositoryUrl": v.URL + "/apt", "KeyUrl": v.URL + "/vendor.asc", "KeyFingerprint": v.text("vendor.fingerprint")}, "Installing Amazon Corretto 17.", "javac 17")
	m.passes("docker-ce-linux", parameters{"DockerUsers": "none"}, "Docker version")
	m.passes("chrony", parameters{"TimeServers": "169.254.169.123"}, "server 169.254.169.123 prefer")
	m.passes("nginx", nil)
	m.passes("python-3-linux", nil, "Python 3.13")
	m.passes("debconf-preseed-linux", parameters{"Answers": "fixture-question fixture-question/colour string green", "Packages": "fixture-question"})
	tests := &machine{t: t, on: m.on, tests: true, jobs: 1000}
	tests.passes("apt-repository-test-linux", parameters{"RepositoryAccess": "required"})
}

package watcher

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sshServer is a real sshd on loopback that lets one key run git-upload-pack.
type sshServer struct {
	root string
	addr string
	user string
	auth Auth
}

func newSSHServer(t testing.TB, v2 bool) *sshServer {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Fatal("sshd is needed: install Debian's openssh-server")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd gives up its privileges
		t.Fatal(err)
	}
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &sshServer{root: t.TempDir(), user: who.Username, addr: freeAddress(t)}
	host, port, _ := net.SplitHostPort(s.addr)
	hostKey, key := newKey(t, dir, "host"), newKey(t, dir, "key")
	config := []string{
		"ListenAddress " + s.addr,
		"HostKey " + hostKey,
		"AuthorizedKeysFile " + key + ".pub",
		"PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "PermitRootLogin yes",
		"LogLevel INFO",
	}
	if v2 {
		config = append(config, "AcceptEnv GIT_PROTOCOL")
	}
	file := filepath.Join(dir, "sshd_config")
	writeFile(t, file, strings.Join(config, "\n")+"\n")
	known := filepath.Join(dir, "known_hosts")
	writeFile(t, known, fmt.Sprintf("[%s]:%s %s\n", host, port, readFile(t, hostKey+".pub")))
	s.auth = Auth{SSHKeyFile: key, KnownHostsFile: known}

	cmd := exec.Command(sshd, "-D", "-e", "-f", file)
	log := &buffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is waited for below
		_ = cmd.Wait()
		if t.Failed() {
			t.Log("sshd:\n" + log.String())
		}
	})
	awaitListener(t, s.addr, log)
	return s
}

func (s *sshServer) url(name string) string {
	return "ssh://" + s.user + "@" + s.addr + filepath.Join(s.root, name)
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// awaitListener waits until the server has said that it listens.
func awaitListener(t testing.TB, addr string, log *buffer) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(log.String(), "Server listening on") {
		if time.Now().After(deadline) {
			t.Fatalf("sshd does not listen on %s:\n%s", addr, log)
		}
		time.Sleep(5 * time.Millisecond) // sshd tells nobody but its log
	}
}

func newKey(t testing.TB, dir, name string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	run(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
	return file
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

func TestSSHFailsClosed(t *testing.T) {
	server := newSSHServer(t, true)
	r := newRepo(t, server.root, "images.git")
	r.push("one", "refs/heads/main")
	dir := t.TempDir()
	other := newKey(t, dir, "other")
	host, port, _ := net.SplitHostPort(server.addr)
	empty, wrong := filepath.Join(dir, "empty"), filepath.Join(dir, "wrong")
	writeFile(t, empty, "")
	writeFile(t, wrong, fmt.Sprintf("[%s]:%s %s\n", host, port, readFile(t, other+".pub")))

	for _, tt := range []struct {
		name string
		auth Auth
		url  string
		want string
	}{
		{"host not known", Auth{SSHKeyFile: server.auth.SSHKeyFile, KnownHostsFile: empty}, "", "is not in " + empty},
		{"another host key", Auth{SSHKeyFile: server.auth.SSHKeyFile, KnownHostsFile: wrong}, "", "is not the one in " + wrong},
		{"known hosts missing", Auth{SSHKeyFile: server.auth.SSHKeyFile, KnownHostsFile: filepath.Join(dir, "none")}, "", "none"},
		{"key refused", Auth{SSHKeyFile: other, KnownHostsFile: server.auth.KnownHostsFile}, "", "refuses the key"},
		{"key missing", Auth{SSHKeyFile: filepath.Join(dir, "none"), KnownHostsFile: server.auth.KnownHostsFile}, "", "private key"},
		{"no such repository", server.auth, server.url("nothing.git"), "does not appear to be a git repository"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b book
			c := testConfig(t, orDefault(tt.url, server.url("images.git")), &b)
			c.Auth = tt.auth
			_, err := mustNew(t, c).Poll(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Poll: %v, want an error with %q", err, tt.want)
			}
			wantLines(t, b.take())
		})
	}
}

// A host that accepts connections and says nothing is given up with the context.
func TestSSHGivesUpOnSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := newSSHServer(t, true)
	var b book
	c := testConfig(t, "ssh://git@"+net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))+"/images.git", &b)
	c.Auth = server.auth
	w := mustNew(t, c)
	ctx, cancel := contextEndingAfterAccept(t, l)
	defer cancel()
	if _, err := w.Poll(ctx); err == nil {
		t.Fatal("Poll of a silent host: no error")
	}
}

// contextEndingAfterAccept ends as soon as somebody has connected to l.
func contextEndingAfterAccept(t *testing.T, l net.Listener) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
		}
		cancel()
	}()
	return ctx, cancel
}

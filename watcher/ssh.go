package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshTimeout bounds the way to the first word of a server: a host that accepts
// connections and then says nothing is as bad as one that is down.
const sshTimeout = 20 * time.Second

// sshRemote runs git-upload-pack at the other end of an ssh connection, a
// connection for each question. The server's key has to be in the known hosts.
type sshRemote struct {
	address address
	auth    Auth
	maxPack int64
}

func newSSHRemote(a address, auth Auth, maxPack int64) (*sshRemote, error) {
	switch {
	case auth.SSHKeyFile == "":
		return nil, fmt.Errorf("%s: an ssh url needs a private key file", a)
	case auth.KnownHostsFile == "":
		return nil, fmt.Errorf("%s: an ssh url needs a known_hosts file: without one, nobody could tell whether it is the right server", a)
	}
	return &sshRemote{address: a, auth: auth, maxPack: maxPack}, nil
}

func (s *sshRemote) heads(ctx context.Context, refs []string) (map[string]string, error) {
	var heads map[string]string
	err := s.talk(ctx, func(c *sshConversation) error {
		r := newPktReader(&limitedReader{r: c.out, left: maxRefBytes})
		adv, err := readAdvertisement(r, refs)
		if err != nil {
			return err
		}
		heads = adv.heads
		if adv.v2 {
			if err := c.say(lsRefsRequest(refs)); err != nil {
				return err
			}
			if heads, err = readLsRefs(r, refs); err != nil {
				return err
			}
		}
		return c.say([]byte(flushPkt)) // we want nothing more
	})
	if err != nil {
		return nil, s.fail("reading its refs", err)
	}
	return heads, nil
}

func (s *sshRemote) pack(ctx context.Context, wants, haves []string, read func(io.Reader) error) error {
	err := s.talk(ctx, func(c *sshConversation) error {
		r := newPktReader(&limitedReader{r: c.out, left: s.maxPack})
		adv, err := readAdvertisement(r, nil)
		if err != nil {
			return err
		}
		body, find := fetchRequest(wants, haves), packOfFetch
		if !adv.v2 {
			body, find = uploadRequest(wants, haves), packOfUpload
		}
		if err := c.say(body); err != nil {
			return err
		}
		pack, err := find(r)
		if err != nil {
			return err
		}
		return read(pack)
	})
	if err != nil {
		return s.fail("fetching", err)
	}
	return nil
}

// sshConversation is one git-upload-pack at the other end.
type sshConversation struct {
	in  io.Writer
	out io.Reader
}

func (c *sshConversation) say(b []byte) error {
	_, err := c.in.Write(b)
	return err
}

// talk connects, starts git-upload-pack, runs the conversation, and hangs up.
func (s *sshRemote) talk(ctx context.Context, conversation func(*sshConversation) error) error {
	client, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // hanging up
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()

	session, err := client.NewSession()
	if err != nil {
		return gaveUp(ctx, err)
	}
	complaints := &firstBytes{most: 1000}
	session.Stderr = complaints
	in, err := session.StdinPipe()
	if err != nil {
		return err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	_ = session.Setenv("GIT_PROTOCOL", "version=2") // a server that refuses it speaks version 0
	if err := session.Start("git-upload-pack '" + s.path() + "'"); err != nil {
		return gaveUp(ctx, err)
	}
	if err := conversation(&sshConversation{in: in, out: out}); err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			_ = client.Close() // it still talks, and nobody listens
		}
		_ = session.Wait() // collects the complaints, which say more than the exit status
		return gaveUp(ctx, complaints.explain(err))
	}
	return nil
}

// path is what git-upload-pack is given; checkSSHPath has seen to its letters.
func (s *sshRemote) path() string {
	path := s.address.url.Path
	if strings.HasPrefix(path, "/~") {
		return path[1:]
	}
	return path
}

func (s *sshRemote) dial(ctx context.Context) (*ssh.Client, error) {
	host := s.address.url.Host
	if s.address.url.Port() == "" {
		host = net.JoinHostPort(s.address.url.Hostname(), "22")
	}
	config, err := s.clientConfig(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, host, config)
	if !stop() || err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, gaveUp(ctx, s.explainHandshake(host, err))
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (s *sshRemote) clientConfig(host string) (*ssh.ClientConfig, error) {
	keys, err := gitssh.NewPublicKeysFromFile(s.address.url.User.Username(), s.auth.SSHKeyFile, "")
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", s.auth.SSHKeyFile, err)
	}
	known, err := gitssh.NewKnownHostsDb(s.auth.KnownHostsFile)
	if err != nil {
		return nil, fmt.Errorf("known hosts %s: %w", s.auth.KnownHostsFile, err)
	}
	keys.HostKeyCallback = known.HostKeyCallback()
	config, err := keys.ClientConfig()
	if err != nil {
		return nil, err
	}
	config.HostKeyAlgorithms = known.HostKeyAlgorithms(host)
	return config, nil
}

// explainHandshake finds the reason that an operator can act on.
func (s *sshRemote) explainHandshake(host string, err error) error {
	var key *knownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &key) && len(key.Want) == 0:
		return fmt.Errorf("the host key of %s is not in %s: compare it with the one that its operator publishes, then add it", host, s.auth.KnownHostsFile)
	case errors.As(err, &key):
		return fmt.Errorf("the host key of %s is not the one in %s: either it was changed, or this is another server", host, s.auth.KnownHostsFile)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("the server refuses the key %s: does it have read access? (%w)", s.auth.SSHKeyFile, err)
	}
	return err
}

// fail makes an Error of a cause.
func (s *sshRemote) fail(doing string, err error) error {
	return &Error{URL: s.address.String(), Problem: doing, Err: err}
}

// gaveUp prefers the reason why we hung up to what hanging up looked like.
func gaveUp(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct {
	buf  bytes.Buffer
	most int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.buf.Write(p[:min(len(p), f.most-f.buf.Len())])
	return len(p), nil
}

// explain adds the server's own words to an error that came of its silence.
func (f *firstBytes) explain(err error) error {
	if f.buf.Len() == 0 {
		return err
	}
	return &serverError{text: printable(f.buf.Bytes())}
}

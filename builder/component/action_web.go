package component

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// downloadTries is how often one download is tried within one attempt of the
// step.
const downloadTries = 5

// errPermanent marks what no repetition can mend.
type errPermanent struct{ error }

func (e errPermanent) Unwrap() error { return e.error }

// webDownload fetches one URL into a file. The file appears under its name only
// when it is complete and its digest is right.
func webDownload(ctx context.Context, c *call) (map[string]string, error) {
	from, err := url.Parse(c.text("source"))
	if err != nil || (from.Scheme != "http" && from.Scheme != "https") || from.Host == "" {
		return nil, fmt.Errorf("source %q is no http or https URL", c.text("source"))
	}
	target, err := downloadTarget(c.path("destination"), from)
	if err != nil {
		return nil, err
	}
	if err := c.replaceable(target); err != nil {
		return nil, err
	}
	output := map[string]string{"destination": target}
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real // a link stays one
	}
	if c.alreadyThere(target) {
		c.logs.note("%s has the digest that is asked for: not downloaded again", target)
		return output, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return nil, err
	}
	if err := c.downloadTo(ctx, from, target); err != nil {
		return nil, err
	}
	return output, nil
}

// downloadTo fetches a file, several times if need be.
func (c *call) downloadTo(ctx context.Context, from *url.URL, target string) error {
	client := downloadClient(c.bool("ignoreCertificateErrors"))
	defer client.CloseIdleConnections()
	wait := c.env.Backoff
	for try := 1; ; try++ {
		err := c.download(ctx, client, from.String(), target)
		if err == nil {
			return nil
		}
		if _, permanent := errors.AsType[errPermanent](err); permanent || try == downloadTries || ctx.Err() != nil {
			return fmt.Errorf("download of %s: %w", from.Redacted(), err)
		}
		c.logs.note("download of %s, try %d: %v", from.Redacted(), try, err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait *= 2
	}
}

// downloadTarget names the file; for a folder its name comes from the URL.
func downloadTarget(destination string, from *url.URL) (string, error) {
	if !isFolder(destination) {
		return destination, nil
	}
	name := path.Base(from.Path)
	if name == "." || name == "/" || name == ".." || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("%s names no file: give destination a file name", from.Redacted())
	}
	return filepath.Join(destination, name), nil
}

// verifies reports whether checksum and algorithm are both given; one alone verifies
// nothing, of which a check warns (inferred).
func (c *call) verifies() bool { return c.text("checksum") != "" && c.text("algorithm") != "" }

func (c *call) alreadyThere(target string) bool {
	if !c.verifies() {
		return false
	}
	sum, err := fileDigest(target, c.text("algorithm"))
	return err == nil && strings.EqualFold(sum, c.text("checksum"))
}

func downloadClient(anyCertificate bool) *http.Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		// The file is wanted as the server has it.
		DisableCompression: true,
	}
	if anyCertificate {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the document asks for it
	}
	return &http.Client{Transport: transport}
}

func (c *call) download(ctx context.Context, client *http.Client, from, target string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return errPermanent{err}
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s, which is not 200", response.Status)
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".download-*")
	if err != nil {
		return errPermanent{err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(c.receive(f, response.Body), f.Close()); err != nil {
		return err
	}
	return place(f.Name(), target)
}

// receive copies the body and holds it against the checksum.
func (c *call) receive(f *os.File, body io.Reader) error {
	if !c.verifies() {
		_, err := io.Copy(f, body)
		return err
	}
	sum := newHash(c.text("algorithm"))
	if _, err := io.Copy(io.MultiWriter(f, sum), body); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, c.text("checksum")) {
		return fmt.Errorf("the file's %s is %s, not %s", strings.ToUpper(c.text("algorithm")), got, c.text("checksum"))
	}
	return nil
}

// place moves a complete file to its name, with the mode that a file made there
// would have had, or that the file there has.
func place(from, target string) error {
	mode := 0o666 &^ umask()
	if info, err := os.Stat(target); err == nil {
		if info.IsDir() {
			return errPermanent{fmt.Errorf("%s is a folder: end destination in a separator", target)}
		}
		mode = info.Mode().Perm()
	}
	if err := os.Chmod(from, mode); err != nil {
		return err
	}
	return os.Rename(from, target)
}

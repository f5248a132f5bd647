package disk

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

// DownloadSpec names a file on the web by where it is and what it is.
type DownloadSpec struct {
	URL      string       // https
	Checksum string       // sha256:… or sha512:…, hexadecimal
	MaxBytes int64        // 0: DefaultDownload
	Client   *http.Client // nil: http.DefaultClient
}

// DefaultDownload is the largest download that is accepted when the spec says nothing, in bytes.
const DefaultDownload = 64 * gib

const downloadAttempts = 5

// Download fetches a file into out, which appears when the checksum was right. A
// broken transfer is taken up where it ended, several times, also by a later call:
// what is there already stays in a file beside out, so two calls must not write
// to the same out at once.
//
// An address that is wrong or a checksum that differs is the author's error; a
// server that does not answer is Transient.
func Download(ctx context.Context, spec DownloadSpec, out string, log func(string)) error {
	address, err := httpsURL(spec.URL)
	if err != nil {
		return err
	}
	sum, want, err := checksum(spec.Checksum)
	if err != nil {
		return err
	}
	// The partial file belongs to a checksum, not to a place: with another
	// checksum, out is another file.
	d := &download{spec: spec, host: address.Host, partial: filepath.Join(filepath.Dir(out), "."+want[:32]+".partial"), log: log}
	if err := d.fetch(ctx); err != nil {
		return err
	}
	got, err := sumFile(ctx, d.partial, sum)
	if err != nil {
		return err
	}
	if got != want {
		mismatch := refuse("Correct the checksum, or the address.", "the file from %s has the checksum %s, not the given one", d.host, got)
		return errors.Join(mismatch, os.Remove(d.partial))
	}
	return publish(d.partial, out)
}

func httpsURL(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" {
		return nil, refuse("", "%q is not an address", text)
	}
	if address.Scheme != "https" {
		return nil, refuse("Use an https address.", "disks are fetched over https only, not over %q", address.Scheme)
	}
	return address, nil
}

func checksum(text string) (sum hash.Hash, want string, err error) {
	kind, digits, _ := strings.Cut(text, ":")
	switch kind {
	case "sha256":
		sum = sha256.New()
	case "sha512":
		sum = sha512.New()
	}
	decoded, err := hex.DecodeString(digits)
	if sum == nil || err != nil || len(decoded) != sum.Size() {
		return nil, "", refuse("Write sha256: and 64 hexadecimal digits, or sha512: and 128.", "%q is not a checksum", text)
	}
	return sum, strings.ToLower(digits), nil
}

func sumFile(ctx context.Context, path string, sum hash.Hash) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // only read
	if _, err := io.Copy(sum, &contextReader{ctx: ctx, r: f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

type download struct {
	spec    DownloadSpec
	host    string // for messages: a URL's path and query may be secret
	partial string
	log     func(string)
}

// fetch tries until the file is complete or trying again is of no use.
func (d *download) fetch(ctx context.Context) error {
	wait := time.Second
	for attempt := 1; ; attempt++ {
		err := d.attempt(ctx)
		if err == nil || builder.FaultOf(err) != builder.Transient || attempt == downloadAttempts {
			return err
		}
		d.log(fmt.Sprintf("attempt %d: %v; next in %v", attempt, err, wait))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// attempt asks for what is missing and appends it.
func (d *download) attempt(ctx context.Context) error {
	f, err := os.OpenFile(d.partial, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // written data is synced in publish
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	answer, err := d.ask(ctx, have)
	if err != nil {
		return err
	}
	defer answer.Body.Close() // only read
	switch {
	case answer.StatusCode == http.StatusPartialContent:
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it was complete already, or the checksum will tell
	case answer.StatusCode == http.StatusOK:
		if err := f.Truncate(0); err != nil {
			return err
		}
		if have, err = f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	default:
		return d.refused(answer)
	}
	return d.receive(ctx, f, answer, have)
}

func (d *download) ask(ctx context.Context, have int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.spec.URL, nil)
	if err != nil {
		return nil, err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	answer, err := d.client().Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, d.transient(err)
	}
	return answer, nil
}

// client is the caller's, except that it leaves https for nobody.
func (d *download) client() *http.Client {
	base := d.spec.Client
	if base == nil {
		base = http.DefaultClient
	}
	client := *base
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Scheme != "https" {
			return fmt.Errorf("redirected from https to %s", r.URL.Scheme)
		}
		if base.CheckRedirect != nil {
			return base.CheckRedirect(r, via)
		}
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		return nil
	}
	return &client
}

func (d *download) receive(ctx context.Context, f *os.File, answer *http.Response, have int64) error {
	most := d.spec.MaxBytes
	if most == 0 {
		most = DefaultDownload
	}
	if answer.ContentLength > most-have {
		return d.tooLarge(most)
	}
	n, err := io.Copy(f, io.LimitReader(answer.Body, most-have+1))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if _, ours := errors.AsType[*os.PathError](err); ours {
			return err
		}
		return d.transient(err)
	}
	if n > most-have {
		return errors.Join(d.tooLarge(most), os.Remove(d.partial))
	}
	return nil
}

func (d *download) tooLarge(most int64) error {
	return refuse("", "the file from %s is larger than %d MiB", d.host, most/mib)
}

func (d *download) transient(err error) error {
	return fail(builder.Transient, builder.StageResolve, err, "", "the parent image could not be fetched from %s", d.host)
}

func (d *download) refused(answer *http.Response) error {
	err := fmt.Errorf("%s", answer.Status)
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout {
		return d.transient(err)
	}
	return refuse("Check the address.", "%s answered %s for the parent image", d.host, answer.Status)
}

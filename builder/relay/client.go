package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Client speaks to the store. The zero value uses the machine's proxies and
// certificates.
type Client struct {
	HTTP     *http.Client
	patience time.Duration // for tests; default patience
	stall    time.Duration // for tests; default requestLimit
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return http.DefaultClient
}

// requestLimit bounds one try of a small request, and how long nothing may come of a
// large object.
const requestLimit = time.Minute

// maxBroken is how many transfers of an object may break off after they have begun.
const maxBroken = 5

// fetch writes an object to what begin returns, and succeeds only if it is the right
// one. Each try has a begin of its own, which has to discard what an earlier one wrote.
func (c *Client) fetch(ctx context.Context, s Source, begin func() (io.Writer, error)) error {
	count := 0
	return c.retry(ctx, func(ctx context.Context) error {
		out, err := begin()
		if err != nil {
			return final{err}
		}
		err = c.transfer(ctx, s, out)
		if _, ok := errors.AsType[broken](err); ok {
			if count++; count == maxBroken {
				return final{err}
			}
		}
		return err
	})
}

// transfer is one try of a fetch. It gives up a store that stands still, as beats
// would go on for as long as it does.
func (c *Client) transfer(ctx context.Context, s Source, out io.Writer) error {
	limit := c.stall
	if limit == 0 {
		limit = requestLimit
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing has come for %s", limit)) })
	defer stalled.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return final{err}
	}
	response, err := c.http().Do(r)
	if err != nil {
		return reason(ctx, err)
	}
	defer response.Body.Close()
	if err := answered(response); err != nil {
		return err
	}
	sum := sha256.New()
	body := reader(func(p []byte) (int, error) {
		n, err := response.Body.Read(p)
		if n > 0 {
			stalled.Reset(limit)
		}
		return n, err
	})
	n, err := io.Copy(io.MultiWriter(strict{out}, sum), io.LimitReader(body, s.Size+1))
	switch {
	case err != nil && n == 0:
		return reason(ctx, err)
	case err != nil:
		return broken{fmt.Errorf("the transfer broke off after %d of %d bytes: %w", n, s.Size, reason(ctx, err))}
	case n != s.Size || hex.EncodeToString(sum.Sum(nil)) != s.SHA256:
		return final{errors.New("what came is not what was announced (its SHA-256 or size differs)")}
	}
	return nil
}

// broken is the error of a transfer that had begun: the store is within reach.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// strict is a writer whose errors are final: a full disk is no fault of the store's.
type strict struct{ io.Writer }

func (s strict) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		err = final{err}
	}
	return n, err
}

// reason is why a request failed: its own error, or what its context was ended for.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return withoutURL(err)
}

// upload writes an object into an inbox. Writing it twice does no harm.
func (c *Client) upload(ctx context.Context, in Inbox, name string, content []byte) error {
	body, kind, err := form(in, name, content)
	if err != nil {
		return err
	}
	return c.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, requestLimit)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, in.URL, bytes.NewReader(body))
		if err != nil {
			return final{err}
		}
		r.Header.Set("Content-Type", kind)
		response, err := c.http().Do(r)
		if err != nil {
			return withoutURL(err)
		}
		defer response.Body.Close()
		return answered(response)
	})
}

// form is the body of a signed form upload; the file has to be its last part.
func form(in Inbox, name string, content []byte) (body []byte, kind string, err error) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, key := range slices.Sorted(maps.Keys(in.Fields)) {
		if key != "key" {
			err = errors.Join(err, w.WriteField(key, in.Fields[key]))
		}
	}
	err = errors.Join(err, w.WriteField("key", in.Prefix+name))
	part, partErr := w.CreateFormFile("file", name)
	if err = errors.Join(err, partErr); err != nil {
		return nil, "", err
	}
	_, err = part.Write(content)
	err = errors.Join(err, w.Close())
	return out.Bytes(), w.FormDataContentType(), err
}

// final is an error that another try does not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// answered says what an answer means. A signature that has run out is refused, and
// so is every later try.
func answered(r *http.Response) error {
	if r.StatusCode/100 == 2 {
		return nil
	}
	const most = 1 << 10
	text, err := io.ReadAll(io.LimitReader(r.Body, most))
	problem := fmt.Errorf("the store answers %s: %s", r.Status, strings.ToValidUTF8(strings.TrimSpace(string(text)), "\ufffd"))
	if err == nil && r.StatusCode/100 == 4 && r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusRequestTimeout {
		return final{problem}
	}
	return problem
}

// withoutURL keeps signatures out of logs.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// retry repeats do until it succeeds, cannot, or the store was out of reach for too
// long.
func (c *Client) retry(ctx context.Context, do func(context.Context) error) error {
	limit := c.patience
	if limit == 0 {
		limit = patience
	}
	begin, wait := time.Now(), 200*time.Millisecond
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if stop, ok := errors.AsType[final](err); ok {
			return stop.error
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, ok := errors.AsType[broken](err); ok {
			begin = time.Now()
		}
		if time.Since(begin) > limit {
			return fmt.Errorf("for %s: %w", limit, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		wait = min(2*wait, 15*time.Second)
	}
}

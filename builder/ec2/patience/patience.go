// Package patience bounds how long a request to AWS may stand still. How often it is
// made again is the SDK's business.
package patience

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// Usual is how long a request may stand still: nothing of it is sent and nothing of the
// answer comes. A large object on its way takes as long as it takes.
const Usual = time.Minute

// impatient gives requests up that stand still, so that a connection which hangs is an
// attempt that failed, and not the end of a build.
type impatient struct {
	next  aws.HTTPClient
	quiet time.Duration
}

// Bound makes a client give up requests that stand still for so long; nil stands for the
// SDK's own.
func Bound(client aws.HTTPClient, quiet time.Duration) aws.HTTPClient {
	if client == nil {
		client = awshttp.NewBuildableClient()
	}
	return impatient{next: client, quiet: quiet}
}

// Do implements aws.HTTPClient.
func (c impatient) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	a := &attempt{ctx: ctx, cancel: cancel, quiet: c.quiet}
	a.timer = time.AfterFunc(c.quiet, func() { cancel(errStill) })
	bound := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		bound.Body = &moving{ReadCloser: r.Body, attempt: a}
	}
	res, err := c.next.Do(bound)
	if err != nil {
		a.end()
		return res, a.why(err)
	}
	res.Body = &moving{ReadCloser: res.Body, attempt: a, last: true}
	return res, nil
}

// attempt is one request and its answer.
type attempt struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	quiet  time.Duration
}

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// why is the reason of an error: ours, or whatever else it was.
func (a *attempt) why(err error) error {
	if err != nil && err != io.EOF && context.Cause(a.ctx) == errStill {
		return errStill
	}
	return err
}

// moving is a body on its way.
type moving struct {
	io.ReadCloser
	*attempt
	last bool // the answer's
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if n > 0 {
		m.timer.Reset(m.quiet)
	}
	return n, m.why(err)
}

func (m *moving) Close() error {
	err := m.ReadCloser.Close()
	if m.last {
		m.end()
	}
	return err
}

// errStill is a net.Error, as the SDK and failed know those that pass.
var errStill error = still{}

type still struct{}

func (still) Error() string   { return "the connection stood still" }
func (still) Timeout() bool   { return true }
func (still) Temporary() bool { return true }

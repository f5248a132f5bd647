package publish

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// unsignedPayload stands in a signature for content that it leaves out: the service
	// holds blocks against checksums of their own.
	unsignedPayload = "UNSIGNED-PAYLOAD"

	// calmAfter is how long everything is left to the SDK when a call did not succeed at
	// once: the SDK knows how to slow down.
	calmAfter = time.Minute

	// mostAnswer is how much of an answer is read, in bytes; a success has no body.
	mostAnswer = 4 << 10
)

// patterned is the SDK's client with less work for each block. An image is thousands of
// them, and the SDK puts every request together from nothing. Here it makes the first;
// the next are that request with another block in it, signed and sent by the SDK's
// signer and HTTP client, at the pace of its retryer. What does not succeed at once goes
// through the SDK's client, and so do all calls of the next minute.
type patterned struct {
	*ebs.Client
	http        ebs.HTTPClient
	credentials aws.CredentialsProvider
	retryer     aws.RetryerV2
	signer      *v4.Signer

	pattern atomic.Pointer[pattern] // nil: the SDK has not made a request yet
	calm    atomic.Int64            // from when on the pattern is used, in nanoseconds since 1970
}

// newPatterned wants a client with credentials and that retryer.
func newPatterned(client *ebs.Client, retryer aws.RetryerV2) *patterned {
	o := client.Options()
	return &patterned{Client: client, http: o.HTTPClient, credentials: o.Credentials, retryer: retryer, signer: v4.NewSigner()}
}

// PutSnapshotBlock is that of the SDK's client.
func (c *patterned) PutSnapshotBlock(ctx context.Context, in *ebs.PutSnapshotBlockInput, with ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error) {
	content, ok := in.BlockData.(io.ReaderAt)
	if !ok || len(with) > 0 || in.Progress != nil || c.credentials == nil {
		return c.Client.PutSnapshotBlock(ctx, in, with...)
	}
	p := c.pattern.Load()
	if p != nil && time.Now().UnixNano() >= c.calm.Load() {
		out, err := c.put(ctx, p, in, content)
		if err == nil {
			return out, nil
		}
		if broken, ok := errors.AsType[*unreadable](err); ok {
			return nil, broken
		}
		c.noted(ctx, 2)
	}
	var made *pattern
	out, err := c.Client.PutSnapshotBlock(ctx, in, func(o *ebs.Options) {
		o.APIOptions = append(o.APIOptions, learn(&made))
	})
	if err != nil {
		c.noted(ctx, 2)
		return nil, err
	}
	if all, ok := retry.GetAttemptResults(out.ResultMetadata); ok {
		c.noted(ctx, len(all.Results))
	}
	if p == nil && made != nil {
		c.pattern.CompareAndSwap(nil, made)
	}
	return out, nil
}

// noted notes how many attempts a call took. More than one is a reason to leave the
// next calls to the SDK, unless it is the caller who ended it.
func (c *patterned) noted(ctx context.Context, attempts int) {
	if attempts > 1 && ctx.Err() == nil {
		c.calm.Store(time.Now().Add(calmAfter).UnixNano())
	}
}

// put makes one attempt. Its error is for the retryer, which slows down after some: the
// SDK's client finds out what it means.
func (c *patterned) put(ctx context.Context, p *pattern, in *ebs.PutSnapshotBlockInput, content io.ReaderAt) (_ *ebs.PutSnapshotBlockOutput, err error) {
	over, err := c.retryer.GetAttemptToken(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, over(err)) }()
	identity, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	size := int64(aws.ToInt32(in.DataLength))
	sent := &payload{content: io.NewSectionReader(content, 0, size)}
	defer sent.Close()
	r := p.request(in, sent, size).WithContext(ctx)
	if err := c.signer.SignHTTP(ctx, identity, r, unsignedPayload, p.service, p.region, time.Now()); err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, mostAnswer)); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusCreated {
		code, _, _ := strings.Cut(answer.Header.Get("X-Amzn-Errortype"), ":")
		return nil, &smithy.GenericAPIError{Code: code, Message: answer.Status}
	}
	out := &ebs.PutSnapshotBlockOutput{ChecksumAlgorithm: types.ChecksumAlgorithm(answer.Header.Get(algorithmHeader))}
	if sum := answer.Header.Get(checksumHeader); sum != "" {
		out.Checksum = &sum
	}
	return out, nil
}

// The headers of a block, as botocore's model of the service names them.
const (
	checksumHeader  = "X-Amz-Checksum"
	algorithmHeader = "X-Amz-Checksum-Algorithm"
	lengthHeader    = "X-Amz-Data-Length"
)

// pattern is what the requests of all blocks have in common.
type pattern struct {
	endpoint        url.URL
	header          http.Header
	region, service string // that signatures are for
}

// learn has the SDK show a request as it has signed it.
func learn(into **pattern) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Pattern", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				*into = patternOf(r.Request)
			}
			return next.HandleFinalize(ctx, in)
		}), "Signing", middleware.After)
	}
}

// scope is what a signature is for: region and service.
var scope = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=[^/,]+/[0-9]{8}/([^/,]+)/([^/,]+)/aws4_request,`)

// patternOf returns nil for a request that is not of the kind that we can make.
func patternOf(r *http.Request) *pattern {
	path, _, ok := strings.Cut(r.URL.EscapedPath(), "/snapshots/")
	signedFor := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if !ok || strings.Contains(path, "%") || r.URL.RawQuery != "" || r.Method != http.MethodPut || signedFor == nil ||
		r.Header.Get("X-Amz-Content-Sha256") != unsignedPayload {
		return nil
	}
	p := &pattern{
		endpoint: url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: path},
		header:   r.Header.Clone(), region: signedFor[1], service: signedFor[2],
	}
	for _, ofOneAttempt := range []string{"Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		p.header.Del(ofOneAttempt)
	}
	return p
}

// request is the pattern's for a block.
func (p *pattern) request(in *ebs.PutSnapshotBlockInput, body io.ReadCloser, size int64) *http.Request {
	address := p.endpoint
	address.Path += "/snapshots/" + aws.ToString(in.SnapshotId) + "/blocks/" + strconv.Itoa(int(aws.ToInt32(in.BlockIndex)))
	header := make(http.Header, len(p.header)+3) // and what the signature adds
	for name, values := range p.header {
		header[name] = values // nobody writes into them
	}
	header[checksumHeader] = []string{aws.ToString(in.Checksum)}
	header[algorithmHeader] = []string{string(in.ChecksumAlgorithm)}
	header[lengthHeader] = []string{strconv.FormatInt(size, 10)}
	return &http.Request{
		Method: http.MethodPut, URL: &address, Host: address.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: body, ContentLength: size,
	}
}

// payload is the content of a request. A transport may read on when the request has ended;
// what it reads from may be something else by then.
type payload struct {
	mu      sync.Mutex
	content *io.SectionReader
	closed  bool
}

func (p *payload) Read(into []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	return p.content.Read(into)
}

// Close returns when nobody reads any more.
func (p *payload) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

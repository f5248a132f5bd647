package publish

import (
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder/ec2/patience"
)

const (
	// defaultWorkers hides the latency of a region some tens of milliseconds away, and
	// holds 16 MiB of blocks.
	defaultWorkers = 32

	putAttempts    = 10
	putMaxBackoff  = 20 * time.Second
	connectionIdle = 90 * time.Second
	// writeBuffer lets a block go out in few calls of the system, and stays in a processor's cache.
	writeBuffer = 64 << 10
)

// NewBlocks returns a client for uploads with that many workers; 0 is what Upload
// takes by default. It keeps its connections open, slows down all workers when the
// service asks for it, and tries again what can be tried again.
func NewBlocks(cfg aws.Config, workers int) Blocks {
	return newBlocks(cfg, workers, patience.Usual)
}

// newBlocks gives up attempts that stand still for quiet.
func newBlocks(cfg aws.Config, workers int, quiet time.Duration) *patterned {
	if workers <= 0 {
		workers = defaultWorkers
	}
	// A client of the SDK's own kind has what the environment says of certificates and proxies.
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	client = client.WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = workers
		t.MaxIdleConnsPerHost = workers
		t.IdleConnTimeout = connectionIdle
		t.WriteBufferSize = writeBuffer
	})
	retryer := retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
			o.MaxAttempts = putAttempts
			o.MaxBackoff = putMaxBackoff
			// The budget of retries is made for single calls: many workers that are
			// throttled at once would use it up at once.
			o.RateLimiter = ratelimit.None
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(passing)}, o.Retryables...)
		})
	})
	return newPatterned(ebs.NewFromConfig(cfg, func(o *ebs.Options) {
		o.HTTPClient, o.Retryer = patience.Bound(client, quiet), retryer
	}), retryer)
}

// NewBucket returns the bucket of that name as VM Import and the daemon use it.
func NewBucket(cfg aws.Config, name, prefix, role string) Bucket {
	path := cfg.BaseEndpoint != nil // a store that is not S3 knows no bucket by host name
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = path })
	return Bucket{Imports: ec2.NewFromConfig(cfg), Uploads: transfermanager.New(objects), Objects: objects, Name: name, Prefix: prefix, Role: role}
}

// passing are refusals of a block that a repeat overcomes: the block took too long
// to arrive, or an earlier attempt to write it has not ended yet. A disk that cannot be
// read is not better the next time.
func passing(err error) aws.Ternary {
	if _, broken := errors.AsType[*unreadable](err); broken {
		return aws.FalseTernary
	}
	refusal, ok := errors.AsType[*types.ValidationException](err)
	if ok && (refusal.Reason == types.ValidationExceptionReasonWriteRequestTimeout || refusal.Reason == types.ValidationExceptionReasonConflictingBlockUpdate) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

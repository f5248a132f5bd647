package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/seed-6db18919/ingot/builder/ec2/patience"
)

// TestOnlyRequestsOfTheKnownKindArePatterns: from whatever the SDK comes to do
// otherwise, nothing is made.
func TestOnlyRequestsOfTheKnownKindArePatterns(t *testing.T) {
	const authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-west-1/ebs/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string // the URL of block 7; empty: no pattern
	}{
		"known":            {func(*http.Request) {}, "https://ebs.eu-west-1.amazonaws.com/snapshots/snap-1/blocks/7"},
		"below a path":     {func(r *http.Request) { r.URL.Path = "/proxy/a b" + r.URL.Path }, ""},
		"below a folder":   {func(r *http.Request) { r.URL.Path = "/proxy/aws" + r.URL.Path }, "https://ebs.eu-west-1.amazonaws.com/proxy/aws/snapshots/snap-1/blocks/7"},
		"another path":     {func(r *http.Request) { r.URL.Path = "/v2/snap-0/0" }, ""},
		"a query":          {func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=00" }, ""},
		"another method":   {func(r *http.Request) { r.Method = http.MethodPost }, ""},
		"not signed":       {func(r *http.Request) { r.Header.Del("Authorization") }, ""},
		"signed otherwise": {func(r *http.Request) { r.Header.Set("Authorization", "AWS4-ECDSA-P256-SHA256"+authorization[16:]) }, ""},
		"content signed":   {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c14") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPut, "https://ebs.eu-west-1.amazonaws.com/snapshots/snap-0/blocks/0", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", authorization)
			r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
			c.change(r)
			p := patternOf(r)
			if p == nil {
				if c.want != "" {
					t.Error("not taken for a pattern")
				}
				return
			}
			made := p.request(&ebs.PutSnapshotBlockInput{
				SnapshotId: aws.String("snap-1"), BlockIndex: aws.Int32(7), Checksum: aws.String("sum"),
				ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
			}, http.NoBody, 0)
			if made.URL.String() != c.want || p.region != "eu-west-1" || p.service != "ebs" || made.Header.Get("Authorization") != "" {
				t.Errorf("makes %s for %s in %s with %v, want %q", made.URL, p.service, p.region, made.Header, c.want)
			}
		})
	}
}

// scripted is a client whose wire is a function, and which of the requests the pattern
// made.
type scripted struct {
	*patterned
	byPattern []bool
	told      []string // the retryer: "" of a success, "slow down" of what it slows down after
}

// answers makes a client whose nth request, from 1 on, is answered as do says.
func answers(do func(n int, r *http.Request) (status int, code string, err error)) *scripted {
	s := &scripted{}
	retryer := telling{s}
	s.patterned = newPatterned(ebs.New(ebs.Options{
		Region: "eu-west-1", Retryer: retryer,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
		HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
			s.byPattern = append(s.byPattern, r.Header.Get("Amz-Sdk-Request") == "")
			status, code, err := do(len(s.byPattern), r)
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: status, Header: http.Header{"X-Amzn-Errortype": {code}}, Body: http.NoBody, Request: r}, nil
		}),
	}), retryer)
	return s
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

type telling struct{ s *scripted }

func (telling) IsErrorRetryable(error) bool                  { return false }
func (telling) MaxAttempts() int                             { return 1 }
func (telling) RetryDelay(int, error) (time.Duration, error) { return 0, nil }
func (telling) GetInitialToken() func(error) error           { return func(error) error { return nil } }
func (telling) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}

func (t telling) GetAttemptToken(context.Context) (func(error) error, error) {
	return func(err error) error {
		said := ""
		switch {
		case retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool():
			said = "slow down"
		case err != nil:
			said = "no"
		}
		t.s.told = append(t.s.told, said)
		return nil
	}, nil
}

func (s *scripted) putBlock(ctx context.Context, content io.Reader) error {
	_, err := s.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
		SnapshotId: aws.String("snap-1"), BlockIndex: aws.Int32(0), BlockData: content, DataLength: aws.Int32(BlockSize),
		Checksum: aws.String(zeroSum.text()), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	return err
}

// TestAMinuteLaterThePatternServesAgain moves the minute, not the clock.
func TestAMinuteLaterThePatternServesAgain(t *testing.T) {
	s := answers(func(n int, _ *http.Request) (int, string, error) {
		if n == 3 {
			return http.StatusBadRequest, "RequestThrottledException:http://internal.amazon.com/", nil
		}
		return http.StatusCreated, "", nil
	})
	put := func() {
		t.Helper()
		if err := s.putBlock(t.Context(), bytes.NewReader(zeroBlock[:])); err != nil {
			t.Error(err)
		}
	}
	put() // the SDK's
	put()
	put() // refused, and sent again by the SDK
	put() // within the minute
	s.calm.Add(-int64(calmAfter))
	put()
	if want := []bool{false, true, true, false, false, true}; !slices.Equal(s.byPattern, want) {
		t.Errorf("by the pattern or not: %v, want %v", s.byPattern, want)
	}
	if want := []string{"", "", "slow down", "", "", ""}; !slices.Equal(s.told, want) {
		t.Errorf("the retryer was told %q, want %q", s.told, want)
	}
}

// TestTheCallersEndStirsNobody: other uploads go on as they did.
func TestTheCallersEndStirsNobody(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := answers(func(n int, r *http.Request) (int, string, error) {
		if n > 1 {
			stop()
			return 0, "", r.Context().Err()
		}
		return http.StatusCreated, "", nil
	})
	if err := s.putBlock(ctx, bytes.NewReader(zeroBlock[:])); err != nil {
		t.Fatal(err)
	}
	if err := s.putBlock(ctx, bytes.NewReader(zeroBlock[:])); !errors.Is(err, context.Canceled) || s.calm.Load() != 0 {
		t.Errorf("%v; the pattern is used again from %d on", err, s.calm.Load())
	}
}

// TestABrokenDiskIsReadOnce: neither the service nor a second attempt is to blame.
func TestABrokenDiskIsReadOnce(t *testing.T) {
	s := answers(func(_ int, r *http.Request) (int, string, error) {
		_, err := io.Copy(io.Discard, r.Body)
		return http.StatusCreated, "", err
	})
	if err := s.putBlock(t.Context(), bytes.NewReader(zeroBlock[:])); err != nil {
		t.Fatal(err)
	}
	disk := &brokenDisk{}
	err := s.putBlock(t.Context(), newBlockReader(disk, 0))
	if _, ok := errors.AsType[*unreadable](err); !ok || disk.reads != 1 || s.calm.Load() != 0 {
		t.Errorf("%v after %d reads; the pattern is used again from %d on", err, disk.reads, s.calm.Load())
	}
}

type brokenDisk struct {
	Disk
	reads int
}

func (b *brokenDisk) ReadAt([]byte, int64) (int, error) {
	b.reads++
	return 0, errors.New("input/output error")
}

// BenchmarkRequest is what a block costs beside moving its bytes.
func BenchmarkRequest(b *testing.B) {
	created := doer(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{checksumHeader: {zeroSum.text()}}, Body: http.NoBody, Request: r}, nil
	})
	client := newBlocks(aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")}, 0, patience.Usual)
	sdk := ebs.New(client.Options(), func(o *ebs.Options) { o.HTTPClient = patience.Bound(created, patience.Usual) })
	for name, blocks := range map[string]Blocks{"sdk": sdk, "pattern": newPatterned(sdk, client.retryer)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := blocks.PutSnapshotBlock(b.Context(), &ebs.PutSnapshotBlockInput{
					SnapshotId: aws.String("snap-1"), BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(zeroBlock[:]), DataLength: aws.Int32(BlockSize),
					Checksum: aws.String(zeroSum.text()), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

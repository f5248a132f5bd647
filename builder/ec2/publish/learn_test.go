package publish

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
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

// TestAMinuteLaterThePatternServesAgain moves the minute, not the clock.
func TestAMinuteLaterThePatternServesAgain(t *testing.T) {
	var sent []bool // by the pattern
	client := newPatterned(ebs.New(ebs.Options{
		Region: "eu-west-1", Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
		HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get("Amz-Sdk-Request") == "")
			status := http.StatusCreated
			if len(sent) == 3 {
				status = http.StatusServiceUnavailable
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}),
	}))
	put := func() {
		t.Helper()
		if _, err := client.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{
			SnapshotId: aws.String("snap-1"), BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(zeroBlock[:]), DataLength: aws.Int32(BlockSize),
			Checksum: aws.String(zeroSum.text()), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		}); err != nil {
			t.Error(err)
		}
	}
	put() // the SDK's
	put()
	put() // refused, and sent again by the SDK
	put() // within the minute
	client.calm.Add(-int64(calmAfter))
	put()
	if want := []bool{false, true, true, false, false, true}; !slices.Equal(sent, want) {
		t.Errorf("by the pattern or not: %v, want %v", sent, want)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

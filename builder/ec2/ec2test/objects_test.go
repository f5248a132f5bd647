package ec2test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func fetch(t *testing.T, a account, method, url string, header http.Header, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header.Clone()
	}
	response, err := a.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestPresignedAddressesAreHeldToWhatWasSigned(t *testing.T) {
	a := start(t, Options{})
	signer := s3.NewPresignClient(a.s3)
	sum := sha256.Sum256([]byte("content"))
	put, err := signer.PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &a.Bucket, Key: aws.String("builds/b 1/é+.json"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := fetch(t, a, put.Method, put.URL, put.SignedHeader, "content"); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	get, err := signer.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &a.Bucket, Key: aws.String("builds/b 1/é+.json")})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := fetch(t, a, get.Method, get.URL, nil, ""); status != http.StatusOK || text != "content" {
		t.Errorf("%d %s", status, text)
	}
	address, _, _ := strings.Cut(get.URL, "?")
	old := presignAt(t, address, time.Now().Add(-2*time.Hour))
	for name, c := range map[string]struct{ method, url, code string }{
		"another object": {"GET", strings.Replace(get.URL, "builds", "others", 1), "SignatureDoesNotMatch"},
		"another method": {"PUT", get.URL, "SignatureDoesNotMatch"},
		"longer":         {"GET", strings.Replace(get.URL, "X-Amz-Expires=900", "X-Amz-Expires=901", 1), "SignatureDoesNotMatch"},
		"too late":       {"GET", old, "Request has expired"},
		"not signed":     {"GET", address, "AccessDenied"},
	} {
		if status, text := fetch(t, a, c.method, c.url, nil, ""); status != http.StatusForbidden || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if keys := a.Objects(t.Context(), "builds/"); len(keys) != 1 || keys[0] != "builds/b 1/é+.json" {
		t.Errorf("keys %q", keys)
	}
}

func presignAt(t *testing.T, address string, at time.Time) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"?X-Amz-Expires=900", nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), keys, r, "UNSIGNED-PAYLOAD", "s3", Region, at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestASnapshotOfBlocksIsPendingUntilItIsComplete(t *testing.T) {
	a := start(t, Options{Polls: -1})
	blocks := ebs.NewFromConfig(a.Config())
	started, err := blocks.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: aws.String("one")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := blocks.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: aws.String("one")})
	if err != nil || *again.SnapshotId != *started.SnapshotId || *again.BlockSize != *started.BlockSize {
		t.Errorf("the same call started %+v, %v", again, err)
	}
	_, err = blocks.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(2), ClientToken: aws.String("one")})
	wantCode(t, err, "ConflictException")
	status := func() string {
		out, err := a.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*started.SnapshotId}})
		if err != nil {
			t.Fatal(err)
		}
		return string(out.Snapshots[0].State)
	}
	if got := status(); got != "pending" {
		t.Error(got)
	}
	content := bytes.Repeat([]byte("x"), 524288)
	sum := sha256.Sum256(content)
	if _, err := blocks.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{
		SnapshotId: started.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(content), DataLength: aws.Int32(524288),
		Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: "SHA256",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := blocks.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != "completed" {
		t.Error(got)
	}
	list, err := blocks.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: started.SnapshotId})
	if err != nil || len(list.Blocks) != 1 || *list.BlockSize != 524288 {
		t.Fatalf("%+v %v", list, err)
	}
	out, err := blocks.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: started.SnapshotId, BlockIndex: aws.Int32(0), BlockToken: list.Blocks[0].BlockToken})
	if err != nil {
		t.Fatal(err)
	}
	defer out.BlockData.Close()
	if back, err := io.ReadAll(out.BlockData); err != nil || !bytes.Equal(back, content) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	if l := a.Leftovers(t.Context()); len(l.Snapshots) != 1 || len(l.Volumes) != 0 {
		t.Errorf("left: %v", l)
	}
}

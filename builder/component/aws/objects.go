package aws

import (
	"context"
	"errors"
	"io"
	"os"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Open implements component.ObjectStore.
func (s *Services) Open(ctx context.Context, o component.Object) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := s.atBucket(ctx, o.Bucket, func(client *s3.Client) error {
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner)})
		if err != nil {
			return err
		}
		body = out.Body
		return nil
	})
	return body, plain(err)
}

// List implements component.ObjectStore.
func (s *Services) List(ctx context.Context, prefix component.Object, most int) ([]string, error) {
	var keys []string
	err := s.atBucket(ctx, prefix.Bucket, func(client *s3.Client) error {
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
			Bucket: &prefix.Bucket, Prefix: optional(prefix.Key), ExpectedBucketOwner: optional(prefix.Owner),
		})
		for pages.HasMorePages() && len(keys) < most {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, object := range page.Contents {
				keys = append(keys, sdk.ToString(object.Key))
			}
		}
		return nil
	})
	return keys[:min(len(keys), most)], plain(err)
}

// Put implements component.ObjectStore. Large files go in parts.
func (s *Services) Put(ctx context.Context, o component.Object, file *os.File) error {
	begin, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return plain(s.atBucket(ctx, o.Bucket, func(client *s3.Client) error {
		if _, err := file.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		_, err := transfermanager.New(client).UploadObject(ctx, &transfermanager.UploadObjectInput{
			Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner), Body: file,
		})
		return err
	}))
}

// atBucket calls S3 in the region that a bucket is in. Where that is, S3 says
// when it is asked in another one.
func (s *Services) atBucket(ctx context.Context, bucket string, call func(*s3.Client) error) error {
	client, region, err := s.client(ctx, bucket)
	if err != nil {
		return err
	}
	err = call(client)
	actual := bucketRegion(err)
	if actual == "" || actual == region {
		return err
	}
	s.mu.Lock()
	s.regions[bucket] = actual
	s.mu.Unlock()
	if client, _, err = s.client(ctx, bucket); err != nil {
		return err
	}
	return call(client)
}

func (s *Services) client(ctx context.Context, bucket string) (*s3.Client, string, error) {
	cfg, err := s.load(ctx)
	if err != nil {
		return nil, "", err
	}
	if cfg.Region == "" {
		cfg.Region = anyRegion
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if region, ok := s.regions[bucket]; ok {
		cfg.Region = region
	}
	client, ok := s.clients[cfg.Region]
	if !ok {
		client = s3.NewFromConfig(cfg, func(o *s3.Options) {
			// Other stores than Amazon's have no name for each bucket.
			o.UsePathStyle = o.BaseEndpoint != nil
			o.DisableLogOutputChecksumValidationSkipped = true
		})
		s.clients[cfg.Region] = client
	}
	return client, cfg.Region, nil
}

// bucketRegion is what an answer says about where the bucket is, if it was asked
// for in another region.
func bucketRegion(err error) string {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.HTTPStatusCode() != 301 && response.HTTPStatusCode() != 307 && response.HTTPStatusCode() != 400 {
		return ""
	}
	return response.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

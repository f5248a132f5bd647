package ec2test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestFormIsHeldAgainstItsPolicy: moto takes any form.
func TestFormIsHeldAgainstItsPolicy(t *testing.T) {
	a := start(t, Options{})
	signed, err := s3.NewPresignClient(a.s3).PresignPostObject(t.Context(), &s3.PutObjectInput{Bucket: &a.Bucket, Key: new("in/${filename}")}, func(o *s3.PresignPostOptions) {
		o.Expires = time.Hour
		o.Conditions = []any{[]any{"starts-with", "$key", "in/"}, []any{"content-length-range", 0, 5}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key, content, signature string
		want                    int
	}{
		"as signed":     {"in/a", "12345", "", http.StatusNoContent},
		"elsewhere":     {"out/a", "12345", "", http.StatusForbidden},
		"larger":        {"in/a", "123456", "", http.StatusForbidden},
		"not signed so": {"in/a", "1", strings.Repeat("0", 64), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			for key, value := range signed.Values {
				switch {
				case strings.EqualFold(key, "key"):
					value = c.key
				case strings.EqualFold(key, "x-amz-signature") && c.signature != "":
					value = c.signature
				}
				if err := form.WriteField(key, value); err != nil {
					t.Fatal(err)
				}
			}
			part, err := form.CreateFormFile("file", "x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := part.Write([]byte(c.content)); err != nil {
				t.Fatal(err)
			}
			if err := form.Close(); err != nil {
				t.Fatal(err)
			}
			response, err := a.client.Post(signed.URL, form.FormDataContentType(), &body)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != c.want {
				t.Errorf("%s, want %d", response.Status, c.want)
			}
		})
	}
}

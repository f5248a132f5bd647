package ec2test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// keys are those of Config.
var keys = aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "secret"}

// admit checks a request for an object whose address is its permission; moto takes
// any. Other requests come with a header, and are the SDK's to sign rightly.
func admit(r *Request) answer {
	query := r.http.URL.Query()
	if r.http.Header.Get("Authorization") != "" {
		return answer{}
	}
	denied := func(code, format string, arguments ...any) answer {
		return refuse("s3", http.StatusForbidden, code, fmt.Sprintf(format, arguments...))
	}
	if r.http.Method == http.MethodPost && strings.HasPrefix(r.http.Header.Get("Content-Type"), "multipart/form-data") {
		if err := signedForm(r); err != nil {
			return denied("AccessDenied", "Invalid according to Policy: %v", err)
		}
		return answer{}
	}
	if !query.Has("X-Amz-Signature") {
		return denied("AccessDenied", "Access Denied")
	}
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil {
		return denied("AuthorizationQueryParametersError", "X-Amz-Date must be in the ISO8601 Long Format")
	}
	lasts, err := time.ParseDuration(query.Get("X-Amz-Expires") + "s")
	if err != nil || lasts <= 0 || lasts > 7*24*time.Hour {
		return denied("AuthorizationQueryParametersError", "X-Amz-Expires must be a number of seconds, at most a week")
	}
	if now := time.Now(); now.After(at.Add(lasts)) || at.After(now.Add(15*time.Minute)) {
		return denied("AccessDenied", "Request has expired")
	}
	want, err := signature(r.http, at)
	if err != nil || want != query.Get("X-Amz-Signature") {
		return denied("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	return answer{}
}

// signature is what the request's would be, with what it says was signed.
func signature(r *http.Request, at time.Time) (string, error) {
	unsigned := r.Clone(r.Context())
	unsigned.URL.Scheme, unsigned.URL.Host = "http", r.Host
	query := unsigned.URL.Query()
	signed := query.Get("X-Amz-SignedHeaders")
	for _, name := range []string{"X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders"} {
		query.Del(name)
	}
	unsigned.URL.RawQuery = query.Encode()
	unsigned.Header, unsigned.ContentLength = http.Header{}, 0
	for name := range strings.SplitSeq(signed, ";") {
		switch {
		case name == "content-length":
			unsigned.ContentLength = r.ContentLength
		case name != "host":
			unsigned.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	address, _, err := v4.NewSigner().PresignHTTP(r.Context(), keys, unsigned, "UNSIGNED-PAYLOAD", "s3", Region, at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		return "", err
	}
	_, found, _ := strings.Cut(address, "X-Amz-Signature=")
	found, _, _ = strings.Cut(found, "&")
	return found, nil
}

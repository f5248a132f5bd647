package ec2test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// keys are those of Config, with the token of the session if there is one.
var keys = aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "secret"}

// EndSession ends the credentials that Config has given so far, and with them all that
// was signed with them. From now on it gives others, as a role's provider does.
func (c *Cloud) EndSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session++
}

// credentials are those of the session.
func (c *Cloud) credentials(context.Context) (aws.Credentials, error) {
	now := keys
	now.SessionToken = c.token()
	return now, nil
}

// token is that of the session; the first has none.
func (c *Cloud) token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == 0 {
		return ""
	}
	return fmt.Sprintf("session-%d", c.session)
}

// admit checks a request for an object whose address is its permission; moto takes
// any. Other requests come with a header, and are the SDK's to sign rightly.
func (c *Cloud) admit(r *Request) answer {
	query := r.http.URL.Query()
	if r.http.Header.Get("Authorization") != "" {
		return answer{}
	}
	ended := func(token string) bool { return token != c.token() }
	denied := func(code, format string, arguments ...any) answer {
		return refuse("s3", http.StatusForbidden, code, fmt.Sprintf(format, arguments...))
	}
	if r.http.Method == http.MethodPost && strings.HasPrefix(r.http.Header.Get("Content-Type"), "multipart/form-data") {
		token, err := signedForm(r)
		switch {
		case err != nil:
			return denied("AccessDenied", "Invalid according to Policy: %v", err)
		case ended(token):
			return expiredToken()
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
	if ended(query.Get("X-Amz-Security-Token")) {
		return expiredToken()
	}
	return answer{}
}

func expiredToken() answer {
	return refuse("s3", http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
}

// signature is what the request's would be, with what it says was signed.
func signature(r *http.Request, at time.Time) (string, error) {
	unsigned := r.Clone(r.Context())
	unsigned.URL.Scheme, unsigned.URL.Host = "http", r.Host
	query := unsigned.URL.Query()
	signed, with := query.Get("X-Amz-SignedHeaders"), keys
	with.SessionToken = query.Get("X-Amz-Security-Token")
	for _, name := range []string{"X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Security-Token"} {
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
	address, _, err := v4.NewSigner().PresignHTTP(r.Context(), with, unsigned, "UNSIGNED-PAYLOAD", "s3", Region, at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		return "", err
	}
	_, found, _ := strings.Cut(address, "X-Amz-Signature=")
	found, _, _ = strings.Cut(found, "&")
	return found, nil
}

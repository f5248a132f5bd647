package ec2test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"
)

// maxForm bounds an upload by form, in bytes.
const maxForm = 16 << 20

// signedForm checks an upload by form, which the policy in it permits: its signature,
// its time, the key and the size. It returns the token of the session that has signed it.
// The body can be read again afterwards.
func signedForm(r *Request) (token string, err error) {
	body, err := io.ReadAll(io.LimitReader(r.http.Body, maxForm))
	if err != nil {
		return "", err
	}
	r.http.Body = io.NopCloser(bytes.NewReader(body))
	_, parameters, err := mime.ParseMediaType(r.http.Header.Get("Content-Type"))
	if err != nil {
		return "", err
	}
	form, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).ReadForm(maxForm)
	if err != nil {
		return "", err
	}
	field := func(name string) string {
		for key, values := range form.Value {
			if strings.EqualFold(key, name) {
				return values[0]
			}
		}
		return ""
	}
	files := form.File["file"]
	if len(files) != 1 {
		return "", errors.New("POST requires exactly one file upload per request")
	}
	encoded := field("policy")
	if field("x-amz-signature") != signatureOf(encoded, field("x-amz-credential")) {
		return "", errors.New("the signature does not match")
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", err
	}
	var policy formPolicy
	if err := json.Unmarshal(text, &policy); err != nil {
		return "", err
	}
	return field("x-amz-security-token"), policy.permits(field, files[0].Size)
}

// signatureOf is Signature Version 4 of a policy with the keys of Config.
func signatureOf(policy, credential string) string {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[0] != keys.AccessKeyID {
		return "none"
	}
	key := []byte("AWS4" + keys.SecretAccessKey)
	for _, part := range append(scope[1:], policy) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

type formPolicy struct {
	Expiration time.Time `json:"expiration"`
	Conditions []any     `json:"conditions"`
}

func (p formPolicy) permits(field func(string) string, size int64) error {
	if time.Now().After(p.Expiration) {
		return errors.New("the policy has expired")
	}
	for _, c := range p.Conditions {
		switch c := c.(type) {
		case map[string]any:
			for name, want := range c {
				if !strings.EqualFold(name, "bucket") && field(name) != want {
					return fmt.Errorf("%s is not %v", name, want)
				}
			}
		case []any:
			if err := holds(c, field, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds checks a condition of three parts.
func holds(c []any, field func(string) string, size int64) error {
	if len(c) != 3 {
		return fmt.Errorf("a condition of %d parts", len(c))
	}
	what, _ := c[1].(string)
	switch c[0] {
	case "starts-with":
		want, _ := c[2].(string)
		if !strings.HasPrefix(field(strings.TrimPrefix(what, "$")), want) {
			return fmt.Errorf("%s does not start with %q", what, want)
		}
	case "eq":
		if field(strings.TrimPrefix(what, "$")) != c[2] {
			return fmt.Errorf("%s is not %v", what, c[2])
		}
	case "content-length-range":
		least, _ := c[1].(float64)
		most, _ := c[2].(float64)
		if float64(size) < least || float64(size) > most {
			return fmt.Errorf("%d bytes are not permitted", size)
		}
	default:
		return fmt.Errorf("there is no condition %v", c[0])
	}
	return nil
}

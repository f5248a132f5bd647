package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestCredentialsAreRenewedBeforeTheirEnd: what is signed with them has a while to reach
// AWS.
func TestCredentialsAreRenewedBeforeTheirEnd(t *testing.T) {
	var last time.Duration // for which credentials are good
	var given atomic.Int32
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		given.Add(1)
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>key</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(last).UTC().Format(time.RFC3339))
	}))
	defer tokens.Close()
	proof := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(proof, []byte("proof"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": tokens.URL, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/ingot", "AWS_WEB_IDENTITY_TOKEN_FILE": proof,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	for _, k := range []struct {
		last  time.Duration
		given int32 // when credentials are asked for twice
	}{{time.Hour, 1}, {renewBefore - time.Minute, 2}} {
		last = k.last
		given.Store(0)
		loaded, err := loadAWS(t.Context(), "eu-central-1")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := loaded.Credentials.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := given.Load(); n != k.given {
			t.Errorf("credentials for %s were given %d times, want %d", k.last, n, k.given)
		}
	}
}

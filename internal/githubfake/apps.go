package githubfake

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// app is a GitHub App that is installed here.
type app struct {
	installation int64
	key          *rsa.PublicKey
}

// AddApp makes a GitHub App with one installation and returns its private key, in PEM.
func (s *Server) AddApp(id, installation int64) []byte {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatalf("githubfake: making a key: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[id] = app{installation: installation, key: &key.PublicKey}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func isAppRequest(r *http.Request) bool { return strings.HasPrefix(r.URL.Path+"/", "/app/") }

func (s *Server) routeApps() {
	s.mux.HandleFunc("POST /app/installations/{id}/access_tokens", s.createInstallationToken)
}

func (s *Server) createInstallationToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.verifyAssertion(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		writeError(w, http.StatusUnauthorized, err.Error())
		return
	}
	if strconv.FormatInt(s.apps[id].installation, 10) != r.PathValue("id") {
		writeError(w, http.StatusNotFound, "Not Found")
		return
	}
	_, n := s.tick()
	token := "ghs_fake" + strconv.FormatInt(n, 10)
	s.tokens[token] = true
	writeJSON(w, http.StatusCreated, map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour).UTC()})
}

// verifyAssertion checks an App's signed assertion and returns its id. s.mu is held.
func (s *Server) verifyAssertion(jwt string) (int64, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return 0, fmt.Errorf("a JSON web token could not be decoded")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0, err
	}
	var c struct {
		Issuer string `json:"iss"`
		Expiry int64  `json:"exp"`
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(c.Issuer, 10, 64)
	if err != nil {
		return 0, err
	}
	known, ok := s.apps[id]
	if !ok || time.Now().Unix() > c.Expiry {
		return 0, fmt.Errorf("integration not found, or its assertion has expired")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return id, rsa.VerifyPKCS1v15(known.key, crypto.SHA256, sum[:], signature)
}

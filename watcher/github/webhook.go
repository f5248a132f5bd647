package github

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/google/go-github/v60/github"
)

// maxHook is more than any event that is listened to needs. An event that is
// larger is lost, and its news is found by the next look.
const maxHook = 5 << 20

// Handler takes GitHub's webhooks and calls nudge with owner/name of the
// repository that has news. The payload must be signed with secret; nothing else
// in it is believed or used. nudge must not block.
//
// There is no handler without a secret: anybody could keep the daemon busy.
func Handler(secret []byte, nudge func(repository string)) (http.Handler, error) {
	if len(secret) == 0 {
		return nil, errors.New("github: webhooks need a secret")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "POST is expected", http.StatusMethodNotAllowed)
			return
		}
		status, repository := receive(w, r, secret)
		if repository != "" {
			nudge(repository)
		}
		if status >= http.StatusBadRequest {
			http.Error(w, http.StatusText(status), status)
			return
		}
		w.WriteHeader(status)
	}), nil
}

// receive checks a delivery and returns the repository that it is about, when it
// is about something that matters.
func receive(w http.ResponseWriter, r *http.Request, secret []byte) (status int, repository string) {
	signature := r.Header.Get(github.SHA256SignatureHeader)
	if signature == "" {
		return http.StatusUnauthorized, "" // and do not read what it sends
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, ""
	case err != nil:
		return http.StatusBadRequest, ""
	case github.ValidateSignature(signature, body, secret) != nil:
		return http.StatusUnauthorized, ""
	}
	switch github.WebHookType(r) {
	case "push", "pull_request", "pull_request_review", "issue_comment":
	default:
		return http.StatusNoContent, ""
	}
	var event struct {
		Repository struct {
			FullName string `json:"full_name"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(body, &event); err != nil || event.Repository.FullName == "" {
		return http.StatusBadRequest, "" // form-encoded, for one: the content type has to be JSON
	}
	return http.StatusAccepted, event.Repository.FullName
}

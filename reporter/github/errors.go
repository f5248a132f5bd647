package github

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v60/github"
)

// Error is a report that did not get through.
type Error struct {
	Op      string // what was being done, on which object
	Status  int    // the answer's HTTP status; 0: there was none
	Message string // the host's own words, or ours
	Hint    string // what the operator can do; empty: nothing
	Err     error  // the cause, for the log

	retryAfter time.Duration
	permanent  bool
	limited    bool // the host refuses everything for now
}

func (e *Error) Error() string {
	text := "github: " + e.Op
	if e.Status != 0 {
		text += fmt.Sprintf(": %d", e.Status)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// RetryAfter is how long the host wants to be left alone; 0: it did not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// Permanent reports whether trying again is of no use.
func (e *Error) Permanent() bool { return e.permanent }

// ambiguous reports whether the host may have done what was asked.
func (e *Error) ambiguous() bool { return e.Status == 0 && !e.limited || e.Status >= 500 }

// classify turns what go-github returned into an *Error. need is the permission
// that the request takes, in GitHub's words.
func classify(op, need string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Err: err}
	if rate, ok := errors.AsType[*gh.RateLimitError](err); ok {
		e.limit(rate.Response, rate.Message, time.Until(rate.Rate.Reset.Time))
		return e
	}
	if abuse, ok := errors.AsType[*gh.AbuseRateLimitError](err); ok {
		wait := time.Duration(0)
		if abuse.RetryAfter != nil {
			wait = *abuse.RetryAfter
		}
		e.limit(abuse.Response, abuse.Message, wait)
		return e
	}
	if answer, ok := errors.AsType[*gh.ErrorResponse](err); ok {
		e.answer(answer, need)
		return e
	}
	if app, ok := errors.AsType[*ghinstallation.HTTPError](err); ok && app.Response != nil {
		e.appRefused(app)
		return e
	}
	e.Message = err.Error()
	return e
}

// limit records a refusal that concerns everything we send.
func (e *Error) limit(resp *http.Response, message string, wait time.Duration) {
	e.limited = true
	e.Status = resp.StatusCode
	e.Message = message
	// GitHub asks for a minute where it says nothing else.
	e.retryAfter = max(cmp.Or(wait, time.Minute), time.Second)
}

func (e *Error) answer(answer *gh.ErrorResponse, need string) {
	resp := answer.Response
	e.Status = resp.StatusCode
	e.Message = cmp.Or(answer.Message, http.StatusText(resp.StatusCode))
	for _, detail := range answer.Errors {
		if detail.Message != "" {
			e.Message += ": " + detail.Message
		}
	}
	said := strings.ToLower(e.Message)
	retryAfter, asked := waitAsked(resp.Header)
	switch {
	case e.Status == http.StatusTooManyRequests,
		e.Status == http.StatusForbidden && (asked || strings.Contains(said, "rate limit")),
		strings.Contains(said, "submitted too quickly"):
		e.limit(resp, e.Message, retryAfter)
	case e.Status == http.StatusUnauthorized:
		e.Hint = "the token is wrong or has expired"
	case e.Status == http.StatusForbidden && (strings.Contains(said, "archived") || strings.Contains(said, "locked")):
		e.permanent = true
	case e.Status == http.StatusForbidden:
		e.Hint = "the token lacks the permission " + cmp.Or(resp.Header.Get("X-Accepted-GitHub-Permissions"), need)
	case e.Status == http.StatusNotFound, e.Status == http.StatusGone, e.Status == http.StatusUnprocessableEntity,
		e.Status == http.StatusUnavailableForLegalReasons:
		e.permanent = true
	default:
		e.retryAfter = retryAfter
	}
}

// appRefused explains why an App got no token for its installation.
func (e *Error) appRefused(app *ghinstallation.HTTPError) {
	// ghinstallation leaves the body of a refusal to us.
	e.Err = errors.Join(e.Err, app.Response.Body.Close())
	e.Status = app.Response.StatusCode
	e.Message = fmt.Sprintf("no token for installation %d", app.InstallationID)
	switch e.Status {
	case http.StatusUnauthorized:
		e.Hint = "the App's id and private key do not belong together, or this host's clock is wrong"
	case http.StatusNotFound:
		e.Hint = "the App has no such installation"
	case http.StatusForbidden:
		e.Hint = "the installation is suspended"
	}
}

// waitAsked reads how long the host wants to be left alone.
func waitAsked(h http.Header) (time.Duration, bool) {
	if text := h.Get("Retry-After"); text != "" {
		if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
			return time.Duration(min(seconds, 86400)) * time.Second, true
		}
		if at, err := http.ParseTime(text); err == nil {
			return max(time.Until(at), time.Second), true
		}
	}
	if h.Get("X-RateLimit-Remaining") == "0" {
		if at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return max(time.Until(time.Unix(at, 0)), time.Second), true
		}
	}
	return 0, false
}

package publishtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
)

// Fault is what happens to a request.
type Fault int

// The faults that there are.
const (
	None     Fault = iota
	Throttle       // refused before it arrives, as too many
	Break          // answered with 500 before it arrives
	Lose           // done, but the connection ends before the answer
	Corrupt        // a bit of the body is another one on arrival
	Deny           // refused for want of a permission
	Limit          // refused because a quota is reached
	Mislead        // done, but the answer names another checksum
	Hang           // it never arrives, and there is no answer until the client has gone
	Stall          // done, but there is no answer until the client has gone
)

// Faults stands between a client and next, and does to each request what pick says.
func Faults(next http.Handler, pick func(*http.Request) Fault) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch fault := pick(r); fault {
		case Throttle:
			(&refusal{http.StatusBadRequest, "RequestThrottledException", "ACCOUNT_THROTTLED", "slow down"}).write(w)
		case Break:
			(&refusal{http.StatusInternalServerError, "InternalServerException", "", "try again"}).write(w)
		case Deny:
			(&refusal{http.StatusForbidden, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT", "not authorized"}).write(w)
		case Limit:
			(&refusal{http.StatusBadRequest, "ConcurrentLimitExceededException", "", "too many pending snapshots"}).write(w)
		case Lose:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case Corrupt:
			body, err := io.ReadAll(r.Body)
			if err != nil || len(body) == 0 {
				panic(http.ErrAbortHandler)
			}
			body[len(body)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		case Mislead:
			real := httptest.NewRecorder()
			next.ServeHTTP(real, r)
			w.Header().Set("X-Amz-Checksum", "bm90IHRoaXM=")
			w.WriteHeader(real.Code)
		case Hang, Stall:
			if fault == Stall {
				next.ServeHTTP(httptest.NewRecorder(), r)
			}
			io.Copy(io.Discard, r.Body) // or the end of the connection would not be noticed
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-6db18919/ingot/builder"
)

// throttled are answers to whoever asks too often.
var throttled = []string{
	"RequestThrottledException", "RequestThrottled", "ThrottlingException", "Throttling", "RequestLimitExceeded",
	"TooManyRequestsException", "SlowDown", "EC2ThrottledException",
}

// failed says what an error of AWS means: whose it is, and what to do.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if _, said := errors.AsType[*builder.Error](err); said {
		return err
	}
	code := codeOf(err)
	if code == "" && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	e := &builder.Error{Reason: fmt.Sprintf(format, args...), Err: err}
	call := callOf(err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case slices.Contains(throttled, code):
		e.Fault, e.Hint = builder.Transient, "AWS limits the calls of this account; the build can be repeated and goes on where it was"
	case code == "ConcurrentLimitExceededException":
		e.Fault, e.Hint = builder.Transient, "the account has too many snapshots in the making: repeat the build when some have ended, or ask AWS for a higher quota of pending snapshots"
	case strings.Contains(code, "LimitExceeded"), strings.Contains(code, "QuotaExceeded"):
		e.Hint = "the account's quota is reached (" + code + "): remove what is not needed, or ask AWS for more"
	case code == "UnauthorizedOperation", strings.HasPrefix(code, "AccessDenied"), code == "Forbidden":
		e.Hint = "the daemon's role has to allow " + call + "; docs/aws-permissions.md has the policy"
	case strings.Contains(err.Error(), "failed to refresh cached credentials"), slices.Contains([]string{"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"}, code):
		e.Hint = "the daemon has no valid AWS credentials, or they have expired"
	case statusOf(err) >= 500, strings.HasPrefix(code, "Internal"), strings.HasPrefix(code, "ServiceUnavailable"), code == "" && network:
		e.Fault, e.Hint = builder.Transient, "AWS could not be reached, or failed; the build can be repeated and goes on where it was"
	}
	return e
}

// codeOf is the name of an answer that is no success; empty for other errors.
func codeOf(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answer.ErrorCode()
	}
	return ""
}

func statusOf(err error) int {
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// callOf names the call as a policy does: "ebs:PutSnapshotBlock".
func callOf(err error) string {
	if called, ok := errors.AsType[*smithy.OperationError](err); ok {
		return strings.ToLower(called.Service()) + ":" + called.Operation()
	}
	return "the call"
}

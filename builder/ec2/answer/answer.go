// Package answer says what an answer of AWS means that is no success: who has to act,
// and how. It is the same for whoever asks AWS, so that an error reads the same
// wherever it is met.
package answer

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-6db18919/ingot/builder"
)

// Code is the name of an answer that is no success; empty for other errors.
func Code(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answer.ErrorCode()
	}
	return ""
}

// operation names the call as a policy does: "ebs:PutSnapshotBlock".
func operation(err error) string {
	if called, ok := errors.AsType[*smithy.OperationError](err); ok {
		return strings.ToLower(called.Service()) + ":" + called.Operation()
	}
	return "the call"
}

func status(err error) int {
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// throttled are answers to whoever asks too often.
var throttled = []string{
	"RequestLimitExceeded", "Throttling", "ThrottlingException", "SlowDown", "TooManyRequests", "TooManyRequestsException",
	"RequestThrottled", "RequestThrottledException", "EC2ThrottledException", "SnapshotCreationPerVolumeRateExceeded",
}

// unknown are answers to whoever comes with credentials that are not valid, or not any
// more, or with a clock that makes them seem so.
var unknown = []string{
	"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken", "AuthFailure",
	"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
	"InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken", "RequestTimeTooSkewed",
}

// Over reports that an error is the end of a context, and AWS has not answered.
func Over(err error) bool {
	return Code(err) == "" && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// Denied reports that the credentials are good and may not do that.
func Denied(err error) bool {
	is := Code(err)
	return is == "UnauthorizedOperation" || strings.HasPrefix(is, "AccessDenied") || is == "Forbidden"
}

// Unknown reports that AWS does not take the credentials, or that there are none.
func Unknown(err error) bool {
	return slices.Contains(unknown, Code(err)) || err != nil && strings.Contains(err.Error(), "failed to refresh cached credentials")
}

// Means says who has to act on an error of AWS, and what there is to do; the hint is
// empty where nobody can know.
func Means(err error) (fault builder.Fault, hint string) {
	is := Code(err)
	_, network := errors.AsType[net.Error](err)
	said, _ := errors.AsType[smithy.APIError](err)
	switch {
	case slices.Contains(throttled, is):
		return builder.Transient, "AWS limits the calls of this account; the build can be repeated and goes on where it was"
	case Denied(err):
		return builder.Internal, "the daemon's role has to allow " + operation(err) + "; docs/aws-permissions.md has the policy"
	case Unknown(err):
		return builder.Internal, "the daemon has no valid AWS credentials, or they have expired; if they are new, see that the host's clock is right"
	case strings.Contains(is, "LimitExceeded"), strings.Contains(is, "QuotaExceeded"):
		return builder.Internal, "the account's quota is reached (" + is + "): remove what is not needed, or ask AWS for more"
	case status(err) >= 500, said != nil && said.ErrorFault() == smithy.FaultServer, strings.HasPrefix(is, "Internal"), strings.HasPrefix(is, "ServiceUnavailable"), is == "Unavailable", is == "" && network:
		return builder.Transient, "AWS could not be reached, or failed; the build can be repeated and goes on where it was"
	}
	return builder.Internal, ""
}

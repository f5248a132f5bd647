package ec2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
)

// code is the name of an answer of AWS that is no success; empty for other errors.
func code(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answer.ErrorCode()
	}
	return ""
}

// operation is the call that failed.
func operation(err error) string {
	if called, ok := errors.AsType[*smithy.OperationError](err); ok {
		return called.Service() + ":" + called.Operation()
	}
	return "AWS"
}

// capacity are answers after which another type of instance, or another subnet,
// may do.
var capacity = []string{
	"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "InsufficientFreeAddressesInSubnet",
	"Unsupported", "InstanceLimitExceeded", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow",
}

// throttled are answers to whoever asks too often.
var throttled = []string{
	"RequestLimitExceeded", "Throttling", "ThrottlingException", "SlowDown", "TooManyRequests", "TooManyRequestsException",
	"RequestThrottled", "EC2ThrottledException", "SnapshotCreationPerVolumeRateExceeded",
}

// notYet are answers to whoever asks for what was made a moment ago.
var notYet = []string{
	"InvalidInstanceID.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound",
	"InvalidInstanceId", "InvocationDoesNotExist", "NoSuchKey",
}

func isOne(err error, codes []string) bool {
	is := code(err)
	for _, c := range codes {
		if is == c {
			return true
		}
	}
	return false
}

// failed says what a failed call means: whose fault, and what to do.
func failed(stage builder.Stage, reason string, err error) error {
	if err == nil {
		return nil
	}
	if _, said := errors.AsType[*builder.Error](err); said {
		return err
	}
	e := &builder.Error{Stage: stage, Reason: reason, Err: err}
	is := code(err)
	var wire net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && is == "":
		return err
	case isOne(err, throttled):
		e.Fault, e.Hint = builder.Transient, "AWS limits the calls of this account; the build can be repeated"
	case isOne(err, capacity):
		e.Fault, e.Hint = builder.Transient, "no instance type and subnet of the configuration has capacity; add others under aws.instanceTypes or aws.subnets"
	case strings.HasSuffix(is, "LimitExceeded"):
		e.Hint = "the account's quota is reached (" + is + "): remove what is not needed, or ask AWS for more"
	case is == "UnauthorizedOperation" || strings.HasPrefix(is, "AccessDenied"):
		e.Hint = fmt.Sprintf("the daemon's role has to allow %s; docs/aws-permissions.md has the policy", operation(err))
	case strings.Contains(err.Error(), "failed to refresh cached credentials"):
		e.Hint = "the daemon has no AWS credentials, or they have expired"
	case strings.HasPrefix(is, "Internal") || is == "ServiceUnavailable" || is == "Unavailable" || is == "" && errors.As(err, &wire):
		e.Fault, e.Hint = builder.Transient, "AWS could not be reached, or failed; the build can be repeated"
	}
	return e
}

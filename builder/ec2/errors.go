package ec2

import (
	"errors"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

// code is the name of an answer of AWS that is no success; empty for other errors.
func code(err error) string { return answer.Code(err) }

// capacity are answers after which another type of instance, or another subnet,
// may do.
var capacity = []string{
	"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "InsufficientFreeAddressesInSubnet",
	"Unsupported", "InstanceLimitExceeded", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow",
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
	if answer.Over(err) {
		return err
	}
	e := &builder.Error{Stage: stage, Reason: reason, Err: err}
	if e.Fault, e.Hint = answer.Means(err); isOne(err, capacity) {
		e.Fault, e.Hint = builder.Transient, "no instance type and subnet of the configuration has capacity; add others under aws.instanceTypes or aws.subnets"
	}
	return e
}

package publish

import (
	"errors"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

// failed says what an error of AWS means: whose it is, and what to do.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if _, said := errors.AsType[*builder.Error](err); said || answer.Over(err) {
		return err
	}
	e := &builder.Error{Reason: fmt.Sprintf(format, args...), Err: err}
	if e.Fault, e.Hint = answer.Means(err); codeOf(err) == "ConcurrentLimitExceededException" {
		e.Fault, e.Hint = builder.Transient, "the account has too many snapshots in the making: repeat the build when some have ended, or ask AWS for a higher quota of pending snapshots"
	}
	return e
}

// codeOf is the name of an answer that is no success; empty for other errors.
func codeOf(err error) string { return answer.Code(err) }

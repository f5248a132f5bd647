package answer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

func TestMeans(t *testing.T) {
	says := func(service, code string) error {
		return &smithy.OperationError{ServiceID: service, OperationName: "DoIt", Err: &smithy.GenericAPIError{Code: code}}
	}
	for _, k := range []struct {
		err   error
		fault builder.Fault
		hint  string
	}{
		{says("EC2", "RequestLimitExceeded"), builder.Transient, "limits the calls"},
		{says("EC2", "VolumeLimitExceeded"), builder.Internal, "quota"},
		{says("EC2", "UnauthorizedOperation"), builder.Internal, "allow ec2:DoIt"},
		{says("SSM", "AccessDeniedException"), builder.Internal, "allow ssm:DoIt"},
		{says("S3", "ExpiredToken"), builder.Internal, "credentials"},
		{says("SSM", "ExpiredTokenException"), builder.Internal, "credentials"},
		{says("EC2", "RequestExpired"), builder.Internal, "credentials"},
		{says("EC2", "AuthFailure"), builder.Internal, "credentials"},
		{errors.New("get identity: failed to refresh cached credentials, no EC2 IMDS role found"), builder.Internal, "credentials"},
		{says("EC2", "InternalError"), builder.Transient, "failed"},
		{says("EC2", "Unavailable"), builder.Transient, "failed"},
		{fmt.Errorf("dial: %w", &net.DNSError{}), builder.Transient, "could not be reached"},
		{says("EC2", "InvalidParameterValue"), builder.Internal, ""},
	} {
		fault, hint := answer.Means(k.err)
		if fault != k.fault || !strings.Contains(hint, k.hint) || (k.hint == "") != (hint == "") {
			t.Errorf("%v: fault %v, hint %q; want %v and %q", k.err, fault, hint, k.fault, k.hint)
		}
	}
	if answer.Over(says("EC2", "RequestLimitExceeded")) || !answer.Over(fmt.Errorf("asking: %w", context.Canceled)) {
		t.Error("an answer and the end of a context are taken for each other")
	}
}

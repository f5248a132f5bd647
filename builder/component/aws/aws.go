// Package aws gives the component engine what lies in AWS: objects of S3, values of
// the Systems Manager parameter store (and of Secrets Manager by its reference
// there), and documents of Image Builder components.
//
// Credentials and region come from wherever the SDK's default chain finds them on
// the machine that the engine runs on: environment, shared files, the instance's
// role. Nothing is asked for before a document needs it.
//
// Only the larger of the two agents links this package. What the values mean, what
// is masked and where files go is the engine's business.
package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder/component"
)

// EndpointVariable names the environment variable with the address of Image
// Builder's API; the original runner has it, too.
const EndpointVariable = "AWSTOE_IMAGEBUILDER_ENDPOINT"

// anyRegion is where a bucket is looked for when no region is set: the answer
// names the right one.
const anyRegion = "us-east-1"

// Services is the way to AWS. Any number of goroutines may use it.
type Services struct {
	getenv func(string) string

	mu      sync.Mutex
	config  *sdk.Config
	clients map[string]*s3.Client // by region
	regions map[string]string     // of buckets that are elsewhere
}

var (
	_ component.ParameterStore  = (*Services)(nil)
	_ component.ObjectStore     = (*Services)(nil)
	_ component.ComponentSource = (*Services)(nil)
)

// New returns Services that read the environment with getenv when they are used.
func New(getenv func(string) string) *Services {
	return &Services{getenv: getenv, clients: map[string]*s3.Client{}, regions: map[string]string{}}
}

// Reach returns env with everything in it that AWS has.
func (s *Services) Reach(env component.Env) component.Env {
	env.Store, env.Objects, env.Components = s, s, s
	return env
}

// load reads the configuration once; a failure is not remembered.
func (s *Services) load(ctx context.Context) (sdk.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != nil {
		return *s.config, nil
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithAppID("ingot"))
	if err != nil {
		return sdk.Config{}, fmt.Errorf("read the AWS settings: %w", err)
	}
	if loaded.Region == "" {
		// On EC2 the machine knows where it is; elsewhere nobody answers, and those who
		// need a region say so.
		if there, err := config.LoadDefaultConfig(ctx, config.WithAppID("ingot"), config.WithEC2IMDSRegion()); err == nil {
			loaded = there
		}
	}
	s.config = &loaded
	return loaded, nil
}

// regional is load for services that have to know where they are.
func (s *Services) regional(ctx context.Context) (sdk.Config, error) {
	cfg, err := s.load(ctx)
	if err == nil && cfg.Region == "" {
		err = errors.New("no AWS region is set: set AWS_REGION, or region in ~/.aws/config, where the document runs")
	}
	return cfg, err
}

// plain says what a call's error means to the author of a document.
func plain(err error) error {
	operation, called := errors.AsType[*smithy.OperationError](err)
	answer, answered := errors.AsType[smithy.APIError](err)
	switch {
	case called && !answered && strings.Contains(err.Error(), "failed to refresh cached credentials"):
		return fmt.Errorf("there are no AWS credentials where the document runs: give the instance a role, or the environment or ~/.aws of the user who runs it: %w", operation.Err)
	case !called || !answered:
		return err
	}
	return &refusal{operation: operation.Operation(), answer: answer, err: err}
}

// refusal is an answer of AWS that is no success.
type refusal struct {
	operation string
	answer    smithy.APIError
	err       error
}

func (e *refusal) Unwrap() error { return e.err }

func (e *refusal) Error() string {
	code, message := e.answer.ErrorCode(), e.answer.ErrorMessage()
	text := code
	if message != "" && message != code {
		text += ": " + message
	}
	switch code {
	case "NoSuchKey", "NotFound":
		return "there is no such object"
	case "NoSuchBucket":
		return "there is no such bucket"
	case "ParameterNotFound":
		return "there is no such parameter"
	case "AccessDenied", "AccessDeniedException", "Forbidden":
		return fmt.Sprintf("%s (the credentials of the instance have to allow %s; another owner of a bucket than the expected one is refused like this, too)", text, e.operation)
	}
	return text
}

// regionOf is where a component's ARN lies.
func regionOf(name string) (string, error) {
	parsed, err := arn.Parse(name)
	if err != nil {
		return "", err
	}
	return parsed.Region, nil
}

package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/patience"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

// Objects is what the driver asks of S3; *s3.Client has it.
type Objects interface {
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Signer signs requests that instances make; *s3.PresignClient has it. It asks AWS
// for nothing.
type Signer interface {
	PresignGetObject(context.Context, *s3.GetObjectInput, ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)
	PresignPostObject(context.Context, *s3.PutObjectInput, ...func(*s3.PresignPostOptions)) (*s3.PresignedPostRequest, error)
}

var (
	_ Objects = (*s3.Client)(nil)
	_ Signer  = (*s3.PresignClient)(nil)
)

// Services is AWS in one region.
type Services struct {
	Compute  Compute
	Imports  publish.Imports
	Commands Commands
	Objects  Objects
	Signer   Signer
}

// Lasting returns a configuration of the SDK whose clients outlast bad times. Throttling
// is met with the SDK's adaptive mode, which slows down all calls of a service before
// the next is refused. A request that stands still for a minute is given up and made again.
func Lasting(cfg aws.Config) aws.Config {
	return lastingConfig(cfg, retry.DefaultMaxBackoff, patience.Usual)
}

func lastingConfig(cfg aws.Config, backoff, quiet time.Duration) aws.Config {
	cfg.Retryer = func() aws.Retryer {
		return retryer{retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
			o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = 8, backoff
				// What limits a client that hammers a service that is down must not end a build.
				o.RateLimiter = ratelimit.None
			})
		})}
	}
	cfg.HTTPClient = patience.Bound(cfg.HTTPClient, quiet)
	return cfg
}

// Connect makes Services of a configuration that is Lasting.
func Connect(cfg aws.Config) Services {
	path := cfg.BaseEndpoint != nil // a store that is not S3 knows no bucket by host name
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = path })
	compute := ec2.NewFromConfig(cfg)
	return Services{
		Compute: compute, Imports: compute, Commands: ssm.NewFromConfig(cfg),
		Objects: objects, Signer: s3.NewPresignClient(objects),
	}
}

// retryer leaves answers about capacity to whoever can ask for something else. EC2
// gives some of them with a status that otherwise invites to try the same again.
type retryer struct{ aws.RetryerV2 }

// IsErrorRetryable implements aws.Retryer.
func (r retryer) IsErrorRetryable(err error) bool {
	return !isOne(err, capacity) && r.RetryerV2.IsErrorRetryable(err)
}

// Config is the driver's configuration. All of it is the operator's.
type Config struct {
	Services Services
	Region   string

	// Owner tells ingot's things from those of others in the account; policies rely on it.
	Owner string
	// Ledger is the id of the one in which builds are counted: by it what two ledgers of one
	// owner make is told apart. Empty: what is kept of builds of all of them is there to be
	// looked at, and only what no ledger made is the driver's own.
	Ledger string
	Bucket string
	Prefix string // of the keys in the bucket; empty, or ending in a slash

	Infrastructure                            // of recipes that name none
	Infrastructures map[string]Infrastructure // of those that do

	Tags       map[string]string
	ImportRole string // of VM Import, which reads disks in S3; empty: vmimport

	Agent        string // file: the agent for linux/amd64
	AWSAgent     string // the one that reaches AWS
	WindowsAgent string // for windows/amd64

	Log logrus.FieldLogger

	pace pace // for tests
}

// Infrastructure is what instances run on.
type Infrastructure struct {
	InstanceProfile string   // its role needs what the Systems Manager agent needs, no more
	InstanceTypes   []string // in order; the next is asked for when capacity is short
	Subnets         []string // in order, like types; empty: the default one
	SecurityGroups  []string
	KeyPair         string // usually empty: nothing needs it
	Spot            bool   // ask for spare capacity first
}

// infrastructure is the one of that name. Whoever takes one away that recipes name has
// their builds fail, and says so to their authors by validating them.
func (c *Config) infrastructure(name string) (Infrastructure, error) {
	if name == "" {
		return c.Infrastructure, nil
	}
	i, ok := c.Infrastructures[name]
	if !ok {
		return i, &builder.Error{Fault: builder.Author, Stage: builder.StageLaunch,
			Reason: fmt.Sprintf("there is no infrastructure %q here", name),
			Hint:   "take infrastructure.name out of the recipe, or have the operator configure it in aws.infrastructures"}
	}
	return i, nil
}

// check says what is wrong with it.
func (i Infrastructure) check() (wrong []error) {
	if i.InstanceProfile == "" {
		wrong = append(wrong, errors.New("instanceProfile is missing: without it no instance reaches Systems Manager"))
	}
	if len(i.InstanceTypes) == 0 {
		wrong = append(wrong, errors.New("instanceTypes is empty"))
	}
	for _, kind := range i.InstanceTypes {
		if catalogue.ArchitectureOf(kind) != catalogue.X8664 {
			wrong = append(wrong, fmt.Errorf("instanceTypes: %s has an ARM processor, for which there is no agent", kind))
		}
	}
	return wrong
}

// pace is how long the driver waits for what. The zero value is for use.
type pace struct {
	inbox    time.Duration // between two looks into the inbox
	states   time.Duration // between two looks at instances and images
	quiet    time.Duration // without a sign of life, after which an operation is looked at
	online   time.Duration // for an instance to reach Systems Manager
	visible  time.Duration // for AWS to know what it has just made
	ended    time.Duration // for Systems Manager to know of a command's end, of which ingot hears earlier
	stopping time.Duration // for an instance to stop
	grace    time.Duration // before what was just made counts as left over
}

func (p *pace) setDefaults() {
	for value, standard := range map[*time.Duration]time.Duration{
		&p.inbox: time.Second, &p.states: 5 * time.Second, &p.quiet: 100 * time.Second,
		&p.online: 15 * time.Minute, &p.visible: 2 * time.Minute, &p.ended: 10 * time.Second, &p.stopping: 15 * time.Minute, &p.grace: 10 * time.Minute,
	} {
		if *value == 0 {
			*value = standard
		}
	}
}

var (
	validOwner  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	validBucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	validPrefix = regexp.MustCompile(`^([A-Za-z0-9._-]+/)*$`)
)

func (c *Config) check() error {
	var wrong []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	say(!validOwner.MatchString(c.Owner), "owner %q: expected small letters, digits and hyphens", c.Owner)
	say(!validBucket.MatchString(c.Bucket), "bucket %q is no name of an S3 bucket", c.Bucket)
	say(!validPrefix.MatchString(c.Prefix), "prefix %q: expected letters, digits, dots, hyphens, and a slash at its end", c.Prefix)
	say(c.Agent == "", "the agent's program is missing")
	wrong = append(wrong, c.Infrastructure.check()...)
	for name, i := range c.Infrastructures {
		for _, err := range i.check() {
			wrong = append(wrong, fmt.Errorf("infrastructure %s: %w", name, err))
		}
	}
	say(len(c.Tags) > maxTags, "tags: %d are more than %d", len(c.Tags), maxTags)
	for key := range c.Tags {
		say(strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, tagPrefix), "tags: %q is not yours to set", key)
	}
	return errors.Join(wrong...)
}

// New returns the driver. Close ends what it runs in the background.
func New(cfg Config) (*Driver, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("driver ec2: %w", err)
	}
	if cfg.Log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		cfg.Log = quiet
	}
	cfg.pace.setDefaults()
	d := &Driver{cfg: cfg, aws: cfg.Services}
	d.parents = &catalogue.Catalogue{Images: cfg.Services.Compute, Parameters: cfg.Services.Commands}
	d.inbox = newInbox(d)
	d.states = newStates(d)
	return d, nil
}

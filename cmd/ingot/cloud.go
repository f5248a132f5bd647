package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// cloud is what is built, or published, on EC2.
type cloud struct {
	driver    *ec2.Driver
	publisher builder.Publisher
	identity  identity
	owner     string // aws.owner
	ledger    string // id of the ledger that counts the builds
}

// openCloud connects the driver ec2 for builds of a ledger; nil when it is not
// configured. Nothing is asked of AWS yet.
func openCloud(ctx context.Context, cfg config.Config, ledgerID string, log logrus.FieldLogger) (*cloud, error) {
	a := cfg.AWS
	if a.Region == "" {
		return nil, nil
	}
	loaded, err := loadAWS(ctx, a.Region)
	if err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	agent, err := agentPath()
	if err != nil {
		return nil, err
	}
	infrastructures := map[string]ec2.Infrastructure{}
	for name, i := range a.Infrastructures {
		infrastructures[name] = ec2.Infrastructure(i)
	}
	lasting := ec2.Lasting(loaded) // blocks have a client of their own
	driver, err := ec2.New(ec2.Config{
		Services: ec2.Connect(lasting), Region: a.Region, Owner: a.Owner, Ledger: ledgerID, Bucket: a.Bucket, Prefix: a.Prefix,
		Infrastructure: ec2.Infrastructure(a.Infrastructure), Infrastructures: infrastructures, ImportRole: a.ImportRole, Tags: a.Tags,
		Agent: agent, AWSAgent: beside(agent, "ingot-agent-aws"), WindowsAgent: beside(agent, "ingot-agent.exe"),
		Log: log,
	})
	if err != nil {
		return nil, err
	}
	publisher := &publish.Publisher{
		Blocks: publish.NewBlocks(loaded, 0), Images: sdk.NewFromConfig(lasting),
		Dir: filepath.Join(cfg.DataDir, "publish", a.Region), Tags: driver.ImageTags(), Watch: driver.Watch(),
		Bucket: publish.NewBucket(lasting, a.Bucket, a.Prefix, a.ImportRole),
	}
	return &cloud{driver: driver, identity: sts.NewFromConfig(lasting), owner: a.Owner, ledger: ledgerID, publisher: struct {
		*publish.Publisher
		*ec2.Driver
	}{publisher, driver}}, nil
}

// renewBefore is how long before their end credentials are renewed. The SDK keeps those
// of a role to the last moment, and what is signed then comes too late.
const renewBefore = 5 * time.Minute

func loadAWS(ctx context.Context, region string) (aws.Config, error) {
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region), awsconfig.WithAppID("ingot"),
		awsconfig.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore }))
}

// close ends what the driver runs in the background.
func (c *cloud) close() {
	if c != nil {
		c.driver.Close()
	}
}

// driverOf is the driver that a recipe asks for.
func (p *parts) driverOf(r *recipe.Recipe) (builder.Driver, error) {
	switch want := r.Infrastructure.Driver; {
	case want == p.driver.Name():
		return p.driver, nil
	case p.cloud != nil && want == p.cloud.driver.Name():
		return p.cloud.driver, nil
	case want == ec2.Name:
		return nil, &builder.Error{Stage: builder.StageResolve,
			Reason: "this ingot does not build on EC2", Hint: "the operator can configure aws.region, aws.bucket and aws.instanceProfile"}
	default:
		return nil, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: "there is no driver " + want + " here", Hint: "set infrastructure.driver to " + p.driver.Name()}
	}
}

// publisherOf is where the recipe's image is published; nil: nowhere, or there is no
// such place, about which the builder complains.
func (p *parts) publisherOf(r *recipe.Recipe) builder.Publisher {
	if p.cloud == nil || r.Publish == nil {
		return nil
	}
	return p.cloud.publisher
}

// parentFor is the image of a parent recipe as the child's driver knows it: one of
// another driver counts as what it was published to it. One that was not stays what it
// is, and the driver says what to do.
func (p *parts) parentFor(ctx context.Context, child *recipe.Recipe, img *builder.Image) (*builder.Image, error) {
	driver := child.Infrastructure.Driver
	if img == nil || img.Driver == driver {
		return img, nil
	}
	id, err := p.ledger.PublishedTo(ctx, img.ID, driver)
	if id == "" || err != nil {
		return img, err
	}
	twin := *img
	twin.ID, twin.Ref, twin.Digest, twin.Driver = id, id, id, driver
	return &twin, nil
}

// owned tells which builds may still use what they have made: those that have not
// ended, or only just, and those by hand, of which nobody but their own process knows, for a day.
func owned(ctx context.Context, l *ledger.Ledger) func(build string) bool {
	return func(build string) bool {
		if at, byHand := strings.CutPrefix(build, handPrefix); byHand {
			micros, err := strconv.ParseInt(at, 10, 64)
			return err != nil || time.Since(time.UnixMicro(micros)) < 24*time.Hour
		}
		id, err := strconv.ParseInt(build, 10, 64)
		if err != nil {
			return true // not named by this program
		}
		b, err := l.Build(ctx, id)
		return err != nil || mayUse(b, time.Now())
	}
}

// settled is how long ago a build has ended whose tags EC2 shows as they are: it may be
// late with those by which the build has kept an instance, or completed an image.
const settled = 10 * time.Minute

// mayUse tells whether what a build has made is not yet to be judged.
func mayUse(b reporter.Build, now time.Time) bool {
	return !b.State.Final() || now.Sub(b.Finished) < settled
}

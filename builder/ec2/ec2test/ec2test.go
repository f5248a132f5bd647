// Package ec2test is the AWS that tests of the EC2 driver run against.
//
// Start puts a server on the loopback address between the SDK and moto, an emulator
// of AWS. What moto does as AWS does it passes on; what moto lacks, or takes too
// lightly for a driver to be tested on it, the server does itself, and strictly:
// what the service refuses is refused. docs/aws.md lists what that is, operation by operation.
//
// Not here: NoReboot images of running instances, Targets of commands, user data
// (a Machine gets it and may run it), imports of several objects, and permissions.
//
// Each request of EC2, Systems Manager and the EBS direct APIs is first held against
// the service's model: see package botomodel.
//
// Behind each instance stands a Machine: a container over a real disk
// (ContainerMachines), or a function (ScriptMachine). Faults breaks calls on the
// wire, Calls counts them, and Leftovers says what is still there at the end.
package ec2test

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed-6db18919/ingot/internal/mototest"
)

// What every Cloud has from the start.
const (
	Region  = "eu-central-1"
	Profile = "ingot-test" // an instance profile with which an agent reaches Systems Manager
)

// Options say how a Cloud behaves. The zero value has no machines.
type Options struct {
	// Machine says what stands behind an instance that was launched.
	Machine func(Launch) Machine
	// Polls is how many describes see a state that passes (pending, stopping) before
	// the next one, at the least. Default: 1. Below zero: none.
	Polls int
	// Unseen is how many describes do not find a new resource yet.
	Unseen int
	// Second is how long a second in a time limit of Systems Manager lasts. Default: a second.
	Second time.Duration
	// HostManagement lets agents reach Systems Manager without an instance profile.
	HostManagement bool
	// Invalid is told of requests that do not fit the service's model, which are
	// refused. Default: the test fails.
	Invalid func(error)
}

// Launch is an instance that was just made.
type Launch struct {
	Instance string // its ID
	Image    string // the AMI's ID
	Type     string
	RootGiB  int64  // size of the root volume
	UserData string // as the instance sees it, decoded
	Tags     map[string]string

	// Root writes the root volume into a new file, from the blocks that were uploaded
	// through the EBS direct APIs; nil: it is of another origin.
	Root func(ctx context.Context, path string) error
}

// Cloud is one account in one region, empty but for Parents, Profile and a bucket.
type Cloud struct {
	URL     string // where it answers, for every service
	Account string // its number, which no other Cloud has
	Bucket  string // an empty S3 bucket
	Faults  *Faults

	t        testing.TB
	options  Options
	ctx      context.Context // ends when the test does
	emulator *emulator
	pass     *httputil.ReverseProxy
	client   *http.Client // of Config
	calls    callLog
	work     sync.WaitGroup // requests and machines

	mu          sync.Mutex // everything below, and calls to moto's EC2, which is not made for several at once
	instances   map[string]*instance
	images      map[string]*image
	snapshots   map[string]*snapshot
	unseen      map[string]int // describes that do not find it yet, by ID
	tokens      map[string]reservation
	starts      map[string]reservation // of uploaded snapshots, by token
	commands    map[string]*command
	imports     []*importTask
	importsHeld bool
	session     int // how many have ended
	age         time.Duration
}

// Start starts a Cloud that lasts as long as the test. It needs the environment
// variable INGOT_TEST_MOTO, which `make test-aws` sets, and skips the test without:
// `make test` has no moto. A package with many such tests has them share one: see Main.
func Start(t testing.TB, options Options) *Cloud {
	t.Helper()
	options.Polls = max(0, cmp.Or(options.Polls, 1))
	options.Second = cmp.Or(options.Second, time.Second)
	if options.Invalid == nil {
		options.Invalid = func(err error) { t.Errorf("a request that AWS would refuse: %v", err) }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	c := &Cloud{
		t: t, options: options, ctx: ctx, Faults: &Faults{},
		instances: map[string]*instance{}, images: map[string]*image{}, snapshots: map[string]*snapshot{},
		unseen: map[string]int{}, tokens: map[string]reservation{}, starts: map[string]reservation{}, commands: map[string]*command{},
	}
	c.emulator = borrowEmulator(t, mototest.Need(t))
	c.Account = c.emulator.account
	c.Bucket = "ingot-test-" + c.Account
	c.pass = c.emulator.proxy()
	c.setUp()
	c.listen(cancel)
	return c
}

// listen serves until the end of the test, and then waits for everything.
func (c *Cloud) listen(cancel context.CancelFunc) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	c.URL = "http://" + listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	c.client = &http.Client{Transport: transport}
	c.t.Cleanup(func() {
		c.mu.Lock() // see enter
		cancel()
		c.mu.Unlock()
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
		c.work.Wait()
		c.closeMachines()
	})
}

// Config is the configuration with which clients of the SDK reach the Cloud. For S3
// add UsePathStyle.
func (c *Cloud) Config() aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(c.URL), HTTPClient: c.client,
		Credentials: aws.CredentialsProviderFunc(c.credentials),
	}
}

// Environment has the variables by which a program finds credentials for the Cloud.
func (c *Cloud) Environment() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey, "AWS_SESSION_TOKEN": keys.SessionToken}
}

// setUp makes what every account of the tests has.
func (c *Cloud) setUp() {
	for _, p := range Parents {
		c.images[p.ID] = p.image()
	}
	e := c.emulator
	e.must(c.t, e.ask(c.ctx, http.MethodPut, "/"+c.Bucket, "s3", "<CreateBucketConfiguration><LocationConstraint>"+Region+"</LocationConstraint></CreateBucketConfiguration>"))
	e.must(c.t, e.form(c.ctx, "iam", url.Values{"Action": {"CreateInstanceProfile"}, "Version": {"2010-05-08"}, "InstanceProfileName": {Profile}}))
}

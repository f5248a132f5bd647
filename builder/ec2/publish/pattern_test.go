package publish_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
)

// ofPattern says that the SDK has not made a request itself: it numbers its attempts.
func ofPattern(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/blocks/") && r.Header.Get("Amz-Sdk-Request") == ""
}

// rotating is credentials that are other ones each time.
type rotating struct{ asked atomic.Int32 }

func (r *rotating) Retrieve(context.Context) (aws.Credentials, error) {
	return credentialsOf(fmt.Sprint("AKID", r.asked.Add(1))), nil
}

func credentialsOf(id string) aws.Credentials {
	return aws.Credentials{AccessKeyID: id, SecretAccessKey: "secret of " + id, SessionToken: "token of " + id}
}

// signed signs a block's request again, with the credentials that it names, and returns what the
// header has to be. The service does the same.
func signed(r *http.Request) (string, error) {
	authorization := r.Header.Get("Authorization")
	_, id, _ := strings.Cut(authorization, "Credential=")
	id, _, _ = strings.Cut(id, "/")
	_, names, _ := strings.Cut(authorization, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", err
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return "", err
	}
	again.ContentLength = r.ContentLength
	for _, name := range strings.Split(names, ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	err = v4.NewSigner().SignHTTP(context.Background(), credentialsOf(id), again, r.Header.Get("X-Amz-Content-Sha256"), "ebs", region, at)
	return again.Header.Get("Authorization"), err
}

// TestRequestsAfterAPatternAreTheSDKs holds the requests that are made after the
// pattern of the first against that one, with signatures of changing credentials.
func TestRequestsAfterAPatternAreTheSDKs(t *testing.T) {
	service := &publishtest.Service{}
	var mu sync.Mutex
	seen := map[bool][]*http.Request{}
	server := httptest.NewServer(modelled(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blocks/") {
			if want, err := signed(r); err != nil || r.Header.Get("Authorization") != want {
				t.Errorf("%s %s is signed with\n%s, want\n%s (%v)", r.Method, r.URL, r.Header.Get("Authorization"), want, err)
			}
			mu.Lock()
			seen[ofPattern(r)] = append(seen[ofPattern(r)], r)
			mu.Unlock()
		}
		service.ServeHTTP(w, r)
	})))
	defer server.Close()
	cfg := config(server.URL)
	cfg.Credentials = &rotating{}
	d, err := chain.Open(t.Context(), someDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := publish.Upload(t.Context(), publish.NewBlocks(cfg, 1), d, publish.Options{Key: "k", Dir: t.TempDir(), Snapshots: service, Workers: 1})
	if err != nil || s.Written != 21 {
		t.Fatalf("%+v (%v), want 21 blocks", s, err)
	}
	if len(seen[false]) != 1 || len(seen[true]) != 20 {
		t.Fatalf("the SDK has made %d requests and its pattern served for %d, want 1 and 20", len(seen[false]), len(seen[true]))
	}
	want := seen[false][0]
	for _, name := range []string{"Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"} {
		want.Header.Del(name)
	}
	for _, r := range seen[true] {
		if r.Host != want.Host || r.Method != want.Method || r.ContentLength != want.ContentLength {
			t.Errorf("%s %s to %s with %d bytes, the SDK's is %s to %s with %d", r.Method, r.URL, r.Host, r.ContentLength, want.Method, want.Host, want.ContentLength)
		}
		header := r.Header.Clone()
		for _, name := range []string{"Authorization", "X-Amz-Checksum", "X-Amz-Date", "X-Amz-Security-Token"} {
			if len(header[name]) != 1 {
				t.Errorf("%s has %s %q", r.URL, name, header[name])
			}
			header[name] = want.Header[name]
		}
		if !reflect.DeepEqual(header, want.Header) {
			t.Errorf("%s has\n%v, the SDK's request\n%v", r.URL, header, want.Header)
		}
	}
}

// TestWhatDoesNotSucceedIsLeftToTheSDK has one block that goes the short way fail. The
// SDK sends it again, and what comes after it.
func TestWhatDoesNotSucceedIsLeftToTheSDK(t *testing.T) {
	for name, fault := range map[string]publishtest.Fault{
		"throttled": publishtest.Throttle, "status 500": publishtest.Break, "lost answer": publishtest.Lose,
		"damaged": publishtest.Corrupt, "denied": publishtest.Deny,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed, before, after atomic.Int32
			w := newWorld(t, func(r *http.Request) publishtest.Fault {
				switch {
				case !ofPattern(r):
				case before.Load() < 5:
					before.Add(1)
				case failed.CompareAndSwap(0, 1):
					return fault
				default:
					after.Add(1)
				}
				return publishtest.None
			})
			path := someDisk(t)
			s, err := w.upload(t, path, publish.Options{Key: name, Dir: t.TempDir(), Workers: 1})
			if err != nil || s.Written != 21 {
				t.Fatalf("%+v (%v), want 21 blocks", s, err)
			}
			w.same(t, s.ID, path)
			if before.Load() != 5 || failed.Load() != 1 || after.Load() != 0 {
				t.Errorf("%d blocks went the short way before one failed (%d), and %d after it; want 5, 1 and 0", before.Load(), failed.Load(), after.Load())
			}
		})
	}
}

// TestWhatLastsIsAnErrorOfTheSDK: the short way has no errors of its own.
func TestWhatLastsIsAnErrorOfTheSDK(t *testing.T) {
	for want, fault := range map[string]publishtest.Fault{"ebs:PutSnapshotBlock": publishtest.Deny, "checksum": publishtest.Mislead} {
		var refused atomic.Bool
		w := newWorld(t, func(r *http.Request) publishtest.Fault {
			if ofPattern(r) {
				refused.Store(true)
			}
			if refused.Load() {
				return fault
			}
			return publishtest.None
		})
		_, err := w.upload(t, someDisk(t), publish.Options{Key: "k", Dir: t.TempDir(), Workers: 1})
		if said, ok := errors.AsType[*builder.Error](err); ok {
			err = fmt.Errorf("%w (%s)", err, said.Hint)
		}
		if !refused.Load() || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the upload ended with %v, want an error about %s", err, want)
		}
	}
}

// TestAnswersThatNeverCome: the attempt is given up and made again, whichever call it is.
func TestAnswersThatNeverCome(t *testing.T) {
	call := func(prefix string) func(*http.Request) bool {
		return func(r *http.Request) bool { return strings.HasPrefix(r.Method+" "+r.URL.Path, prefix) }
	}
	for name, picks := range map[string]func(*http.Request) bool{
		"start": func(r *http.Request) bool { return r.URL.Path == "/snapshots" }, "first block": call("PUT "), "later block": ofPattern,
		"completion": call("POST /snapshots/completion/"),
	} {
		for kind, fault := range map[string]publishtest.Fault{"never arrives": publishtest.Hang, "is done": publishtest.Stall} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				var silent atomic.Bool
				w := newWorld(t, func(r *http.Request) publishtest.Fault {
					if picks(r) && !silent.Swap(true) {
						return fault
					}
					return publishtest.None
				})
				path := someDisk(t)
				d, err := chain.Open(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				s, err := publish.Upload(t.Context(), publish.NewImpatientBlocks(w.config, 2, 2*time.Second), d, publish.Options{Key: "k", Dir: t.TempDir(), Snapshots: w.snapshots(), Workers: 2})
				if err != nil || !silent.Load() {
					t.Fatalf("%v (silent: %v)", err, silent.Load())
				}
				w.same(t, s.ID, path)
				if all := w.service.Snapshots(); len(all) != 1 || !all[0].Complete {
					t.Errorf("there are %+v, want one complete snapshot", all)
				}
			})
		}
	}
}

// TestAnUploadEndsWhileTheServiceIsSilent: also on the short way.
func TestAnUploadEndsWhileTheServiceIsSilent(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w := newWorld(t, func(r *http.Request) publishtest.Fault {
		if ofPattern(r) {
			stop()
			return publishtest.Hang
		}
		return publishtest.None
	})
	d, err := chain.Open(t.Context(), someDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	start := time.Now()
	_, err = publish.Upload(ctx, publish.NewBlocks(w.config, 4), d, publish.Options{Key: "k", Dir: t.TempDir(), Snapshots: w.snapshots(), Workers: 4})
	if ctx.Err() == nil || err == nil || time.Since(start) > 30*time.Second {
		t.Errorf("ended after %v with %v", time.Since(start), err)
	}
}

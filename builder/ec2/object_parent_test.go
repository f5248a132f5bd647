package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// importing is a cloud with disks in its bucket.
type importing struct {
	*testing.T
	cloud *ec2test.Cloud
	cfg   Config
	d     *Driver
}

func newImporting(t *testing.T) *importing {
	t.Helper()
	idle := ec2test.Scripted(func(context.Context, []string) (int, string, string) { return 0, "", "" })
	c := ec2test.Start(t, ec2test.Options{Machine: idle})
	cfg := configOf(t, c, "unused")
	cfg.pace.grace = time.Nanosecond
	return &importing{T: t, cloud: c, cfg: cfg, d: newDriver(t, cfg)}
}

// put writes a disk and returns it as a parent.
func (i *importing) put(key, content string) builder.ParentSource {
	i.Helper()
	if err := i.d.putObject(i.Context(), key, []byte(content)); err != nil {
		i.Fatal(err)
	}
	return i.parent(key)
}

func (i *importing) parent(key string) builder.ParentSource {
	address := "s3://" + i.cloud.Bucket + "/" + key
	return builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentObject, Name: address, Text: address}}
}

func (i *importing) resolve(d *Driver, p builder.ParentSource) builder.Base {
	i.Helper()
	base, err := d.Resolve(i.Context(), p, func(line string) { i.Log(line) })
	if err != nil {
		i.Fatal(err)
	}
	return base
}

// imported are the AMIs that there are.
func (i *importing) imported() []ec2test.Resource { return i.cloud.Leftovers(i.Context()).Images }

func (i *importing) calls() int { return len(i.cloud.Calls().Of("ec2", "ImportImage")) }

func TestParentIsImportedOncePerContent(t *testing.T) {
	i := newImporting(t)
	p := i.put("disks/golden web.vmdk", "KDMV and the rest")
	revision, err := i.d.Revision(t.Context(), p.Parent)
	if err != nil {
		t.Fatal(err)
	}
	first := i.resolve(i.d, p)
	if first.Revision != revision || first.Platform != "Linux" || !strings.HasPrefix(first.Ref, "ami-") {
		t.Errorf("resolved to %+v, revision %s", first, revision)
	}
	if again := i.resolve(newDriver(t, i.cfg), p); again != first || i.calls() != 1 {
		t.Errorf("the next daemon gets %+v after %d imports, want %+v after one", again, i.calls(), first)
	}
	tags := i.imported()[0].Tags
	if tags[tagOwner] != "test" || tags[tagManaged] != "true" || tags[tagImage] == "" || tags[tagParent] != p.Name || tags[tagBuild] != "" {
		t.Errorf("the AMI's tags: %v", tags)
	}
	if left, err := i.d.Leftovers(t.Context(), func(string) bool { return false }); err != nil || len(left) > 0 {
		t.Errorf("to be reaped: %+v, %v", left, err)
	}
	inst, err := i.d.Launch(t.Context(), builder.LaunchSpec{Build: "on-it", Base: first})
	if err != nil {
		t.Fatal(err)
	}
	if err := inst.Close(t.Context()); err != nil {
		t.Error(err)
	}

	t.Log("another object is another parent; builds that want it at once share the import, and an answer may get lost")
	lost := i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "ImportImage", Times: 1, Effect: ec2test.LoseAnswer()})
	i.put("disks/golden web.vmdk", "KDMV and something else")
	var both [2]builder.Base
	var errs [2]error
	var wg sync.WaitGroup
	for n := range both {
		wg.Go(func() { both[n], errs[n] = i.d.Resolve(context.WithoutCancel(t.Context()), p, func(string) {}) })
	}
	wg.Wait()
	if both[0] != both[1] || both[0].Revision == first.Revision || both[0].Digest == first.Digest || len(i.imported()) != 2 || lost.Hits() != 1 {
		t.Errorf("%+v after %+v, %v; AMIs %v", both, first, errors.Join(errs[:]...), i.imported())
	}

	t.Log("what somebody has removed is imported again")
	if err := i.d.deregister(t.Context(), both[0].Ref); err != nil {
		t.Fatal(err)
	}
	if again := i.resolve(i.d, p); again.Ref == both[0].Ref || again.Digest != both[0].Digest || len(i.imported()) != 2 {
		t.Errorf("%+v; AMIs %v", again, i.imported())
	}
}

// TestImportOnItsWayIsTakenUp by the next daemon, wherever the first one ended.
func TestImportOnItsWayIsTakenUp(t *testing.T) {
	i := newImporting(t)
	slow := i.cfg
	slow.pace.states = 400 * time.Millisecond // in which each step of an import is seen
	first := newDriver(t, slow)
	for _, at := range []string{"pending", "converting", "preparing ami"} {
		p := i.put("disks/"+at+".ova", strings.Repeat("\x00", 257)+"ustar "+at)
		before, begun := len(i.imported()), i.calls()
		ctx, stop := context.WithCancelCause(t.Context())
		_, err := first.Resolve(ctx, p, func(line string) {
			if strings.HasSuffix(line, at) {
				stop(builder.ErrGoesOn)
			}
		})
		if err == nil {
			t.Fatalf("%s: the import was not broken off", at)
		}
		i.resolve(newDriver(t, i.cfg), p)
		if made, asked := len(i.imported())-before, i.calls()-begun; made != 1 || asked != 1 {
			t.Errorf("%s: %d AMIs of %d imports", at, made, asked)
		}
	}
}

func TestImportsThatFail(t *testing.T) {
	i := newImporting(t)
	content := "KDMV whole"
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	with := func(p builder.ParentSource, checksum string) builder.ParentSource {
		p.Checksum = checksum
		return p
	}
	_, err := i.cfg.Services.Objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(i.cloud.Bucket), Key: aws.String("summed.vmdk"),
		Body: bytes.NewReader([]byte(content)), ChecksumAlgorithm: s3types.ChecksumAlgorithmSha256})
	if err != nil {
		t.Fatal(err)
	}
	roleless := i.cfg
	roleless.ImportRole = "nobody"
	for _, k := range []struct {
		name   string
		parent builder.ParentSource
		driver *Driver
		fault  builder.Fault
		want   string
	}{
		{"not there", i.parent("nothing.vmdk"), i.d, builder.Author, "there is no object"},
		{"no such disk", i.put("text.vmdk", "just text"), i.d, builder.Author, "Disk validation failed"},
		{"a system that is not supported", i.put("strange.raw", strings.Repeat("\x00", 510)+"\x55\xaa"+ec2test.StrangeSystem), i.d, builder.Author, "Unknown OS"},
		{"their failure", i.put("breaks.vhdx", "vhdxfile "+ec2test.FailingImport), i.d, builder.Transient, "internal error"},
		{"no role", i.put("role.vmdk", "KDMV role"), newDriver(t, roleless), builder.Internal, "service role"},
		{"another checksum", with(i.parent("summed.vmdk"), "sha256:"+strings.Repeat("0", 64)), i.d, builder.Author, "not the recipe's"},
		{"no checksum to check", with(i.put("unsummed.vmdk", content), sum), i.d, builder.Author, "keeps no SHA-256"},
	} {
		_, err := k.driver.Resolve(t.Context(), k.parent, func(string) {})
		e, ok := errors.AsType[*builder.Error](err)
		if !ok || e.Fault != k.fault || !strings.Contains(e.Reason, k.want) || e.Hint == "" {
			t.Errorf("%s: %#v", k.name, err)
		}
	}
	if made := i.imported(); len(made) > 0 {
		t.Errorf("AMIs of imports that failed: %v", made)
	}
	i.resolve(i.d, with(i.parent("summed.vmdk"), sum))

	// An old token would bring the task that failed back.
	begun := i.calls()
	if _, err := i.d.Resolve(t.Context(), i.parent("breaks.vhdx"), func(string) {}); builder.FaultOf(err) != builder.Transient || i.calls() != begun+1 {
		t.Errorf("the repeat: %v after %d imports more", err, i.calls()-begun)
	}
	if n := len(i.cloud.Imports()); n != 5 {
		t.Errorf("%d tasks were begun, want 5, as each repeat is one of its own", n)
	}
}

// TestObjectThatIsReplacedWhileItIsImported is not taken for what it was before.
func TestObjectThatIsReplacedWhileItIsImported(t *testing.T) {
	i := newImporting(t)
	p := i.put("moving.vmdk", "KDMV before")
	i.cloud.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "ImportImage", Times: 1, Effect: ec2test.After(func(*ec2test.Request) { i.put("moving.vmdk", "KDMV after") })})
	_, err := i.d.Resolve(t.Context(), p, func(string) {})
	if builder.FaultOf(err) != builder.Transient || !strings.Contains(err.Error(), "replaced while") {
		t.Errorf("got %v", err)
	}
	if left := i.cloud.Leftovers(t.Context()); len(left.Images)+len(left.Snapshots) > 0 {
		t.Errorf("left: %v", left)
	}
	i.resolve(i.d, p)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/reporter"
)

// startAWS starts the test's cloud for a test that `make test-aws` runs: of this package
// those with OnAWS in their names, as most of the others need no cloud and take long.
func startAWS(t *testing.T, o ec2test.Options) *ec2test.Cloud {
	t.Helper()
	if !strings.Contains(t.Name(), "OnAWS") {
		t.Fatal("this test runs nowhere: put OnAWS into its name")
	}
	return ec2test.Start(t, o)
}

// onAWS is ingot, used by hand, with an account of the test's cloud.
type onAWS struct {
	*testing.T
	cloud *ec2test.Cloud
	dir   string
}

func newOnAWS(t *testing.T) *onAWS {
	t.Helper()
	machines := ec2test.ContainerMachines(t) // before the cloud, which it outlasts
	a := &onAWS{T: t, cloud: startAWS(t, ec2test.Options{Machine: machines}), dir: t.TempDir()}
	lendParent(t, filepath.Join(a.dir, "cache"))
	a.write("ingot.yaml", fmt.Sprintf("dataDir: ./data\ncacheDir: ./cache\naws: {region: %s, bucket: %s, instanceProfile: %s, instanceTypes: [t3.small], owner: test}\n",
		ec2test.Region, a.cloud.Bucket, ec2test.Profile))
	return a
}

func (a *onAWS) write(name, text string) {
	a.Helper()
	must(a.T, os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600))
}

// command is a command of ingot that finds the cloud as it would find AWS: by the
// variables of the SDK.
func (a *onAWS) command(args ...string) *exec.Cmd {
	a.Helper()
	cmd := exec.CommandContext(a.Context(), program(a.T), append(args, "-c", filepath.Join(a.dir, "ingot.yaml"))...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+a.cloud.URL, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	for key, value := range a.cloud.Environment() {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	return cmd
}

// run returns what a command prints.
func (a *onAWS) run(args ...string) string {
	a.Helper()
	cmd := a.command(args...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		a.Fatalf("ingot %s: %v\n%s\n%s", strings.Join(args, " "), err, out, &problem)
	}
	return string(out)
}

// result is the last line that `ingot build --json` prints.
func (a *onAWS) result(out string) (end struct {
	State reporter.State
	Image reporter.Image
	Tests []reporter.Test
}) {
	a.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	must(a.T, json.Unmarshal([]byte(lines[len(lines)-1]), &end))
	return end
}

// plan is what `ingot plan --aws` announces; it asks for nothing.
func (a *onAWS) plan(recipe string) (p estimate.Plan) {
	a.Helper()
	before := len(a.cloud.Calls())
	must(a.T, json.Unmarshal([]byte(a.run("plan", "--aws", "--json", recipe)), &p))
	if n := len(a.cloud.Calls()) - before; n > 0 {
		a.Errorf("the plan made %d calls", n)
	}
	return p
}

// ssmAgent serves a package that stands in for the vendor's agent, and returns its
// address and checksum.
func (a *onAWS) ssmAgent() (address, sum string) {
	a.Helper()
	script := `set -eu
mkdir -p agent/DEBIAN agent/usr/bin agent/usr/lib/systemd/system
printf '#!/bin/sh\nexec sleep infinity\n' > agent/usr/bin/amazon-ssm-agent
chmod 755 agent/usr/bin/amazon-ssm-agent
printf '%s\n' '[Service]' 'ExecStart=/usr/bin/amazon-ssm-agent' '[Install]' 'WantedBy=multi-user.target' > agent/usr/lib/systemd/system/amazon-ssm-agent.service
printf '%s\n' 'Package: amazon-ssm-agent' 'Version: 1.0' 'Architecture: all' 'Maintainer: test <test@example.com>' 'Description: stands in' > agent/DEBIAN/control
dpkg-deb --root-owner-group --build agent agent.deb > /dev/null
sha256sum < agent.deb`
	cmd := exec.CommandContext(a.Context(), "sh", "-c", script)
	cmd.Dir = a.TempDir()
	out, err := cmd.Output()
	must(a.T, err)
	server := httptest.NewServer(http.FileServerFS(os.DirFS(cmd.Dir)))
	a.Cleanup(server.Close)
	return server.URL + "/agent.deb", strings.Fields(string(out))[0]
}

// probe is a document for the build phase that makes a file, and one for the test
// phase that looks for it.
const probe = `name: probe
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: Curl, action: ExecuteBash, timeoutSeconds: 600, inputs: {commands: ["apt-get -q update && apt-get -q -y --no-install-recommends install curl"]}}
      - {name: Mark, action: ExecuteBash, inputs: {commands: ["echo made of %[1]s > /etc/%[1]s"]}}
  - name: test
    steps:
      - {name: Look, action: ExecuteBash, inputs: {commands: ["grep -x 'made of %[1]s' /etc/%[1]s && echo \"seen on $AWS_SSM_INSTANCE_ID\""]}}
`

// TestBuildsOnAWS goes the whole way with the real program. A local image becomes an
// AMI, an instance whose disk is made of the blocks that were uploaded runs its tests;
// then that AMI is the parent of one that is built on EC2.
func TestBuildsOnAWS(t *testing.T) {
	a := newOnAWS(t)
	address, sum := a.ssmAgent()
	a.write("edge.yaml", fmt.Sprintf(`apiVersion: ingot/v1
kind: ImageRecipe
name: edge
version: 1.0.0
parentImage: debian-12
components:
  - component: amazon-ssm-agent-linux
    parameters: {DownloadUrl: %q, Checksum: %s}
  - component: ./local.yaml
publish: {driver: ec2}
`, address, sum))
	a.write("local.yaml", fmt.Sprintf(probe, "local"))

	planned, since := a.plan("edge.yaml"), len(a.cloud.Calls())
	// More often than the SDK asks by default.
	throttled := a.cloud.Faults.Add(&ec2test.Fault{Operation: "RegisterImage", Times: 4, Effect: ec2test.Throttle()})
	out := a.run("build", "--json", "edge.yaml")
	if throttled.Hits() != 4 {
		t.Errorf("throttled: %v", throttled)
	}
	ec2test.Planned(t, a.cloud.Calls()[since:], planned)
	published := a.result(out)
	ami := published.Image.Published
	if published.State != reporter.Succeeded || !strings.HasPrefix(ami, "ami-") || published.Image.Driver != "local" || len(published.Tests) != 1 || published.Tests[0].State != "succeeded" {
		t.Fatalf("built %+v\n%s", published, out)
	}
	if !strings.Contains(out, "seen on i-") {
		t.Errorf("the test did not run on an instance:\n%s", out)
	}
	// The image is there, and so is what it was published as: not a block is sent again.
	before := len(a.cloud.Calls().Of("ebs", "PutSnapshotBlock"))
	if again := a.run("build", "edge.yaml"); !strings.Contains(again, "published as "+ami) || !strings.Contains(again, "as tested before") {
		t.Errorf("built again, it shows\n%s", again)
	}
	if after := len(a.cloud.Calls().Of("ebs", "PutSnapshotBlock")); before == 0 || after != before {
		t.Errorf("%d blocks were sent at first, %d after the second time", before, after)
	}

	a.write("cloud.yaml", `apiVersion: ingot/v1
kind: ImageRecipe
name: cloud
version: 2.0.0
parentImage: edge/1.x.x
components: [{component: ./remote.yaml}]
tests: [{component: ./local.yaml}]
infrastructure: {driver: ec2}
`)
	a.write("remote.yaml", fmt.Sprintf(probe, "remote"))
	planned, since = a.plan("cloud.yaml"), len(a.cloud.Calls())
	out = a.run("build", "cloud.yaml")
	ec2test.Planned(t, a.cloud.Calls()[since:], planned)
	built := a.images()["ec2"]
	if built.ID == ami || !strings.HasPrefix(built.ID, "ami-") || built.Recipe != "cloud" || built.Version != "2.0.0" {
		t.Errorf("listed %+v", built)
	}
	if !strings.Contains(out, "edge/1.x.x is "+ami) {
		t.Errorf("it was not built on what its parent recipe is published as:\n%s", out)
	}
	if !strings.Contains(out, "cloud 2.0.0 is ready") || !strings.Contains(out, "image   "+built.ID+"\n") {
		t.Errorf("ingot build shows\n%s", out)
	}
	if local := a.images()["local"]; local.ID != published.Image.ID || local.Published != ami {
		t.Errorf("listed %+v", local)
	}
	if table := strings.Join(strings.Fields(a.run("images")), " "); !strings.Contains(table, published.Image.ID+" "+ami) || !strings.Contains(table, built.ID+" cloud 2.0.0") {
		t.Errorf("ingot images shows %s", table)
	}
	if left := a.cloud.Instances(); len(left) > 0 {
		t.Errorf("instances still run: %v", left)
	}
	if out := a.run("reap", "--dry-run"); out != "nothing is left over\n" {
		t.Errorf("ingot reap shows\n%s", out)
	}
}

// images are those that are listed, by their driver: there is one of each.
func (a *onAWS) images() map[string]reporter.Image {
	a.Helper()
	images := map[string]reporter.Image{}
	for line := range strings.Lines(a.run("images", "--json")) {
		var i reporter.Image
		must(a.T, json.Unmarshal([]byte(line), &i))
		if had, twice := images[i.Driver]; twice {
			a.Errorf("two images of one driver: %+v and %+v", had, i)
		}
		images[i.Driver] = i
	}
	return images
}

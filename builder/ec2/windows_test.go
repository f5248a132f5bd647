package ec2

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/ec2/estimate"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// windowsParent is the AMI of Windows that every cloud has.
var windowsParent = ec2test.Parents[slices.IndexFunc(ec2test.Parents, func(p ec2test.Parent) bool { return p.Windows })].ID

// windowsDisk is what a test can tell of a disk with Windows.
type windowsDisk struct {
	ingot       bool // the agent's folder is there
	generalised bool
	ran         []string // documents
	files       []string // that were put
}

// windowsAccount has machines that read the driver's scripts for PowerShell, and do
// what they ask for: fetch the agent and its request, remove a folder, generalise.
type windowsAccount struct {
	t      *testing.T
	client *http.Client
	agent  string // the digest of the one for Windows

	mu       sync.Mutex
	images   map[string]windowsDisk
	sysprep  int  // how often it ran
	refuses  bool // Sysprep does
	fail     string
	userData []string
}

func newWindowsAccount(t *testing.T) (*windowsAccount, *ec2test.Cloud, Config) {
	a := &windowsAccount{t: t, client: &http.Client{}, images: map[string]windowsDisk{}}
	t.Cleanup(a.client.CloseIdleConnections)
	c := ec2test.Start(t, ec2test.Options{Machine: a.machine})
	dir := t.TempDir()
	cfg := configOf(t, c, filepath.Join(dir, "ingot-agent"))
	cfg.WindowsAgent = filepath.Join(dir, "ingot-agent.exe")
	for path, text := range map[string]string{cfg.Agent: "a program for Linux", cfg.WindowsAgent: "a program for Windows"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.agent = relay.Digest([]byte("a program for Windows"))
	return a, c, cfg
}

func (a *windowsAccount) machine(l ec2test.Launch) ec2test.Machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.userData = append(a.userData, l.UserData)
	disk := a.images[l.Image]
	disk.generalised = false // it has its first boot behind it
	return &windowsMachine{Machine: ec2test.ScriptMachine(nil), account: a, disk: disk, told: map[string][]byte{}}
}

type windowsMachine struct {
	ec2test.Machine
	account *windowsAccount
	disk    windowsDisk       // guarded by the account's lock, as all else
	told    map[string][]byte // of operations: each is done once
}

func (m *windowsMachine) Image(_ context.Context, image string) error {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	m.account.images[image] = m.disk
	return nil
}

var (
	agentAddress = regexp.MustCompile(`-Uri '([^']+)' -OutFile`)
	agentDigest  = regexp.MustCompile(`-ne '([0-9a-f]{64})'`)
)

func (m *windowsMachine) Run(ctx context.Context, script ec2test.Script) (ec2test.Outcome, error) {
	a, text := m.account, strings.Join(script.Commands, "\n")
	if !script.PowerShell {
		return ec2test.Outcome{}, fmt.Errorf("no script for Windows: %s", text)
	}
	folder := "$dir = '" + windowsDir + "'"
	a.mu.Lock()
	switch {
	case text == sysprepDocument:
		defer a.mu.Unlock()
		if m.disk.ingot {
			a.t.Error("Sysprep runs while ingot's files are there")
		}
		a.sysprep++
		if a.refuses {
			return ec2test.Outcome{Exit: 1, Stderr: "a package was installed for one user"}, nil
		}
		m.disk.generalised = true
		return ec2test.Outcome{}, nil
	case strings.Contains(text, folder) && strings.Contains(text, "Remove-Item -Recurse -Force -LiteralPath $dir"):
		defer a.mu.Unlock()
		m.disk.ingot = false
		return ec2test.Outcome{}, nil
	}
	m.disk.ingot = true
	a.mu.Unlock()
	address, digest, request := agentAddress.FindStringSubmatch(text), agentDigest.FindStringSubmatch(text), requestAddress.FindStringSubmatch(text)
	if address == nil || digest == nil || request == nil || !strings.Contains(text, folder) {
		return ec2test.Outcome{}, fmt.Errorf("no script for PowerShell: %s", text)
	}
	agent, err := a.get(address[1])
	if err != nil {
		return ec2test.Outcome{}, err
	}
	if relay.Digest(agent) != a.agent || digest[1] != a.agent {
		return ec2test.Outcome{}, fmt.Errorf("%q is not the agent for Windows", agent)
	}
	err = m.do(ctx, request[1])
	if ctx.Err() != nil {
		err = nil
	}
	return ec2test.Outcome{}, err
}

func (a *windowsAccount) get(address string) ([]byte, error) {
	response, err := a.client.Get(address)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return text, err
}

// do answers a request as the agent would.
func (m *windowsMachine) do(ctx context.Context, address string) error {
	text, err := m.account.get(address)
	if err != nil {
		return err
	}
	var r relay.Request
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	var archive []byte
	switch {
	case r.Op == relay.Put:
		if archive, err = m.account.get(r.Archive.URL); err != nil {
			return err
		}
	case r.Op != relay.Run:
		return fmt.Errorf("the operation %s is not for Windows", r.Op)
	}
	lines, err := m.once(r, archive)
	if err != nil {
		return err
	}
	return (&quietAgents{client: m.account.client}).tell(ctx, r.Inbox, relay.PieceName(0), lines)
}

// once is what the journal of an operation holds.
func (m *windowsMachine) once(r relay.Request, archive []byte) (lines []byte, err error) {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	if lines, done := m.told[r.ID]; done {
		return lines, nil
	}
	var notes []relay.Note
	if r.Op == relay.Put {
		notes = []relay.Note{{Done: new(m.put(archive))}}
	} else {
		said, outcome := m.job(*r.Job)
		notes = []relay.Note{{Event: &component.Event{Kind: component.Output, Stream: "stdout", Text: said}}, {Done: &outcome}}
	}
	for _, n := range notes {
		line, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, line...), '\n')
	}
	m.told[r.ID] = lines
	return lines, nil
}

// put takes files whose places Windows has. The account's lock is held.
func (m *windowsMachine) put(archive []byte) relay.Outcome {
	files := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return relay.Outcome{}
		case err != nil:
			return relay.Outcome{Error: err.Error()}
		case !windowsPlace.MatchString(h.Name) || h.Uname+h.Gname != "":
			return relay.Outcome{Error: h.Name + " of " + h.Uname + " has no place on Windows", Author: true}
		}
		m.disk.files = append(m.disk.files, h.Name)
	}
}

var windowsPlace = regexp.MustCompile(`^[A-Za-z]:[/\\]`)

// job runs documents, or a command. The account's lock is held.
func (m *windowsMachine) job(job component.Job) (said string, outcome relay.Outcome) {
	a := m.account
	result := &component.Result{Status: component.Success}
	if len(job.Command) > 0 {
		status := 7
		result.Exit = &status
		return strings.Join(job.Command, " ") + "\n", relay.Outcome{Result: result}
	}
	name := job.Documents[0].Name
	switch {
	case name == "inventory":
		said = "os\tMicrosoft Windows Server 2022 10.0.20348\npackage\tinstalled\tApp\t1.2\t\n"
	case name == a.fail:
		result.Status = component.Failed
	}
	if name != "inventory" {
		m.disk.ran = append(m.disk.ran, name)
	}
	result.Documents = []component.DocumentResult{{Name: name, Status: result.Status}}
	return said, relay.Outcome{Result: result}
}

// TestWindowsFromLaunchToExec goes the whole way with a parent that EC2 calls
// "windows": the agent, its scripts and Sysprep are those for it, and of ingot's
// nothing is in the image.
func TestWindowsFromLaunchToExec(t *testing.T) {
	a, c, cfg := newWindowsAccount(t)
	d := newDriver(t, cfg)
	request := builder.Request{Build: "windows", Tree: treeOf(t), Keep: builder.Keep{For: time.Hour, Most: 1}, Recipe: &recipe.Recipe{
		Name: "windows", Platform: "Windows", Parent: recipe.Parent{Kind: recipe.ParentAMI, Name: windowsParent, Text: windowsParent},
		Files:          []recipe.Files{{Source: "motd", Destination: "C:/web/motd", Entries: []recipe.File{{Path: "motd", Target: "C:/web/motd", Mode: 0o644, Size: 6}}}},
		Components:     []recipe.Use{useOf(t, "install", "build", "made")},
		Tests:          []recipe.Use{useOf(t, "look", "test", "made")},
		Infrastructure: recipe.Infrastructure{Driver: Name, Isolation: recipe.Container, TimeoutMinutes: 5},
	}}
	build := func() (builder.Result, error) {
		return builder.New(d, forgetful{}).Build(t.Context(), request, func(builder.Event) {})
	}
	result, err := build()
	if err != nil || !result.Passed() {
		t.Fatalf("%+v, %v", result, err)
	}
	ec2test.Planned(t, c.Calls(), estimate.Of(estimate.Input{Recipe: request.Recipe, Region: ec2test.Region, InstanceType: cfg.InstanceTypes[0]}))
	disk, made := a.images[result.Image.ID]
	if !made || disk.ingot || !disk.generalised || !slices.Equal(disk.ran, []string{"install"}) || !slices.Equal(disk.files, []string{"C:/web/motd"}) {
		t.Errorf("the image %s holds %+v", result.Image.ID, disk)
	}
	if in := result.Image.Inventory; in.OS == "" || len(in.Packages) != 1 {
		t.Errorf("inventory %+v", in)
	}
	if a.sysprep != 1 || len(a.userData) != 2 || a.userData[0]+a.userData[1] != "" {
		t.Errorf("Sysprep ran %d times; user data %q", a.sysprep, a.userData)
	}
	if left := running(t, c); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}

	request.Build, a.fail = "windows-fails", "breaks"
	request.Recipe.Components = []recipe.Use{useOf(t, "breaks", "build", "fails")}
	if _, err := build(); builder.FaultOf(err) != builder.Author {
		t.Fatal(err)
	}
	var said strings.Builder
	status, err := d.Exec(t.Context(), request.Build, []string{"hostname", "/a"}, func(e component.Event) { said.WriteString(e.Text) })
	if err != nil || status != 7 || said.String() != "hostname /a\n" {
		t.Errorf("status %d, %v, %q", status, err, said.String())
	}
	if err := d.Remove(t.Context(), request.Build); err != nil {
		t.Error(err)
	}
}

// TestWindowsIsGeneralisedOnce breaks and cuts off a build around its clean-up. Its
// image was generalised, once, and after ingot's files were gone.
func TestWindowsIsGeneralisedOnce(t *testing.T) {
	document := func(name string) func(*ec2test.Request) bool {
		return func(r *ec2test.Request) bool { return r.JSON["DocumentName"] == name }
	}
	removed := func(r *ec2test.Request) bool {
		comment, _ := r.JSON["Comment"].(string)
		return strings.HasSuffix(comment, " remove")
	}
	for _, k := range []struct {
		name   string
		fault  *ec2test.Fault
		killed bool
	}{
		{"lost answer of Sysprep", &ec2test.Fault{Operation: "SendCommand", Where: document(sysprepDocument), Effect: ec2test.LoseAnswer()}, false},
		{"throttled Sysprep", &ec2test.Fault{Operation: "SendCommand", Where: document(sysprepDocument), Effect: ec2test.Throttle()}, false},
		{"killed before the removal", &ec2test.Fault{Operation: "CreateTags"}, true},
		{"killed in the removal", &ec2test.Fault{Operation: "SendCommand", Where: removed}, true},
		{"killed before Sysprep", &ec2test.Fault{Operation: "PutObject", Where: func(r *ec2test.Request) bool { return strings.HasSuffix(r.Path, "/remove.json") }}, true},
		{"killed in Sysprep", &ec2test.Fault{Operation: "SendCommand", Where: document(sysprepDocument)}, true},
		{"killed before the image", &ec2test.Fault{Operation: "StopInstances"}, true},
	} {
		t.Run(k.name, func(t *testing.T) {
			a, c, cfg := newWindowsAccount(t)
			p := newProcess(t, cfg)
			k.fault.Times = 1
			if k.killed {
				k.fault.Effect = ec2test.After(func(*ec2test.Request) { p.kill() })
				p.aws.Commands = deaf{p.aws.Commands, p.ctx}
			}
			fault := c.Faults.Add(k.fault)
			img, _, err := p.life("once", windowsParent, "")
			if k.killed {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("the first life ended in %v", err)
				}
				img, _, err = newProcess(t, cfg).life("once", windowsParent, "")
			}
			if err != nil || fault.Hits() != 1 {
				t.Fatalf("%v; %v", err, fault)
			}
			disk, made := a.images[img.ID]
			if !made || disk.ingot || !disk.generalised || !slices.Equal(disk.ran, []string{"case", "case"}) || a.sysprep != 1 {
				t.Errorf("the image %s holds %+v; Sysprep ran %d times", img.ID, disk, a.sysprep)
			}
			if left := running(t, c); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

// TestSysprepThatFailsIsToldSoon: nobody waits for the instance to stop as long as a
// Sysprep may take that does.
func TestSysprepThatFailsIsToldSoon(t *testing.T) {
	a, _, cfg := newWindowsAccount(t)
	a.refuses, cfg.pace.quiet = true, time.Second
	_, _, err := newProcess(t, cfg).life("once", windowsParent, "")
	var told *builder.Error
	if !errors.As(err, &told) || told.Fault != builder.Author || told.Stage != builder.StageClean || !strings.Contains(told.Output, "installed for one user") || told.Hint == "" {
		t.Errorf("%#v", err)
	}
	if a.sysprep != 1 {
		t.Errorf("Sysprep ran %d times", a.sysprep)
	}
}

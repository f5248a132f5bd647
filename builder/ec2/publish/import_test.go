package publish_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test/botomodel"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/internal/mototest"
)

// importing is VM Import on the wire, for which there is no emulator. It is an
// http.RoundTripper, so that a test can let hours pass.
type importing struct {
	model  *botomodel.Model // nil: there is no botocore, and requests are not held against its model
	states []string         // of the task: status, progress and message, one for each look
	refuse string           // the code with which an import is refused
	lose   bool             // the answer of the next import

	mu       sync.Mutex
	wrong    []error // what the model says
	forms    []url.Values
	tasks    map[string]string // by token
	tags     url.Values        // of the last task
	looks    int
	image    string // registered, or made by the import
	tagged   []string
	imported int
}

// newImporting finds botocore's model where moto is.
func newImporting(t *testing.T, states ...string) *importing {
	t.Helper()
	i := &importing{states: states, tasks: map[string]string{}}
	program := mototest.Program()
	if program == "" {
		return i
	}
	var err error
	if i.model, err = botomodel.Open(program, "ec2"); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *importing) client() *ec2.Client {
	cfg := config("http://ec2.test")
	cfg.HTTPClient = &http.Client{Transport: i}
	return ec2.NewFromConfig(cfg)
}

// RoundTrip implements http.RoundTripper.
func (i *importing) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	i.forms = append(i.forms, form)
	if i.model != nil {
		if err := i.model.Form(form); err != nil {
			i.wrong = append(i.wrong, err)
		}
	}
	action := form.Get("Action")
	status, text := i.answer(action, form)
	if i.lose && strings.HasPrefix(action, "Import") {
		i.lose = false
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`<?xml version="1.0"?>` + text)),
	}, nil
}

func (i *importing) answer(action string, form url.Values) (int, string) {
	if i.refuse != "" && strings.HasPrefix(action, "Import") {
		return http.StatusBadRequest, "<Response><Errors><Error><Code>" + i.refuse + "</Code><Message>The service role vmimport provided does not exist or does not have sufficient permissions</Message></Error></Errors></Response>"
	}
	var inside string
	switch action {
	case "ImportSnapshot", "ImportImage":
		token := form.Get("ClientToken")
		if i.tasks[token] == "" {
			i.imported++
			i.tasks[token] = fmt.Sprintf("import-%d", i.imported)
		}
		i.tags = url.Values{}
		for n := 1; form.Has(fmt.Sprintf("TagSpecification.1.Tag.%d.Key", n)); n++ {
			tag := fmt.Sprintf("TagSpecification.1.Tag.%d.", n)
			i.tags.Set(form.Get(tag+"Key"), form.Get(tag+"Value"))
		}
		inside = "<importTaskId>" + i.tasks[token] + "</importTaskId>"
	case "DescribeImportSnapshotTasks":
		inside = "<importSnapshotTaskSet>" + i.task(form, "<snapshotTaskDetail>%s<snapshotId>snap-1</snapshotId></snapshotTaskDetail>") + "</importSnapshotTaskSet>"
	case "DescribeImportImageTasks":
		inside = "<importImageTaskSet>" + i.task(form, "%s<imageId>ami-1</imageId><snapshotDetailSet><item><snapshotId>snap-1</snapshotId></item></snapshotDetailSet>") + "</importImageTaskSet>"
	case "DescribeSnapshots":
		inside = "<snapshotSet><item><snapshotId>snap-1</snapshotId><status>completed</status></item></snapshotSet>"
	case "CreateTags":
		i.tagged = append(i.tagged, form.Get("ResourceId.1"), form.Get("ResourceId.2"))
		if form.Get("ResourceId.1") == "import-1" {
			i.tags.Set(form.Get("Tag.1.Key"), form.Get("Tag.1.Value"))
		}
		if slices.Contains(i.tagged, "ami-1") {
			i.image = "import-ami-1"
		}
		inside = "<return>true</return>"
	case "RegisterImage":
		i.image = form.Get("Name")
		inside = "<imageId>ami-1</imageId>"
	case "DescribeImages":
		if i.image != "" || form.Get("ImageId.1") == "ami-1" {
			inside = "<imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState><name>" + i.image + "</name></item></imagesSet>"
		}
	}
	return http.StatusOK, "<" + action + "Response>" + inside + "</" + action + "Response>"
}

// tagOf is a tag of the task that was begun.
func (i *importing) tagOf(key string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.tags.Get(key)
}

// task is the one that was begun, in its present state.
func (i *importing) task(form url.Values, format string) string {
	if len(i.tasks) == 0 {
		return ""
	}
	state := strings.SplitN(i.states[min(i.looks, len(i.states)-1)], "|", 3)
	if form.Get("ImportTaskId.1") != "" {
		i.looks++
	}
	var message bytes.Buffer
	xml.EscapeText(&message, []byte(state[2])) // a buffer takes everything
	detail := fmt.Sprintf("<status>%s</status><progress>%s</progress><statusMessage>%s</statusMessage>", state[0], state[1], message.String())
	tags := ""
	for key := range i.tags {
		tags += "<item><key>" + key + "</key><value>" + i.tags.Get(key) + "</value></item>"
	}
	return "<item><importTaskId>import-1</importTaskId><tagSet>" + tags + "</tagSet>" + fmt.Sprintf(format, detail) + "</item>"
}

func imported(format string, asItIs bool) publish.Import {
	return publish.Import{
		Source: publish.Source{Bucket: "disks", Key: "golden/web." + format, Format: format}, AsItIs: asItIs,
		Image: publish.Image{Name: "ingot-web-0123", Tags: map[string]string{"ingot:build": "b-1"}},
	}
}

func TestImport(t *testing.T) {
	long := []string{"active|1|pending"}
	for n := range 40 {
		for range 20 { // more than an hour in all
			long = append(long, fmt.Sprintf("active|%d|converting", n))
		}
	}
	long = append(long, "completed|100|")
	for name, c := range map[string]struct {
		in   publish.Import
		lose bool
		call string
	}{
		"vmdk":              {imported("vmdk", false), false, "ImportImage"},
		"ova":               {imported("ova", false), false, "ImportImage"},
		"vhdx, lost answer": {imported("vhdx", false), true, "ImportImage"},
		"raw as it is":      {imported("raw", true), false, "ImportSnapshot"},
		"vmdk as it is":     {imported("vmdk", true), true, "ImportSnapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newImporting(t, long...)
				i.lose = c.lose
				changes := 0
				c.in.Image.Progress = func(string) { changes++ }
				ami, err := publish.Convert(t.Context(), i.client(), c.in)
				if err != nil || ami.ID != "ami-1" || ami.Snapshot != "snap-1" {
					t.Fatalf("%+v, %v", ami, err)
				}
				again, err := publish.Convert(t.Context(), i.client(), c.in)
				if err != nil || again.ID != "ami-1" || !again.Reused {
					t.Errorf("again: %+v, %v", again, err)
				}
				if i.imported != 1 || changes < 40 || !slices.Contains(i.tagged, "snap-1") {
					t.Errorf("%d imports, %d steps told, tags on %v", i.imported, changes, i.tagged)
				}
				if !slices.ContainsFunc(i.forms, func(f url.Values) bool { return f.Get("Action") == c.call }) {
					t.Errorf("%s was not called", c.call)
				}
				if err := errors.Join(i.wrong...); err != nil {
					t.Errorf("on the wire: %v", err)
				}
			})
		})
	}
}

// TestAnImportOnItsWayIsFoundAgain, by a process that has forgotten everything, after
// the service has forgotten the token.
func TestAnImportOnItsWayIsFoundAgain(t *testing.T) {
	for _, asItIs := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			i := newImporting(t, "active|3|converting", "deleted||ServerError: none of yours")
			if _, err := publish.Convert(t.Context(), i.client(), imported("vmdk", asItIs)); builder.FaultOf(err) != builder.Transient {
				t.Fatalf("it ended with %v", err)
			}
			i.states, i.looks = []string{"active|3|converting", "completed||"}, 0
			begun := i.imported
			if ami, err := publish.Convert(t.Context(), i.client(), imported("vmdk", asItIs)); err != nil || ami.ID != "ami-1" || i.imported != begun {
				t.Errorf("%+v (%v) and %d imports, want the one on its way", ami, err, i.imported)
			}
			if err := errors.Join(i.wrong...); err != nil {
				t.Errorf("on the wire: %v", err)
			}
		})
	}
}

func TestImportThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		in     publish.Import
		state  string
		refuse string
		whose  builder.Fault
		says   string
	}{
		"a bad disk":         {imported("vmdk", false), "deleted||ClientError: Disk validation failed [OVF file parsing]", "", builder.Author, "Disk validation failed"},
		"their failure":      {imported("vmdk", true), "deleting||ServerError: an internal error has occurred", "", builder.Transient, "internal error"},
		"cancelled":          {imported("raw", true), "deleted||", "", builder.Transient, "given up"},
		"cancelled, it says": {imported("raw", false), "deleting||User cancelled the task", "", builder.Transient, "given up"},
		"nobody knows why":   {imported("raw", false), "deleted||An error", "", builder.Internal, "An error"},
		"no role":            {imported("raw", true), "", "InvalidParameter", builder.Internal, "service role"},
		"no permission":      {imported("raw", false), "", "UnauthorizedOperation", builder.Internal, "could not be imported"},
		"vhdx as it is":      {imported("vhdx", true), "", "", builder.Author, "format"},
		"an unknown format":  {imported("iso", false), "", "", builder.Author, "format"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newImporting(t, c.state)
				i.refuse = c.refuse
				ami, err := publish.Convert(t.Context(), i.client(), c.in)
				var e *builder.Error
				if !errors.As(err, &e) || e.Fault != c.whose || !strings.Contains(e.Reason, c.says) || e.Hint == "" {
					t.Fatalf("%+v, %#v, want the fault %s and %q", ami, err, c.whose, c.says)
				}
			})
		})
	}
}

// TestADiskIsStagedInParts, which a server that keeps objects puts together again.
func TestADiskIsStagedInParts(t *testing.T) {
	var mu sync.Mutex
	parts := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case r.Method == http.MethodPost && q.Has("uploads"):
			fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPut && q.Has("partNumber"):
			parts[fmt.Sprintf("%05s", q.Get("partNumber"))] = body
			w.Header().Set("ETag", `"e"`)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "disk.raw")
	want := bytes.Repeat([]byte("golden image "), 3<<20)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(server.URL)
	cfg.HTTPClient = server.Client()
	objects := transfermanager.New(s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }))
	if err := publish.Stage(t.Context(), objects, path, publish.Source{Bucket: "disks", Key: "golden/web.raw"}); err != nil {
		t.Fatal(err)
	}
	var got []byte
	mu.Lock()
	defer mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(parts)) {
		got = append(got, parts[number]...)
	}
	if len(parts) < 2 || !bytes.Contains(got, want[:1<<20]) {
		t.Errorf("%d parts with %d bytes, want several with the disk's %d", len(parts), len(got), len(want))
	}
}

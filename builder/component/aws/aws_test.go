package aws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// use points the SDK of this process at one server and nothing else.
func use(t *testing.T, url string) *Services {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return New(func(string) string { return "" })
}

// server is something that answers as AWS does, with a way to put things there.
type server struct {
	url       string
	bucket    func(name string)
	parameter func(name, kind, value string)
	secret    func(name, value string)
}

func fakeServer(t *testing.T) server {
	f := newFake(t)
	set := func(name, kind, value string) {
		f.parameters[name] = map[string]any{"Name": name, "Type": kind, "Value": value}
	}
	return server{
		url:       f.URL,
		bucket:    func(name string) { f.buckets[name] = map[string]string{} },
		parameter: set,
		secret:    func(name, value string) { set("/aws/reference/secretsmanager/"+name, "SecureString", value) },
	}
}

// eachServer runs a test against the fake and, where there is one, against moto.
func eachServer(t *testing.T, test func(t *testing.T, s server)) {
	t.Run("fake", func(t *testing.T) { test(t, fakeServer(t)) })
	if moto != nil {
		t.Run("moto", func(t *testing.T) { test(t, motoServer(t)) })
	}
}

func put(t *testing.T, s *Services, o component.Object, content []byte, from int64) error {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return s.Put(t.Context(), o, f)
}

func read(t *testing.T, s *Services, o component.Object) []byte {
	t.Helper()
	body, err := s.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestObjectsComeBackAsTheyWere(t *testing.T) {
	eachServer(t, func(t *testing.T, srv server) {
		s := use(t, srv.url)
		srv.bucket("acme")
		large := make([]byte, 20<<20) // more than one part
		for i := range large {
			large[i] = byte(rand.Uint32())
		}
		for key, content := range map[string][]byte{"small": []byte("content"), "with blanks/é +%": []byte("odd"), "empty": nil, "large": large} {
			o := component.Object{Bucket: "acme", Key: key}
			if err := put(t, s, o, content, 0); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			if got := read(t, s, o); !bytes.Equal(got, content) {
				t.Errorf("%s came back with %d bytes, want %d", key, len(got), len(content))
			}
		}
		o := component.Object{Bucket: "acme", Key: "rest"}
		if err := put(t, s, o, []byte("skipped rest"), 8); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, o); string(got) != "rest" {
			t.Errorf("from the offset on: %q", got)
		}
	})
}

func TestKeysAreListedInOrderAndBounded(t *testing.T) {
	eachServer(t, func(t *testing.T, srv server) {
		s := use(t, srv.url)
		srv.bucket("acme")
		for _, key := range []string{"p/c", "p/a", "p/b/d", "p/e", "q", "p/"} {
			if err := put(t, s, component.Object{Bucket: "acme", Key: key}, []byte(key), 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			prefix string
			most   int
			want   string
		}{{"p/", 1001, "p/ p/a p/b/d p/c p/e"}, {"p/", 3, "p/ p/a p/b/d"}, {"", 1001, "p/ p/a p/b/d p/c p/e q"}, {"none", 5, ""}} {
			keys, err := s.List(t.Context(), component.Object{Bucket: "acme", Key: c.prefix}, c.most)
			if err != nil || strings.Join(keys, " ") != c.want {
				t.Errorf("%q, at most %d: %q, %v", c.prefix, c.most, keys, err)
			}
		}
	})
}

func TestParametersOfEveryType(t *testing.T) {
	eachServer(t, func(t *testing.T, srv server) {
		s := use(t, srv.url)
		srv.parameter("/app/name", "String", "web,front")
		srv.parameter("/app/hosts", "StringList", "a,b c,d")
		srv.parameter("/app/password", "SecureString", "hunter2")
		srv.secret("db", `{"user":"x"}`)
		for name, want := range map[string]component.StoredValue{
			"/app/name":                        {Text: "web,front"},
			"/app/hosts":                       {Text: "a,b c,d", List: []string{"a", "b c", "d"}},
			"/app/password":                    {Text: "hunter2", Secret: true},
			"/aws/reference/secretsmanager/db": {Text: `{"user":"x"}`, Secret: true},
		} {
			got, err := s.Parameter(t.Context(), name)
			if err != nil || got.Text != want.Text || got.Secret != want.Secret || !slices.Equal(got.List, want.List) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if _, err := s.Parameter(t.Context(), "/none"); err == nil || err.Error() != "there is no such parameter" {
			t.Errorf("an unknown name: %v", err)
		}
	})
}

func TestWhatIsNotThereIsSaidPlainly(t *testing.T) {
	eachServer(t, func(t *testing.T, srv server) {
		s := use(t, srv.url)
		srv.bucket("acme")
		for want, call := range map[string]func() error{
			"there is no such object": func() error {
				_, err := s.Open(t.Context(), component.Object{Bucket: "acme", Key: "none"})
				return err
			},
			"there is no such bucket": func() error {
				_, err := s.List(t.Context(), component.Object{Bucket: "other"}, 1)
				return err
			},
		} {
			if err := call(); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if err := put(t, s, component.Object{Bucket: "other", Key: "x"}, []byte("x"), 0); err == nil || err.Error() != "there is no such bucket" {
			t.Errorf("%v", err)
		}
	})
}

// What a document does with all of it, from the engine down to the wire.
func TestADocumentReachesAWS(t *testing.T) {
	const text = `
name: everything
schemaVersion: 1.0
parameters:
  - Which: {type: string, default: /app/name}
phases:
  - name: build
    steps:
      - name: Make
        action: CreateFile
        inputs:
          - {path: out/a.txt, content: 'a {{ aws:ssm:/app/name }}'}
          - {path: out/sub/inner.yaml, content: "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: In, action: ExecuteBash, inputs: {commands: [echo inner]}}]}]"}
      - name: Up
        action: S3Upload
        inputs: [{source: out, destination: 's3://acme/up/', recurse: true}]
      - name: Folder
        action: CreateFolder
        inputs: [{path: down}]
      - name: Down
        action: S3Download
        inputs: [{source: 's3://acme/up/*', destination: down}]
      - name: Inner
        action: ExecuteDocument
        inputs: {document: 's3://acme/up/sub/inner.yaml'}
      - name: Show
        action: ExecuteBash
        inputs:
          commands:
            - cat down/a.txt; echo
            - echo '{{ aws:ssm:resolve(Which) }}' '{{ aws:ssm:/app/password }}' '{{ aws:ssm:/aws/reference/secretsmanager/db }}'
      - name: Each
        action: ExecuteBash
        loop: {forEach: '{{ aws:ssm:/app/hosts }}'}
        inputs: {commands: ["echo host {{ loop.value }}"]}
`
	eachServer(t, func(t *testing.T, srv server) {
		s := use(t, srv.url)
		srv.bucket("acme")
		srv.parameter("/app/name", "String", "web")
		srv.parameter("/app/hosts", "StringList", "a,b")
		srv.parameter("/app/password", "SecureString", "hunter2")
		srv.secret("db", "swordfish")
		dir := t.TempDir()
		job := component.Job{ID: "run", WorkingDir: dir, Documents: []component.JobDocument{{Name: "everything", Path: "everything.yaml", Text: text}}}
		var printed strings.Builder
		result, err := component.Run(t.Context(), job, s.Reach(component.Env{Root: dir}), func(e component.Event) {
			if e.Kind == component.Output {
				printed.WriteString(e.Text)
			}
		})
		if err != nil || result.Status != component.Success {
			t.Fatalf("%+v, %v", result.Failure, err)
		}
		if want := "inner\na web\nweb *** ***\nhost a\nhost b\n"; printed.String() != want {
			t.Errorf("printed %q, want %q", printed.String(), want)
		}
		logs, err := filepath.Glob(filepath.Join(dir, "log", "*", "*"))
		if err != nil || len(logs) < 4 {
			t.Fatalf("%v, %v", logs, err)
		}
		for _, name := range logs {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(content, []byte("hunter2")) || bytes.Contains(content, []byte("swordfish")) {
				t.Errorf("%s holds a secret", name)
			}
		}
	})
}

// Below, what only the fake can do.

func TestExpectedOwnersAreAskedFor(t *testing.T) {
	f := newFake(t)
	f.buckets["acme"] = map[string]string{"x": "content"}
	s := use(t, f.URL)
	right := component.Object{Bucket: "acme", Key: "x", Owner: account}
	if got := read(t, s, right); string(got) != "content" {
		t.Errorf("%q", got)
	}
	wrong := right
	wrong.Owner = "999999999999"
	_, openErr := s.Open(t.Context(), wrong)
	_, listErr := s.List(t.Context(), wrong, 1)
	for _, err := range []error{openErr, listErr, put(t, s, wrong, []byte("evil"), 0), put(t, s, wrong, make([]byte, 17<<20), 0)} {
		if err == nil || !strings.Contains(err.Error(), "another owner of a bucket") {
			t.Errorf("%v", err)
		}
	}
	if f.buckets["acme"]["x"] != "content" {
		t.Error("a bucket of somebody else was written to")
	}
}

// A bucket in another region is found there, and asked there from then on.
func TestBucketsInOtherRegions(t *testing.T) {
	f := newFake(t)
	f.buckets["far"], f.elsewhere["far"] = map[string]string{"x": "content"}, "us-west-2"
	s := use(t, f.URL)
	o := component.Object{Bucket: "far", Key: "x"}
	if got := read(t, s, o); string(got) != "content" {
		t.Errorf("%q", got)
	}
	if err := put(t, s, o, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if want := []string{"s3 eu-west-1", "s3 us-west-2", "s3 us-west-2"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked %q, want %q", f.asked, want)
	}
	s = use(t, f.URL)
	if err := put(t, s, o, []byte("newer"), 0); err != nil || f.buckets["far"]["x"] != "newer" {
		t.Errorf("an upload that was sent on: %v, %q", err, f.buckets["far"]["x"])
	}
}

func TestRegionsAreNeededForParametersOnly(t *testing.T) {
	f := newFake(t)
	f.buckets["far"], f.elsewhere["far"] = map[string]string{"x": "content"}, "us-west-2"
	s := use(t, f.URL)
	t.Setenv("AWS_REGION", "")
	if got := read(t, s, component.Object{Bucket: "far", Key: "x"}); string(got) != "content" {
		t.Errorf("%q", got)
	}
	if _, err := s.Parameter(t.Context(), "/x"); err == nil || !strings.Contains(err.Error(), "no AWS region is set") {
		t.Errorf("%v", err)
	}
}

func TestServersInTroubleAreAskedAgain(t *testing.T) {
	f := newFake(t)
	f.parameters["/x"] = map[string]any{"Type": "String", "Value": "v"}
	f.trouble = 1
	if got, err := use(t, f.URL).Parameter(t.Context(), "/x"); err != nil || got.Text != "v" || len(f.asked) != 2 {
		t.Errorf("%+v, %v after %d requests", got, err, len(f.asked))
	}
}

func TestWithoutCredentialsItSaysSo(t *testing.T) {
	f := newFake(t)
	s := use(t, f.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := s.Parameter(t.Context(), "/x"); err == nil || !strings.Contains(err.Error(), "no AWS credentials where the document runs") {
		t.Errorf("%v", err)
	}
	if len(f.asked) != 0 {
		t.Errorf("asked all the same: %q", f.asked)
	}
}

func TestComponentsByARN(t *testing.T) {
	const version = "arn:aws:imagebuilder:us-east-2:aws:component/hello/1.0.0"
	f := newFake(t)
	for i := range 11 {
		f.components[fmt.Sprintf("%s/%d", version, i+1)] = fmt.Sprintf("build %d", i+1)
	}
	f.components["arn:aws:imagebuilder:us-east-2:aws:component/hidden/1.0.0/1"] = ""
	for _, c := range []struct{ arn, want string }{
		{version + "/2", "build 2"},
		{version, "build 11"},
		{"arn:aws:imagebuilder:us-east-2:aws:component/hidden/1.0.0/1", "does not hand out"},
		{"arn:aws:imagebuilder:us-east-2:aws:component/none/1.0.0", "has no builds"},
		{"arn:aws:imagebuilder:us-east-2:aws:component/none/1.0.0/1", "the component does not exist"},
		{"nonsense", "arn: invalid prefix"},
	} {
		got, err := use(t, f.URL).Component(t.Context(), c.arn)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.arn, got, c.want)
		}
	}
	if slices.ContainsFunc(f.asked, func(q string) bool { return q != "imagebuilder us-east-2" }) {
		t.Errorf("asked %q", f.asked)
	}
	s := use(t, "http://127.0.0.1:1")
	s.getenv = func(name string) string { return map[string]string{EndpointVariable: f.URL}[name] }
	if got, err := s.Component(t.Context(), version+"/2"); got != "build 2" || err != nil {
		t.Errorf("by the runner's own variable: %q, %v", got, err)
	}
}

// The end of a step's time ends a request.
func TestRequestsEndWithTheirContext(t *testing.T) {
	hung := make(chan struct{})
	slow := newFake(t)
	slow.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the end of a client is noticed only after it
		close(hung)
		<-r.Context().Done()
	})
	s := use(t, slow.URL)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { <-hung; cancel() }()
	if _, err := s.Parameter(ctx, "/x"); err == nil || ctx.Err() == nil {
		t.Errorf("%v", err)
	}
}

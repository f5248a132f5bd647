package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// buckets is an object store in memory that is as strict as S3: buckets have an
// owner, and an object that is not there is an error.
type buckets struct {
	owner   string
	objects map[string]string // by address
}

func (b *buckets) check(o Object) error {
	if !strings.HasPrefix(o.Bucket, "acme") {
		return fmt.Errorf("there is no bucket %s", o.Bucket)
	}
	if o.Owner != "" && o.Owner != b.owner {
		return fmt.Errorf("the owner of %s is not %s", o.Bucket, o.Owner)
	}
	return nil
}

func (b *buckets) Open(_ context.Context, o Object) (io.ReadCloser, error) {
	if err := b.check(o); err != nil {
		return nil, err
	}
	text, ok := b.objects[o.String()]
	if !ok {
		return nil, errors.New("no such object")
	}
	if broken, found := strings.CutSuffix(text, "<cut>"); found {
		return io.NopCloser(io.MultiReader(strings.NewReader(broken), brokenPipe{})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type brokenPipe struct{}

func (brokenPipe) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (b *buckets) List(_ context.Context, prefix Object, most int) ([]string, error) {
	if err := b.check(prefix); err != nil {
		return nil, err
	}
	var keys []string
	for _, address := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(address, prefix.String()) && len(keys) < most {
			keys = append(keys, strings.TrimPrefix(address, objectScheme+prefix.Bucket+"/"))
		}
	}
	return keys, nil
}

func (b *buckets) Put(_ context.Context, o Object, file *os.File) error {
	if err := b.check(o); err != nil {
		return err
	}
	text, err := io.ReadAll(file)
	b.objects[o.String()] = string(text)
	return err
}

func (b *buckets) all() string { return strings.Join(slices.Sorted(maps.Keys(b.objects)), " ") }

// stored is prepared with a bucket.
func stored(t *testing.T, step string) (*bench, *buckets) {
	t.Helper()
	b := prepared(t, step)
	store := &buckets{owner: "012345678901", objects: map[string]string{
		"s3://acme/nginx.conf": "conf", "s3://acme/site/index.html": "index", "s3://acme/site/img/a.png": "png", "s3://acme/site/empty/": "",
		"s3://acme/sites": "other", "s3://acme/cut": "half<cut>",
	}}
	b.env.Objects = store
	return b, store
}

// S3Download fails where a folder is missing, WebDownload makes it; and a single
// object needs the name of its file.
func TestTrap15S3DownloadMakesNoFolders(t *testing.T) {
	b, _ := stored(t, act("S3Download", "{source: 's3://acme/nginx.conf', destination: none/nginx.conf}"))
	b.fails("no such file or directory")
	if !b.missing("none") {
		t.Error("the folder was made")
	}
	b, _ = stored(t, act("S3Download", "{source: 's3://acme/site/*', destination: none/}"))
	b.fails("no such file or directory")
	for _, destination := range []string{"folder", "folder/"} {
		b, _ = stored(t, act("S3Download", "{source: 's3://acme/nginx.conf', destination: "+destination+"}"))
		b.fails("needs the name of the file")
	}
	server, _ := site(t)
	b, _ = stored(t, act("WebDownload", "{source: '"+server.URL+"/file', destination: none/file}"))
	b.ok()
	if b.read("none/file") != "content" {
		t.Error("WebDownload did not make the folder")
	}
}

func TestS3DownloadFetchesObjectsAndPrefixes(t *testing.T) {
	b, _ := stored(t, act("S3Download", "{source: 's3://acme/nginx.conf', destination: a.log, expectedBucketOwner: 012345678901}, {source: 's3://acme/site/*', destination: folder}"))
	b.ok()
	if b.read("a.log") != "conf" || b.read("folder/index.html") != "index" || b.read("folder/img/a.png") != "png" || b.read("folder/in.log") != "in" {
		t.Error("the files are wrong")
	}
	if b.mode("folder/empty").IsRegular() || !b.missing("folder/s") {
		t.Error("an empty folder, or an object beside the prefix, was taken for something else")
	}
	b, store := stored(t, act("S3Download", "{source: 's3://acme/*', destination: folder/}"))
	delete(store.objects, "s3://acme/cut")
	b.ok()
	if b.read("folder/site/img/a.png") != "png" {
		t.Error("the whole bucket")
	}
}

func TestS3DownloadRefuses(t *testing.T) {
	for _, c := range []struct{ inputs, want string }{
		{"source: 's3://acme/none', destination: x", "no such object"},
		{"source: 's3://other/none', destination: x", "there is no bucket other"},
		{"source: 's3://acme/nginx.conf', destination: x, expectedBucketOwner: 999999999999", "the owner of acme is not 999999999999"},
		{"source: 's3://acme/site/*', destination: folder, expectedBucketOwner: 999999999999", "the owner of acme is not 999999999999"},
		{"source: 's3://acme/nginx.conf', destination: a.log, overwrite: false", "a.log exists, and overwrite is false"},
		{"source: 's3://acme/si*', destination: folder", "a * can only follow the last /"},
		{"source: 's3://acme/*/x', destination: folder", "a * can only follow the last /"},
		{"source: 's3://acme/site/', destination: folder", "names no object"},
		{"source: 's3://acme/nothing/*', destination: folder", "no object below s3://acme/nothing/"},
		{"source: 's3://acme/site/*', destination: a.log", "is no folder"},
		{"source: 's3://acme/cut', destination: x", "unexpected EOF"},
		{"source: 'https://acme/cut', destination: x", "expected s3://bucket/key"},
		{"source: 's3://acme', destination: x", "expected s3://bucket/key"},
		{"source: '{{ Address }}', destination: x", "no address of the form s3://bucket/key"},
	} {
		b, _ := stored(t, act("S3Download", "{"+c.inputs+"}"))
		b.job.Documents[0].Text = "parameters:\n  - Address: {type: string, default: 'ftp://x/y'}\n" + b.job.Documents[0].Text
		b.fails(c.want)
		left, err := os.ReadDir(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".download") || e.Name() == "x" }) {
			t.Errorf("%s: something is left of it", c.inputs)
		}
	}
	prepared(t, act("S3Download", "{source: 's3://acme/x', destination: x}")).fails("no access to S3")
	prepared(t, act("S3Upload", "{source: a.log, destination: 's3://acme/x'}")).fails("no access to S3")
}

// At most 1,000 objects, what came before an error stays, and no key leads out of the folder.
func TestS3DownloadOfAPrefixIsBounded(t *testing.T) {
	b, store := stored(t, act("S3Download", "{source: 's3://acme-many/*', destination: folder}"))
	for i := range maxObjects {
		store.objects[fmt.Sprintf("s3://acme-many/%04d", i)] = "x"
	}
	b.ok()
	if b.missing("folder/0999") {
		t.Error("1,000 objects are within the limit")
	}
	b, _ = stored(t, act("S3Download", "{source: 's3://acme-many/*', destination: folder}"))
	store.objects["s3://acme-many/more"] = "x"
	b.env.Objects = store
	b.fails("more than 1000 objects")
	if !b.missing("folder/0000") {
		t.Error("a download that cannot be complete began")
	}
	for _, key := range []string{"z/../../../evil", "/etc/evil", "z//../../../evil"} {
		b, store = stored(t, act("S3Download", "{source: 's3://acme-evil/p/*', destination: folder}"))
		store.objects["s3://acme-evil/p/a"], store.objects["s3://acme-evil/p/"+key] = "a", "evil"
		if b.run(); b.missing("folder/a") && !strings.HasPrefix(key, "/") {
			t.Errorf("%s: the first object is gone", key)
		}
		if !b.missing("evil") || !b.missing("../evil") {
			t.Errorf("%s: an object was written outside of the destination", key)
		}
	}
}

func TestS3UploadSendsFilesPatternsAndFolders(t *testing.T) {
	for _, c := range []struct{ inputs, sent string }{
		{"source: a.log, destination: 's3://acme-up/x/y'", "s3://acme-up/x/y"},
		{"source: a.log, destination: 's3://acme-up/x/'", "s3://acme-up/x/a.log"},
		{"source: a.log, destination: 's3://acme-up/', expectedBucketOwner: 012345678901", "s3://acme-up/a.log"},
		{"source: '*.log', destination: 's3://acme-up/logs/'", "s3://acme-up/logs/a.log s3://acme-up/logs/b.log"},
		{"source: 'folder/*', destination: 's3://acme-up/logs'", "s3://acme-up/logs/in.log"},
		{"source: 'folder/*', destination: 's3://acme-up/logs/', recurse: 'true'", "s3://acme-up/logs/in.log s3://acme-up/logs/sub/deep.log"},
		{"source: folder, destination: 's3://acme-up/logs/', recurse: true", "s3://acme-up/logs/in.log s3://acme-up/logs/sub/deep.log"},
		{"source: folder/, destination: 's3://acme-up/', recurse: true", "s3://acme-up/in.log s3://acme-up/sub/deep.log"},
	} {
		b, store := stored(t, act("S3Upload", "{"+c.inputs+"}"))
		clear(store.objects)
		if b.ok(); store.all() != c.sent {
			t.Errorf("%s: sent %s, want %s", c.inputs, store.all(), c.sent)
		}
	}
	for _, c := range []struct{ inputs, want string }{
		{"source: none, destination: 's3://acme-up/x'", "no such file"},
		{"source: '*.none', destination: 's3://acme-up/x/'", "matches no file"},
		{"source: 'fol*', destination: 's3://acme-up/x/'", "matches no file"},
		{"source: folder, destination: 's3://acme-up/x/'", "set recurse to send what is in it"},
		{"source: a.log, destination: 'acme-up/x'", "expected s3://bucket/key"},
		{"source: /dev/null, destination: 's3://acme-up/x'", "is no regular file"},
		{"source: a.log, destination: 's3://acme-up/x', expectedBucketOwner: 1", "the owner of acme-up is not 1"},
	} {
		b, _ := stored(t, act("S3Upload", "{"+c.inputs+"}"))
		b.fails(c.want)
	}
}

// What was sent before an error stays, and links lead to files, not to folders.
func TestS3UploadKeepsWhatWasSent(t *testing.T) {
	b, store := stored(t, bash("Links", "ln -s ../c.txt folder/link; ln -s sub folder/tree")+
		act("S3Upload", "{source: folder, destination: 's3://acme-up/', recurse: true}, {source: none, destination: 's3://acme-up/x'}"))
	clear(store.objects)
	b.fails("inputs[1]")
	if want := "s3://acme-up/in.log s3://acme-up/link s3://acme-up/sub/deep.log"; store.all() != want || store.objects["s3://acme-up/link"] != "c" {
		t.Errorf("sent %s, want %s", store.all(), want)
	}
	if !slices.ContainsFunc(b.events, func(e Event) bool { return e.Kind == Warning && strings.Contains(e.Text, "link to a folder") }) {
		t.Error("nobody was told of the link that was left out")
	}
}

type fakeComponents map[string]string

func (f fakeComponents) Component(_ context.Context, arn string) (string, error) {
	text, ok := f[arn]
	if !ok {
		return "", fmt.Errorf("no component %s", arn)
	}
	return text, nil
}

func TestExecuteDocumentFromObjectsAndComponents(t *testing.T) {
	const arn = "arn:aws:imagebuilder:eu-west-1:aws:component/hello-world-linux/1.0.0/1"
	b, store := stored(t, nestedAs("One", "s3://acme/inner.yaml", "document-s3-bucket-owner: 012345678901")+
		nestedAs("Two", arn, "phases: build")+nestedAs("Three", "'{{ Where }}'", "phases: build"))
	b.job.Documents[0].Text = "parameters:\n  - Where: {type: string, default: 's3://acme/inner.yaml'}\n" + b.job.Documents[0].Text
	store.objects["s3://acme/inner.yaml"] = "name: inner\n" + oneStep(bash("A", "echo from S3"))
	b.env.Components = fakeComponents{arn: oneStep(bash("A", "echo from Image Builder"))}
	b.prints("from S3\nfrom Image Builder\nfrom S3\n")
	for _, c := range []struct{ step, want string }{
		{nested("s3://acme/none.yaml"), "document s3://acme/none.yaml: no such object"},
		{nestedAs("A", "s3://acme/inner.yaml", "document-s3-bucket-owner: '1'"), "is not 1"},
		{nested(strings.Replace(arn, "1.0.0", "2.0.0", 1)), "no component"},
		{nested("s3://acme/large"), "65537 bytes"},
		{nested("s3:nothing"), "no such file"},
	} {
		b, store := stored(t, c.step)
		store.objects["s3://acme/large"] = strings.Repeat("#", MaxDocumentSize+1)
		b.env.Components = fakeComponents{}
		b.fails(c.want)
	}
}

// The document that had begun goes on after a reboot, whatever lies there by then.
func TestExecuteDocumentGoesOnWithTheSameText(t *testing.T) {
	b, store := stored(t, nested("s3://acme/inner.yaml"))
	store.objects["s3://acme/inner.yaml"] = oneStep(bash("A", "echo before") + "- {name: R, action: Reboot}\n" + bash("B", "echo after"))
	if r := b.run(); !r.Reboot {
		t.Fatalf("%+v", r)
	}
	store.objects["s3://acme/inner.yaml"] = "changed"
	b.prints("before\nafter\n")
}

func TestStoredListsAreLists(t *testing.T) {
	store := listStore{"/list": {"a b", "c"}, "/one": nil}
	show := "- {name: S, action: ExecuteBinary, inputs: {path: printf, arguments: %s}}\n"
	for _, c := range []struct{ step, want string }{
		{fmt.Sprintf(show, "['[%s]', '{{ aws:ssm:/list }}', z]"), "[a b][c][z]"},
		{fmt.Sprintf(show, "['[%s]', '{{ aws:ssm:resolve(/list) }}']"), "[a b][c]"},
		{fmt.Sprintf(show, "['[%s]', 'x{{ aws:ssm:/list }}']"), "[xa b,c]"},
		{fmt.Sprintf(show, "['[%s]', '{{ aws:ssm:/one }}']"), "[/one]"},
		{bash("A", "echo '{{ loop.value }}'", "loop: {forEach: '{{ aws:ssm:/list }}'}"), "a b\nc\n"},
		{bash("A", "echo '{{ loop.value }}'", "loop: {forEach: [x, '{{ aws:ssm:/list }}']}"), "x\na b\nc\n"},
		{bash("A", "echo '{{ loop.value }}'", "loop: {forEach: {list: '{{ aws:ssm:/list }}', delimiter: ','}}"), "a b\nc\n"},
	} {
		b := newBench(t, oneStep(c.step))
		b.env.Store = store
		b.prints(c.want)
	}
	b := newBench(t, oneStep("- {name: S, action: ExecuteBinary, inputs: {path: echo, arguments: '{{ aws:ssm:/none }}'}}\n"))
	b.env.Store = store
	b.fails("{{ aws:ssm:/none }}: no parameter")
}

type listStore map[string][]string

func (s listStore) Parameter(_ context.Context, name string) (StoredValue, error) {
	list, ok := s[name]
	if !ok {
		return StoredValue{}, fmt.Errorf("no parameter")
	}
	if list == nil {
		return StoredValue{Text: name}, nil
	}
	return StoredValue{Text: strings.Join(list, ","), List: list}, nil
}

func TestNeedsAWS(t *testing.T) {
	for _, c := range []struct {
		step  string
		needs bool
	}{
		{bash("A", "echo {{ .Aws }} aws:ssm:/x"), false},
		{bash("A", "echo {{aws:ssm:/x}}"), true},
		{bash("A", ":", "if: {not: [{stringEquals: x, value: '{{ aws:ssm:resolve(/x) }}'}]}"), true},
		{bash("A", ":", "loop: {forEach: {list: '{{ aws:ssm:/x }}'}}"), true},
		{bash("A", ":", "loop: {forEach: '{{ aws:ssm:/x }}'}"), true},
		{act("S3Download", "{source: 's3://acme/x', destination: x}"), true},
		{act("S3Upload", "{source: x, destination: 's3://acme/x'}"), true},
		{act("WebDownload", "{source: 'https://example.com/x', destination: x}"), false},
		{nested("other.yaml"), true},
		{"- {name: A, action: InstallMSI, inputs: {path: 's3://acme/x.msi'}}\n", true},
		{"- {name: A, action: InstallMSI, inputs: {path: 'C:\\x.msi'}}\n", false},
	} {
		job := Job{Documents: []JobDocument{{Path: "a", Text: "not a document: ["}, {Path: "b", Text: oneStep(c.step)}}}
		if job.NeedsAWS() != c.needs {
			t.Errorf("%s: %v", c.step, !c.needs)
		}
	}
}

package aws

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	region  = "eu-west-1"
	account = "012345678901"
)

// fake answers as AWS does, for as much of it as this package uses, and refuses
// what AWS would refuse: unsigned requests, other regions, other owners, damaged
// bodies, parts out of order.
type fake struct {
	*httptest.Server
	t *testing.T

	mu         sync.Mutex
	buckets    map[string]map[string]string // content by key
	elsewhere  map[string]string            // region of buckets that are in another one
	uploads    map[string]map[int]string
	parameters map[string]map[string]any
	components map[string]string // document by build version ARN; empty: not handed out
	page       int               // keys in one answer
	trouble    int               // how many requests are answered with 503 first
	asked      []string          // operation and region of each request
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, page: 2, buckets: map[string]map[string]string{}, elsewhere: map[string]string{}, uploads: map[string]map[int]string{},
		parameters: map[string]map[string]any{}, components: map[string]string{},
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=test/\d{8}/([a-z0-9-]+)/([a-z0-9]+)/aws4_request, SignedHeaders=[a-z0-9;-]+, ?Signature=[0-9a-f]{64}$`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	signed := signature.FindStringSubmatch(r.Header.Get("Authorization"))
	if signed == nil {
		f.t.Errorf("%s %s is not signed: %q", r.Method, r.URL, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	f.asked = append(f.asked, signed[2]+" "+signed[1])
	if f.trouble > 0 {
		f.trouble--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	switch signed[2] {
	case "s3":
		f.s3(w, r, signed[1], string(body))
	case "ssm":
		f.ssm(w, r, body)
	case "imagebuilder":
		f.imageBuilder(w, r, body)
	default:
		f.t.Errorf("%s %s for service %s", r.Method, r.URL, signed[2])
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func (f *fake) s3(w http.ResponseWriter, r *http.Request, signedFor, body string) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said the fake</Message></Error>", code)
	}
	objects, ok := f.buckets[bucket]
	home := region
	if other := f.elsewhere[bucket]; other != "" {
		home = other
	}
	owner := r.Header.Get("X-Amz-Expected-Bucket-Owner")
	query := r.URL.Query()
	switch {
	case !ok:
		refuse(http.StatusNotFound, "NoSuchBucket")
	case signedFor != home:
		w.Header().Set("X-Amz-Bucket-Region", home)
		refuse(http.StatusMovedPermanently, "PermanentRedirect")
	case owner != "" && owner != account:
		refuse(http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodPut && !intact(r, body):
		f.t.Errorf("%s: no checksum, or another body", r.URL)
		refuse(http.StatusBadRequest, "BadDigest")
	case r.Method == http.MethodPut && query.Has("partNumber"):
		number, err := strconv.Atoi(query.Get("partNumber"))
		if err != nil || f.uploads[query.Get("uploadId")] == nil {
			refuse(http.StatusNotFound, "NoSuchUpload")
			return
		}
		f.uploads[query.Get("uploadId")][number] = body
		w.Header().Set("ETag", fmt.Sprintf(`"part-%d"`, number))
	case r.Method == http.MethodPut:
		objects[key] = body
	case r.Method == http.MethodPost && query.Has("uploads"):
		id := fmt.Sprintf("upload-%d", len(f.uploads))
		f.uploads[id] = map[int]string{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodPost && query.Has("uploadId"):
		parts := f.uploads[query.Get("uploadId")]
		objects[key] = ""
		for _, number := range slices.Sorted(maps.Keys(parts)) {
			objects[key] += parts[number]
		}
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"all"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodGet && key == "" && query.Get("list-type") == "2":
		f.list(w, objects, query.Get("prefix"), query.Get("continuation-token"))
	case r.Method == http.MethodGet:
		content, ok := objects[key]
		if !ok {
			refuse(http.StatusNotFound, "NoSuchKey")
			return
		}
		fmt.Fprint(w, content)
	default:
		f.t.Errorf("%s %s is not known here", r.Method, r.URL)
		w.WriteHeader(http.StatusNotImplemented)
	}
}

// intact holds a body against the checksum that comes with it.
func intact(r *http.Request, body string) bool {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	return r.Header.Get("X-Amz-Checksum-Crc32") == base64.StdEncoding.EncodeToString(sum)
}

func (f *fake) list(w http.ResponseWriter, objects map[string]string, prefix, after string) {
	type content struct{ Key string }
	type answer struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []content
	}
	var out answer
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if len(out.Contents) == f.page {
			out.IsTruncated, out.NextContinuationToken = true, out.Contents[f.page-1].Key
			break
		}
		out.Contents = append(out.Contents, content{key})
	}
	if err := xml.NewEncoder(w).Encode(out); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) ssm(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		Name           string
		WithDecryption bool
	}
	if target := r.Header.Get("X-Amz-Target"); target != "AmazonSSM.GetParameter" || json.Unmarshal(body, &in) != nil {
		f.t.Errorf("unexpected %s %s", target, body)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	parameter, ok := f.parameters[in.Name]
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"ParameterNotFound"}`)
		return
	}
	if parameter["Type"] == "SecureString" && !in.WithDecryption {
		parameter = map[string]any{"Type": "SecureString", "Value": "still encrypted"}
	}
	f.answer(w, map[string]any{"Parameter": parameter})
}

func (f *fake) answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) imageBuilder(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "GET /GetComponent":
		text, ok := f.components[r.URL.Query().Get("componentBuildVersionArn")]
		if !ok {
			w.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"the component does not exist"}`)
			return
		}
		f.answer(w, map[string]any{"component": map[string]any{"data": text}})
	case "POST /ListComponentBuildVersions":
		var in struct{ ComponentVersionArn string }
		if err := json.Unmarshal(body, &in); err != nil {
			f.t.Error(err)
		}
		var found []map[string]string
		for _, arn := range slices.Sorted(maps.Keys(f.components)) {
			if strings.HasPrefix(arn, in.ComponentVersionArn+"/") {
				found = append(found, map[string]string{"arn": arn})
			}
		}
		f.answer(w, map[string]any{"componentSummaryList": found})
	default:
		f.t.Errorf("%s %s is not known here", r.Method, r.URL)
		w.WriteHeader(http.StatusNotImplemented)
	}
}

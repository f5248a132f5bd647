package ec2test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test/botomodel"
)

// maxBody bounds what is read of a request that is not a file.
const maxBody = 8 << 20

// Request is a call as it came over the wire.
type Request struct {
	Service   string // as in signatures: ec2, ssm, s3, ebs
	Operation string // as in the SDK: RunInstances, PutObject
	Form      url.Values
	JSON      map[string]any // the body of a call of Systems Manager
	Path      string

	http    *http.Request
	body    []byte // of all but S3, where it streams
	noAgent bool   // a fault's effect on RunInstances
	noImage bool   // and on CreateImage
}

// serve answers one request.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		panic(http.ErrAbortHandler)
	}
	defer c.work.Done()
	request, err := identify(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	done := c.calls.begin(request)
	written := &statusWriter{ResponseWriter: w}
	broken := true // until shown otherwise: a panic closes the connection
	defer func() {
		if broken {
			written.status = 0
		}
		done(written.status)
	}()
	if err := c.validate(request); err != nil {
		c.options.Invalid(err)
		refuse(request.Service, http.StatusBadRequest, "ValidationError", err.Error()).write(written)
		broken = false
		return
	}
	faults := c.Faults.matching(request)
	for _, f := range faults {
		if f.before != nil && f.before(c, written, request) {
			broken = false
			return
		}
	}
	c.answer(afterwards(written, faults), request)
	lost := false
	for _, f := range faults {
		lost = lost || f.lose
		if f.after != nil {
			f.after(c, request)
		}
	}
	if lost {
		panic(http.ErrAbortHandler)
	}
	broken = false
}

// enter counts a request in, unless the test is over.
func (c *Cloud) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.work.Add(1)
	return true
}

// openModels reads what requests are held against.
func openModels(program string) (map[string]*botomodel.Model, error) {
	models := map[string]*botomodel.Model{}
	for _, service := range []string{"ec2", "ssm", "ebs"} {
		model, err := botomodel.Open(program, service)
		if err != nil {
			return nil, err
		}
		models[service] = model
	}
	return models, nil
}

// validate holds a request against its service's model.
func (c *Cloud) validate(r *Request) error {
	switch r.Service {
	case "ec2":
		return c.emulator.server.models["ec2"].Form(r.Form)
	case "ssm":
		return c.emulator.server.models["ssm"].JSON(r.Operation, r.body)
	case "ebs":
		return c.emulator.server.models["ebs"].REST(r.http, r.body)
	}
	return nil
}

// answer lets the one answer who knows how.
func (c *Cloud) answer(w http.ResponseWriter, request *Request) {
	switch request.Service {
	case "ec2":
		c.computeCall(request).write(w)
	case "ssm":
		if handle := c.commandCall(request); handle != nil {
			handle.write(w)
			return
		}
		c.pass.ServeHTTP(w, request.http)
	case "ebs":
		c.blockCall(w, request)
	case "s3":
		if refused := c.admit(request); refused.status != 0 {
			drain(request)
			refused.write(w)
			return
		}
		c.pass.ServeHTTP(w, request.http)
	default:
		c.pass.ServeHTTP(w, request.http)
	}
}

// identify finds out what a request asks for.
func identify(r *http.Request) (*Request, error) {
	request := &Request{Service: signedService(r), Path: r.URL.Path, http: r}
	if request.Service == "s3" {
		request.Operation = objectOperation(r)
		return request, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	request.body = body
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch target := r.Header.Get("X-Amz-Target"); {
	case target != "":
		_, request.Operation, _ = strings.Cut(target, ".")
		if err := json.Unmarshal(body, &request.JSON); err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
	case request.Service == "ebs":
		request.Operation = snapshotOperation(r)
	default:
		if request.Form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		request.Operation = request.Form.Get("Action")
	}
	return request, nil
}

// signedService is the service in a signature's scope. A request without one can only
// be for an object that everybody may read.
func signedService(r *http.Request) string {
	scope := r.URL.Query().Get("X-Amz-Credential")
	if _, after, found := strings.Cut(r.Header.Get("Authorization"), "Credential="); found {
		scope, _, _ = strings.Cut(after, ",")
	}
	if parts := strings.Split(scope, "/"); len(parts) == 5 {
		return parts[3]
	}
	return "s3"
}

// objectOperation names an operation of S3 by its method, path and query.
func objectOperation(r *http.Request) string {
	query := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	object := key != ""
	switch {
	case r.Method == http.MethodPost && query.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && query.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPut && query.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	case r.Method == http.MethodGet && !object && query.Get("list-type") == "2":
		return "ListObjectsV2"
	}
	verb := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodHead: "Head", http.MethodDelete: "Delete", http.MethodPost: "Post"}[r.Method]
	if object {
		return verb + "Object"
	}
	return verb + "Bucket"
}

// snapshotOperation names an operation of the EBS direct APIs.
func snapshotOperation(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := parts[len(parts)-1]
	switch {
	case r.Method == http.MethodPost && len(parts) == 1:
		return "StartSnapshot"
	case r.Method == http.MethodPost && len(parts) == 3 && parts[1] == "completion":
		return "CompleteSnapshot"
	case r.Method == http.MethodPut && len(parts) == 4:
		return "PutSnapshotBlock"
	case r.Method == http.MethodGet && len(parts) == 4:
		return "GetSnapshotBlock"
	case last == "blocks":
		return "ListSnapshotBlocks"
	case last == "changedblocks":
		return "ListChangedBlocks"
	}
	return r.Method + " " + r.URL.Path
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// refuse is an error as the service of the request spells it.
func refuse(service string, status int, code, message string) answer {
	switch service {
	case "ssm":
		text, err := json.Marshal(map[string]string{"__type": code, "message": message})
		return answer{status: status, kind: "application/x-amz-json-1.1", body: text, err: err}
	case "ebs":
		text, err := json.Marshal(map[string]string{"__type": code, "code": code, "Message": message})
		return answer{status: status, kind: "application/json", body: text, err: err}
	case "s3":
		text := element("Error", value("Code", code), value("Message", message), value("RequestId", "ec2test")).bytes()
		return answer{status: status, kind: "application/xml", body: text}
	case "ec2":
		text := element("Response", element("Errors", element("Error", value("Code", code), value("Message", message))), value("RequestID", "ec2test")).bytes()
		return answer{status: status, kind: "text/xml", body: text}
	}
	response := element("ErrorResponse", element("Error", value("Type", "Sender"), value("Code", code), value("Message", message)), value("RequestId", "ec2test"))
	return answer{status: status, kind: "text/xml", body: response.bytes()}
}

// reply is a good answer of Systems Manager.
func reply(body any) answer {
	text, err := json.Marshal(body)
	return answer{status: http.StatusOK, kind: "application/x-amz-json-1.1", body: text, err: err}
}

// form passes a call to moto, changed or of our own.
func (c *Cloud) form(ctx context.Context, parameters url.Values) (*tree, answer) {
	if !parameters.Has("Version") {
		parameters.Set("Version", "2016-11-15")
	}
	a := c.emulator.form(ctx, "ec2", parameters)
	if !a.ok() {
		return nil, a
	}
	parsed, err := parseTree(a.body)
	if err != nil {
		return nil, answer{err: err}
	}
	return parsed, a
}

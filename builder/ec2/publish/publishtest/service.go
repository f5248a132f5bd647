// Package publishtest is the EBS direct APIs for tests and benchmarks: a service
// that takes nothing on trust. It checks every checksum as the real one does, knows
// client tokens and parents, and refuses to write to a complete snapshot, all of
// which emulators let pass. What it has checked it keeps itself or hands on to an
// emulator; Faults breaks what goes to it.
package publishtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// blockSize is the one that there is.
const blockSize = 512 << 10

// Service answers as the EBS direct APIs. It is safe for concurrent use.
type Service struct {
	// Next is handed what was found right and gives the answers: an emulator. nil:
	// the service keeps the blocks itself.
	Next http.Handler
	// Discard forgets blocks, for benchmarks.
	Discard bool
	// Encrypts is the account's setting that new snapshots and volumes are encrypted.
	Encrypts bool

	mu        sync.Mutex
	snapshots map[string]*Snapshot
	tokens    map[string]string // of clients: to the snapshots that they got
	starts    map[string]string // of clients: the request
}

// Snapshot is what the service knows of one.
type Snapshot struct {
	ID        string
	Parent    string
	SizeGiB   int64
	Tags      map[string]string
	Complete  bool
	Encrypted bool
	Failed    bool             // given up
	Puts      map[int32]int    // how often each block was written
	Blocks    map[int32][]byte // without the parent's
	sums      map[int32][]byte
}

// Snapshots returns copies of all, without their blocks' data.
func (s *Service) Snapshots() []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Snapshot
	for _, id := range slices.Sorted(maps.Keys(s.snapshots)) {
		c := *s.snapshots[id]
		c.Puts, c.Tags, c.Blocks, c.sums = maps.Clone(c.Puts), maps.Clone(c.Tags), nil, nil
		all = append(all, c)
	}
	return all
}

// Content is what a snapshot holds with all that it has of its parents.
func (s *Service) Content(id string) map[int32][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := map[int32][]byte{}
	var chain []*Snapshot
	for at := s.snapshots[id]; at != nil; at = s.snapshots[at.Parent] {
		chain = append(chain, at)
	}
	for _, at := range slices.Backward(chain) {
		maps.Copy(content, at.Blocks)
	}
	return content
}

// Forget removes a snapshot, as somebody might do in the console.
func (s *Service) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.snapshots, id)
}

// GiveUp does what the service does with a snapshot to which nobody writes.
func (s *Service) GiveUp(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[id].Failed = true
}

// DescribeSnapshots is EC2's view of the snapshots.
func (s *Service) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ec2.DescribeSnapshotsOutput{}
	for _, id := range in.SnapshotIds {
		snapshot := s.snapshots[id]
		if snapshot == nil {
			return nil, &smithy.GenericAPIError{Code: "InvalidSnapshot.NotFound", Message: "The snapshot '" + id + "' does not exist."}
		}
		state := types.SnapshotStatePending
		switch {
		case snapshot.Failed:
			state = types.SnapshotStateError
		case snapshot.Complete:
			state = types.SnapshotStateCompleted
		}
		out.Snapshots = append(out.Snapshots, types.Snapshot{SnapshotId: aws.String(id), State: state, VolumeSize: aws.Int32(int32(snapshot.SizeGiB))})
	}
	return out, nil
}

// CreateTags is EC2's, of snapshots.
func (s *Service) CreateTags(_ context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range in.Resources {
		if s.snapshots[id] == nil {
			return nil, &smithy.GenericAPIError{Code: "InvalidSnapshot.NotFound", Message: "The snapshot '" + id + "' does not exist."}
		}
		for _, t := range in.Tags {
			s.snapshots[id].Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return &ec2.CreateTagsOutput{}, nil
}

// refusal is an answer that is no success.
type refusal struct {
	status               int
	code, reason, detail string
}

func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", r.code)
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(map[string]string{"Message": r.detail, "Reason": r.reason}) // a client that has gone needs no answer
}

func invalid(reason, format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "ValidationException", reason, fmt.Sprintf(format, args...)}
}

var notFound = &refusal{http.StatusNotFound, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "there is no such snapshot"}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var refused *refusal
	switch {
	case r.Method == http.MethodPost && len(path) == 1 && path[0] == "snapshots":
		refused = s.start(w, r)
	case r.Method == http.MethodPut && len(path) == 4 && path[2] == "blocks":
		refused = s.put(w, r, path[1], path[3])
	case r.Method == http.MethodPost && len(path) == 3 && path[1] == "completion":
		refused = s.complete(w, r, path[2])
	default:
		refused = &refusal{http.StatusNotFound, "UnknownOperationException", "", r.Method + " " + r.URL.Path}
	}
	if refused != nil {
		refused.write(w)
	}
}

// startRequest is the body of StartSnapshot.
type startRequest struct {
	VolumeSize       int64
	ParentSnapshotId string
	ClientToken      string
	Description      string
	Timeout          int
	Tags             []struct{ Key, Value string }
}

func (s *Service) start(w http.ResponseWriter, r *http.Request) *refusal {
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var in startRequest
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshots == nil {
		s.snapshots, s.tokens, s.starts = map[string]*Snapshot{}, map[string]string{}, map[string]string{}
	}
	parent := s.snapshots[in.ParentSnapshotId]
	switch {
	case err != nil:
		return invalid("INVALID_PARAMETER_VALUE", "%v", err)
	case in.VolumeSize < 1 || in.VolumeSize > 65536:
		return invalid("INVALID_VOLUME_SIZE", "%d GiB", in.VolumeSize)
	case in.ClientToken == "" || in.Timeout < 10 || in.Timeout > 60 || len(in.Tags) > 50:
		return invalid("INVALID_PARAMETER_VALUE", "token %q, timeout %d, %d tags", in.ClientToken, in.Timeout, len(in.Tags))
	case in.ParentSnapshotId != "" && parent == nil:
		return notFound
	case parent != nil && (!parent.Complete || parent.SizeGiB > in.VolumeSize):
		return invalid("INVALID_SNAPSHOT_ID", "the parent is not complete, or larger")
	case parent != nil && s.Encrypts && !parent.Encrypted:
		return invalid("INVALID_PARAMETER_VALUE", "the parent is not encrypted, and the account encrypts by default")
	}
	id, again := s.tokens[in.ClientToken]
	if again && s.starts[in.ClientToken] != string(text) {
		return &refusal{http.StatusConflict, "ConflictException", "", "the token was used for another request"}
	}
	if again {
		return s.started(w, id)
	}
	if id, err = s.newID(r, text); err != nil {
		return &refusal{http.StatusInternalServerError, "InternalServerException", "", err.Error()}
	}
	tags := map[string]string{}
	for _, t := range in.Tags {
		tags[t.Key] = t.Value
	}
	s.tokens[in.ClientToken], s.starts[in.ClientToken] = id, string(text)
	s.snapshots[id] = &Snapshot{ID: id, Parent: in.ParentSnapshotId, SizeGiB: in.VolumeSize, Tags: tags, Encrypted: s.Encrypts, Puts: map[int32]int{}, Blocks: map[int32][]byte{}, sums: map[int32][]byte{}}
	return s.started(w, id)
}

// newID is the emulator's, if there is one.
func (s *Service) newID(r *http.Request, body []byte) (string, error) {
	if s.Next == nil {
		sum := sha256.Sum256(append(body, byte(len(s.snapshots))))
		return "snap-" + hex.EncodeToString(sum[:])[:17], nil
	}
	answer := s.hand(r, body)
	var out struct{ SnapshotId string }
	if err := json.Unmarshal(answer.Body.Bytes(), &out); err != nil || out.SnapshotId == "" {
		return "", fmt.Errorf("the emulator said %d %s", answer.Code, answer.Body)
	}
	return out.SnapshotId, nil
}

// hand gives a request to the emulator.
func (s *Service) hand(r *http.Request, body []byte) *httptest.ResponseRecorder {
	next := r.Clone(r.Context())
	next.Body = io.NopCloser(bytes.NewReader(body))
	next.ContentLength, next.TransferEncoding = int64(len(body)), nil
	answer := httptest.NewRecorder()
	s.Next.ServeHTTP(answer, next)
	return answer
}

func (s *Service) started(w http.ResponseWriter, id string) *refusal {
	snapshot := s.snapshots[id]
	answer(w, http.StatusCreated, map[string]any{"SnapshotId": id, "BlockSize": blockSize, "Status": "pending", "VolumeSize": snapshot.SizeGiB, "ParentSnapshotId": snapshot.Parent})
	return nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // a client that has gone needs no answer
}

// writable returns a snapshot to which may be written.
func (s *Service) writable(id string) (*Snapshot, *refusal) {
	snapshot := s.snapshots[id]
	switch {
	case snapshot == nil:
		return nil, notFound
	case snapshot.Complete || snapshot.Failed:
		return nil, invalid("INVALID_SNAPSHOT_ID", "the snapshot is not pending")
	}
	return snapshot, nil
}

func (s *Service) put(w http.ResponseWriter, r *http.Request, id, blockIndex string) *refusal {
	data := buffers.Get().(*[blockSize]byte)
	defer buffers.Put(data)
	if _, err := io.ReadFull(r.Body, data[:]); err != nil || r.ContentLength != blockSize || r.Header.Get("X-Amz-Data-Length") != strconv.Itoa(blockSize) {
		return invalid("INVALID_BLOCK", "a block of %d bytes (%v)", r.ContentLength, err)
	}
	want := r.Header.Get("X-Amz-Checksum")
	if s.Discard {
		w.Header().Set("X-Amz-Checksum", want)
		w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	sum := sha256.Sum256(data[:])
	if r.Header.Get("X-Amz-Checksum-Algorithm") != "SHA256" || want != base64.StdEncoding.EncodeToString(sum[:]) {
		return invalid("INVALID_BLOCK", "the checksum is not that of the data")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot, refused := s.writable(id)
	if refused != nil {
		return refused
	}
	index, err := strconv.ParseInt(blockIndex, 10, 32)
	if err != nil || index < 0 || index >= snapshot.SizeGiB<<30/blockSize {
		return invalid("INVALID_BLOCK", "there is no block %s", blockIndex)
	}
	if s.Next != nil {
		if got := s.hand(r, data[:]); got.Code/100 != 2 {
			return &refusal{got.Code, "InternalServerException", "", got.Body.String()}
		}
	}
	snapshot.Puts[int32(index)]++
	snapshot.Blocks[int32(index)] = bytes.Clone(data[:])
	snapshot.sums[int32(index)] = sum[:]
	w.Header().Set("X-Amz-Checksum", want)
	w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
	w.WriteHeader(http.StatusCreated)
	return nil
}

var buffers = sync.Pool{New: func() any { return new([blockSize]byte) }}

func (s *Service) complete(w http.ResponseWriter, r *http.Request, id string) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot, refused := s.writable(id)
	if refused != nil {
		return refused
	}
	if !s.Discard {
		if refused := snapshot.check(r.Header); refused != nil {
			return refused
		}
	}
	if s.Next != nil {
		if got := s.hand(r, nil); got.Code/100 != 2 {
			return &refusal{got.Code, "InternalServerException", "", got.Body.String()}
		}
	}
	snapshot.Complete = true
	answer(w, http.StatusAccepted, map[string]string{"Status": "pending"})
	return nil
}

// check compares what the client says that it has written with what has arrived.
func (s *Snapshot) check(said http.Header) *refusal {
	all := sha256.New()
	for _, index := range slices.Sorted(maps.Keys(s.sums)) {
		all.Write(s.sums[index])
	}
	count, sum := strconv.Itoa(len(s.sums)), base64.StdEncoding.EncodeToString(all.Sum(nil))
	switch {
	case said.Get("X-Amz-Changedblockscount") != count:
		return invalid("INVALID_PARAMETER_VALUE", "%s blocks were said to be written, %s were", said.Get("X-Amz-Changedblockscount"), count)
	case len(s.sums) == 0 && said.Get("X-Amz-Checksum") == "":
		return nil
	case said.Get("X-Amz-Checksum") != sum || said.Get("X-Amz-Checksum-Algorithm") != "SHA256" || said.Get("X-Amz-Checksum-Aggregation-Method") != "LINEAR":
		return invalid("INVALID_PARAMETER_VALUE", "the aggregated checksum is not that of the blocks")
	}
	return nil
}

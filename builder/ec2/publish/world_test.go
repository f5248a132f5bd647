package publish_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/seed-6db18919/ingot/builder/ec2/ec2test/botomodel"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
	"github.com/seed-6db18919/ingot/internal/mototest"
)

const region = "eu-west-1"

// moto is the one server of this package's tests; without it they run against the
// service of package publishtest alone.
var moto *mototest.Server

func TestMain(m *testing.M) {
	if dir := os.Getenv(uploadVariable); dir != "" {
		os.Exit(uploadAlone(dir))
	}
	os.Exit(mototest.Main(m, &moto))
}

// world is AWS as a test has it.
type world struct {
	service *publishtest.Service
	url     string // of service, behind the faults
	moto    string // empty: there is none, and service keeps the blocks
	config  aws.Config
}

// newWorld starts a service; requests to it go through pick, which may be nil.
func newWorld(t *testing.T, pick func(*http.Request) publishtest.Fault) *world {
	t.Helper()
	w := &world{service: &publishtest.Service{}}
	if moto != nil {
		w.moto = moto.URL
		there, err := url.Parse(w.moto)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(there)
		proxy.ErrorLog = log.New(io.Discard, "", 0) // of clients that were killed
		w.service.Next = proxy
	}
	var handler http.Handler = w.service
	if pick != nil {
		handler = publishtest.Faults(handler, pick)
	}
	server := httptest.NewServer(modelled(t, handler))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.config = config(server.URL)
	return w
}

// modelled holds every request against botocore's model of the service, where there is
// one, before it goes to next.
func modelled(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	program := mototest.Program()
	if program == "" {
		return next
	}
	model, err := botomodel.Open(program, "ebs")
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		if err := model.REST(r, body); err != nil {
			t.Errorf("on the wire: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func config(url string) aws.Config {
	return aws.Config{Region: region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "")}
}

// snapshots is who is asked what became of a snapshot. moto takes all of them for
// complete from the start on, so that only the service knows the difference.
func (w *world) snapshots() publish.Snapshots { return w.service }

func (w *world) upload(t *testing.T, path string, o publish.Options) (publish.Snapshot, error) {
	t.Helper()
	disk, err := chain.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	o.Snapshots = w.snapshots()
	return publish.Upload(t.Context(), publish.NewBlocks(w.config, o.Workers), disk, o)
}

// blocks reads a snapshot back: through ListSnapshotBlocks and GetSnapshotBlock of
// moto where there is one, with all that it has of its parents.
func (w *world) blocks(t *testing.T, id string) map[int32][]byte {
	t.Helper()
	if w.moto == "" {
		return w.service.Content(id)
	}
	content := map[int32][]byte{}
	for _, s := range w.service.Snapshots() {
		if s.ID == id && s.Parent != "" {
			content = w.blocks(t, s.Parent)
		}
	}
	direct := w.config.Copy()
	direct.BaseEndpoint = aws.String(w.moto)
	client := ebs.NewFromConfig(direct)
	list, err := client.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list.Blocks {
		out, err := client.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: aws.String(id), BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(out.BlockData)
		if err != nil || out.BlockData.Close() != nil || len(data) != publish.BlockSize {
			t.Fatalf("block %d: %d bytes, %v", *b.BlockIndex, len(data), err)
		}
		content[*b.BlockIndex] = data
	}
	return content
}

// same compares a snapshot with a disk, byte by byte.
func (w *world) same(t *testing.T, id, path string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	qemu(t, "qemu-img", "convert", "-O", "raw", path, raw)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	blocks := w.blocks(t, id)
	zeros := make([]byte, publish.BlockSize)
	for start := 0; start < len(want); start += publish.BlockSize {
		index := int32(start / publish.BlockSize)
		part := make([]byte, publish.BlockSize)
		copy(part, want[start:])
		got, there := blocks[index]
		if !there {
			got = zeros
		}
		if !bytes.Equal(got, part) {
			t.Errorf("block %d (in the snapshot: %v) is not that of the disk", index, there)
		}
		delete(blocks, index)
	}
	if len(blocks) > 0 {
		t.Errorf("the snapshot has %d blocks behind the disk's end", len(blocks))
	}
}

// qemu runs one of QEMU's programs.
func qemu(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v (Debian package qemu-utils): %v: %s", program, args, err, out)
	}
}

// disk makes a qcow2 file of that size, over another one if below names it, to
// which qemu-io does commands.
func disk(t *testing.T, size, below string, commands ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	args := []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=4096"}
	if below != "" {
		args = append(args, "-F", "qcow2", "-b", below)
	}
	qemu(t, "qemu-img", append(args, path, size)...)
	if len(commands) > 0 {
		args := []string{"-f", "qcow2"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		qemu(t, "qemu-io", append(args, path)...)
	}
	return path
}

// someDisk has data in 21 of its 41 blocks, the last of which is not a whole one.
func someDisk(t *testing.T) string {
	t.Helper()
	commands := []string{"write -P 255 20500k 4k"}
	for i := range 20 {
		commands = append(commands, fmt.Sprintf("write -P %d %dk %dk", i+1, 1024*i+4*i, 4+i))
	}
	// Allocated, and nothing but zeros.
	commands = append(commands, "write -P 0 1600k 64k")
	return disk(t, "20504k", "", commands...)
}

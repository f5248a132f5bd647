package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
)

// The goals of publishing.
const (
	leastThroughput = 0.8 // of the plain PUT
	mostMoved       = 1.3 // times what has changed
)

// uploadWorkers is how many blocks are in flight, for both.
const uploadWorkers = 32

// pageSize is the finer grain in which changes are counted: that of the file system.
const pageSize = 4 << 10

// publishing compares the upload of an image with the least that any could do, on a
// server that does nothing with what it gets, and looks at what an upload of the next
// version moves.
func (b *bench) publishing(ctx context.Context) ([]table, error) {
	s, err := b.newSample(ctx, "publishing", noRepositories)
	if err != nil {
		return nil, err
	}
	first, err := b.build(ctx, s, sampleRecipe)
	if err != nil {
		return nil, err
	}
	if err := s.onePackageMore(); err != nil {
		return nil, err
	}
	second, err := b.build(ctx, s, sampleRecipe)
	if err != nil {
		return nil, err
	}
	u := newUploads(b)
	defer u.close()
	throughput, err := u.throughput(ctx, first.imageRef)
	if err != nil {
		return nil, err
	}
	moved, err := u.next(ctx, first.imageRef, second.imageRef)
	return []table{throughput, moved}, err
}

// onePackageMore adds a component that installs a small package.
func (s *sample) onePackageMore() error {
	path := filepath.Join(s.dir, sampleRecipe)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, after, ok := strings.Cut(string(text), "\n# Tests")
	if !ok {
		return fmt.Errorf("%s has no place for a component", sampleRecipe)
	}
	more := "  - component: install-package-from-repository\n    parameters: {PackageName: tree}\n"
	return os.WriteFile(path, []byte(before+more+"\n# Tests"+after), 0o644)
}

// uploads is the servers and who writes to them.
type uploads struct {
	*bench
	service  *publishtest.Service
	plainly  *httptest.Server // HTTP
	securely *httptest.Server // over TLS, as AWS is spoken to
	received *atomic.Int64    // bytes by plainly, with everything around the blocks
	prepared []time.Duration  // how long it took to read the parts of an image
}

func newUploads(b *bench) *uploads {
	u := &uploads{bench: b, service: &publishtest.Service{Discard: true}, received: &atomic.Int64{}}
	u.plainly = httptest.NewUnstartedServer(u.service)
	u.plainly.Listener = counted{u.plainly.Listener, u.received}
	u.plainly.Start()
	u.securely = httptest.NewTLSServer(u.service)
	return u
}

func (u *uploads) close() {
	u.plainly.Close()
	u.securely.Close()
}

// trust is for a client that is to speak to the server.
func trust(server *httptest.Server) *tls.Config {
	if server.Certificate() == nil {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &tls.Config{RootCAs: roots}
}

// counted counts what arrives on all connections.
type counted struct {
	net.Listener
	received *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return &countedConn{conn, c.received}, err
}

type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// upload is ours; dir is what it remembers.
func (u *uploads) upload(ctx context.Context, server *httptest.Server, path, dir, key string, parents ...string) (publish.Snapshot, time.Duration, error) {
	disk, err := chain.Open(ctx, path)
	if err != nil {
		return publish.Snapshot{}, 0, err
	}
	defer disk.Close()
	cfg := aws.Config{
		Region: "eu-west-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig = trust(server) }),
	}
	start := time.Now()
	s, err := publish.Upload(ctx, publish.NewBlocks(cfg, uploadWorkers), disk, publish.Options{
		Key: key, Parents: parents, Dir: dir, Snapshots: u.service, Workers: uploadWorkers,
	})
	return s, time.Since(start), err
}

// whole uploads all of a disk to a server that knows none of it. The parts were read
// while the image was made.
func (u *uploads) whole(ctx context.Context, server *httptest.Server, path string, parts []string, blocks int) (time.Duration, error) {
	dir, err := os.MkdirTemp(u.dir, "uploads-")
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for _, part := range parts {
		(&publish.Publisher{Dir: dir}).Prepare(ctx, builder.PrepareSpec{Ref: part})
	}
	if parts != nil {
		u.prepared = append(u.prepared, time.Since(start))
	}
	s, elapsed, err := u.upload(ctx, server, path, dir, "whole")
	if err == nil && (s.Written != blocks || s.Parent != "") {
		err = fmt.Errorf("%d blocks were uploaded on top of %q, not %d on top of nothing", s.Written, s.Parent, blocks)
	}
	return elapsed, err
}

// throughput uploads a disk in turns with a program that knows which blocks it has to
// send, signs nothing and remembers nothing; it computes no checksums either, or once
// those that the API asks of everybody.
func (u *uploads) throughput(ctx context.Context, path string) (table, error) {
	t := table{head: []string{fmt.Sprintf("the whole image, medians of %d in turns", u.rounds), "time", "each second", "of the plain PUT", "goal"}}
	blocks, err := dataBlocks(ctx, path)
	if err != nil {
		return t, err
	}
	parts, err := below(ctx, path)
	if err != nil {
		return t, err
	}
	ways := []struct {
		name string
		once func(*httptest.Server) (time.Duration, error)
		ours bool
	}{
		{"plain parallel PUT", func(s *httptest.Server) (time.Duration, error) { return u.plain(ctx, s, path, blocks, false) }, false},
		{"the same with the SHA-256 that EBS asks for", func(s *httptest.Server) (time.Duration, error) { return u.plain(ctx, s, path, blocks, true) }, false},
		{"ingot, in a build", func(s *httptest.Server) (time.Duration, error) { return u.whole(ctx, s, path, parts, len(blocks)) }, true},
		{"ingot, an image of which nothing was read before", func(s *httptest.Server) (time.Duration, error) { return u.whole(ctx, s, path, nil, len(blocks)) }, true},
	}
	total := float64(len(blocks)) * publish.BlockSize
	for _, over := range []struct {
		name   string
		server *httptest.Server
	}{{"HTTP", u.plainly}, {"TLS", u.securely}} {
		times := make([][]time.Duration, len(ways))
		for range u.rounds {
			for i, way := range ways {
				elapsed, err := way.once(over.server)
				if err != nil {
					return t, err
				}
				times[i] = append(times[i], elapsed)
			}
		}
		plain := median(times[0], itself)
		for i, way := range ways {
			m := median(times[i], itself)
			reached, said := plain.Seconds()/m.Seconds(), ""
			if way.ours {
				said = atLeast(reached, leastThroughput, "0.8")
			}
			t.add(over.name+": "+way.name, took(m), size(total/m.Seconds()), fmt.Sprintf("%.2f", reached), said)
		}
	}
	t.note("%d blocks, %s, %d in flight; the server is in the same process and throws the blocks away. AWS is spoken to over TLS alone.", len(blocks), size(total), uploadWorkers)
	t.note("While the components run, a build reads the parent and the layers for their checksums, on one processor: %s in all. An image that was built before is published without that.", took(median(u.prepared, itself)))
	t.note("Only ingot finds out which blocks hold data, signs, and records what the server has.")
	return t, nil
}

func itself(d time.Duration) time.Duration { return d }

// below are the files that an image is based on, as a build makes them: the parent
// image and the layers.
func below(ctx context.Context, path string) ([]string, error) {
	var text bytes.Buffer
	c := command{name: "qemu-img", args: []string{"info", "--backing-chain", "--output=json", path}, stdout: &text}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	var files []struct{ Filename string }
	if err := json.Unmarshal(text.Bytes(), &files); err != nil || len(files) < 2 {
		return nil, fmt.Errorf("qemu-img says %q of %s: no image on a parent (%v)", text.String(), path, err)
	}
	var paths []string
	for _, f := range slices.Backward(files[1:]) {
		paths = append(paths, f.Filename)
	}
	return paths, nil
}

// dataBlocks are the indexes of the blocks that are not zeros.
func dataBlocks(ctx context.Context, path string) ([]int64, error) {
	disk, err := chain.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	var blocks []int64
	data, zeros := make([]byte, publish.BlockSize), make([]byte, publish.BlockSize)
	next := int64(0)
	for start, end := range disk.Data() {
		for index := max(next, start/publish.BlockSize); index*publish.BlockSize < end; index++ {
			next = index + 1
			if err := readBlock(disk, index, data); err != nil {
				return nil, err
			}
			if !bytes.Equal(data, zeros) {
				blocks = append(blocks, index)
			}
		}
	}
	return blocks, nil
}

// readBlock fills up with zeros what lies behind the disk's end.
func readBlock(disk io.ReaderAt, index int64, data []byte) error {
	n, err := disk.ReadAt(data, index*publish.BlockSize)
	clear(data[n:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// plain sends the blocks as fast as Go's HTTP client does, with or without checksums.
func (u *uploads) plain(ctx context.Context, server *httptest.Server, path string, blocks []int64, summed bool) (time.Duration, error) {
	disk, err := chain.Open(ctx, path)
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: uploadWorkers, TLSClientConfig: trust(server)}}
	defer client.CloseIdleConnections()
	start := time.Now()
	todo := make(chan int64, len(blocks))
	for _, index := range blocks {
		todo <- index
	}
	close(todo)
	var workers sync.WaitGroup
	errs := make([]error, uploadWorkers)
	for n := range uploadWorkers {
		workers.Go(func() {
			data := make([]byte, publish.BlockSize)
			for index := range todo {
				if errs[n] = readBlock(disk, index, data); errs[n] == nil {
					errs[n] = putPlain(ctx, client, server.URL, index, data, summed)
				}
				if errs[n] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return time.Since(start), errors.Join(errs...)
}

func putPlain(ctx context.Context, client *http.Client, url string, index int64, data []byte, summed bool) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("%s/snapshots/plain/blocks/%d", url, index), bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Data-Length", strconv.Itoa(len(data)))
	if summed {
		sum := sha256.Sum256(data)
		r.Header.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("the server said %s", answer.Status)
	}
	return nil
}

// next uploads an image and then the one with a package more.
func (u *uploads) next(ctx context.Context, before, after string) (table, error) {
	t := table{head: []string{"the same recipe with one package more", "changed", "sent", "ratio", "goal"}}
	dir := filepath.Join(u.dir, "uploads")
	if _, _, err := u.upload(ctx, u.plainly, before, dir, "before"); err != nil {
		return t, err
	}
	start := u.received.Load()
	s, elapsed, err := u.upload(ctx, u.plainly, after, dir, "after", "before")
	if err != nil {
		return t, err
	}
	sent := float64(u.received.Load() - start)
	c, err := compareDisks(ctx, before, after)
	if err != nil {
		return t, err
	}
	if c.blocks == 0 || s.Written != c.blocks {
		return t, fmt.Errorf("%d blocks differ and %d were sent", c.blocks, s.Written)
	}
	changed := float64(c.blocks) * publish.BlockSize
	t.add(fmt.Sprintf("in blocks of 512 KiB, which is how EBS takes it: %d of %d", c.blocks, s.Blocks), size(changed), size(sent), fmt.Sprintf("%.3f", sent/changed), goal(sent/changed, mostMoved, "1.3"))
	pages := float64(c.pages) * pageSize
	t.add(fmt.Sprintf("in pages of 4 KiB, as the file system writes: %d", c.pages), size(pages), size(sent), fmt.Sprintf("%.1f", sent/pages))
	t.note("It took %s; what lies in files that were uploaded before is not read again. Sent is all that arrived at the server, headers too.", took(elapsed))
	return t, nil
}

// difference is how much of two disks is not the same.
type difference struct{ blocks, pages int }

// compareDisks reads both from the first byte to the last.
func compareDisks(ctx context.Context, before, after string) (difference, error) {
	var d difference
	a, err := chain.Open(ctx, before)
	if err != nil {
		return d, err
	}
	defer a.Close()
	b, err := chain.Open(ctx, after)
	if err != nil {
		return d, err
	}
	defer b.Close()
	one, other := make([]byte, publish.BlockSize), make([]byte, publish.BlockSize)
	for index := int64(0); index*publish.BlockSize < b.Size(); index++ {
		if err := errors.Join(readBlock(a, index, one), readBlock(b, index, other)); err != nil {
			return d, err
		}
		if bytes.Equal(one, other) {
			continue
		}
		d.blocks++
		for at := 0; at < len(one); at += pageSize {
			if !bytes.Equal(one[at:at+pageSize], other[at:at+pageSize]) {
				d.pages++
			}
		}
	}
	return d, nil
}

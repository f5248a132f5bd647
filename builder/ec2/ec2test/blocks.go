package ec2test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// blockCall answers a call of the EBS direct APIs by moto, and minds what EC2 knows of
// the snapshot. Checksums, tokens and parents are for package publishtest to check.
func (c *Cloud) blockCall(w http.ResponseWriter, r *Request) {
	if again := c.startedBefore(r); again.status != 0 {
		again.write(w)
		return
	}
	recorded := httptest.NewRecorder()
	c.pass.ServeHTTP(recorded, r.http)
	body := recorded.Body.Bytes()
	if recorded.Code/100 == 2 {
		if strings.HasPrefix(r.Operation, "List") {
			body = c.listing(body)
		}
		c.mu.Lock()
		switch r.Operation {
		case "StartSnapshot":
			c.snapshotStarted(r, body)
		case "CompleteSnapshot":
			if s := c.snapshots[path.Base(r.Path)]; s != nil {
				s.waiting, s.polls = nil, c.options.Polls
			}
		}
		c.mu.Unlock()
	}
	for name, values := range recorded.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(body)
}

// listing gives blocks their size, and tokens such as requests may hold: moto's have
// characters that the service's model refuses. moto looks at none that comes back.
func (c *Cloud) listing(body []byte) []byte {
	var out map[string]any
	err := json.Unmarshal(body, &out)
	if err == nil {
		out["BlockSize"] = 512 << 10
		for _, list := range []string{"Blocks", "ChangedBlocks"} {
			blocks, _ := out[list].([]any)
			for _, b := range blocks {
				block, _ := b.(map[string]any)
				for name, v := range block {
					if token, isText := v.(string); isText {
						block[name] = strings.ReplaceAll(token, "-", "+")
					}
				}
			}
		}
		body, err = json.Marshal(out)
	}
	if err != nil {
		c.t.Errorf("moto's list of blocks: %v", err)
	}
	return body
}

// startedBefore answers a StartSnapshot that was asked for before: its client token
// stands for one snapshot.
func (c *Cloud) startedBefore(r *Request) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.starts[snapshotToken(r)]
	switch {
	case r.Operation != "StartSnapshot" || !known:
		return answer{}
	case before.parameters != string(r.body):
		return refuse(r.Service, http.StatusConflict, "ConflictException", "the token was used for another request")
	}
	return answer{status: http.StatusCreated, kind: "application/json", body: before.answer}
}

func snapshotToken(r *Request) string {
	var in struct{ ClientToken string }
	_ = json.Unmarshal(r.body, &in) // what is no JSON has no token
	return in.ClientToken
}

// snapshotStarted keeps a new snapshot pending, and removes the volume of which moto
// makes it: AWS has none. The lock is held.
func (c *Cloud) snapshotStarted(r *Request, body []byte) {
	if token := snapshotToken(r); token != "" {
		c.starts[token] = reservation{parameters: string(r.body), answer: body}
	}
	var in struct{ ParentSnapshotId string }
	var out struct{ SnapshotId string }
	if err := errors.Join(json.Unmarshal(r.body, &in), json.Unmarshal(body, &out)); err != nil {
		c.t.Errorf("StartSnapshot and moto's answer to it: %v", err)
		return
	}
	c.snapshots[out.SnapshotId] = &snapshot{waiting: func() bool { return true }, uploaded: true, parent: in.ParentSnapshotId}
	c.appear(out.SnapshotId)
	found, a := c.form(c.ctx, url.Values{"Action": {"DescribeSnapshots"}, "SnapshotId.1": {out.SnapshotId}})
	if found != nil {
		_, a = c.form(c.ctx, url.Values{"Action": {"DeleteVolume"}, "VolumeId": {found.get("snapshotSet", "item", "volumeId")}})
	}
	if !a.ok() {
		c.t.Errorf("remove the volume of %s: status %d %s %v", out.SnapshotId, a.status, a.body, a.err)
	}
}

// uploadedRoot writes the volume of a snapshot; nil if it was not uploaded. The lock is
// held; what is returned takes none.
func (c *Cloud) uploadedRoot(id string, gib int64) func(ctx context.Context, path string) error {
	var chain []string // the snapshot, and those below it
	for ; id != ""; id = c.snapshots[id].parent {
		if s := c.snapshots[id]; s == nil || !s.uploaded {
			return nil
		}
		chain = append(chain, id)
	}
	if len(chain) == 0 {
		return nil
	}
	slices.Reverse(chain)
	return func(ctx context.Context, path string) (err error) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := f.Truncate(gib << 30); err != nil {
			return err
		}
		for _, id := range chain {
			if err := c.emulator.readBlocks(ctx, id, f); err != nil {
				return fmt.Errorf("blocks of %s: %w", id, err)
			}
		}
		return nil
	}
}

// readBlocks writes into a file the blocks that a snapshot has itself.
func (e *emulator) readBlocks(ctx context.Context, id string, into *os.File) error {
	const size = 512 << 10
	at := "/snapshots/" + id + "/blocks"
	listed := e.ask(ctx, http.MethodGet, at, "ebs", "")
	if !listed.ok() {
		return fmt.Errorf("list: status %d %.200s %w", listed.status, listed.body, listed.err)
	}
	var list struct {
		Blocks []struct {
			BlockIndex int64
			BlockToken string
		}
	}
	if err := json.Unmarshal(listed.body, &list); err != nil {
		return err
	}
	for _, b := range list.Blocks {
		block := e.ask(ctx, http.MethodGet, fmt.Sprintf("%s/%d?blockToken=%s", at, b.BlockIndex, url.QueryEscape(b.BlockToken)), "ebs", "")
		if !block.ok() || len(block.body) != size {
			return fmt.Errorf("block %d: status %d, %d bytes, %v", b.BlockIndex, block.status, len(block.body), block.err)
		}
		if _, err := into.WriteAt(block.body, b.BlockIndex*size); err != nil {
			return err
		}
	}
	return nil
}

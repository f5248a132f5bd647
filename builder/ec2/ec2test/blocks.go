package ec2test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// blockCall answers a call of the EBS direct APIs by moto, and minds what EC2 knows of
// the snapshot. Checksums, tokens and parents are for package publishtest to check.
func (c *Cloud) blockCall(w http.ResponseWriter, r *Request) {
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
			c.snapshotStarted(body)
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

// snapshotStarted keeps a new snapshot pending, and removes the volume of which moto
// makes it: AWS has none. The lock is held.
func (c *Cloud) snapshotStarted(body []byte) {
	var out struct{ SnapshotId string }
	if err := json.Unmarshal(body, &out); err != nil {
		c.t.Errorf("moto's answer to StartSnapshot: %v", err)
		return
	}
	c.snapshots[out.SnapshotId] = &snapshot{waiting: func() bool { return true }}
	c.appear(out.SnapshotId)
	found, a := c.form(c.ctx, url.Values{"Action": {"DescribeSnapshots"}, "SnapshotId.1": {out.SnapshotId}})
	if found != nil {
		_, a = c.form(c.ctx, url.Values{"Action": {"DeleteVolume"}, "VolumeId": {found.get("snapshotSet", "item", "volumeId")}})
	}
	if !a.ok() {
		c.t.Errorf("remove the volume of %s: status %d %s %v", out.SnapshotId, a.status, a.body, a.err)
	}
}

package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/seed-6db18919/ingot/builder"
)

// extent is a piece of the disk that lies in one piece in one file.
type extent struct {
	start, length int64 // on the disk
	offset        int64 // in the file
	depth         int   // which file
}

func (e extent) end() int64 { return e.start + e.length }

// layout is where everything of a disk lies.
type layout struct {
	extents []extent // of data: sorted, without overlaps
	claims  []claim  // sorted, without overlaps; what no file says anything of is in none
}

// claim is a piece of the disk that the files above depth say nothing of: it holds
// what it holds in the disk that the file at depth makes with those below.
type claim struct {
	start, end int64
	depth      int
}

// maxExtents bounds what a map may take of memory: 256 MiB. A disk of 16 GiB in
// clusters of 4 KiB, no two of them side by side, has half as many.
const maxExtents = 8 << 20

// mapped asks qemu-img where the data of the disk at path lies.
func mapped(ctx context.Context, path string, size int64, files int) (layout, error) {
	// As JSON, so that nothing in a path is interpreted.
	node, err := json.Marshal(map[string]any{"driver": "qcow2", "file": map[string]any{"driver": "file", "filename": path}})
	if err != nil {
		return layout{}, err
	}
	cmd := exec.CommandContext(ctx, "qemu-img", "map", "--output=json", "json:"+string(node))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return layout{}, err
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return layout{}, &builder.Error{Reason: "the program qemu-img is not installed on the build host", Hint: "Install the Debian package qemu-utils.", Err: err}
		}
		return layout{}, err
	}
	l, err := parseMap(out, size, files)
	if err != nil {
		// It must not wait for somebody who reads on.
		err = errors.Join(err, cmd.Process.Kill())
	}
	if ended := cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("qemu-img map: %w: %s", ended, strings.TrimSpace(complaint.String()))
	}
	if ctx.Err() != nil {
		return layout{}, context.Cause(ctx)
	}
	return l, err
}

// mapEntry is one entry of what `qemu-img map --output=json` prints.
type mapEntry struct {
	Start   int64  `json:"start"`
	Length  int64  `json:"length"`
	Depth   int    `json:"depth"`
	Present *bool  `json:"present"` // older ones do not say
	Zero    bool   `json:"zero"`
	Data    bool   `json:"data"`
	Offset  *int64 `json:"offset"`
}

// parseMap reads the map of a disk of that size in that many files. Its entries
// cover the disk without gaps; the extents leave out those that read as zeros.
func parseMap(r io.Reader, size int64, files int) (layout, error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return layout{}, fmt.Errorf("not a list: %w", cause(err))
	}
	var l layout
	var covered int64
	for d.More() {
		var e mapEntry
		if err := d.Decode(&e); err != nil {
			return layout{}, err
		}
		if e.Start != covered || e.Length <= 0 || e.Length > size-covered {
			return layout{}, fmt.Errorf("an entry of %d bytes at %d does not continue at %d of %d", e.Length, e.Start, covered, size)
		}
		covered += e.Length
		if err := l.take(e, files); err != nil {
			return layout{}, err
		}
	}
	if _, err := d.Token(); err != nil {
		return layout{}, fmt.Errorf("the list does not end: %w", cause(err))
	}
	if covered != size {
		return layout{}, fmt.Errorf("only %d of %d bytes are told of", covered, size)
	}
	return l, nil
}

func (l *layout) take(e mapEntry, files int) error {
	if e.Depth < 0 || e.Depth >= files {
		return fmt.Errorf("the %d bytes at %d lie in file %d of %d", e.Length, e.Start, e.Depth, files)
	}
	absent := e.Present != nil && !*e.Present
	// What only the lowest could have and has not is nobody's. What is absent further up
	// is not: the file below ends there, and one below that may not.
	if !absent || e.Depth < files-1 {
		l.claims = claimed(l.claims, claim{e.Start, e.Start + e.Length, e.Depth})
	}
	if !e.Zero && !absent {
		found, err := e.extent()
		if err != nil {
			return err
		}
		l.extents = joined(l.extents, found)
	}
	if max(len(l.extents), len(l.claims)) > maxExtents {
		return fmt.Errorf("the data lies in more than %d pieces", maxExtents)
	}
	return nil
}

func (e mapEntry) extent() (extent, error) {
	switch {
	case !e.Data || e.Offset == nil:
		return extent{}, fmt.Errorf("the %d bytes at %d are compressed or otherwise not there as they are", e.Length, e.Start)
	case *e.Offset < 0 || *e.Offset > maxSize*2:
		return extent{}, fmt.Errorf("the %d bytes at %d lie at %d", e.Length, e.Start, *e.Offset)
	}
	return extent{start: e.Start, length: e.Length, offset: *e.Offset, depth: e.Depth}, nil
}

// joined appends e, as part of the last one where it continues that.
func joined(extents []extent, e extent) []extent {
	if n := len(extents); n > 0 {
		last := &extents[n-1]
		if last.end() == e.start && last.depth == e.depth && last.offset+last.length == e.offset {
			last.length += e.length
			return extents
		}
	}
	return append(extents, e)
}

// claimed appends c, as part of the last one where it continues that.
func claimed(claims []claim, c claim) []claim {
	if n := len(claims); n > 0 && claims[n-1].end == c.start && claims[n-1].depth == c.depth {
		claims[n-1].end = c.end
		return claims
	}
	return append(claims, c)
}

func cause(err error) error {
	if err == nil {
		return errors.New("something else")
	}
	return err
}

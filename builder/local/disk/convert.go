package disk

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"

	"github.com/seed-6db18919/ingot/builder"
)

// Format is a disk image format.
type Format string

// The formats that disks are read from and written in.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk" // written stream-optimised, as OVF wants it
	VHDX  Format = "vhdx"
	VHD   Format = "vhd" // of a fixed size, as Azure wants it
	OVA   Format = "ova" // only read
)

// driver is QEMU's word for the format.
func (f Format) driver() string {
	if f == VHD {
		return "vpc"
	}
	return string(f)
}

// Convert writes the disk in as a new file of another format. It reads in with all
// that it is based on, so in must be one of ours: foreign files go through Import.
func Convert(ctx context.Context, in string, from Format, out string, to Format) (err error) {
	options, ok := writeOptions[to]
	if !ok {
		return fail(builder.Internal, builder.StageImage, nil, "", "disks are not written as %q", to)
	}
	work, remove, err := workspace(out, &err)
	if err != nil {
		return err
	}
	defer remove()
	temp := filepath.Join(work, "disk")
	args := slices.Concat([]string{"convert", "-W", "-m", "8"}, options, []string{source(in, from, true), temp})
	if err := tool(ctx, nil, "qemu-img", args...); err != nil {
		return err
	}
	return publish(temp, out)
}

var writeOptions = map[Format][]string{
	Raw:   {"-O", "raw"},
	QCOW2: {"-O", "qcow2"},
	VMDK:  {"-O", "vmdk", "-o", "subformat=streamOptimized"},
	VHDX:  {"-O", "vhdx", "-o", "subformat=dynamic"},
	VHD:   {"-O", "vpc", "-o", "subformat=fixed,force_size=on"},
}

// source names a file for qemu-img in a form in which nothing of its name is
// interpreted and its format is not guessed. Without chain, a backing file that
// it may name is not opened.
func source(path string, f Format, chain bool) string { return nodeName(node(path, f, chain)) }

func node(path string, f Format, chain bool) map[string]any {
	n := map[string]any{
		"driver": f.driver(),
		"file":   map[string]any{"driver": "file", "filename": path},
	}
	if !chain && (f == QCOW2 || f == VMDK) {
		n["backing"] = nil
	}
	return n
}

func nodeName(node map[string]any) string {
	text, err := json.Marshal(node)
	if err != nil {
		panic(err) // strings, numbers and maps of them always marshal
	}
	return "json:" + string(text)
}

package disk

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Bounds for what is taken out of an OVA into memory.
const (
	maxOVF        = 1 << 20
	maxOVAMembers = 256
)

// ovfDisk is the disk that an OVF document describes.
type ovfDisk struct {
	href    string // the member of the OVA that holds it
	gzipped bool
	others  int // further disks, which are left out
}

// parseOVF finds the first disk that has a file; disks without one are empty.
func parseOVF(text []byte) (ovfDisk, error) {
	var envelope struct {
		XMLName xml.Name `xml:"Envelope"`
		Files   []struct {
			ID          string `xml:"id,attr"`
			Href        string `xml:"href,attr"`
			Compression string `xml:"compression,attr"`
			ChunkSize   string `xml:"chunkSize,attr"`
		} `xml:"References>File"`
		Disks []struct {
			FileRef   string `xml:"fileRef,attr"`
			ParentRef string `xml:"parentRef,attr"`
		} `xml:"DiskSection>Disk"`
	}
	if err := xml.Unmarshal(text, &envelope); err != nil {
		return ovfDisk{}, refuse("", "the OVF document of the OVA is not valid: %w", err)
	}
	var found []ovfDisk
	for _, disk := range envelope.Disks {
		for _, file := range envelope.Files {
			if disk.FileRef == "" || file.ID != disk.FileRef {
				continue
			}
			switch {
			case disk.ParentRef != "":
				return ovfDisk{}, refuse("Export the machine without snapshots.", "a disk of the OVA is based on another disk")
			case file.ChunkSize != "":
				return ovfDisk{}, refuse("Export the machine with each disk in one piece.", "a disk of the OVA is cut into pieces")
			case file.Compression != "" && file.Compression != "identity" && file.Compression != "gzip":
				return ovfDisk{}, refuse("", "the OVA compresses its disk with %q, which is not read", file.Compression)
			}
			found = append(found, ovfDisk{href: file.Href, gzipped: file.Compression == "gzip"})
		}
	}
	if len(found) == 0 {
		return ovfDisk{}, refuse("", "the OVA describes no disk")
	}
	first := found[0]
	first.others = len(found) - 1
	return first, nil
}

// unpackOVA copies the disk of an OVA to out and opens it, checked. Names in the
// archive are only compared, never used as paths.
func unpackOVA(ctx context.Context, ova *os.File, out string, log func(string)) (*os.File, Format, error) {
	var disk ovfDisk
	sums := map[string]string{}
	err := eachMember(ctx, ova, func(name string, r io.Reader) error {
		switch path.Ext(name) {
		case ".ovf":
			if disk.href != "" {
				return refuse("", "the OVA holds more than one OVF document")
			}
			text, err := readAtMost(r, maxOVF, name)
			if err != nil {
				return err
			}
			disk, err = parseOVF(text)
			return err
		case ".mf":
			text, err := readAtMost(r, maxOVF, name)
			sums = parseManifest(text)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if disk.href == "" {
		return nil, "", refuse("", "the OVA holds no OVF document")
	}
	if disk.others > 0 {
		log(fmt.Sprintf("the OVA has %d more disks, which are left out", disk.others))
	}
	copied := false
	err = eachMember(ctx, ova, func(name string, r io.Reader) error {
		if name != disk.href || copied {
			return nil
		}
		copied = true
		return copyDisk(ctx, r, disk, sums[name], out)
	})
	if err != nil {
		return nil, "", err
	}
	if !copied {
		return nil, "", refuse("", "the OVA names the disk %q, but does not hold it", disk.href)
	}
	f, format, err := openForeign(ImportSpec{Source: out})
	if err == nil && format == OVA {
		return nil, "", errors.Join(refuse("", "the disk of the OVA is an archive itself"), f.Close())
	}
	return f, format, err
}

func eachMember(ctx context.Context, ova *os.File, visit func(name string, r io.Reader) error) error {
	if _, err := ova.Seek(0, io.SeekStart); err != nil {
		return err
	}
	archive := tar.NewReader(ova)
	for n := 0; ; n++ {
		member, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return refuse("", "the OVA is damaged: %w", err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if n == maxOVAMembers {
			return refuse("", "the OVA holds more than %d files", maxOVAMembers)
		}
		if member.Typeflag != tar.TypeReg {
			continue
		}
		if err := visit(member.Name, archive); err != nil {
			return err
		}
	}
}

func readAtMost(r io.Reader, most int64, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, refuse("", "the OVA is damaged: %w", err)
	}
	if int64(len(text)) > most {
		return nil, refuse("", "%q in the OVA is larger than %d bytes", name, most)
	}
	return text, nil
}

// parseManifest reads the SHA-256 lines of an OVA's manifest: "SHA256(name)= hex".
func parseManifest(text []byte) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "SHA256(")
		name, sum, found := strings.Cut(rest, ")=")
		if ok && found {
			sums[name] = strings.ToLower(strings.TrimSpace(sum))
		}
	}
	return sums
}

func copyDisk(ctx context.Context, r io.Reader, disk ovfDisk, sum, out string) error {
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	hash := sha256.New()
	r = io.TeeReader(&contextReader{ctx: ctx, r: r}, hash)
	content := r
	if disk.gzipped {
		unzip, err := gzip.NewReader(r)
		if err != nil {
			return errors.Join(refuse("", "the disk of the OVA is not compressed with gzip as its OVF document says: %w", err), f.Close())
		}
		content = unzip
	}
	n, err := io.Copy(f, io.LimitReader(content, MaxVirtual+1))
	if err == nil && n > MaxVirtual {
		err = checkVirtual(uint64(n))
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what gzip did not need still counts
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unpack the disk of the OVA: %w", err)
	}
	if sum != "" && sum != hex.EncodeToString(hash.Sum(nil)) {
		return refuse("Fetch or export it again.", "the disk of the OVA does not match the OVA's manifest")
	}
	return nil
}

// contextReader makes a long copy end with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

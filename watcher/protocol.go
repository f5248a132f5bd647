package watcher

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What is said here is Git's protocol, version 2 and, for servers that know
// nothing newer, version 0; gitprotocol-v2(5) and gitprotocol-pack(5) are its
// definition. Only what a reader of refs and packs needs is spoken.

// agent is how we name ourselves to servers.
const agent = "agent=ingot"

// maxRefs bounds how many refs of a server are looked at: more than any
// repository has, fewer than an endless answer.
const maxRefs = 5_000_000

// isHash reports whether s is a full SHA-1 object name.
func isHash(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// lsRefsRequest asks, in version 2, for the refs that begin with the given names.
func lsRefsRequest(refs []string) []byte {
	b := appendPkt(nil, "command=ls-refs\n")
	b = appendPkt(b, agent)
	b = append(b, delimPkt...)
	for _, ref := range refs {
		b = appendPkt(b, "ref-prefix "+ref+"\n")
	}
	return append(b, flushPkt...)
}

// readLsRefs reads the answer and keeps the wanted refs only: a prefix also
// matches longer names.
func readLsRefs(r *pktReader, refs []string) (map[string]string, error) {
	heads := map[string]string{}
	for range maxRefs {
		kind, data, err := r.next()
		if err != nil {
			return nil, truncated(err)
		}
		if kind != pktData {
			return heads, nil
		}
		hash, name, err := splitRef(data)
		if err != nil {
			return nil, err
		}
		name, _, _ = strings.Cut(name, " ") // attributes such as symref-target follow
		if hash != "unborn" && slices.Contains(refs, name) {
			heads[name] = hash
		}
	}
	return nil, fmt.Errorf("%w: more than %d refs", errPktLine, maxRefs)
}

// splitRef splits "object-name SP ref [LF]".
func splitRef(line []byte) (hash, name string, err error) {
	text := strings.TrimSuffix(string(line), "\n")
	hash, name, ok := strings.Cut(text, " ")
	if !ok || !isHash(hash) && hash != "unborn" {
		return "", "", fmt.Errorf("%w: %q instead of a ref", errPktLine, printable(line))
	}
	return hash, name, nil
}

// advertisement is what a server says first: either that it speaks version 2, or
// all of its refs, of which the wanted ones are kept.
type advertisement struct {
	v2    bool
	heads map[string]string
}

// readAdvertisement reads what follows a request for info/refs, or the first
// words of git-upload-pack on a connection.
func readAdvertisement(r *pktReader, refs []string) (advertisement, error) {
	kind, data, err := r.next()
	if err != nil {
		return advertisement{}, truncated(err)
	}
	if kind == pktData && strings.HasPrefix(string(data), "# service=") {
		if kind, _, err = r.next(); err != nil || kind != pktFlush {
			return advertisement{}, errors.Join(errPktLine, err)
		}
		if kind, data, err = r.next(); err != nil {
			return advertisement{}, truncated(err)
		}
	}
	switch {
	case kind != pktData:
		return advertisement{}, nil // no refs at all: an empty repository
	case strings.TrimSuffix(string(data), "\n") == "version 2":
		return advertisement{v2: true}, readCapabilities(r)
	case strings.TrimSuffix(string(data), "\n") == "version 1":
		if kind, data, err = r.next(); err != nil || kind != pktData {
			return advertisement{}, errors.Join(errPktLine, err)
		}
	}
	return readRefList(r, data, refs)
}

// readCapabilities reads the capabilities of version 2 and refuses what we cannot read.
func readCapabilities(r *pktReader) error {
	for range 1000 {
		kind, data, err := r.next()
		if err != nil {
			return truncated(err)
		}
		if kind != pktData {
			return nil
		}
		if err := checkObjectFormat(string(data)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than 1000 capabilities", errPktLine)
}

func checkObjectFormat(capabilities string) error {
	for c := range strings.FieldsSeq(capabilities) {
		if format, ok := strings.CutPrefix(c, "object-format="); ok && format != "sha1" {
			return fmt.Errorf("the repository names its objects with %s; only sha1 is supported", format)
		}
	}
	return nil
}

// readRefList reads the ref list of version 0; first is its first packet, which
// carries the capabilities after a NUL.
func readRefList(r *pktReader, first []byte, refs []string) (advertisement, error) {
	line, capabilities, _ := strings.Cut(string(first), "\x00")
	if err := checkObjectFormat(capabilities); err != nil {
		return advertisement{}, err
	}
	adv := advertisement{heads: map[string]string{}}
	for range maxRefs {
		if !strings.HasPrefix(line, "shallow ") {
			hash, name, err := splitRef([]byte(line))
			if err != nil {
				return advertisement{}, err
			}
			if slices.Contains(refs, name) {
				adv.heads[name] = hash
			}
		}
		kind, data, err := r.next()
		if err != nil {
			return advertisement{}, truncated(err)
		}
		if kind != pktData {
			return adv, nil
		}
		line = string(data)
	}
	return advertisement{}, fmt.Errorf("%w: more than %d refs", errPktLine, maxRefs)
}

// fetchRequest asks, in version 2, for a pack of all that wants reach and haves do
// not. One round only: haves are what our last heads were, which is as much as
// there is to negotiate about.
func fetchRequest(wants, haves []string) []byte {
	b := appendPkt(nil, "command=fetch")
	b = appendPkt(b, agent)
	b = append(b, delimPkt...)
	b = appendPkt(b, "no-progress")
	b = appendPkt(b, "ofs-delta")
	for _, w := range wants {
		b = appendPkt(b, "want "+w+"\n")
	}
	for _, h := range haves {
		b = appendPkt(b, "have "+h+"\n")
	}
	b = appendPkt(b, "done\n")
	return append(b, flushPkt...)
}

// packOfFetch reads up to the pack in the answer to fetchRequest and returns the pack.
func packOfFetch(r *pktReader) (io.Reader, error) {
	for range 100_000 {
		kind, data, err := r.next()
		if err != nil {
			return nil, truncated(err)
		}
		if kind == pktData && strings.TrimSuffix(string(data), "\n") == "packfile" {
			return &sideband{pkts: r}, nil
		}
		if kind == pktFlush {
			break
		}
	}
	return nil, fmt.Errorf("%w: no pack in it", errPktLine)
}

// uploadRequest is fetchRequest in version 0.
func uploadRequest(wants, haves []string) []byte {
	var b []byte
	for i, w := range wants {
		line := "want " + w
		if i == 0 {
			line += " side-band-64k ofs-delta no-progress " + agent
		}
		b = appendPkt(b, line+"\n")
	}
	b = append(b, flushPkt...)
	for _, h := range haves {
		b = appendPkt(b, "have "+h+"\n")
	}
	return appendPkt(b, "done\n")
}

// packOfUpload reads up to the pack in version 0. What is in common is acknowledged
// with one line or several; they begin with a letter, and the pack with a side band.
func packOfUpload(r *pktReader) (io.Reader, error) {
	for range maxHaves + 1 {
		kind, data, err := r.next()
		if err != nil {
			return nil, truncated(err)
		}
		if text := string(data); strings.HasPrefix(text, "NAK") || strings.HasPrefix(text, "ACK ") {
			continue
		}
		band := &sideband{pkts: r}
		return band, band.take(kind, data)
	}
	return nil, fmt.Errorf("%w: no pack in it", errPktLine)
}

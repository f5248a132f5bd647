package watcher

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
)

const hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// stream makes packets of lines; "0000" and "0001" stand for themselves.
func stream(lines ...string) string {
	var b []byte
	for _, l := range lines {
		if l == flushPkt || l == delimPkt {
			b = append(b, l...)
			continue
		}
		b = appendPkt(b, l)
	}
	return string(b)
}

func TestReadLsRefs(t *testing.T) {
	refs := []string{"refs/heads/main"}
	for _, tt := range []struct {
		name, in string
		want     map[string]string
		err      string
	}{
		{"the branch", stream(hashA+" refs/heads/main\n", flushPkt), map[string]string{"refs/heads/main": hashA}, ""},
		{"with attributes", stream(hashA+" refs/heads/main symref-target:refs/heads/x\n", flushPkt), map[string]string{"refs/heads/main": hashA}, ""},
		{"a longer name", stream(hashA+" refs/heads/main2\n", flushPkt), map[string]string{}, ""},
		{"unborn", stream("unborn refs/heads/main\n", flushPkt), map[string]string{}, ""},
		{"none", flushPkt, map[string]string{}, ""},
		{"cut off", stream(hashA + " refs/heads/main\n"), nil, "unexpected EOF"},
		{"cut off inside", stream(hashA + " refs/heads/main\n")[:20], nil, "unexpected EOF"},
		{"the server's refusal", stream("ERR access denied\x1b[31m\n"), nil, "the server says: access denied [31m"},
		{"a web page", "<html><body>", nil, `it begins with "<htm"`},
		{"no ref", stream("hello\n"), nil, `"hello" instead of a ref`},
		{"short hash", stream("abc refs/heads/main\n"), nil, "instead of a ref"},
		{"huge packet", "fff1" + strings.Repeat("x", 70000), nil, "at most 65520"},
		{"impossible length", "0003", nil, "packet length 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readLsRefs(newPktReader(strings.NewReader(tt.in)), refs)
			if tt.err == "" && (err != nil || !maps.Equal(got, tt.want)) {
				t.Fatalf("%v, %v; want %v", got, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("%v, want an error with %q", err, tt.err)
			}
		})
	}
}

func TestReadAdvertisement(t *testing.T) {
	refs := []string{"refs/heads/main"}
	for _, tt := range []struct {
		name, in string
		v2       bool
		heads    int
		err      string
	}{
		{"version 2 over http", stream("# service=git-upload-pack\n", flushPkt, "version 2\n", "ls-refs\n", "object-format=sha1\n", flushPkt), true, 0, ""},
		{"version 2", stream("version 2\n", "fetch=shallow\n", flushPkt), true, 0, ""},
		{"version 2 with sha256", stream("version 2\n", "object-format=sha256\n", flushPkt), true, 0, "only sha1 is supported"},
		{"version 1", stream("version 1\n", hashA+" refs/heads/main\x00caps\n", flushPkt), false, 1, ""},
		{"version 0", stream(hashA+" HEAD\x00side-band-64k ofs-delta\n", hashA+" refs/heads/main\n", hashA+" refs/tags/v1^{}\n", "shallow "+hashA+"\n", flushPkt), false, 1, ""},
		{"version 0 with sha256", stream(hashA+" HEAD\x00object-format=sha256\n", flushPkt), false, 0, "only sha1 is supported"},
		{"empty, with capabilities", stream(strings.Repeat("0", 40)+" capabilities^{}\x00caps\n", flushPkt), false, 0, ""},
		{"empty", stream("# service=git-upload-pack\n", flushPkt, flushPkt), false, 0, ""},
		{"nothing at all", "", false, 0, "unexpected EOF"},
		{"capabilities without end", stream("version 2\n", "ls-refs\n"), true, 0, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			adv, err := readAdvertisement(newPktReader(strings.NewReader(tt.in)), refs)
			if tt.err == "" && (err != nil || adv.v2 != tt.v2 || len(adv.heads) != tt.heads) {
				t.Fatalf("%+v, %v; want v2 %v and %d heads", adv, err, tt.v2, tt.heads)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("%v, want an error with %q", err, tt.err)
			}
		})
	}
}

func TestPack(t *testing.T) {
	for _, tt := range []struct {
		name, in  string
		find      func(*pktReader) (io.Reader, error)
		want, err string
	}{
		{"version 2", stream("packfile\n", "\x01PA", "\x02counting\n", "\x01CK", flushPkt), packOfFetch, "PACK", ""},
		{"version 2 with more before it", stream("shallow-info\n", "shallow "+hashA+"\n", delimPkt, "packfile\n", "\x01PACK", flushPkt), packOfFetch, "PACK", ""},
		{"version 2 without a pack", stream("acknowledgments\n", "NAK\n", flushPkt), packOfFetch, "", "no pack in it"},
		{"version 0", stream("NAK\n", "\x01PACK", flushPkt), packOfUpload, "PACK", ""},
		{"version 0, two in common", stream("ACK "+hashA+"\n", "ACK "+hashA+"\n", "\x01PACK", flushPkt), packOfUpload, "PACK", ""},
		{"the server fails", stream("packfile\n", "\x01PA", "\x03out of memory\n"), packOfFetch, "PA", "the server says: out of memory"},
		{"cut off", stream("packfile\n", "\x01PA"), packOfFetch, "PA", "unexpected EOF"},
		{"an empty packet", stream("packfile\n", ""), packOfFetch, "", "an empty packet"},
		{"another band", stream("packfile\n", "\x07x"), packOfFetch, "", "side band 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.find(newPktReader(strings.NewReader(tt.in)))
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
			}
			if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("%q, %v; want %q and an error with %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzProtocol(f *testing.F) {
	f.Add([]byte(stream("version 2\n", "fetch\n", flushPkt, hashA+" refs/heads/main\n", flushPkt, "packfile\n", "\x01PACK", flushPkt)))
	f.Add([]byte(stream(hashA+" refs/heads/main\x00caps\n", flushPkt, "NAK\n", "\x01PACK", flushPkt)))
	f.Add([]byte("0004000500010002fff0"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newPktReader(&limitedReader{r: bytes.NewReader(in), left: 1 << 20})
		refs := []string{"refs/heads/main"}
		adv, err := readAdvertisement(r, refs)
		if err != nil {
			return
		}
		heads, find := adv.heads, packOfUpload
		if adv.v2 {
			find = packOfFetch
			if heads, err = readLsRefs(r, refs); err != nil {
				return
			}
		}
		for ref, hash := range heads {
			if ref != refs[0] || !isHash(hash) {
				t.Fatalf("%q at %q", ref, hash)
			}
		}
		if pack, err := find(r); err == nil {
			if n, _ := io.Copy(io.Discard, pack); n > int64(len(in)) {
				t.Fatalf("a pack of %d bytes out of %d", n, len(in))
			}
		}
	})
}

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{"https://github.com/acme/images.git", "https://github.com/acme/images.git", ""},
		{"https://user:hunter2@git.example/a/", "https://git.example/a", ""},
		{"git@github.com:acme/images.git", "ssh://git@github.com/acme/images.git", ""},
		{"ssh://git.example:2222/~ada/images.git", "ssh://git@git.example:2222/~ada/images.git", ""},
		{"/srv/git/../git/images.git", "/srv/git/images.git", ""},
		{"file:///srv/git/images.git", "/srv/git/images.git", ""},
		{"http://127.0.0.1:8080/images.git", "http://127.0.0.1:8080/images.git", ""},
		{"http://git.example/images.git", "", "http is not protected"},
		{"git://git.example/images.git", "", "https, ssh, a file url"},
		{"images.git", "", "https, ssh, a file url"},
		{"file://host/images.git", "", "absolute path"},
		{"https:///images.git", "", "host is missing"},
		{"git@host:a'b", "", `'\'' is not allowed`},
		{"ssh://git@host/a;rm -rf ~", "", "is not allowed"},
		{"git@host:--upload-pack=x", "", "repository is expected"},
		{"ssh://git@host/", "", "repository is expected"},
		{"https://user:hunter2@host:bad/x", "", "cannot be read"},
	} {
		a, err := parseAddress(tt.in)
		if tt.err == "" {
			if err != nil || a.String() != tt.want {
				t.Errorf("parseAddress(%q) = %v, %v; want %q", tt.in, a, err, tt.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("parseAddress(%q): %v, want an error with %q and without the password", tt.in, err, tt.err)
		}
	}
}

func TestLimitedReaderFails(t *testing.T) {
	if _, err := io.ReadAll(&limitedReader{r: strings.NewReader("12345"), left: 4}); !errors.Is(err, errTooLarge) {
		t.Fatalf("%v, want %v", err, errTooLarge)
	}
}

package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// shown is what a scanner finds in text that comes in pieces.
func shown(pieces []string) (logins int, failure string) {
	s := newScanner()
	for _, piece := range pieces {
		_, found := s.write([]byte(piece))
		for _, f := range found {
			switch {
			case f.login:
				logins++
			case failure == "":
				failure = f.failure.reason
			}
		}
	}
	return logins, failure
}

// cut cuts text into pieces of size bytes.
func cut(text string, size int) []string {
	var pieces []string
	for piece := range slices.Chunk([]byte(text), size) {
		pieces = append(pieces, string(piece))
	}
	return pieces
}

func TestLoginPrompt(t *testing.T) {
	for name, c := range map[string]struct {
		text string // pieces are separated by |
		want bool
	}{
		"agetty":                       {"\r\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: ", true},
		"without a host name":          {"Welcome\r\nlogin: ", true},
		"dotted host name":             {"\r\nip-10-0-0-1.ec2.internal login: ", true},
		"colours":                      {"\x1b[0m\x1b[1mweb\x1b[0m login: \x1b[K", true},
		"alternate character set":      {"\x1b(Bweb login: ", true},
		"title before it":              {"\x1b]0;web\x07web login: ", true},
		"cursor moved to a new line":   {"Booting\x1b[24;1Hweb login: ", true},
		"carriage return before it":    {"50%\rweb login: ", true},
		"kernel message after it":      {"\r\nweb login: [   12.345678] random: crng init done\r\n", true},
		"kernel message within it":     {"\r\nweb lo[   12.345678] random: crng init done\r\ngin: ", true},
		"two kernel messages in it":    {"\r\nweb lo[   12.345678] a: b\r\n[   12.345679] c: d\r\ngin: ", true},
		"kernel message with a thread": {"\r\nweb lo[   12.345678][  T123] a: b\r\ngin: ", true},
		"kernel message before it":     {"[   12.345678] a: b\r\nweb login: ", true},
		"greeting of one who is in":    {"Last login: ", false},
		"a line that goes on":          {"web login: |root (automatic login)\r\n", true},
		"split in a word":              {"we|b lo|gin: ", true},
		"split in a kernel message":    {"web login: [   12.3|45678] a: b\r|\n", true},
		"a line that ended":            {"no such login:\nfoo", false},
		"password":                     {"Password: ", false},
		"a word before it":             {"please use your login: ", false},
		"nothing":                      {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			logins, failure := shown(strings.Split(c.text, "|"))
			if (logins > 0) != c.want || failure != "" {
				t.Errorf("%q: %d prompts, failure %q", c.text, logins, failure)
			}
		})
	}
}

func TestBootFailure(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"panic": {
			"[    1.532154] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n",
			"the kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)",
		},
		"panic with a thread": {
			"[    2.000000][    T1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n",
			"the kernel panicked: Attempted to kill init! exitcode=0x00000100",
		},
		"panic in the middle of a line": {
			"[  OK  ] Star[    2.000000] Kernel panic - not syncing: Fatal exception\r\n",
			"the kernel panicked: Fatal exception",
		},
		"panic without time stamps": {
			"Kernel panic - not syncing: No working init found.\r\n",
			"the kernel panicked: No working init found.",
		},
		"tick that comes too late": {
			"[    0.000000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.  Then try booting with the 'noapic' option.\r\n",
			"the host was too busy to give the machine its first timer tick in time",
		},
		"processor that hangs": {
			"[  178.492454] watchdog: BUG: soft lockup - CPU#1 stuck for 74s! [systemd:1]\r\n",
			"the machine's processor hangs: soft lockup - CPU#1 stuck for 74s!",
		},
		"processor that was not served": {"[  126.492454] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [systemd:1]\r\n", ""},
		"panic in a sentence":           {"a test about Kernel panic - not syncing: nothing\r\n", ""},
		"SeaBIOS": {
			"SeaBIOS (version 1.16.2)\r\nBooting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\nNo bootable device.  Retrying in 60 seconds.\r\n",
			"the firmware finds no bootable device: Boot failed: not a bootable disk",
		},
		"OVMF": {
			"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: No bootable option or device was found.\r\nBdsDxe: Press any key to enter the Boot Manager Menu.\r\n",
			"the firmware finds no bootable device",
		},
		"UEFI shell": {
			"Press \x1b[1mESC\x1b[0m to skip\r\n\x1b[1m\x1b[33m\x1b[40mShell> \x1b[0m",
			"the firmware finds no bootable device and offers its shell",
		},
		"GRUB rescue": {
			"error: no such device: ingot-root.\r\nEntering rescue mode...\r\ngrub rescue> ",
			"GRUB cannot start the system and offers its shell: error: no such device: ingot-root.",
		},
		"GRUB shell": {
			"\x1b[H\x1b[J   Minimal BASH-like line editing is supported.\r\n\r\ngrub> ",
			"GRUB cannot start the system and offers its shell",
		},
		"initramfs": {
			"[    3.733073] EXT4-fs (vda3): bad geometry: block count 1031424 exceeds size of device (1031419 blocks)\r\n" +
				"mount: Invalid argument\r\nFailed to mount /dev/vda3 as root file system.\r\n\r\n(initramfs) ",
			"the initial RAM disk cannot mount the root file system and offers a shell: " +
				"EXT4-fs (vda3): bad geometry: block count 1031424 exceeds size of device (1031419 blocks)",
		},
		"initramfs without the disk": {
			"error: no suitable video mode found.\r\n[    0.000000] Linux version 6.1.0\r\n" +
				"ALERT!  LABEL=nowhere does not exist.  Dropping to a shell!\r\n(initramfs) [   31.000000] random: crng init done\r\n",
			"the initial RAM disk cannot mount the root file system and offers a shell: ALERT!  LABEL=nowhere does not exist.  Dropping to a shell!",
		},
		"dracut": {"\r\nGenerating \"/run/initramfs/rdsosreport.txt\"\r\ndracut:/# ", "the initial RAM disk cannot mount the root file system and offers a shell"},
		"emergency mode": {
			"[\x1b[0;1;31m TIME \x1b[0m] Timed out waiting for device \x1b[0;1;39m/dev/vdz\x1b[0m.\r\n" +
				"[\x1b[0;1;38;5;185mDEPEND\x1b[0m] Dependency failed for \x1b[0;1;39mdata.mount\x1b[0m - /data.\r\n" +
				"You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\n",
			"the system came up in emergency mode: [ TIME ] Timed out waiting for device /dev/vdz.",
		},
		"emergency mode without root": {
			"\r\nCannot open access to console, the root account is locked.\r\nSee sulogin(8) man page for more details.\r\n",
			"the system came up in emergency mode",
		},
		"systemd gave up":      {"[!!!!!!] Failed to mount API filesystems, freezing.\r\n", "systemd gave up: Failed to mount API filesystems"},
		"a normal boot":        {"Loading Linux ...\r\n[    0.000000] Linux version 6.1.0\r\n[  OK  ] Reached target multi-user.target\r\n", ""},
		"talk about emergency": {"# what to do when You are in emergency mode\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(c.text)} {
				_, got := shown(cut(c.text, size))
				if got != c.want {
					t.Errorf("in pieces of %d:\ngot  %q\nwant %q", size, got, c.want)
				}
			}
		})
	}
}

// What the guest says ends up in a pull request.
func TestReasonIsHarmlessText(t *testing.T) {
	_, got := shown([]string{"error: \x1b]0;evil\x07\x9b31m\u202e" + strings.Repeat("x", 5000) + "\r\ngrub> "})
	if len(got) > 300 || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("%q", got)
	}
	if !strings.HasPrefix(got, "GRUB cannot start the system and offers its shell") {
		t.Errorf("%q", got)
	}
}

// Files in testdata were captured from real machines: NAME.login.console and NAME.failure.console.
func TestCapturedConsoles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.console")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captured consoles: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			login, failure := strings.HasSuffix(file, ".login.console"), strings.HasSuffix(file, ".failure.console")
			for _, size := range []int{1, 16, 4096} {
				gotLogins, gotFailure := shown(cut(string(text), size))
				if (gotLogins > 0) != login || (gotFailure != "") != failure {
					t.Errorf("in pieces of %d: %d prompts, failure %q", size, gotLogins, gotFailure)
				}
			}
		})
	}
}

func TestCleaner(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"colours":                   {"[\x1b[0;32m  OK  \x1b[0m] Started\r\n", "[  OK  ] Started\n"},
		"doubled carriage returns":  {"one\r\r\ntwo\r\n", "one\ntwo\n"},
		"overwritten line":          {"10%\r20%\r\n", "10%\n20%\n"},
		"cursor position":           {"\x1b[1;1Hone\x1b[2;1Htwo", "one\ntwo"},
		"title":                     {"\x1b]0;title\x07text\x1b]0;title\x1b\\text", "texttext"},
		"escape within an escape":   {"\x1b\x1b[31mred", "red"},
		"escape ends a sequence":    {"\x1b[31\x1b[32mgreen", "green"},
		"sequence that never ends":  {"\x1b[" + strings.Repeat("1", 100) + "text", strings.Repeat("1", 100-csiMax-1) + "text"},
		"title that never ends":     {"\x1b]" + strings.Repeat("x", stringMax+5), "xxxx"},
		"control characters":        {"a\x00\x01\x07\x08b\x7fc\td", "abc\td"},
		"bytes that are no UTF-8":   {"a\xff\xfeb", "a\xff\xfeb"},
		"umlauts":                   {"grün\r\n", "grün\n"},
		"carriage return and color": {"one\r\x1b[0mtwo", "one\ntwo"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 3, len(c.in)} {
				cl := cleaner{lineEmpty: true}
				var got []byte
				for _, piece := range cut(c.in, size) {
					got = cl.clean(got, []byte(piece))
				}
				if string(got) != c.want {
					t.Errorf("in pieces of %d: %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

// Whatever a guest prints, and wherever the stream is cut: memory is bounded, the
// text is the same, nothing of a terminal's language is left in it, and a failure is
// one that can be shown.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("web login: "), uint8(1))
	f.Add([]byte("\x1b[0mweb lo[   12.345678] x\r\ngin: "), uint8(3))
	f.Add([]byte("error: x\r\ngrub rescue> "), uint8(5))
	f.Add([]byte("[    1.0] Kernel panic - not syncing: \xff\x1b]0;\r\n"), uint8(2))
	f.Add([]byte("\x1bP"+strings.Repeat("a", 2000)+"\r\r\n(initramfs) "), uint8(200))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		whole := newScanner()
		all, _ := whole.write(text)
		s := newScanner()
		var pieces []byte
		for piece := range slices.Chunk(text, int(size)+1) {
			clean, found := s.write(piece)
			pieces = append(pieces, clean...)
			for _, f := range found {
				if f.login == (f.failure != nil) {
					t.Fatalf("finding %+v is both or neither", f)
				}
				if f.failure != nil && (printable(f.failure.reason) != f.failure.reason || len(f.failure.reason) > 400) {
					t.Fatalf("reason %q cannot be shown", f.failure.reason)
				}
			}
		}
		if !bytes.Equal(all, pieces) {
			t.Fatalf("the text depends on where it is cut:\n%q\n%q", all, pieces)
		}
		if len(pieces) > len(text)*2 || len(s.line) > lineMax || len(s.part) > lineMax {
			t.Fatalf("%d bytes became %d, with %d and %d held", len(text), len(pieces), len(s.line), len(s.part))
		}
		if bytes.ContainsAny(pieces, "\x00\x07\x1b\r") {
			t.Fatalf("control characters are left in %q", pieces)
		}
	})
}

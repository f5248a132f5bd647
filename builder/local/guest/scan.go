package guest

import (
	"bytes"
	"regexp"
	"strings"
)

// lineMax bounds the line that is looked at, in bytes; of a longer one the end counts.
const lineMax = 2 << 10

// finding is something that the console shows.
type finding struct {
	login   bool
	failure *bootFailure
}

// bootFailure is why a boot will not come to a login prompt.
type bootFailure struct {
	always bool   // also true after a login prompt was seen
	nobody bool   // not the image's fault: another boot may well succeed
	reason string // one sentence
	hint   string
}

// scanner finds login prompts and boot failures in what a serial console prints.
//
// Kernel messages come at any time, also in the middle of a prompt. They
// are recognised by their time stamp and taken out of the line that they broke.
type scanner struct {
	cleaner cleaner
	line    []byte // the line that is being printed, without broken-in kernel messages
	part    []byte // what came since the last newline
	detail  string // the first line since the kernel started that may explain a failure
}

func newScanner() *scanner { return &scanner{cleaner: cleaner{lineEmpty: true}} }

var (
	kernelMessage = regexp.MustCompile(`\[ *\d{1,8}\.\d{6}\](?:\[ *[CT]\d+\])? `)
	loginPrompt   = regexp.MustCompile(`^(?:([[:graph:]]{1,64}) )?login: ?$`)
	detailLine    = regexp.MustCompile(`^(?:ALERT! .*|error: .*|mount: .*|.*Failed to mount .*|.*Timed out waiting for device .*|.*Dependency failed for .*|.*bad geometry.*|` +
		`.*Cannot open root device .*|.*No working init found.*|Boot failed: .*|BdsDxe: failed to .*|fsck.* exited with status code .*)$`)
)

// A rule recognises one kind of boot failure.
type rule struct {
	text    string         // must be in the line: cheaper than the expression
	line    *regexp.Regexp // what the whole line looks like; its first group is added to the reason
	prompt  bool           // the line has no end: somebody is being asked
	failure bootFailure
}

var rules = []rule{
	// The kernel counts on a tick within a fixed number of instructions; emulation on a
	// busy host may be later.
	{text: "IO-APIC + timer", line: regexp.MustCompile(`^(?:\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? )?Kernel panic - not syncing: IO-APIC \+ timer doesn't work!.*$`),
		failure: bootFailure{nobody: true, reason: "the host was too busy to give the machine its first timer tick in time"}},
	{text: "Kernel panic", line: regexp.MustCompile(`^(?:\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? )?Kernel panic - not syncing: (.+)$`),
		failure: bootFailure{always: true, reason: "the kernel panicked"}},
	// Emulated processors hang now and then, for ever, in whatever they were doing; the
	// kernel notices and can do nothing. One that was merely not served for a while by a
	// busy host is not stuck for a minute.
	{text: "soft lockup", line: regexp.MustCompile(`^\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? watchdog: BUG: (soft lockup - CPU#\d+ stuck for (?:[6-9]\d|\d{3,})s!).*$`),
		failure: bootFailure{always: true, nobody: true, reason: "the machine's processor hangs"}},
	{text: "No bootable device", line: regexp.MustCompile(`^No bootable device\.`),
		failure: bootFailure{reason: "the firmware finds no bootable device", hint: bootHint}},
	{text: "No bootable option", line: regexp.MustCompile(`^BdsDxe: No bootable option or device was found`),
		failure: bootFailure{reason: "the firmware finds no bootable device", hint: bootHint}},
	{text: "Shell>", prompt: true, line: regexp.MustCompile(`^Shell> ?$`),
		failure: bootFailure{reason: "the firmware finds no bootable device and offers its shell", hint: bootHint}},
	{text: "grub", prompt: true, line: regexp.MustCompile(`^grub(?: rescue)?> ?$`),
		failure: bootFailure{reason: "GRUB cannot start the system and offers its shell", hint: "Check grub.cfg, and the label or UUID by which it finds the root file system."}},
	{text: "(initramfs)", prompt: true, line: regexp.MustCompile(`^\(initramfs\) ?$`),
		failure: bootFailure{reason: "the initial RAM disk cannot mount the root file system and offers a shell", hint: rootHint}},
	{text: "dracut:", prompt: true, line: regexp.MustCompile(`^dracut:/# ?$`),
		failure: bootFailure{reason: "the initial RAM disk cannot mount the root file system and offers a shell", hint: rootHint}},
	{text: "emergency mode", line: regexp.MustCompile(`^You are in emergency mode`),
		failure: bootFailure{reason: "the system came up in emergency mode", hint: unitHint}},
	{text: "rescue mode", line: regexp.MustCompile(`^You are in rescue mode`),
		failure: bootFailure{reason: "the system came up in rescue mode", hint: unitHint}},
	{text: "Cannot open access to console", line: regexp.MustCompile(`^Cannot open access to console, the root account is locked`),
		failure: bootFailure{reason: "the system came up in emergency mode", hint: unitHint}},
	{text: "freezing", line: regexp.MustCompile(`^\[!!!!!!\] (.+), freezing\.$`),
		failure: bootFailure{reason: "systemd gave up", hint: unitHint}},
}

const (
	bootHint = "The disk needs a boot loader for the firmware that it is booted with."
	rootHint = "Check root= on the kernel's command line and the modules in the initial RAM disk."
	unitHint = "The log below names the unit that failed; a file system in /etc/fstab that does not exist is the usual cause."
)

// write takes the next bytes and returns their text and what it shows, in order.
func (s *scanner) write(p []byte) (clean []byte, found []finding) {
	clean = s.cleaner.clean(nil, p)
	rest := clean
	for {
		text, after, ended := bytes.Cut(rest, []byte{'\n'})
		s.part = appendCapped(s.part, text)
		if !ended {
			break
		}
		if f, ok := s.endLine(); ok {
			found = append(found, f)
		}
		rest = after
	}
	if f, ok := s.ask(); ok {
		found = append(found, f)
	}
	return clean, found
}

// endLine judges a line that is complete. A kernel message in it ended itself, but
// not the line that it broke.
func (s *scanner) endLine() (finding, bool) {
	part := s.part
	s.part = s.part[:0]
	if at := kernelMessage.FindIndex(part); at != nil {
		s.line = appendCapped(s.line, part[:at[0]])
		if f, ok := s.judge(string(part[at[0]:]), false); ok {
			return f, true
		}
		return s.judge(string(s.line), true)
	}
	line := string(appendCapped(s.line, part))
	s.line = s.line[:0]
	return s.judge(line, false)
}

// ask judges a line that has no end yet: it may be a prompt. Consoles print byte by
// byte, so a line that does not end like one must cost next to nothing. A prompt
// behind which a kernel message has begun is judged when that ends.
func (s *scanner) ask() (finding, bool) {
	asked := bytes.TrimSuffix(s.part, []byte{' '})
	if len(asked) == 0 || !strings.ContainsRune(":>)#", rune(asked[len(asked)-1])) {
		return finding{}, false
	}
	return s.judge(string(s.line)+string(s.part), true)
}

func (s *scanner) judge(line string, open bool) (finding, bool) {
	if open && strings.Contains(line, "login:") {
		m := loginPrompt.FindStringSubmatch(line)
		if m != nil && m[1] != "Last" { // "Last login:" greets those who are in
			return finding{login: true}, true
		}
	}
	for _, r := range rules {
		if r.prompt != open || !strings.Contains(line, r.text) {
			continue
		}
		if m := r.line.FindStringSubmatch(line); m != nil {
			f := r.failure
			f.reason = s.sentence(f.reason, m[1:])
			return finding{failure: &f}, true
		}
	}
	if !open {
		s.remember(strings.TrimSpace(kernelMessage.ReplaceAllLiteralString(line, "")))
	}
	return finding{}, false
}

// remember keeps what may explain a later failure. The first complaint is nearest to
// the cause, but those of the boot loader are settled when a kernel runs.
func (s *scanner) remember(line string) {
	switch {
	case strings.HasPrefix(line, "Linux version "):
		s.detail = ""
	case s.detail == "" && detailLine.MatchString(line):
		s.detail = line
	}
}

// sentence adds what the line itself says, or else the line that may explain it.
func (s *scanner) sentence(reason string, groups []string) string {
	detail := s.detail
	if len(groups) > 0 {
		detail = strings.TrimSpace(groups[0])
	}
	if detail == "" {
		return reason
	}
	const most = 200
	if len(detail) > most {
		detail = detail[:most] + "…"
	}
	return reason + ": " + printable(strings.ToValidUTF8(detail, ""))
}

// appendCapped appends b to line and keeps the end of what is too long.
func appendCapped(line, b []byte) []byte {
	if len(b) > lineMax {
		b = b[len(b)-lineMax:]
	}
	line = append(line, b...)
	if len(line) > lineMax {
		line = append(line[:0], line[len(line)-lineMax:]...)
	}
	return line
}

package component

import (
	"slices"
	"strings"
	"testing"
)

func TestMSICommandLines(t *testing.T) {
	for _, c := range []struct {
		request msiRequest
		want    string
	}{
		{msiRequest{option: "/i", path: `C:\sample.msi`}, `msiexec /i "C:\sample.msi" /qn /norestart`},
		{msiRequest{option: "/x", path: `C:\My Files\a.msi`, logFile: `C:\logs\a b.log`, logOptions: "*VX"}, `msiexec /x "C:\My Files\a.msi" /qn /norestart /L*VX "C:\logs\a b.log"`},
		{msiRequest{option: "/i", path: `C:\a.msi`, logOptions: "nonsense"}, `msiexec /i "C:\a.msi" /qn /norestart`},
		{
			msiRequest{option: "/i", path: `C:\a.msi`, properties: []msiProperty{
				{"COMPANYNAME", `"Acme ""Widgets"" and ""Gizmos."""`},
				{"TARGETDIR", `C:\target\location`},
				{"OTHERDIR", `C:\Program Files\`},
				{"QUOTED", `"Amazon Web Services"`},
				{"EMPTY", ``},
				{"INNER", `say ""hello""`},
				{"WORD", `a""b`},
				{"JUSTQUOTES", `""`},
			}},
			`msiexec /i "C:\a.msi" /qn /norestart COMPANYNAME="Acme ""Widgets"" and ""Gizmos.""" TARGETDIR=C:\target\location OTHERDIR="C:\Program Files\" ` +
				`QUOTED="Amazon Web Services" EMPTY="" INNER="say ""hello""" WORD="a""b" JUSTQUOTES=""`,
		},
	} {
		got, err := c.request.line()
		if err != nil || got != c.want {
			t.Errorf("%+v:\n got %s, %v\nwant %s", c.request, got, err, c.want)
		}
	}
}

func TestMSICommandLinesThatAreRefused(t *testing.T) {
	property := func(name, value string) msiRequest {
		return msiRequest{option: "/i", path: "a", properties: []msiProperty{{name, value}}}
	}
	for _, c := range []struct {
		request msiRequest
		want    string
	}{
		{msiRequest{option: "/i"}, "no path"},
		{msiRequest{option: "/i", path: `a" /x "b`}, "no path"},
		{msiRequest{option: "/i", path: "a\nb"}, "no path"},
		{msiRequest{option: "/i", path: "a", logFile: `b"`, logOptions: "v"}, "no path"},
		{msiRequest{option: "/i", path: "a", logFile: "b", logOptions: "v /x"}, "logOptions"},
		{msiRequest{option: "/i", path: "a", logFile: "b", logOptions: ""}, "logOptions"},
		{property("A B", "c"), "no name of a property"},
		{property("", "c"), "no name of a property"},
		{property("/x", "c"), "no name of a property"},
		{property("A", `b"c`), "written twice"},
		{property("A", `"b" C="d"`), "written twice"},
		{property("A", `"""`), "written twice"},
		{property("A", `"`), "written twice"},
		{property("A", "b\nc"), "one line"},
		{property("A", "b\x00c"), "one line"},
		{property("REBOOT", "ReallySuppress"), "not a document's to set"},
		{property("Reboot", "Force"), "not a document's to set"},
		{property("REINSTALLMODE", "ecmus"), "not a document's to set"},
		{property("REINSTALL", "ALL"), "not a document's to set"},
	} {
		line, err := c.request.line()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %s, %v; want an error with %q", c.request, line, err, c.want)
		}
	}
}

// msiWords splits a line as msiexec does: blanks part words, except between
// quotation marks, where two of them stand for one.
func msiWords(line string) []string {
	var words []string
	var word strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '"' && quoted && i+1 < len(line) && line[i+1] == '"':
			word.WriteByte('"')
			i++
		case ch == '"':
			quoted, inWord = !quoted, true
		case (ch == ' ' || ch == '\t') && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(ch)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// Whatever a document says, it comes out as the value of its property, and never
// as a word of its own.
func FuzzMSIProperties(f *testing.F) {
	f.Add(`C:\a.msi`, "NAME", `"Acme ""W"""`)
	f.Add(`C:\a b\`, "A", `x" /x "y`)
	f.Add("a", "B", "\t")
	f.Add("a", "REBOOT", `"""""`)
	f.Fuzz(func(t *testing.T, path, name, value string) {
		line, err := msiRequest{option: "/i", path: path, logFile: path, logOptions: "v", properties: []msiProperty{{name, value}, {"LAST", "1"}}}.line()
		if err != nil {
			return
		}
		meant := value
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			meant = value[1 : len(value)-1]
		}
		meant = strings.ReplaceAll(meant, `""`, `"`)
		want := []string{"msiexec", "/i", path, "/qn", "/norestart", "/Lv", path, name + "=" + meant, "LAST=1"}
		if got := msiWords(line); !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", line, got, want)
		}
	})
}

func TestMSIExitCodes(t *testing.T) {
	for _, c := range []struct {
		option          string
		code            int
		wish            string
		success         bool
		restart, wanted bool
	}{
		{msiInstall, 0, "Allow", true, false, false},
		{msiInstall, 0, "force", true, true, false},
		{msiInstall, 3010, "Allow", true, true, true},
		{msiInstall, 1641, "Allow", true, true, true},
		{msiInstall, 3010, "Skip", true, false, true},
		{msiInstall, 1614, "Allow", true, false, false},
		{msiInstall, 1605, "Allow", false, false, false},
		{msiUninstall, 1605, "Allow", true, false, false},
		{msiUninstall, 3010, "Force", true, true, true},
		{msiInstall, 1603, "Allow", false, false, false},
		{msiUninstall, 1618, "Force", false, true, false},
		{msiInstall, 194, "Allow", false, false, false},
	} {
		if got := msiSucceeded(c.option, c.code); got != c.success {
			t.Errorf("%s %d: success %v", c.option, c.code, got)
		}
		if restart, wanted := msiReboots(c.wish, c.code); restart != c.restart || wanted != c.wanted {
			t.Errorf("%d with %s: restart %v, wanted %v", c.code, c.wish, restart, wanted)
		}
	}
}

func TestSignatures(t *testing.T) {
	for _, c := range []struct {
		status            string
		unsigned, invalid bool
		want              string // empty: it may run
	}{
		{"Valid", false, false, ""},
		{"NotSigned", false, false, "allowUnsignedInstaller"},
		{"NotSigned", true, false, ""},
		{"NotSigned", false, true, "allowUnsignedInstaller"},
		{"HashMismatch", false, false, "ignoreAuthenticodeSignatureErrors"},
		{"HashMismatch", true, false, "ignoreAuthenticodeSignatureErrors"},
		{"HashMismatch", false, true, ""},
		{"NotTrusted", false, true, ""},
		{"UnknownError", false, false, "UnknownError: because"},
		{"", false, true, "says nothing"},
		{"", true, false, "says nothing"},
	} {
		err := signatureProblem("a.msi", c.status, "because", c.unsigned, c.invalid)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

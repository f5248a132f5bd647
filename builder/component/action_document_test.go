package component

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func nested(path string, more ...string) string {
	return nestedAs("Inner", path, append(more, "document-s3-bucket-owner: ''")...)
}

func nestedAs(name, path string, more ...string) string {
	return "- name: " + name + "\n  action: ExecuteDocument\n  inputs:\n    document: " + path + "\n" + indent(strings.Join(more, "\n"), "    ")
}

func TestExecuteDocumentRunsAnother(t *testing.T) {
	b := newBench(t, oneStep(nested("inner.yaml", "phases: validate,build", "parameters: [{name: Word, value: '{{ loop.value }}'}]")+
		bash("After", "echo '{{ build.Inner.outputs.executedStepCount }} {{ build.Inner.outputs.status }}'")))
	b.job.Documents[0].Text = strings.Replace(b.job.Documents[0].Text, "action: ExecuteDocument", "action: ExecuteDocument\n        loop: {forEach: [a, b]}", 1)
	b.put("inner.yaml", "parameters:\n  - Word: {type: string}\n"+document(inPhase("build", bash("One", "echo build {{ Word }}"), bash("Bad", "exit 1", "onFailure: Ignore")), inPhase("validate", bash("Two", "echo validate {{ Word }}")), inPhase("test", bash("Three", "echo never"))))
	b.prints("build a\nvalidate a\nbuild b\nvalidate b\n3\n3 successWithIgnoredFailure\nsuccessWithIgnoredFailure\n")
}

// A reboot inside goes on inside.
func TestExecuteDocumentSurvivesReboots(t *testing.T) {
	b := newBench(t, oneStep(nested("inner.yaml")+bash("After", "echo after")))
	b.put("inner.yaml", oneStep(bash("One", "echo one")+"- {name: R, action: Reboot}\n"+bash("Two", "[ -e x ] || { touch x; exit 194; }; echo two {{ build.One.outputs.stdout }}")))
	for range 2 {
		if r := b.run(); !r.Reboot {
			t.Fatalf("%+v", r)
		}
	}
	b.prints("one\ntwo one\nafter\n")
}

func TestTrap25ExecuteDocumentDepthAndCycles(t *testing.T) {
	b := newBench(t, oneStep(nested("1.yaml")))
	for i, next := range []string{"2.yaml", "3.yaml", "4.yaml"} {
		b.put(string(rune('1'+i))+".yaml", oneStep(nested(next)))
	}
	b.put("4.yaml", oneStep(bash("A", "echo never")))
	b.fails("nested more than 3 deep")
	b = newBench(t, oneStep(nested("1.yaml")))
	b.put("1.yaml", oneStep(nested("2.yaml")))
	b.put("2.yaml", oneStep(nested("1.yaml", "phases: build")))
	b.fails("1.yaml would run itself")
	b = newBench(t, oneStep(nested("bad.yaml")))
	b.put("bad.yaml", "schemaVersion: 1.0\nphases: []")
	b.fails("no phase has one of the known names")
	b = newBench(t, oneStep(nested("inner.yaml")))
	b.put("inner.yaml", oneStep(bash("A", "echo why >&2; exit 7")))
	if r := b.fails("step build/A: exit status 7"); r.Failure.Step != "Inner" {
		t.Errorf("%+v", r.Failure)
	}
	if n := strings.Count(b.logFile("console.log"), "ErrorMessage"); n != 1 {
		t.Errorf("%d failure blocks", n)
	}
	if !strings.Contains(b.logFile("detailedoutput.json"), `"detailedOutput": [`) {
		t.Error("the inner result is not in the outer")
	}
	for path, want := range map[string]string{"s3://b/k": "no access to S3", "arn:aws:imagebuilder:eu-west-1:aws:component/x/1.0.0/1": "no access to Image Builder", "arn:aws:x": "the ARN of a component's build version", "none.yaml": "no such file"} {
		newBench(t, oneStep(nested("'"+path+"'"))).fails(want)
	}
}

// managers puts package managers into PATH that only say how they were called.
func managers(t *testing.T, b *bench, names ...string) {
	t.Helper()
	bin := filepath.Join(b.dir, "bin")
	for _, name := range append(names, "env") {
		script := "#!/bin/sh\necho \"$(basename $0) $*\" >> " + b.dir + "/calls\ncase \"$*\" in *list-updates) printf '<?xml version=\"1.0\"?><stream><update-status><update-list><update kind=\"package\" name=\"bash\" edition=\"2\"/>\\n<update name=\"vim\" kind=\"package\" arch=\"x86_64\"><summary>x</summary></update><update kind=\"patch\" name=\"p\"/></update-list></update-status></stream>\\n';; *--simulate*) printf 'Inst bash [1] (2 x)\\nInst new (3 x)\\nInst vim [1] (2 x) []\\n';; esac\n"
		if name == "env" {
			script = "#!/bin/sh\nshift\nexec \"$@\"\n"
		}
		b.put("bin/"+name, script)
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range []string{"basename", "printf", "sh"} {
		if err := os.Symlink("/usr/bin/"+tool, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	b.env.Environ = []string{"PATH=" + bin}
}

// Trap 29: no manager is an error, and those that the original refuses work.
func TestTrap29UpdateOSUsesTheManagerThatIsThere(t *testing.T) {
	apt := "apt-get -q -y -o Dpkg::Options::=--force-confold "
	for _, c := range []struct{ manager, inputs, calls string }{
		{"apt-get", "", apt + "update\n" + apt + "dist-upgrade\n"},
		{"apt-get", "{include: [vim, bash], exclude: [v*]}", apt + "update\n" + apt + "--only-upgrade install bash\n"},
		{"apt-get", "{exclude: [bash]}", apt + "update\n" + apt + "--simulate dist-upgrade\n" + apt + "--only-upgrade install vim\n"},
		{"apt-get", "{include: ['v*', 'b*'], exclude: [bash]}", apt + "update\n" + apt + "--simulate dist-upgrade\n" + apt + "--only-upgrade install vim\n"},
		{"apt-get", "{exclude: [bash, vim]}", apt + "update\n" + apt + "--simulate dist-upgrade\n"},
		{"dnf", "{include: [vim], exclude: [kernel*]}", "dnf -y --refresh --exclude=kernel* upgrade vim\n"},
		{"dnf", "", "dnf -y --refresh upgrade\n"},
		{"yum", "", "yum -y upgrade\n"},
		{"yum", "{include: [vim, bash], exclude: [vim]}", "yum -y --exclude=vim upgrade bash\n"},
		{"zypper", "", "zypper --non-interactive refresh\nzypper --non-interactive update\n"},
		{"zypper", "{include: [vim]}", "zypper --non-interactive refresh\nzypper --non-interactive update vim\n"},
		{"zypper", "{exclude: [ba*]}", "zypper --non-interactive refresh\nzypper --non-interactive --xmlout list-updates\nzypper --non-interactive update vim\n"},
		{"zypper", "{exclude: [bash, vim]}", "zypper --non-interactive refresh\nzypper --non-interactive --xmlout list-updates\n"},
	} {
		step := "- {name: U, action: UpdateOS}\n"
		if c.inputs != "" {
			step = "- {name: U, action: UpdateOS, inputs: " + c.inputs + "}\n"
		}
		b := newBench(t, oneStep(step))
		managers(t, b, c.manager)
		b.ok()
		if got := b.read("calls"); got != c.calls {
			t.Errorf("%s %s:\n%s\nwant:\n%s", c.manager, c.inputs, got, c.calls)
		}
	}
	b := newBench(t, oneStep("- {name: U, action: UpdateOS, inputs: {include: [vim], exclude: [v*]}}\n"))
	managers(t, b, "dnf")
	if b.ok(); !b.missing("calls") {
		t.Errorf("include less exclude is nothing: %s", b.read("calls"))
	}
	b = newBench(t, oneStep("- {name: U, action: UpdateOS}\n"))
	managers(t, b)
	b.fails("none of apt-get, dnf, yum and zypper")
	b = newBench(t, oneStep("- {name: U, action: UpdateOS, inputs: {include: [-oEvil=1]}}\n"))
	managers(t, b, "apt-get")
	b.fails("is no name of a package")
}

// zypper asks to be run again after it has updated itself.
func TestUpdateOSRunsZypperAgain(t *testing.T) {
	for status, want := range map[int]int{0: 1, 102: 1, 103: 2, 106: 1} {
		b := newBench(t, oneStep("- {name: U, action: UpdateOS}\n"))
		managers(t, b, "zypper")
		b.put("bin/zypper", fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *update) echo x >> %[1]s/updates; [ -e %[1]s/done ] || { : > %[1]s/done; exit %[2]d; };; esac\n", b.dir, status))
		if err := os.Chmod(filepath.Join(b.dir, "bin/zypper"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.ok()
		if got := strings.Count(b.read("updates"), "x"); got != want {
			t.Errorf("status %d: %d updates", status, got)
		}
	}
	b := newBench(t, oneStep("- {name: U, action: UpdateOS}\n"))
	managers(t, b, "zypper")
	b.put("bin/zypper", "#!/bin/sh\nexit 4\n")
	b.fails("exit status 4")
}

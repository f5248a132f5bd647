package component

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestRegistryKeys(t *testing.T) {
	long := strings.Repeat("k", maxRegistryKeyName)
	for path, want := range map[string]string{
		`HKLM:\SOFTWARE\MySoftWare`:         `HKEY_LOCAL_MACHINE\SOFTWARE\MySoftWare`,
		`HKEY_CURRENT_USER\Software\Test`:   `HKEY_CURRENT_USER\Software\Test`,
		`hkcu:\Software\Test\`:              `HKEY_CURRENT_USER\Software\Test`,
		`HKCR\.txt`:                         `HKEY_CLASSES_ROOT\.txt`,
		`HKU:\.DEFAULT\Control Panel`:       `HKEY_USERS\.DEFAULT\Control Panel`,
		`HKCC:\\System\\CurrentControlSet`:  `HKEY_CURRENT_CONFIG\System\CurrentControlSet`,
		`HKEY_LOCAL_MACHINE:\a/b\ö`:         `HKEY_LOCAL_MACHINE\a/b\ö`,
		`HKLM:\` + long:                     `HKEY_LOCAL_MACHINE\` + long,
		`HKLM`:                              "names no key",
		`HKLM:\`:                            "names no key",
		`HKLM:/SOFTWARE`:                    "begins with one of",
		`SOFTWARE\Acme`:                     "begins with one of",
		`Computer\HKEY_LOCAL_MACHINE\a`:     "begins with one of",
		``:                                  "begins with one of",
		`HKLM:\` + long + `k`:               "no name of a key",
		"HKLM:\\a\x00b":                     "no name of a key",
		"HKLM:\\a\xffb":                     "no name of a key",
		`HKLM:` + strings.Repeat(`\a`, 513): "keys deep",
	} {
		key, err := parseRegistryKey(path)
		if err == nil && key.String() == want {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, %v; want %s", path, key, err, want)
		}
	}
}

// A path that is accepted is one that is accepted again, as it is.
func FuzzRegistryKeys(f *testing.F) {
	f.Add(`HKLM:\SOFTWARE\Acme`)
	f.Add(`hkey_users\\\a\`)
	f.Add("HKCU:\\\x00")
	f.Fuzz(func(t *testing.T, path string) {
		key, err := parseRegistryKey(path)
		if err != nil {
			return
		}
		again, err := parseRegistryKey(key.String())
		if err != nil || again != key {
			t.Errorf("%q: %v, then %v, %v", path, key, again, err)
		}
		if strings.Contains(key.path, `\\`) || strings.HasPrefix(key.path, `\`) || strings.HasSuffix(key.path, `\`) || strings.ContainsRune(key.path, 0) {
			t.Errorf("%q: path %q", path, key.path)
		}
	})
}

func TestRegistryValues(t *testing.T) {
	for _, c := range []struct {
		kind  string
		text  string
		texts []string
		list  bool
		want  registryValue
		wrong string
	}{
		{kind: "SZ", text: "FirstVersionSoftware", want: registryValue{kind: "SZ", text: "FirstVersionSoftware"}},
		{kind: "sz", text: "", want: registryValue{kind: "SZ"}},
		{kind: "SZ", text: "0x10", want: registryValue{kind: "SZ", text: "0x10"}},
		{kind: "SZ", text: "a\x00b", wrong: "no text"},
		{kind: "SZ", list: true, texts: []string{"a"}, wrong: "no list"},
		{kind: "EXPAND_SZ", text: `%SystemRoot%\x`, want: registryValue{kind: "EXPAND_SZ", text: `%SystemRoot%\x`}},
		{kind: "MULTI_SZ", list: true, texts: []string{"a", "b c"}, want: registryValue{kind: "MULTI_SZ", texts: []string{"a", "b c"}}},
		{kind: "MULTI_SZ", list: true, want: registryValue{kind: "MULTI_SZ"}},
		{kind: "MULTI_SZ", text: "a", want: registryValue{kind: "MULTI_SZ", texts: []string{"a"}}},
		{kind: "MULTI_SZ", list: true, texts: []string{"a", ""}, wrong: "entry 1 is empty"},
		{kind: "DWORD", text: "42", want: registryValue{kind: "DWORD", number: 42}},
		{kind: "DWORD", text: "010", want: registryValue{kind: "DWORD", number: 10}},
		{kind: "DWORD", text: "0xFFFFFFFF", want: registryValue{kind: "DWORD", number: 4294967295}},
		{kind: "DWORD", text: "4294967296", wrong: "0 to 4294967295"},
		{kind: "DWORD", text: "1.1", wrong: "whole number"},
		{kind: "DWORD", text: "-1", wrong: "whole number"},
		{kind: "DWORD", text: "", wrong: "whole number"},
		{kind: "DWORD", text: "true", wrong: "whole number"},
		{kind: "DWORD", list: true, texts: []string{"1"}, wrong: "no list"},
		{kind: "QWORD", text: "18446744073709551615", want: registryValue{kind: "QWORD", number: 1<<64 - 1}},
		{kind: "QWORD", text: "18446744073709551616", wrong: "whole number"},
		{kind: "BINARY", text: "0a1B ff,00", want: registryValue{kind: "BINARY", data: []byte{10, 27, 255, 0}}},
		{kind: "BINARY", text: "0x0A", want: registryValue{kind: "BINARY", data: []byte{10}}},
		{kind: "BINARY", list: true, texts: []string{"1", "0xff"}, want: registryValue{kind: "BINARY", data: []byte{1, 255}}},
		{kind: "BINARY", list: true, texts: []string{"256"}, wrong: "0 to 255"},
		{kind: "BINARY", text: "abc", wrong: "hexadecimal"},
		{kind: "BINARY", text: "hello!", wrong: "hexadecimal"},
		{kind: "REG_SZ", text: "a", wrong: "no type of value"},
	} {
		got, err := newRegistryValue(c.kind, c.text, c.texts, c.list)
		switch {
		case c.wrong != "":
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s %q %q: %+v, %v; want an error with %q", c.kind, c.text, c.texts, got, err, c.wrong)
			}
		case err != nil || fmt.Sprint(got) != fmt.Sprint(c.want):
			t.Errorf("%s %q %q: %+v, %v", c.kind, c.text, c.texts, got, err)
		}
	}
}

// strictRegistry stands in for the registry where there is none: it remembers what
// was set, and refuses a hive or kind that the real one does not have.
type strictRegistry map[string]registryValue

func (r strictRegistry) set(key registryKey, name string, v registryValue) error {
	known := false
	for _, hive := range registryHives {
		known = known || key.hive == hive
	}
	if !known || !containsFold(registryTypes(), v.kind) {
		return fmt.Errorf("no such hive or kind: %v %v", key, v)
	}
	if key.path == `SAM\Locked` {
		return errors.New("access is denied")
	}
	r[key.String()+`\\`+name] = v
	return nil
}

func TestSetRegistry(t *testing.T) {
	set := func(inputs string) (*bench, strictRegistry) {
		b := newBench(t, "schemaVersion: 1.0\nconstants: [{Key: {type: string, value: 'SOFTWARE\\Acme'}}, {Number: {type: string, value: '7'}}]\nphases:\n  - name: build\n    steps:\n"+
			"      - name: A\n        action: SetRegistry\n        inputs:\n"+indent(inputs, "          "))
		registry := strictRegistry{}
		b.env.Platform, b.env.registry = Windows, registry
		return b, registry
	}
	b, registry := set(`- {path: 'HKLM:\{{ Key }}', name: Text, value: '', type: SZ}
- {path: 'HKCU:\Software\Test', name: Number, value: '{{ Number }}', type: dword}
- {path: 'HKCU:\Software\Test', name: List, value: [a, '{{ Number }}'], type: MULTI_SZ}
`)
	b.ok()
	want := strictRegistry{
		`HKEY_LOCAL_MACHINE\SOFTWARE\Acme\\Text`:  {kind: "SZ"},
		`HKEY_CURRENT_USER\Software\Test\\Number`: {kind: "DWORD", number: 7},
		`HKEY_CURRENT_USER\Software\Test\\List`:   {kind: "MULTI_SZ", texts: []string{"a", "7"}},
	}
	if !reflect.DeepEqual(registry, want) {
		t.Errorf("set %+v", registry)
	}
	for inputs, message := range map[string]string{
		`{path: 'HKLM:\SAM\Locked', name: A, value: a, type: SZ}`:       `set A of HKEY_LOCAL_MACHINE\SAM\Locked: access is denied`,
		`{path: 'HKLM:\a', name: A, value: 1.1, type: DWORD}`:           "value of SetRegistry: \"1.1\" is no whole number",
		`{path: 'HKLM:\a', name: A, value: '{{ Key }}', type: DWORD}`:   "is no whole number",
		`{path: 'HKLM:\a', name: A, type: SZ}`:                          "lack value",
		`{path: '{{ Key }}', name: A, value: a, type: SZ}`:              "begins with one of",
		`{path: 'SOFTWARE\Acme', name: A, value: a, type: SZ}`:          "path of SetRegistry",
		`{path: 'HKLM:\a', name: A, value: a, type: REG_SZ}`:            "REG_SZ",
		`{path: 'HKLM:\a', name: A, value: {b: c}, type: SZ}`:           "mapping",
		`{path: 'HKLM:\a', name: A, value: ['{{ Key }}'], type: DWORD}`: "no list",
	} {
		b, _ := set("- " + inputs + "\n")
		b.fails(message)
	}
}

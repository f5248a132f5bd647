package ec2

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// linuxInventory prints what is installed, one line each, fields between tabs.
const linuxInventory = `name: inventory
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: List
        action: ExecuteBash
        inputs:
          commands:
            - |
              ( . /etc/os-release && printf 'os\t%s\n' "$PRETTY_NAME" )
              printf 'kernel\t%s\n' "$(uname -r)"
              if command -v dpkg-query >/dev/null; then
                dpkg-query -W -f 'package\t${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n'
              elif command -v rpm >/dev/null; then
                rpm -qa --qf 'package\tinstalled\t%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n'
              fi
`

const windowsInventory = `name: inventory
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: List
        action: ExecutePowerShell
        inputs:
          commands:
            - '$t = [char]9; $s = Get-CimInstance Win32_OperatingSystem'
            - 'Write-Output ("os" + $t + $s.Caption + " " + $s.Version)'
            - '$keys = "HKLM:\Software\Microsoft\Windows\CurrentVersion\Uninstall\*", "HKLM:\Software\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\*"'
            - 'Get-ItemProperty $keys -ErrorAction SilentlyContinue | Where-Object DisplayName | ForEach-Object { "package" + $t + "installed" + $t + $_.DisplayName + $t + $_.DisplayVersion + $t }'
            - 'Get-HotFix | ForEach-Object { "package" + $t + "installed" + $t + $_.HotFixID + $t + $_.Description + $t }'
`

// Inventory implements builder.Instance. Its output counts, which an outcome does not
// have: as long as the agent is there it tells it again, and for later it is kept.
func (i *instance) Inventory(ctx context.Context) (builder.Inventory, error) {
	if i.ops < i.cleaned {
		i.ops++
		found, err := i.keptInventory(ctx)
		return found, failed(builder.StageInventory, "the list of packages that was kept could not be read", err)
	}
	found, err := i.inventory(ctx)
	if err != nil {
		return found, err
	}
	text, err := json.Marshal(found)
	if err == nil {
		err = i.d.putObject(ctx, i.memory("inventory"), text)
	}
	return found, failed(builder.StageInventory, "the list of packages could not be kept", err)
}

func (i *instance) keptInventory(ctx context.Context) (found builder.Inventory, err error) {
	text, err := i.d.object(ctx, i.memory("inventory"), maxInventory)
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal(text, &found)
}

// maxInventory bounds an inventory, in bytes.
const maxInventory = 64 << 20

// inventory lists what is installed now.
func (i *instance) inventory(ctx context.Context) (builder.Inventory, error) {
	text := linuxInventory
	if i.windows {
		text = windowsInventory
	}
	var out strings.Builder
	job := component.Job{
		ID: "inventory", Phases: []string{"build"},
		Documents: []component.JobDocument{{Name: "inventory", Path: "inventory.yaml", Text: text}},
	}
	request := relay.Request{Op: relay.Run, Job: &job}
	if err := i.next(&request); err != nil {
		return builder.Inventory{}, err
	}
	outcome, err := i.perform(ctx, request, func(e component.Event) {
		const most = 16 << 20
		if e.Kind == component.Output && e.Stream == "stdout" && out.Len() < most {
			out.WriteString(e.Text)
		}
	})
	result, err := i.result(builder.StageInventory, outcome, err, func(component.Event) {})
	if err != nil {
		return builder.Inventory{}, err
	}
	found := parseInventory(out.String())
	if !result.Status.OK() || found.OS == "" {
		return builder.Inventory{}, &builder.Error{Fault: builder.Author, Stage: builder.StageInventory,
			Reason: "the installed packages could not be listed: the package manager's own query failed",
			Hint:   "a component may have broken dpkg, rpm or bash", Output: clip(out.String())}
	}
	return found, nil
}

// parseInventory reads what the script prints. The instance may print anything;
// what is no such line is left out.
func parseInventory(text string) builder.Inventory {
	var found builder.Inventory
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		for n := range fields {
			fields[n] = printable(fields[n])
		}
		switch {
		case len(fields) == 2 && fields[0] == "os":
			found.OS = fields[1]
		case len(fields) == 2 && fields[0] == "kernel":
			found.Kernel = fields[1]
		case len(fields) == 5 && fields[0] == "package" && fields[1] == "installed" && fields[2] != "":
			found.Packages = append(found.Packages, builder.Package{Name: fields[2], Version: fields[3], Architecture: fields[4]})
		}
	}
	slices.SortFunc(found.Packages, func(a, b builder.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Version, b.Version))
	})
	found.Packages = slices.Compact(found.Packages)
	return found
}

func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

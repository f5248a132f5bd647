package ec2

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
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

// Inventory implements builder.Instance.
func (i *instance) Inventory(ctx context.Context) (builder.Inventory, error) {
	text := linuxInventory
	if i.windows {
		text = windowsInventory
	}
	var out strings.Builder
	job := component.Job{
		ID: "inventory", Phases: []string{"build"},
		Documents: []component.JobDocument{{Name: "inventory", Path: "inventory.yaml", Text: text}},
	}
	result, err := i.machine.run(ctx, builder.StageInventory, job, func(e component.Event) {
		const most = 16 << 20
		if e.Kind == component.Output && e.Stream == "stdout" && out.Len() < most {
			out.WriteString(e.Text)
		}
	})
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

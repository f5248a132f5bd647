package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// windowsUpdate is one update that the Windows Update agent offers.
type windowsUpdate struct {
	ID    string   `json:"id"`
	Title string   `json:"title"`
	KB    []string `json:"kb"` // numbers of articles, without KB
}

var (
	updateID     = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	articleKnown = regexp.MustCompile(`(?i)^(?:KB)?([0-9]+)$`)
)

// fits reports whether a name of include or exclude means this update: the number
// of its article with or without KB, or its title, in which * stands for any text.
func (u windowsUpdate) fits(name string) bool {
	if m := articleKnown.FindStringSubmatch(name); m != nil {
		return slices.ContainsFunc(u.KB, func(kb string) bool {
			have := articleKnown.FindStringSubmatch(kb)
			return have != nil && have[1] == m[1]
		})
	}
	return wildcard(strings.ToLower(name), strings.ToLower(u.Title))
}

// chooseUpdates are those that include names, or all, without those that exclude
// names.
func chooseUpdates(offered []windowsUpdate, include, exclude []string) []windowsUpdate {
	var out []windowsUpdate
	for _, u := range offered {
		if (len(include) == 0 || slices.ContainsFunc(include, u.fits)) && !slices.ContainsFunc(exclude, u.fits) {
			out = append(out, u)
		}
	}
	return out
}

// searchUpdates is what both scripts take for available: everything that the
// machine's update service offers, and that nobody has hidden.
const searchUpdates = `$ErrorActionPreference = 'Stop'
$session = New-Object -ComObject Microsoft.Update.Session
$offered = $session.CreateUpdateSearcher().Search('IsInstalled=0 and IsHidden=0').Updates
`

// listUpdatesScript prints the list in JSON of ASCII alone, which every code page
// of a console has.
const listUpdatesScript = searchUpdates + `$list = @($offered | ForEach-Object {
    [pscustomobject]@{ id = $_.Identity.UpdateID; title = $_.Title; kb = @($_.KBArticleIDs | ForEach-Object { "$_" }) }
})
$json = ConvertTo-Json -InputObject $list -Depth 4 -Compress
[Console]::Out.Write([regex]::Replace($json, '[^ -~]', { param($match) '\u{0:x4}' -f [int][char]$match.Value }))`

// installUpdatesScript installs the updates whose ids are its arguments. It exits
// with 3010 for a restart, after which updates that failed are tried again, and
// with 1 for a failure that no restart mends.
const installUpdatesScript = searchUpdates + `$chosen = New-Object -ComObject Microsoft.Update.UpdateColl
foreach ($update in $offered) {
    if ($args -notcontains $update.Identity.UpdateID) { continue }
    if (-not $update.EulaAccepted) { $update.AcceptEula() }
    [void]$chosen.Add($update)
}
if ($chosen.Count -eq 0) { exit 0 }
$downloader = $session.CreateUpdateDownloader()
$downloader.Updates = $chosen
[void]$downloader.Download()
$installer = $session.CreateUpdateInstaller()
$installer.ForceQuiet = $true
$installer.Updates = $chosen
$result = $installer.Install()
$outcomes = 'not started', 'in progress', 'installed', 'installed with errors', 'failed', 'aborted'
$failed = $false
for ($i = 0; $i -lt $chosen.Count; $i++) {
    $one = $result.GetUpdateResult($i)
    if ($one.ResultCode -ne 2 -and $one.ResultCode -ne 3) { $failed = $true }
    [Console]::Out.WriteLine(('{0}: {1} (0x{2:X8})' -f $chosen.Item($i).Title, $outcomes[$one.ResultCode], $one.HResult))
}
if ($result.RebootRequired) { exit 3010 }
if ($failed) { exit 1 }
exit 0`

// updateWindows installs what the Windows Update agent offers, until it offers
// nothing more that is asked for: one update can be what another one waits for. A
// restart comes where an update needs it, and the step runs again (inferred).
func (c *call) updateWindows(ctx context.Context) error {
	installed := map[string]bool{}
	for {
		answer, err := c.ask(ctx, "updates.ps1", listUpdatesScript)
		if err != nil {
			return fmt.Errorf("ask the Windows Update agent: %w", err)
		}
		offered, err := parseUpdates(answer)
		if err != nil {
			return fmt.Errorf("ask the Windows Update agent: %w", err)
		}
		chosen := chooseUpdates(offered, c.list("include"), c.list("exclude"))
		c.logs.note("%d updates offered, %d chosen", len(offered), len(chosen))
		args := append(powerShell(), c.logs.path("install.ps1"))
		before := len(installed)
		for _, u := range chosen {
			if !installed[u.ID] {
				installed[u.ID] = true
				args = append(args, u.ID)
			}
		}
		switch {
		case len(installed) == before && len(chosen) > 0:
			return fmt.Errorf("still offered after it was installed: %s", chosen[0].Title)
		case len(chosen) == 0:
			return nil
		}
		if err := c.logs.writeFile("install.ps1", []byte(scriptText([]string{installUpdatesScript}))); err != nil {
			return err
		}
		if _, err := c.execute(ctx, args...); err != nil {
			return err
		}
	}
}

// parseUpdates reads what listUpdatesScript prints.
func parseUpdates(answer string) ([]windowsUpdate, error) {
	var out []windowsUpdate
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		return nil, fmt.Errorf("its answer is no list: %w", err)
	}
	for _, u := range out {
		if !updateID.MatchString(u.ID) {
			return nil, errors.New("its answer has an update without an id")
		}
	}
	return out, nil
}

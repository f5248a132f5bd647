package ec2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder/relay"
)

// Where the agent lives on an instance. A folder in the root is on the root file
// system, which is not mounted noexec.
const (
	linuxDir   = "/.ingot"
	windowsDir = `C:\ProgramData\ingot`
)

// delivered is an agent that lies in the bucket.
type delivered struct {
	once sync.Mutex
	key  string
	sum  string
}

// deliverAgent puts an agent's program into the bucket, named by its content, once.
func (d *Driver) deliverAgent(ctx context.Context, file string) (key, sum string, err error) {
	known, _ := d.agents.LoadOrStore(file, &delivered{})
	a := known.(*delivered)
	a.once.Lock()
	defer a.once.Unlock()
	if a.key != "" {
		return a.key, a.sum, nil
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("read the agent: %w", err)
	}
	sum = relay.Digest(program)
	key = d.cfg.Prefix + "agents/" + sum
	if err := d.putOnce(ctx, key, program); err != nil {
		return "", "", err
	}
	a.key, a.sum = key, sum
	return key, sum, nil
}

// putOnce writes an object that is named by its content, unless it is there.
func (d *Driver) putOnce(ctx context.Context, key string, content []byte) error {
	head, err := d.aws.Objects.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(d.cfg.Bucket), Key: aws.String(key)})
	if err == nil && aws.ToInt64(head.ContentLength) == int64(len(content)) {
		return nil
	}
	if is := code(err); err != nil && is != "NotFound" && is != "NoSuchKey" {
		return err
	}
	return d.putObject(ctx, key, content)
}

// script fetches the agent, if it is not there yet, and has it do the request.
func (d *Driver) script(ctx context.Context, m *machine, request relay.Source) ([]string, error) {
	key, sum, err := d.deliverAgent(ctx, m.agent)
	if err != nil {
		return nil, err
	}
	url, err := d.sign(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, value := range []string{url, request.URL} {
		if strings.ContainsAny(value, "'\r\n`$\" ") {
			return nil, errors.New("a signed address has characters that no address has")
		}
	}
	if m.windows {
		return powerShell(url, sum, request), nil
	}
	return shell(url, sum, request), nil
}

func shell(agentURL, sum string, request relay.Source) []string {
	return []string{
		"set -eu", "umask 077",
		"dir=" + linuxDir, "sum=" + sum, "agent=$dir/agent-$sum",
		"fetch() {",
		"  if command -v curl >/dev/null; then curl -fsSL --retry 5 --retry-connrefused -o \"$2\" \"$1\"",
		"  elif command -v wget >/dev/null; then wget -q -t 5 -O \"$2\" \"$1\"",
		"  elif command -v python3 >/dev/null; then python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \"$1\" \"$2\"",
		"  else echo 'there is neither curl nor wget nor python3 to fetch the agent with' >&2; exit 1; fi",
		"}",
		"mkdir -p \"$dir\"",
		"if [ ! -x \"$agent\" ]; then",
		"  fetch '" + agentURL + "' \"$agent.$$\"",
		"  echo \"$sum  $agent.$$\" | sha256sum -c --status || { echo 'the agent that came is not the one that was announced' >&2; exit 1; }",
		"  chmod 700 \"$agent.$$\"", "  mv -f \"$agent.$$\" \"$agent\"",
		"fi",
		fmt.Sprintf("exec \"$agent\" relay --dir \"$dir\" --url '%s' --sha256 %s --size %d", request.URL, request.SHA256, request.Size),
	}
}

// wipe removes from Windows what powerShell brought. The agent could not: a program
// that runs cannot be deleted there.
func wipe() []string {
	return []string{
		"$ErrorActionPreference = 'Stop'",
		"$dir = '" + windowsDir + "'",
		"for ($try = 1; Test-Path -LiteralPath $dir; $try++) {", // it may still be ending
		"  try { Remove-Item -Recurse -Force -LiteralPath $dir } catch { if ($try -ge 30) { throw }; Start-Sleep -Seconds 2 }",
		"}",
	}
}

func powerShell(agentURL, sum string, request relay.Source) []string {
	return []string{
		"$ErrorActionPreference = 'Stop'", "$ProgressPreference = 'SilentlyContinue'",
		"[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12",
		"$dir = '" + windowsDir + "'", "$agent = Join-Path $dir 'agent-" + sum + ".exe'",
		"New-Item -ItemType Directory -Force -Path $dir | Out-Null",
		"if (-not (Test-Path $agent)) {",
		"  $part = \"$agent.$PID\"",
		"  Invoke-WebRequest -UseBasicParsing -Uri '" + agentURL + "' -OutFile $part",
		"  if ((Get-FileHash -Algorithm SHA256 $part).Hash -ne '" + sum + "') { throw 'the agent that came is not the one that was announced' }",
		"  Move-Item -Force $part $agent",
		"}",
		fmt.Sprintf("& $agent relay --dir $dir --url '%s' --sha256 %s --size %d", request.URL, request.SHA256, request.Size),
		"exit $LASTEXITCODE",
	}
}

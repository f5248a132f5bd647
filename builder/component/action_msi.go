package component

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Options of msiexec.
const (
	msiInstall   = "/i"
	msiUninstall = "/x"
)

func installMSI(ctx context.Context, c *call) (map[string]string, error) {
	return c.runMSI(ctx, msiInstall)
}

func uninstallMSI(ctx context.Context, c *call) (map[string]string, error) {
	return c.runMSI(ctx, msiUninstall)
}

// runMSI gives a package to Windows Installer. After a restart that follows, the
// run goes on with the next step: msiexec is not repeated (inferred).
func (c *call) runMSI(ctx context.Context, option string) (map[string]string, error) {
	properties, err := c.msiProperties()
	if err != nil {
		return nil, err
	}
	request := msiRequest{option: option, logFile: c.path("logFile"), logOptions: c.text("logOptions"), properties: properties}
	folder, err := c.logs.temporary("installer")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	if request.path, err = c.installer(ctx, folder); err != nil {
		return nil, err
	}
	line, err := request.line()
	if err != nil {
		return nil, err
	}
	if err := c.verifySignature(ctx, request.path); err != nil {
		return nil, err
	}
	if request.logFile != "" {
		if err := os.MkdirAll(filepath.Dir(request.logFile), 0o777); err != nil {
			return nil, err
		}
	}
	c.logs.note("%s", line)
	code, output, err := c.start(ctx, program{args: []string{"msiexec.exe"}, line: line})
	if err != nil {
		return nil, err
	}
	return c.msiOutcome(request, code, output)
}

func (c *call) msiOutcome(request msiRequest, code int, output map[string]string) (map[string]string, error) {
	if !msiSucceeded(request.option, code) {
		hint := ""
		if request.logFile != "" {
			hint = "; " + request.logFile + " says more"
		}
		return nil, fmt.Errorf("Windows Installer ended with exit code %d%s", code, hint)
	}
	output["logFile"], output["msiExitCode"] = c.text("logFile"), strconv.Itoa(code)
	restart, wanted := msiReboots(c.text("reboot"), code)
	if restart {
		return output, &rebootRequest{}
	}
	if wanted {
		c.warn(c.at, "Windows Installer asks for a restart (exit code %d), and reboot is Skip", code)
	}
	return output, nil
}

// installer is the path of the package on this machine. What comes from elsewhere
// is put into folder.
func (c *call) installer(ctx context.Context, folder string) (string, error) {
	from := c.text("path")
	target := filepath.Join(folder, "installer.msi")
	switch {
	case strings.HasPrefix(from, objectScheme):
		object, err := parseObject(from, "")
		if err != nil {
			return "", fmt.Errorf("path: %w", err)
		}
		if c.env.Objects == nil {
			return "", errNoObjects
		}
		return target, c.fetchObject(ctx, object, target)
	case strings.HasPrefix(from, "http://"), strings.HasPrefix(from, "https://"):
		address, err := url.Parse(from)
		if err != nil || address.Host == "" {
			return "", fmt.Errorf("path %q is no http or https URL", from)
		}
		return target, c.downloadTo(ctx, address, target)
	}
	path, err := filepath.Abs(c.path("path"))
	if err != nil {
		return "", err
	}
	return path, mustBe(path, false)
}

func (c *call) msiProperties() ([]msiProperty, error) {
	n := c.values["properties"].node
	if n == nil {
		return nil, nil
	}
	var out []msiProperty
	for i := 0; i+1 < len(n.Content); i += 2 {
		value, err := c.scope.expand(scalar(n.Content[i+1]))
		if err != nil {
			return nil, fmt.Errorf("properties: %w", err)
		}
		out = append(out, msiProperty{n.Content[i].Value, value})
	}
	return out, nil
}

// signatureScript prints the status of a file's signature, and on further lines
// what Windows says about it.
const signatureScript = `$ErrorActionPreference = 'Stop'
$signature = Get-AuthenticodeSignature -LiteralPath $args[0]
[Console]::Out.WriteLine($signature.Status)
[Console]::Out.WriteLine($signature.StatusMessage)`

// verifySignature fails unless the package may be run. The two inputs that relax
// it are about different statuses: a file without any signature has no signature
// errors to ignore (inferred).
func (c *call) verifySignature(ctx context.Context, path string) error {
	unsigned, invalid := c.bool("allowUnsignedInstaller"), c.bool("ignoreAuthenticodeSignatureErrors")
	if unsigned && invalid {
		return nil
	}
	answer, err := c.ask(ctx, "signature.ps1", signatureScript, path)
	if err != nil {
		return fmt.Errorf("look at the signature of %s: %w", path, err)
	}
	status, message, _ := strings.Cut(answer, "\n")
	status, message = strings.TrimSpace(status), strings.TrimSpace(message)
	return signatureProblem(path, status, message, unsigned, invalid)
}

// signatureProblem judges a status of Get-AuthenticodeSignature.
func signatureProblem(path, status, message string, unsigned, invalid bool) error {
	switch {
	case status == "Valid":
		return nil
	case status == "NotSigned" && unsigned, status != "NotSigned" && status != "" && invalid:
		return nil
	case status == "NotSigned":
		return fmt.Errorf("%s is not signed; allowUnsignedInstaller: true lets it run", path)
	case status == "":
		return fmt.Errorf("look at the signature of %s: Get-AuthenticodeSignature says nothing", path)
	}
	return fmt.Errorf("the signature of %s is %s: %s; ignoreAuthenticodeSignatureErrors: true lets it run", path, status, message)
}

// checkMSI looks at what goes onto the command line, as far as it is known.
func checkMSI(s *source, st *Step) {
	if n := mappingValue(st.inputs, 0, "logOptions"); n != nil && n.Value != "" && !strings.Contains(n.Value, "{{") && !msiLogOptions.MatchString(n.Value) {
		s.fail(n, "letters of iwearucmopvx and +, ! and *", "logOptions of %s is %s", st.Action, describe(n))
	}
	n := mappingValue(st.inputs, 0, "properties")
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for _, f := range s.fields(n, "properties of "+st.Action) {
		value := f.value.Value
		if strings.Contains(value, "{{") {
			value = "" // of which only the name can be judged
		}
		if _, err := (msiProperty{f.key.Value, value}).word(); err != nil {
			s.fail(f.key, "", "properties of %s: %v", st.Action, err)
		}
	}
}

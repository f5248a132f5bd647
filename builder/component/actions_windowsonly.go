package component

// windowsActions are those that only Windows has, beside ExecutePowerShell.
func windowsActions() []Action {
	msi := func(name, doc string, run actionFunc) Action {
		return Action{
			Name: name, Platforms: []string{Windows}, Doc: doc, Outputs: []string{"logFile", "msiExitCode", "stdout"}, numbers: []string{"msiExitCode"},
			Inputs: []Input{
				pathInput("A local path, or an s3 or http URL."),
				{Name: "reboot", Type: Text, Default: "Allow", Allowed: []string{"Allow", "Force", "Skip"}, Doc: "Allow restarts when Windows Installer asks for it, Force after every success, Skip never."},
				{Name: "logOptions", Type: Text, Default: "*VX", Doc: "Letters that follow /L of msiexec."},
				{Name: "logFile", Type: Text, Doc: "Where Windows Installer writes its log; without, nowhere."},
				{Name: "properties", Type: TextMap, Doc: "Properties of the package; a quotation mark inside of a value is written twice."},
				{Name: "ignoreAuthenticodeSignatureErrors", Type: Bool, Default: "false", Doc: "true runs a package whose signature is not valid."},
				{Name: "allowUnsignedInstaller", Type: Bool, Default: "false", Doc: "true runs a package that is not signed."},
			},
			run: run, check: checkMSI,
		}
	}
	return []Action{
		msi("InstallMSI", "Installs a package with Windows Installer.", installMSI),
		msi("UninstallMSI", "Removes a package with Windows Installer.", uninstallMSI),
		{
			Name: "SetRegistry", Platforms: []string{Windows}, List: true,
			Doc: "Sets values of the registry; missing keys are made.",
			Inputs: []Input{
				pathInput("A key below HKCR:, HKU:, HKLM:, HKCC: or HKCU:, or the long name of one of them."),
				{Name: "name", Type: Text, Required: true, Doc: "The value's name."},
				// It is required; an empty text is one.
				{Name: "value", Type: TextOrList, Doc: "Required. A list for MULTI_SZ, hexadecimal digits for BINARY."},
				{Name: "type", Type: Text, Required: true, Allowed: registryTypes(), Doc: "What the registry holds."},
			},
			run: setRegistry, check: checkSetRegistry,
		},
	}
}

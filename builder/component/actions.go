package component

// Actions returns every action of the language, sorted as the reference groups them.
func Actions() []Action {
	var all []Action
	all = append(all, executeActions()...)
	all = append(all, transferActions()...)
	all = append(all, fileActions()...)
	all = append(all, folderActions()...)
	all = append(all, windowsActions()...)
	return append(all, systemActions()...)
}

func everywhere() []string { return []string{Linux, Windows, MacOS} }
func posix() []string      { return []string{Linux, MacOS} }

func pathInput(doc string) Input {
	return Input{Name: "path", Type: Text, Required: true, Doc: doc}
}

func commands(required bool) Input {
	return Input{Name: "commands", Type: TextList, Required: required, Doc: "The lines of one script, in order."}
}

func overwrite(doc string) Input {
	return Input{Name: "overwrite", Type: Bool, Default: "true", Doc: doc}
}

func owner(required bool, doc string) Input {
	return Input{Name: "owner", Type: Text, Required: required, POSIX: true, Doc: doc}
}

func group(doc string) Input { return Input{Name: "group", Type: Text, POSIX: true, Doc: doc} }

func permissions(required bool, def string) Input {
	return Input{Name: "permissions", Type: Permissions, Required: required, Default: def, POSIX: true, Doc: "Octal digits, such as 0644."}
}

func encoding() Input {
	return Input{Name: "encoding", Type: Text, Default: "utf8", Doc: "utf8, or utf16 or utf32 with an optional -LE or -BE."}
}

func sourceAndDestination() []Input {
	return []Input{
		{Name: "source", Type: Text, Required: true, Doc: "What is taken; * in the last element matches several."},
		{Name: "destination", Type: Text, Required: true, Doc: "The new path, or a folder when it ends in a separator."},
		overwrite("false makes an existing target an error."),
	}
}

func executeActions() []Action {
	return []Action{
		{
			Name: "ExecuteBash", Platforms: posix(), Outputs: []string{"stdout"},
			Doc:    "Runs its commands as one bash script; the script's exit status is the step's. 194 asks for a reboot, after which the step runs again.",
			Inputs: []Input{commands(true)},
			run:    executeBash, check: checkExecute,
		},
		{
			Name: "ExecutePowerShell", Platforms: []string{Windows}, Outputs: []string{"stdout"},
			Doc: "Runs commands or a script file with Windows PowerShell. 3010 asks for a reboot, after which the step runs again.",
			Inputs: []Input{
				commands(false),
				{Name: "file", Type: Text, Doc: "An existing script, instead of commands."},
			},
			run: executePowerShell, check: checkExecute,
		},
		{
			Name: "ExecuteBinary", Platforms: everywhere(), Outputs: []string{"stdout"},
			Doc: "Runs one program without a shell. 194 (Linux) and 3010 (Windows) ask for a reboot, after which the step runs again.",
			Inputs: []Input{
				pathInput("A path, or a name that is looked up in PATH."),
				{Name: "arguments", Type: TextList, Doc: "Each entry is one argument."},
			},
			run: executeBinary, check: checkExecute,
		},
		{
			Name: "ExecuteDocument", Platforms: everywhere(),
			Doc: "Runs another document as part of this step.",
			Inputs: []Input{
				{Name: "document", Type: Text, Required: true, Doc: "A local path, s3://bucket/key, or the ARN of a component."},
				{Name: "document-s3-bucket-owner", Type: Text, Doc: "The account that must own the bucket."},
				{Name: "phases", Type: Text, Doc: "Names joined by commas; without, all run."},
				{Name: "parameters", Type: Pairs, Doc: "name and value of each parameter."},
			},
			Outputs: []string{"executedStepCount", "executionId", "failedStepCount", "failureMessage", "ignoredFailedStepCount", "logUrl", "status"},
			numbers: []string{"executedStepCount", "failedStepCount", "ignoredFailedStepCount"},
			run:     executeDocument, check: checkExecuteDocument,
		},
		{
			Name: "Assert", Platforms: everywhere(),
			Doc:    "Fails unless its condition holds.",
			Inputs: []Input{{Name: "condition", Type: Comparison, Required: true, Doc: "One comparison or logical operator; it is the whole of inputs."}},
			run:    assert, check: checkAssert,
		},
	}
}

func transferActions() []Action {
	bucketOwner := Input{Name: "expectedBucketOwner", Type: Text, Doc: "The account that must own the bucket."}
	return []Action{
		{
			Name: "S3Download", Platforms: everywhere(), List: true,
			Doc: "Copies an object, or all below a prefix, to the machine. Folders are not made.",
			Inputs: []Input{
				{Name: "source", Type: Text, Required: true, Doc: "s3://bucket/key or s3://bucket/prefix/*"},
				{Name: "destination", Type: Text, Required: true, Doc: "The file, or for a prefix the folder; it has to exist."},
				bucketOwner, overwrite("false makes an existing file an error."),
			},
			run: s3Download, check: checkS3Download,
		},
		{
			Name: "S3Upload", Platforms: everywhere(), List: true,
			Doc: "Copies a file to an object, or several below a prefix.",
			Inputs: []Input{
				{Name: "source", Type: Text, Required: true, Doc: "A file, a folder with recurse, or * in the last element."},
				{Name: "destination", Type: Text, Required: true, Doc: "s3://bucket/key, or s3://bucket/prefix/ for several files."},
				{Name: "recurse", Type: Bool, Default: "false", Doc: "true sends folders with all that is in them."},
				bucketOwner,
			},
			run: s3Upload, check: checkS3Upload,
		},
		{
			Name: "WebDownload", Platforms: everywhere(), List: true, Outputs: []string{"destination"}, separator: "\n",
			Doc: "Fetches a file by http or https; each entry is tried up to five times.",
			Inputs: []Input{
				{Name: "source", Type: Text, Required: true, Doc: "An http or https URL."},
				{Name: "destination", Type: Text, Required: true, Doc: "A file, or a folder when it ends in a separator; missing folders are made."},
				overwrite("false makes an existing file an error."),
				{Name: "checksum", Type: Text, Doc: "The digest in hexadecimal; needs algorithm."},
				{Name: "algorithm", Type: Text, Allowed: []string{"MD5", "SHA1", "SHA256", "SHA512"}},
				{Name: "ignoreCertificateErrors", Type: Bool, Default: "false"},
			},
			run: webDownload, check: checkWebDownload,
		},
	}
}

func fileActions() []Action {
	content := Input{Name: "content", Type: Text, Doc: "Written exactly; no line end is added."}
	return []Action{
		{
			Name: "AppendFile", run: appendFile, Platforms: everywhere(), List: true,
			Doc:    "Adds to the end of a file that exists.",
			Inputs: []Input{pathInput(""), content, encoding()},
		},
		{
			Name: "CopyFile", Platforms: everywhere(), List: true,
			Doc:    "Copies files; missing folders of the destination are made.",
			Inputs: sourceAndDestination(), run: copyFile,
		},
		{
			Name: "CreateFile", Platforms: everywhere(), List: true,
			Doc: "Writes a file; missing folders are made.",
			Inputs: []Input{
				pathInput(""), content, encoding(), owner(false, "A name or number; the current user."), group("A name or number; the current group."),
				permissions(false, "0666"), overwrite("false makes an existing file an error."),
			},
			run: createFile,
		},
		{
			Name: "CreateSymlink", run: createSymlink, Platforms: posix(), List: true,
			Doc: "Makes a symbolic link to something that exists.",
			Inputs: []Input{
				pathInput("The link."), {Name: "target", Type: Text, Required: true},
				{Name: "force", Type: Bool, Default: "false", Doc: "true replaces a link, and nothing else."},
			},
		},
		{
			Name: "DeleteFile", Platforms: everywhere(), List: true,
			Doc:    "Deletes a file; * in the last element matches several.",
			Inputs: []Input{pathInput("")}, run: deleteFile,
		},
		{
			Name: "ListFiles", run: listFiles, Platforms: everywhere(), List: true, Outputs: []string{"files"}, separator: ",",
			Doc: "Lists the files of a folder.",
			Inputs: []Input{
				pathInput("A folder."), {Name: "fileNamePattern", Type: Text, Doc: "A name with *."},
				{Name: "recursive", Type: Bool, Default: "false"},
			},
		},
		{
			Name: "MoveFile", run: moveFile, Platforms: everywhere(), List: true,
			Doc:    "Moves files; missing folders of the destination are made.",
			Inputs: sourceAndDestination(),
		},
		{
			Name: "ReadFile", run: readFile, Platforms: everywhere(), List: true, Outputs: []string{"content"},
			Doc: "Reads a text file.",
			Inputs: []Input{
				pathInput(""), encoding(),
				{Name: "printFileContent", Type: Bool, Default: "false", Doc: "true prints the content to the log."},
			},
		},
		{
			Name: "SetFileEncoding", run: setFileEncoding, Platforms: everywhere(), List: true,
			Doc:    "Converts a file from UTF-8.",
			Inputs: []Input{pathInput(""), encoding()},
		},
		{
			Name: "SetFileOwner", run: setFileOwner, Platforms: posix(), List: true,
			Doc:    "Changes who owns a file.",
			Inputs: []Input{pathInput(""), owner(true, "A name or number."), group("Without: the owner's own group.")},
		},
		{
			Name: "SetFilePermissions", run: setFilePermissions, Platforms: posix(), List: true,
			Doc:    "Changes the mode of a file, whatever the umask.",
			Inputs: []Input{pathInput(""), permissions(true, "")},
		},
	}
}

func folderActions() []Action {
	recursive := Input{Name: "recursive", Type: Bool, Default: "true"}
	return []Action{
		{
			Name: "CopyFolder", run: copyFolder, Platforms: everywhere(), List: true,
			Doc:    "Copies what a folder holds into another; with a separator at the end of destination, the folder itself.",
			Inputs: sourceAndDestination(),
		},
		{
			Name: "CreateFolder", Platforms: everywhere(), List: true,
			Doc: "Makes an empty folder; what was there before is deleted.",
			Inputs: []Input{
				pathInput(""), owner(false, "A name or number; the current user."), group("A name or number; the owner's group."),
				permissions(false, "0777"), overwrite("false makes an existing folder an error."),
			},
			run: createFolder,
		},
		{
			Name: "DeleteFolder", run: deleteFolder, Platforms: everywhere(), List: true,
			Doc:    "Deletes a folder.",
			Inputs: []Input{pathInput(""), {Name: "force", Type: Bool, Default: "false", Doc: "true deletes what is in it as well."}},
		},
		{
			Name: "MoveFolder", run: moveFolder, Platforms: everywhere(), List: true,
			Doc:    "Moves what a folder holds into another; with a separator at the end of destination, the folder itself.",
			Inputs: sourceAndDestination(),
		},
		{
			Name: "SetFolderOwner", run: setFolderOwner, Platforms: posix(), List: true,
			Doc:    "Changes who owns a folder and all in it.",
			Inputs: []Input{pathInput(""), owner(true, "A name or number."), group("Without: the owner's own group."), recursive},
		},
		{
			Name: "SetFolderPermissions", run: setFolderPermissions, Platforms: posix(), List: true,
			Doc:    "Changes the mode of a folder and all in it.",
			Inputs: []Input{pathInput(""), permissions(true, ""), recursive},
		},
	}
}

func systemActions() []Action {
	return []Action{
		{
			Name: "Reboot", Platforms: []string{Linux, Windows}, Bare: true,
			Doc:    "Restarts the machine; the run goes on with the next step.",
			Inputs: []Input{{Name: "delaySeconds", Type: Number, Default: "0"}},
			run:    reboot,
		},
		{
			Name: "UpdateOS", run: updateOS, Platforms: []string{Linux, Windows}, Bare: true,
			Doc: "Installs the updates that are available.",
			Inputs: []Input{
				{Name: "include", Type: TextList, Doc: "Only these."},
				{Name: "exclude", Type: TextList, Doc: "None of these."},
			},
		},
	}
}

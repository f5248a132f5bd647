package config

import (
	"reflect"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Format describes the configuration to those who write it.
func Format() yamldoc.Format {
	return yamldoc.Format{
		Title: "ingot configuration",
		Doc:   "What the daemon watches, and how it builds and reports. Relative paths are relative to the file.",
		Type:  reflect.TypeFor[file](),
		Keys: map[string]yamldoc.Key{
			"dataDir":  {Doc: "State; one daemon each.", Default: "./data"},
			"cacheDir": {Doc: "Parent images and downloads, which may be lost; cache in dataDir by default."},
			"database": {Doc: "sqlite:path or postgres://…; INGOT_DATABASE goes first. By default sqlite:ingot.db in dataDir.", Pattern: `^(sqlite:.|postgres(ql)?:)`, Word: true},

			"server":           {Doc: "Dashboard, webhooks and metrics."},
			"server.listen":    {Doc: "host:port", Default: "127.0.0.1:8080", Pattern: `:[0-9]+$`, Word: true},
			"server.publicURL": {Doc: "How people reach it; statuses link to it. By default http:// and listen.", Pattern: `^[Hh][Tt][Tt][Pp][Ss]?://`, Word: true},

			"github":                    {Doc: "How the code host is reached; without tokenFile or app nothing is reported."},
			"github.apiURL":             {Doc: "https://HOST/api/v3/ for GitHub Enterprise.", Default: "https://api.github.com/", Pattern: `^[Hh][Tt][Tt][Pp][Ss]?://`, Word: true},
			"github.tokenFile":          {Doc: "A file that holds a token; INGOT_GITHUB_TOKEN goes first."},
			"github.app":                {Doc: "An installed GitHub App, instead of a token."},
			"github.app.id":             {Doc: "Id of the App.", Min: 1, Max: maxID},
			"github.app.installationID": {Doc: "Id of its installation.", Min: 1, Max: maxID},
			"github.app.privateKeyFile": {Doc: "A PEM file; INGOT_GITHUB_APP_PRIVATE_KEY goes first."},
			"github.webhookSecretFile":  {Doc: "A file; INGOT_WEBHOOK_SECRET goes first. Without a secret, webhooks are refused."},

			"builds":                {Doc: "Limits of all builds."},
			"builds.workers":        {Doc: "Builds at the same time.", Default: "1", Min: 1, Max: maxWorkers},
			"builds.timeoutMinutes": {Doc: "No build takes longer, whatever its recipe says.", Default: "180", Min: 1, Max: maxBuildMinutes},
			"builds.keepHours":      {Doc: "How long the instance of a failed build stays where its recipe has keepOnFailure; 0: it is removed.", Default: "24", Min: 0, Max: maxKeepHours},
			"builds.keepMost":       {Doc: "How many of them are kept at once, the newest; 0: none.", Default: "5", Min: 0, Max: maxKeepMost},

			"local":             {Doc: "The driver that builds on this machine."},
			"local.mirror":      {Doc: "Where Debian parents are made from; by default what the host uses.", Pattern: `^[Hh][Tt][Tt][Pp][Ss]?://`, Word: true},
			"local.parentDirs":  {Doc: "Folders of the host from which recipes may take disk files.", Pattern: `^/`, Word: true},
			"local.memoryMiB":   {Doc: "Of a guest.", Default: "1024", Min: minMemoryMiB, Max: maxMemoryMiB},
			"local.cpus":        {Doc: "Of a guest.", Default: "2", Min: 1, Max: maxCPUs},
			"local.accelerator": {Doc: "auto probes the hardware; kvm and tcg insist.", Default: accelerators()[0], Allowed: accelerators()},

			"aws":                 {Doc: "The driver that builds on EC2. Credentials come from where the SDK finds them."},
			"aws.region":          {Doc: "Where images are built; without it there is no such driver.", Pattern: regionName.String(), Word: true},
			"aws.bucket":          {Doc: "Through which instances are given work, and tell of it.", Pattern: bucketName.String(), Word: true},
			"aws.prefix":          {Doc: "Of all keys in the bucket.", Default: "ingot/", Pattern: prefixName.String(), Word: true},
			"aws.owner":           {Doc: "Tells ingot's things from what others make in the account.", Default: "ingot", Pattern: awsOwnerName.String(), Word: true},
			"aws.instanceProfile": {Doc: "Of instances; its role needs what the Systems Manager agent needs."},
			"aws.instanceTypes":   {Doc: "In order: the next is asked for when capacity is short. By default t3.medium.", Pattern: instanceTypeName.String(), Word: true},
			"aws.subnets":         {Doc: "In order, as types; by default the account's default network.", Pattern: subnetName.String(), Word: true},
			"aws.securityGroups":  {Doc: "Nothing has to come in; out to Systems Manager and S3.", Pattern: securityGroupName.String(), Word: true},
			"aws.keyPair":         {Doc: "For people who want to log in; ingot does not."},
			"aws.importRole":      {Doc: "Of VM Import, for parents that are disks in S3.", Default: "vmimport", Pattern: roleName.String(), Word: true},
			"aws.spot":            {Doc: "Ask for spare capacity first."},
			"aws.tags":            {Doc: "On everything that is made."},

			"aws.infrastructures":                 {Doc: "What recipes may choose by name; what one leaves out is as for all."},
			"aws.infrastructures.name":            {Doc: "infrastructure.name of recipes.", Pattern: legalName.String()},
			"aws.infrastructures.instanceProfile": {Doc: "Its role is one that the daemon may pass."},
			"aws.infrastructures.instanceTypes":   {Doc: "In order.", Pattern: instanceTypeName.String(), Word: true},
			"aws.infrastructures.subnets":         {Doc: "In order, as types.", Pattern: subnetName.String(), Word: true},
			"aws.infrastructures.securityGroups":  {Doc: "Of the network of the subnets.", Pattern: securityGroupName.String(), Word: true},
			"aws.infrastructures.keyPair":         {Doc: "For people who want to log in."},
			"aws.infrastructures.spot":            {Doc: "Ask for spare capacity first."},

			"repositories":                      {Doc: "Git repositories that are watched."},
			"repositories.name":                 {Doc: "In the dashboard and in logs; by default the last part of the url.", Pattern: legalName.String()},
			"repositories.url":                  {Doc: "https, ssh, user@host:path, or an absolute path.", Word: true},
			"repositories.github":               {Doc: `owner/name for statuses and comments, by default from the url; "" for none.`, Pattern: "^$|" + ownerName.String(), Word: true},
			"repositories.branch":               {Doc: "Releases are built from it.", Default: "main"},
			"repositories.pollInterval":         {Doc: "At least 5s, or 1s on this machine.", Default: "30s"},
			"repositories.paths":                {Doc: "Folders in which recipes are looked for; everywhere by default.", Pattern: "^[^/]"},
			"repositories.pullRequests":         {Doc: "Which pull requests are built."},
			"repositories.pullRequests.enabled": {Doc: "true by default where there is a code host."},
			"repositories.pullRequests.forks":   {Doc: "Commits of forks are built after approval, or never.", Default: forkRules()[0], Allowed: forkRules()},
			"repositories.auth":                 {Doc: "How the repository is fetched; as github by default."},
			"repositories.auth.tokenFile":       {Doc: "For https: a file; INGOT_REPOSITORY_TOKEN_<NAME> goes first."},
			"repositories.auth.sshKeyFile":      {Doc: "For ssh: a private key."},
			"repositories.auth.knownHostsFile":  {Doc: "For ssh; by default that of the daemon's user."},

			"log":        {Doc: "What the daemon writes about itself."},
			"log.level":  {Doc: "The least that is written.", Default: logLevels()[0], Allowed: logLevels()},
			"log.format": {Doc: "Of each line.", Default: logFormats()[0], Allowed: logFormats()},
		},
	}
}

// Bounds of numbers, and the words of keys that have a few; the first is the default.
const (
	maxWorkers      = 256
	maxBuildMinutes = 1440
	maxKeepHours    = 168
	maxKeepMost     = 100
	minMemoryMiB    = 256
	maxMemoryMiB    = 1 << 20
	maxCPUs         = 256
	maxID           = 1<<63 - 1
)

func accelerators() []string { return []string{"auto", "kvm", "tcg"} }
func forkRules() []string    { return []string{"approval", "never"} }
func logLevels() []string    { return []string{"info", "debug", "warn", "error"} }
func logFormats() []string   { return []string{"text", "json"} }

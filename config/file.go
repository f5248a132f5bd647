package config

import (
	"time"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// text is a value whose place is remembered for the checks after decoding.
type text = yamldoc.At[string]

// file is the configuration as it is written.
type file struct {
	DataDir      text             `yaml:"dataDir"`
	CacheDir     text             `yaml:"cacheDir"`
	Database     text             `yaml:"database"`
	Server       serverFile       `yaml:"server"`
	GitHub       githubFile       `yaml:"github"`
	Builds       buildsFile       `yaml:"builds"`
	Local        localFile        `yaml:"local"`
	AWS          awsFile          `yaml:"aws"`
	Repositories []repositoryFile `yaml:"repositories"`
	Log          logFile          `yaml:"log"`
}

type serverFile struct {
	Listen    text `yaml:"listen"`
	PublicURL text `yaml:"publicURL"`
}

type githubFile struct {
	APIURL            text                 `yaml:"apiURL"`
	TokenFile         text                 `yaml:"tokenFile"`
	App               yamldoc.At[*appFile] `yaml:"app"`
	WebhookSecretFile text                 `yaml:"webhookSecretFile"`
}

type appFile struct {
	ID             yamldoc.At[int64] `yaml:"id,required" example:"123456"`
	InstallationID yamldoc.At[int64] `yaml:"installationID,required" example:"12345678"`
	PrivateKeyFile text              `yaml:"privateKeyFile"`
}

type buildsFile struct {
	Workers        yamldoc.At[int] `yaml:"workers"`
	TimeoutMinutes yamldoc.At[int] `yaml:"timeoutMinutes"`
	KeepHours      yamldoc.At[int] `yaml:"keepHours"`
	KeepMost       yamldoc.At[int] `yaml:"keepMost"`
}

type localFile struct {
	Mirror      text            `yaml:"mirror"`
	ParentDirs  []text          `yaml:"parentDirs"`
	MemoryMiB   yamldoc.At[int] `yaml:"memoryMiB"`
	CPUs        yamldoc.At[int] `yaml:"cpus"`
	Accelerator text            `yaml:"accelerator"`
}

type awsFile struct {
	Region          text              `yaml:"region"`
	Bucket          text              `yaml:"bucket"`
	Prefix          text              `yaml:"prefix"`
	Owner           text              `yaml:"owner"`
	InstanceProfile text              `yaml:"instanceProfile"`
	InstanceTypes   []text            `yaml:"instanceTypes"`
	Subnets         []text            `yaml:"subnets"`
	SecurityGroups  []text            `yaml:"securityGroups"`
	KeyPair         text              `yaml:"keyPair"`
	ImportRole      text              `yaml:"importRole"`
	Spot            yamldoc.At[bool]  `yaml:"spot"`
	Tags            map[string]string `yaml:"tags"`

	Infrastructures []infrastructureFile `yaml:"infrastructures"`
}

type infrastructureFile struct {
	Name            text             `yaml:"name,required" example:"large"`
	InstanceProfile text             `yaml:"instanceProfile"`
	InstanceTypes   []text           `yaml:"instanceTypes"`
	Subnets         []text           `yaml:"subnets"`
	SecurityGroups  []text           `yaml:"securityGroups"`
	KeyPair         text             `yaml:"keyPair"`
	Spot            yamldoc.At[bool] `yaml:"spot"`
}

type repositoryFile struct {
	Name         text                      `yaml:"name"`
	URL          text                      `yaml:"url,required" example:"https://github.com/acme/golden-images.git"`
	GitHub       text                      `yaml:"github"`
	Branch       text                      `yaml:"branch"`
	PollInterval yamldoc.At[time.Duration] `yaml:"pollInterval"`
	Paths        []text                    `yaml:"paths"`
	PullRequests pullRequestsFile          `yaml:"pullRequests"`
	Auth         authFile                  `yaml:"auth"`
}

type pullRequestsFile struct {
	Enabled yamldoc.At[bool] `yaml:"enabled"`
	Forks   text             `yaml:"forks"`
}

type authFile struct {
	TokenFile      text `yaml:"tokenFile"`
	SSHKeyFile     text `yaml:"sshKeyFile"`
	KnownHostsFile text `yaml:"knownHostsFile"`
}

type logFile struct {
	Level  text `yaml:"level"`
	Format text `yaml:"format"`
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// runOptions are what `ingot component run` is told: those of the original, and below
// them ours.
type runOptions struct {
	documents      []string
	config         string
	phases         string
	parameters     []string
	executionID    string
	logDirectory   string
	stateDirectory string
	trace          bool
	sources        sources
	logs           logTarget

	in          string
	isolation   string
	ingotConfig string
	reboot      bool
	resume      string
}

// logTarget is where the log of a run goes beside its folder.
type logTarget struct {
	Bucket, Owner, Prefix string `json:",omitempty"` // the folder
	Group, Stream, Region string `json:",omitempty"` // console.log
	IgnoreFailures        bool   `json:",omitempty"` // of CloudWatch
}

func (o *runOptions) flags(c *cobra.Command) {
	f := c.Flags()
	documentsFlag(c, &o.documents)
	o.sources.flags(c)
	f.StringVarP(&o.config, "config", "c", "", "JSON `file` with documents, their parameters, and any of these options")
	f.StringVarP(&o.phases, "phases", "p", "", "`phases` to run, joined by commas (default: all; with --in build,validate)")
	f.StringArrayVar(&o.parameters, "parameters", nil, "`values` for the documents: name=value,name=value")
	f.StringVarP(&o.executionID, "execution-id", "i", "", "`name` of this run (default: a new one, or that of the run that waits for a reboot)")
	f.StringVarP(&o.logDirectory, "log-directory", "l", "", "`folder` for the run's folder of logs (default: this one; with --in nothing is kept)")
	f.StringVarP(&o.stateDirectory, "state-directory", "s", "", "`folder` in which a run waits for a reboot")
	f.BoolVarP(&o.trace, "trace", "t", false, "show every event with its time")
	f.StringVarP(&o.logs.Bucket, "log-s3-bucket-name", "b", "", "`bucket` that the run's folder is sent to")
	f.StringVar(&o.logs.Owner, "log-s3-bucket-owner", "", "`account` that must own that bucket")
	f.StringVarP(&o.logs.Prefix, "log-s3-key-prefix", "k", "", "`prefix` of the keys in that bucket")
	f.StringVar(&o.logs.Group, "cw-log-group", "", "CloudWatch log `group` that console.log is sent to")
	f.StringVar(&o.logs.Stream, "cw-log-stream", "", "CloudWatch log `stream`")
	f.StringVar(&o.logs.Region, "cw-log-region", "", "`region` of the log group")
	f.BoolVar(&o.logs.IgnoreFailures, "cw-ignore-failures", false, "go on when CloudWatch does not take the log")

	f.StringVar(&o.in, "in", "", "run in a throw-away machine made of a parent `image`: debian-12, a disk file, an image id")
	f.StringVar(&o.isolation, "isolation", string(recipe.Container), "`kind` of the machine of --in: container, or vm for one that is booted")
	f.StringVar(&o.ingotConfig, "ingot-config", "", "ingot's own configuration `file`, for --in (default: ingot.yaml, if there is one)")
	f.BoolVar(&o.reboot, "reboot", false, "restart this machine when a document asks for it, and go on by itself afterwards")
	f.StringVar(&o.resume, "resume", "", "go on with the run saved in this `file`")
	if err := f.MarkHidden("resume"); err != nil {
		panic(err) // it was defined above
	}
}

// runFile is what --config names, in the original's words. JSON is YAML, so that it
// is read as strictly as everything else and every mistake has its line.
type runFile struct {
	Documents       []runFileDocument  `yaml:"documents,required" example:"[{\"path\": \"web.yaml\"}]"`
	Parameters      []runFileParameter `yaml:"parameters"`
	Phases          *string            `yaml:"phases"`
	DocumentOwner   *string            `yaml:"documentS3BucketOwner"`
	ExecutionID     *string            `yaml:"executionId"`
	ExecutionIDMiss *string            `yaml:"executonId"` // a list of the original spells it so
	LogDirectory    *string            `yaml:"logDirectory"`
	LogBucket       *string            `yaml:"logS3BucketName"`
	LogOwner        *string            `yaml:"logS3BucketOwner"`
	LogPrefix       *string            `yaml:"logS3KeyPrefix"`
	Group           *string            `yaml:"cwLogGroup"`
	Stream          *string            `yaml:"cwLogStream"`
	Region          *string            `yaml:"cwLogRegion"`
	IgnoreFailures  *bool              `yaml:"cwIgnoreFailures"`
	StateDirectory  *string            `yaml:"stateDirectory"`
	Trace           *bool              `yaml:"trace"`
}

type runFileDocument struct {
	Path       string             `yaml:"path,required" example:"\"web.yaml\""`
	Parameters []runFileParameter `yaml:"parameters"`
}

type runFileParameter struct {
	Name  string `yaml:"name,required" example:"\"Port\""`
	Value string `yaml:"value,required" example:"\"8080\""`
}

// asked is a document that a run was asked for, with its own parameters.
type asked struct {
	ref        string
	parameters map[string]string
}

// documentsAsked joins the command line and the configuration file. What the command
// line says goes first.
func (o *runOptions) documentsAsked(ctx context.Context, given func(flag string) bool) ([]asked, error) {
	if err := o.consistent(given); err != nil {
		return nil, err
	}
	if o.config == "" {
		values, err := parseParameters(o.parameters)
		if err != nil {
			return nil, err
		}
		var all []asked
		for _, ref := range o.documents {
			all = append(all, asked{ref, values})
		}
		return all, nil
	}
	file, err := readRunFile(ctx, o.config)
	if err != nil {
		return nil, err
	}
	o.fill(file, given)
	everywhere, err := valuesOf(o.config, file.Parameters)
	if err != nil {
		return nil, err
	}
	var all []asked
	for _, d := range file.Documents {
		own, err := valuesOf(o.config, d.Parameters)
		if err != nil {
			return nil, err
		}
		for name, value := range everywhere {
			if _, ok := own[name]; !ok {
				own[name] = value
			}
		}
		all = append(all, asked{d.Path, own})
	}
	return all, nil
}

// consistent refuses what cannot be meant together.
func (o *runOptions) consistent(given func(flag string) bool) error {
	switch {
	case o.config != "" && len(o.documents) > 0:
		return errors.New("documents are given both on the command line and with --config; give them in one place")
	case o.config != "" && given("parameters"):
		return errors.New("--parameters cannot be given together with --config; write them into the file")
	case o.config == "" && len(o.documents) == 0:
		return errNoDocument
	case o.isolation != string(recipe.Container) && o.isolation != string(recipe.VM):
		return fmt.Errorf("--isolation is container or vm, not %q", o.isolation)
	}
	for _, flag := range []string{"isolation", "ingot-config"} {
		if given(flag) && o.in == "" {
			return fmt.Errorf("--%s says something about the machine of --in, which is not given", flag)
		}
	}
	if o.in != "" {
		if o.logs.Bucket != "" && o.logDirectory == "" {
			return errors.New("--log-s3-bucket-name with --in needs --log-directory, where the log is on its way")
		}
		for _, flag := range []string{"reboot", "state-directory"} {
			if given(flag) {
				return fmt.Errorf("--%s concerns this machine, not the one of --in, which restarts by itself", flag)
			}
		}
	}
	return nil
}

func readRunFile(ctx context.Context, path string) (runFile, error) {
	var file runFile
	if filepath.Ext(path) != ".json" {
		return file, fmt.Errorf("--config %s: expected a .json file; ingot's own configuration is named with --ingot-config", path)
	}
	read := os.ReadFile
	if isObject(path) {
		read = func(address string) ([]byte, error) { return sources{}.object(ctx, address) }
	}
	text, err := read(path)
	if err != nil {
		return file, fmt.Errorf("--config: %w", err)
	}
	d, problems := yamldoc.Parse(path, text)
	if d != nil {
		problems = append(problems, d.Decode(d.Root, &file)...)
	}
	if err := problems.Err(); err != nil {
		return file, err
	}
	if len(file.Documents) == 0 {
		return file, fmt.Errorf("%s: documents is empty", path)
	}
	return file, nil
}

// fill takes from the file what the command line does not say.
func (o *runOptions) fill(file runFile, given func(flag string) bool) {
	if file.ExecutionID == nil {
		file.ExecutionID = file.ExecutionIDMiss
	}
	for _, option := range []struct {
		flag string
		into *string
		from *string
	}{
		{"phases", &o.phases, file.Phases}, {"document-s3-bucket-owner", &o.sources.owner, file.DocumentOwner},
		{"execution-id", &o.executionID, file.ExecutionID}, {"log-directory", &o.logDirectory, file.LogDirectory},
		{"state-directory", &o.stateDirectory, file.StateDirectory},
		{"log-s3-bucket-name", &o.logs.Bucket, file.LogBucket}, {"log-s3-bucket-owner", &o.logs.Owner, file.LogOwner},
		{"log-s3-key-prefix", &o.logs.Prefix, file.LogPrefix},
		{"cw-log-group", &o.logs.Group, file.Group}, {"cw-log-stream", &o.logs.Stream, file.Stream}, {"cw-log-region", &o.logs.Region, file.Region},
	} {
		if option.from != nil && !given(option.flag) {
			*option.into = *option.from
		}
	}
	for _, option := range []struct {
		flag string
		into *bool
		from *bool
	}{{"trace", &o.trace, file.Trace}, {"cw-ignore-failures", &o.logs.IgnoreFailures, file.IgnoreFailures}} {
		if option.from != nil && !given(option.flag) {
			*option.into = *option.from
		}
	}
}

func valuesOf(file string, list []runFileParameter) (map[string]string, error) {
	values := map[string]string{}
	for _, p := range list {
		if _, twice := values[p.Name]; twice {
			return nil, fmt.Errorf("%s: the parameter %q is given twice", file, p.Name)
		}
		values[p.Name] = p.Value
	}
	return values, nil
}

// phaseList takes apart what --phases gives.
func (o *runOptions) phaseList() ([]string, error) {
	var names []string
	if o.phases == "" {
		if o.in != "" {
			return []string{component.PhaseBuild, component.PhaseValidate}, nil // as in the build of an image
		}
		return nil, nil
	}
	for name := range strings.SplitSeq(o.phases, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, fmt.Errorf("--phases: %s has an empty name", strconv.Quote(o.phases))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

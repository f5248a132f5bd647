package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/config"
)

const awsExamples = "../../examples/aws/"

// accepts fails when the program's command line does not parse.
func accepts(t *testing.T, args []string) {
	t.Helper()
	found, rest, err := rootCommand().Find(args)
	if err == nil {
		err = found.ParseFlags(rest)
	}
	if err != nil || found.Name() != "daemon" {
		t.Errorf("%v: %v", args, err)
	}
}

// knownVariables fails on variables of ours that nobody reads.
func knownVariables(t *testing.T, names []string) {
	t.Helper()
	text := string(readFile(t, "../../config/read.go")) + string(readFile(t, "../../config/file.go")) + string(readFile(t, "../../config/format.go"))
	if len(names) == 0 {
		t.Error("no variable is set")
	}
	for _, name := range names {
		if !strings.Contains(text, name) {
			t.Errorf("nobody reads %s", name)
		}
	}
}

func TestConfigurationForAWSLoads(t *testing.T) {
	cfg, err := config.Load(awsExamples+"ingot.yaml", func(name string) string {
		return map[string]string{"INGOT_DATABASE": "postgres://ingot@db/ingot", "INGOT_GITHUB_TOKEN": "t"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.AWS.Region != "eu-west-1" || cfg.AWS.Prefix != "ingot/" || len(cfg.AWS.Subnets) != 2 || len(cfg.Repositories) != 1 {
		t.Errorf("%+v", cfg.AWS)
	}
	page := string(readFile(t, "../../docs/aws.md"))
	var keys struct{ AWS map[string]any }
	must(t, yaml.Unmarshal(readFile(t, awsExamples+"ingot.yaml"), &keys))
	for key := range keys.AWS {
		if !strings.Contains(page, "`"+key+"`") {
			t.Errorf("docs/aws.md does not explain aws.%s", key)
		}
	}
}

func TestECSTaskRunsTheDaemon(t *testing.T) {
	var task struct {
		CPU, Memory          string
		ContainerDefinitions []struct {
			Command     []string
			StopTimeout int
			Secrets     []struct{ Name, ValueFrom string }
		}
	}
	must(t, json.Unmarshal(readFile(t, awsExamples+"ecs-task.json"), &task))
	if len(task.ContainerDefinitions) != 1 || task.CPU == "" || task.Memory == "" {
		t.Fatalf("%+v", task)
	}
	c := task.ContainerDefinitions[0]
	accepts(t, c.Command)
	if c.StopTimeout != 120 { // the longest there is; a stop takes up to a minute and a half
		t.Errorf("a stop may take %d s", c.StopTimeout)
	}
	var names []string
	for _, s := range c.Secrets {
		names = append(names, s.Name)
	}
	knownVariables(t, names)
}

func TestEKSDeploymentRunsTheDaemon(t *testing.T) {
	var kinds []string
	documents := yaml.NewDecoder(strings.NewReader(string(readFile(t, awsExamples+"eks.yaml"))))
	for {
		var d struct {
			Kind string
			Spec struct {
				Replicas int
				Template struct {
					Spec struct {
						ServiceAccountName string `yaml:"serviceAccountName"`
						Containers         []struct {
							Args         []string
							VolumeMounts []struct {
								Name      string
								MountPath string `yaml:"mountPath"`
							} `yaml:"volumeMounts"`
						}
					}
				}
			}
		}
		err := documents.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		kinds = append(kinds, d.Kind)
		if d.Kind != "Deployment" {
			continue
		}
		pod := d.Spec.Template.Spec
		if d.Spec.Replicas != 1 || pod.ServiceAccountName != "ingot" || len(pod.Containers) != 1 {
			t.Fatalf("%+v", d)
		}
		accepts(t, pod.Containers[0].Args)
		if !slices.Contains(pod.Containers[0].Args, "/etc/ingot/ingot.yaml") || pod.Containers[0].VolumeMounts[0].MountPath != "/etc/ingot" {
			t.Errorf("the configuration is not where the daemon looks: %+v", pod.Containers[0])
		}
	}
	if want := []string{"ServiceAccount", "Deployment", "Service"}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	knownVariables(t, []string{"INGOT_GITHUB_TOKEN", "INGOT_DATABASE"})
}

func TestUserDataIsAScript(t *testing.T) {
	script := awsExamples + "user-data.sh"
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(readFile(t, script))
	if info, err := os.Stat(script); err != nil || info.Size() > 16<<10 {
		t.Errorf("user data may have 16 KiB: %v, %v", info, err)
	}
	for _, used := range []string{"scripts/install-packages.sh", "examples/deploy/ingot.service"} {
		if _, err := os.Stat(filepath.Join("../..", used)); err != nil || !strings.Contains(text, used) {
			t.Errorf("%s: %v", used, err)
		}
	}
	unit := string(readFile(t, "../../examples/deploy/ingot.service"))
	for _, at := range []string{"/etc/ingot/ingot.yaml", "/etc/ingot/environment"} {
		if !strings.Contains(text, at) || !strings.Contains(unit, at) {
			t.Errorf("the unit and the script do not agree on %s", at)
		}
	}
	knownVariables(t, []string{"INGOT_GITHUB_TOKEN", "INGOT_DATABASE"})
}

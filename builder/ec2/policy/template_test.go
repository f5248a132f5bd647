package policy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const templateFile = root + "/examples/aws/cloudformation.yaml"

// template is the CloudFormation template with its functions as tags left alone.
func template(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// at goes down a tree of maps and lists of one entry.
func at(t *testing.T, tree any, keys ...string) any {
	t.Helper()
	for _, key := range keys {
		if list, ok := tree.([]any); ok && len(list) == 1 {
			tree = list[0]
		}
		m, ok := tree.(map[string]any)
		if !ok || m[key] == nil {
			t.Fatalf("the template has no %s of %s", key, strings.Join(keys, "."))
		}
		tree = m[key]
	}
	return tree
}

func TestTemplateMakesWhatIsNeeded(t *testing.T) {
	all := template(t)
	kinds := map[string]string{}
	for name, r := range at(t, all, "Resources").(map[string]any) {
		kinds[name], _ = at(t, r, "Type").(string)
	}
	if want := map[string]string{
		"InstanceRole": "AWS::IAM::Role", "InstanceProfile": "AWS::IAM::InstanceProfile", "Bucket": "AWS::S3::Bucket",
		"ExecutionRole": "AWS::IAM::Role", "LogGroup": "AWS::Logs::LogGroup", "SetupPolicy": "AWS::IAM::ManagedPolicy",
	}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("the template makes %v, want %v", kinds, want)
	}
	same(t, "the policy of instances", at(t, all, "Resources", "InstanceRole", "Properties", "Policies", "PolicyDocument"), InstanceRole())
	same(t, "the trust policy", at(t, all, "Resources", "InstanceRole", "Properties", "AssumeRolePolicyDocument"), InstanceTrust())
	bucket := at(t, all, "Resources", "Bucket", "Properties")
	for _, key := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
		if at(t, bucket, "PublicAccessBlockConfiguration", key) != true {
			t.Errorf("the bucket may be made public: %s", key)
		}
	}
	if at(t, bucket, "BucketEncryption", "ServerSideEncryptionConfiguration", "ServerSideEncryptionByDefault", "SSEAlgorithm") == "" {
		t.Error("the bucket is not encrypted")
	}
	for _, r := range at(t, bucket, "LifecycleConfiguration", "Rules").([]any) {
		rule := r.(map[string]any)
		prefix, _ := rule["Prefix"].(string)
		if _, expires := rule["ExpirationInDays"]; expires && (!strings.HasPrefix(prefix, "${Prefix}") || strings.HasPrefix(prefix, "${Prefix}images/") || strings.HasPrefix(prefix, "${Prefix}agents/") || prefix == "${Prefix}") {
			t.Errorf("rule %v removes what has to stay", rule)
		}
	}
}

// allowed reports whether one of the policy's statements allows an action on a resource.
func allowed(t *testing.T, policy any, action, resource string) bool {
	t.Helper()
	filled := strings.NewReplacer(
		"${AWS::Partition}", "aws", "${AWS::Region}", "eu-west-1", "${AWS::AccountId}", "123456789012", "${SetupBucket}", "acme-setup")
	for _, s := range at(t, policy, "Statement").([]any) {
		if !slices.Contains(at(t, s, "Action").([]any), any(action)) {
			continue
		}
		for _, r := range at(t, s, "Resource").([]any) {
			if before, open := strings.CutSuffix(filled.Replace(r.(string)), "*"); strings.HasPrefix(resource, before) && (open || resource == before) {
				return true
			}
		}
	}
	return false
}

// TestTemplateLetsTheDaemonStart holds the examples against the template: what they
// name has to be made by it, and what they read to be allowed.
func TestTemplateLetsTheDaemonStart(t *testing.T) {
	all := template(t)
	text, err := os.ReadFile(root + "/examples/aws/ecs-task.json")
	if err != nil {
		t.Fatal(err)
	}
	var task struct {
		ExecutionRoleARN     string
		ContainerDefinitions []struct {
			Image            string
			Secrets          []struct{ ValueFrom string }
			LogConfiguration struct{ Options map[string]string }
		}
	}
	if err := json.Unmarshal(text, &task); err != nil || len(task.ContainerDefinitions) != 1 {
		t.Fatalf("%+v, %v", task, err)
	}
	container := task.ContainerDefinitions[0]
	if !strings.Contains(task.ExecutionRoleARN, ":role/ingot-ExecutionRole-") {
		t.Errorf("the task is started by %s, which the template does not make", task.ExecutionRoleARN)
	}
	role := at(t, all, "Resources", "ExecutionRole", "Properties", "Policies", "PolicyDocument")
	group := container.LogConfiguration.Options["awslogs-group"]
	if made := at(t, all, "Resources", "LogGroup", "Properties", "LogGroupName"); made != group {
		t.Errorf("the log group %s is written to, %s is made", group, made)
	}
	host, repository, _ := strings.Cut(container.Image, "/")
	repository, _, _ = strings.Cut(repository, ":")
	needs := [][2]string{{"ecr:GetAuthorizationToken", "*"}}
	for _, action := range []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"} {
		needs = append(needs, [2]string{action, "arn:aws:ecr:eu-west-1:123456789012:repository/" + repository})
	}
	if host != "123456789012.dkr.ecr.eu-west-1.amazonaws.com" || len(container.Secrets) == 0 {
		t.Errorf("the image comes from %s, with %d secrets", host, len(container.Secrets))
	}
	for _, s := range container.Secrets {
		needs = append(needs, [2]string{"secretsmanager:GetSecretValue", s.ValueFrom + "-AbCdEf"})
	}
	for _, action := range []string{"logs:CreateLogStream", "logs:PutLogEvents"} {
		needs = append(needs, [2]string{action, "arn:aws:logs:eu-west-1:123456789012:log-group:" + group + ":log-stream:daemon/ingot/1"})
	}
	for _, n := range needs {
		if !allowed(t, role, n[0], n[1]) {
			t.Errorf("the task's execution role may not %s on %s", n[0], n[1])
		}
	}

	script, err := os.ReadFile(root + "/examples/aws/user-data.sh")
	if err != nil {
		t.Fatal(err)
	}
	setup := at(t, all, "Resources", "SetupPolicy", "Properties", "PolicyDocument")
	bucket := regexp.MustCompile(`(?m)^setup=s3://([a-z-]+)$`).FindSubmatch(script)
	folder := regexp.MustCompile(`ssm get-parameter .* --name "(/[a-z]+/)\$name"`).FindSubmatch(script)
	if bucket == nil || folder == nil {
		t.Fatal("user-data.sh reads nothing that this test knows of")
	}
	for _, n := range [][2]string{
		{"s3:GetObject", "arn:aws:s3:::" + string(bucket[1]) + "/ingot.tar.gz"},
		{"ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter" + string(folder[1]) + "INGOT_DATABASE"},
	} {
		if !allowed(t, setup, n[0], n[1]) {
			t.Errorf("the setup policy does not allow %s on %s", n[0], n[1])
		}
	}
	if allowed(t, setup, "ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/golden/web") {
		t.Error("the setup policy opens other parameters")
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	var x, y any
	if errA != nil || errB != nil || json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("%s is\n%s\nwant\n%s", what, a, b)
	}
}

// TestCloudFormationAgrees has cfn-lint read the template, and the policies as a
// template: it knows the actions, the resources and the conditions of IAM.
func TestCloudFormationAgrees(t *testing.T) {
	program := os.Getenv("INGOT_TEST_CFNLINT")
	if program == "" {
		t.Skip("INGOT_TEST_CFNLINT does not name cfn-lint; make test-aws does")
	}
	lint := func(file string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, "--regions", "eu-west-1", "--", file).CombinedOutput()
		return string(out), err
	}
	if out, err := lint(templateFile); err != nil {
		t.Errorf("%s: %v\n%s", templateFile, err, out)
	}
	policies := func(d Document) string {
		resources := map[string]any{}
		for name, document := range map[string]Document{"Daemon": d, "Instances": InstanceRole()} {
			resources[name] = map[string]any{"Type": "AWS::IAM::ManagedPolicy", "Properties": map[string]any{"PolicyDocument": document}}
		}
		text, err := json.Marshal(map[string]any{"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
		if err != nil {
			t.Fatal(err)
		}
		filled := strings.NewReplacer("ACCOUNT", "123456789012", "REGION", "eu-west-1", "BUCKET", "acme-ingot", "INSTANCE_ROLE", "ingot-instances", "OWNER", "ingot").Replace(string(text))
		file := filepath.Join(t.TempDir(), "policies.json")
		if err := os.WriteFile(file, []byte(filled), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if out, err := lint(policies(everything(t))); err != nil {
		t.Errorf("the policies: %v\n%s", err, out)
	}
	wrong := everything(t)
	wrong.Statement[0].Action = append(wrong.Statement[0].Action, "ec2:DescribeImagez")
	if out, err := lint(policies(wrong)); err == nil || !strings.Contains(out, "describeimagez") {
		t.Errorf("an action that does not exist was let pass: %v\n%s", err, out)
	}
}

package policy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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
	if want := map[string]string{"InstanceRole": "AWS::IAM::Role", "InstanceProfile": "AWS::IAM::InstanceProfile", "Bucket": "AWS::S3::Bucket"}; !reflect.DeepEqual(kinds, want) {
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

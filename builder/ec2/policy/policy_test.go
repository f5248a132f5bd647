package policy

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
)

const root = "../../.."

func TestPageIsUpToDate(t *testing.T) {
	want, err := Page(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(root + "/docs/aws-permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/aws-permissions.md is not what the code asks for; run go generate ./builder/ec2/policy, and read the difference")
	}
}

func TestDocumentsThatAreRunMayBeRun(t *testing.T) {
	found, err := Calls([]string{".."}, "../policy")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found.Documents {
		if !slices.Contains(Documents(), name) {
			t.Errorf("the driver runs %s, which no policy allows: add it to Documents", name)
		}
	}
}

// TestCallsSeesTheInterfaces compares the reading of the source with the types
// themselves: both have to know the same calls.
func TestCallsSeesTheInterfaces(t *testing.T) {
	found, err := Calls([]string{".."}, "../policy")
	if err != nil {
		t.Fatal(err)
	}
	for _, face := range []reflect.Type{
		reflect.TypeFor[ec2.Compute](), reflect.TypeFor[ec2.Commands](), reflect.TypeFor[publish.Blocks](),
		reflect.TypeFor[catalogue.Images](), reflect.TypeFor[catalogue.Parameters](),
	} {
		for i := range face.NumMethod() {
			input := face.Method(i).Type.In(1).Elem()
			operation := filepath.Base(input.PkgPath()) + "." + strings.TrimSuffix(input.Name(), "Input")
			if !slices.Contains(found.Operations, operation) {
				t.Errorf("%s of %s was not found in the source: %v", operation, face, found.Operations)
			}
			if _, ok := known[operation]; !ok {
				t.Errorf("no permission is known for %s", operation)
			}
		}
	}
}

// TestNewCallsAreNoticed: a client of AWS that appears anywhere below builder/ec2
// asks for something that somebody has to have thought about.
func TestNewCallsAreNoticed(t *testing.T) {
	for name, c := range map[string]struct{ source, says string }{
		"interface":   {`import "github.com/aws/aws-sdk-go-v2/service/ec2"; type c interface { ModifyVolume(*ec2.ModifyVolumeInput) }`, "no permission is known for ec2.ModifyVolume"},
		"other name":  {`import e "github.com/aws/aws-sdk-go-v2/service/kms"; var _ = e.CreateGrantInput{}`, "no permission is known for kms.CreateGrant"},
		"dot import":  {`import . "github.com/aws/aws-sdk-go-v2/service/kms"`, "cannot be seen"},
		"new manager": {`import "github.com/aws/aws-sdk-go-v2/feature/s3/new"; var _ = new.Client{}`, "it is not known which calls"},
		"nothing new": {`import "github.com/aws/aws-sdk-go-v2/service/ec2"; var _ = ec2.RunInstancesInput{}`, ""},
		"manager":     {`import "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"; var _ = transfermanager.Client{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inner := filepath.Join(dir, "deep", "package")
			if err := os.MkdirAll(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(inner, "x.go"), []byte("package x; "+c.source), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(inner, "x_test.go"), []byte("no Go at all"), 0o644); err != nil {
				t.Fatal(err)
			}
			found, err := Calls([]string{dir})
			if err == nil {
				_, err = For(found.Operations)
			}
			switch {
			case c.says == "" && (err != nil || len(found.Operations) == 0):
				t.Errorf("found %v, %v", found, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("found %v, %v; want %s", found, err, c.says)
			}
		})
	}
}

func TestManagersAreKnown(t *testing.T) {
	for name, operations := range managers {
		if _, err := For(operations); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// everything is the policy that allows all operations that anybody has thought of.
func everything(t *testing.T) Document {
	t.Helper()
	var all []string
	for op := range known {
		all = append(all, op)
	}
	d, err := For(all)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNothingForeignIsTouched(t *testing.T) {
	onlyLooks := regexp.MustCompile(`^(ec2:Describe|ssm:(DescribeInstanceInformation|ListCommandInvocations|GetCommandInvocation)$)`)
	makes := []string{"ec2:RunInstances", "ec2:CreateImage", "ec2:RegisterImage", "ebs:StartSnapshot"}
	for _, s := range everything(t).Statement {
		equals := s.Condition["StringEquals"]
		ours := equals["aws:ResourceTag/ingot:managed"] == "true" && equals["aws:ResourceTag/ingot:owner"] == "OWNER"
		sent := equals["ssm:resourceTag/ingot:managed"] == "true" && equals["ssm:resourceTag/ingot:owner"] == "OWNER"
		tagged := equals["aws:RequestTag/ingot:managed"] == "true" && equals["aws:RequestTag/ingot:owner"] == "OWNER"
		for _, action := range s.Action {
			switch {
			case s.Sid == cancelCommand:
				if action != "ssm:CancelCommand" { // which has no narrower resource
					t.Errorf("%s is allowed on everything", action)
				}
			case s.Resource[0] == "*":
				if !onlyLooks.MatchString(action) {
					t.Errorf("%s is allowed on everything", action)
				}
			case ours || tagged && (slices.Contains(makes, action) || action == "ec2:CreateTags" && equals["ec2:CreateAction"] != nil):
			case s.Sid == importTagged && tagged && strings.HasPrefix(action, "ec2:Import"), s.Sid == importInto && strings.HasPrefix(action, "ec2:Import"):
			case s.Sid == adoptImports:
				if action != "ec2:CreateTags" || !tagged || s.Condition["Null"]["aws:ResourceTag/ingot:managed"] != "true" {
					t.Errorf("%s with %v", action, s.Condition)
				}
			case action == "ec2:RunInstances" && s.Sid == launchFrom:
				for _, from := range s.Resource {
					if strings.Contains(from, ":instance/") || strings.Contains(from, ":volume/") {
						t.Errorf("%s can be made without tags", from)
					}
				}
			case action == "ssm:SendCommand" && (sent || s.Sid == sendDocuments):
				for _, to := range s.Resource {
					if !sent && (!strings.Contains(to, "::document/AWS") || strings.Contains(to, "*")) {
						t.Errorf("%s on %s", action, to)
					}
				}
			case action == "iam:PassRole":
				if equals["iam:PassedToService"] != "ec2.amazonaws.com" || strings.Contains(s.Resource[0], "*") {
					t.Errorf("%s on %v with %v", action, s.Resource, s.Condition)
				}
			case action == "ssm:GetParameter":
				if !slices.Equal(s.Resource, []string{"arn:aws:ssm:REGION::parameter/aws/service/*"}) {
					t.Errorf("%s on %v", action, s.Resource)
				}
			case strings.HasPrefix(action, "s3:"):
				if !strings.HasPrefix(s.Resource[0], "arn:aws:s3:::BUCKET") {
					t.Errorf("%s on %v", action, s.Resource)
				}
			default:
				t.Errorf("%s: %s on %v with %v", s.Sid, action, s.Resource, s.Condition)
			}
		}
	}
}

func TestInstancesReachNothing(t *testing.T) {
	agent := regexp.MustCompile(`^(ec2messages|ssmmessages|ssm):[A-Z]`)
	for _, s := range InstanceRole().Statement {
		for _, action := range s.Action {
			if !agent.MatchString(action) || strings.Contains(action, "*") || strings.HasPrefix(action, "ssm:GetParameter") || strings.HasPrefix(action, "ssm:Send") {
				t.Errorf("instances may %s", action)
			}
		}
	}
}

// TestPoliciesAreWellFormed checks what IAM would.
func TestPoliciesAreWellFormed(t *testing.T) {
	action := regexp.MustCompile(`^[a-z0-9]+:[A-Z][A-Za-z0-9]+$`)
	sid := regexp.MustCompile(`^[A-Za-z0-9]+$`)
	arn := regexp.MustCompile(`^(\*|arn:aws:[a-z0-9]+:(REGION)?:(ACCOUNT)?:[A-Za-z0-9_/*-]+)$`)
	for name, d := range map[string]Document{"everything": everything(t), "instances": InstanceRole()} {
		if d.Version != "2012-10-17" || d.Size() > MaxSize {
			t.Errorf("%s: version %s, %d characters", name, d.Version, d.Size())
		}
		sids := map[string]bool{}
		for _, s := range d.Statement {
			if !sid.MatchString(s.Sid) || sids[s.Sid] || s.Effect != "Allow" || len(s.Action) == 0 || len(s.Resource) == 0 {
				t.Errorf("%s: %+v", name, s)
			}
			sids[s.Sid] = true
			if !slices.IsSorted(s.Action) && name == "everything" {
				t.Errorf("%s: %s: the actions are in no order", name, s.Sid)
			}
			for _, a := range s.Action {
				if !action.MatchString(a) {
					t.Errorf("%s: %s: action %q", name, s.Sid, a)
				}
			}
			for _, r := range s.Resource {
				if !arn.MatchString(r) {
					t.Errorf("%s: %s: resource %q", name, s.Sid, r)
				}
			}
		}
	}
}

// TestOnlyImportsAdopt: nobody else can make something ours that exists already.
func TestOnlyImportsAdopt(t *testing.T) {
	for op, needs := range known {
		for _, n := range needs {
			if n.on == adoptImports && !strings.HasPrefix(op, "ec2.Import") {
				t.Errorf("%s may tag what is there", op)
			}
		}
	}
	rest, imports := splitImports([]string{"ebs.StartSnapshot", "ec2.ImportImage", "ec2.ModifyImageAttribute", "ec2.RegisterImage", "s3.PutObject"})
	if !slices.Equal(rest, []string{"ebs.StartSnapshot", "ec2.RegisterImage"}) || !slices.Equal(imports, []string{"ec2.ImportImage", "ec2.ModifyImageAttribute", "s3.PutObject"}) {
		t.Errorf("%v, %v", rest, imports)
	}
}

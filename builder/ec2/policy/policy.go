// Package policy writes the IAM policies that ingot needs on AWS: for a daemon that
// builds on EC2, for one that publishes disks as AMIs, and for the role of the
// instances.
//
// They are generated from the calls that the code makes: Calls reads the source and
// finds every operation of AWS that is asked for anywhere, and each operation says
// here which actions it takes and on what. An operation that nobody has told about
// is an error, so that code and policies cannot drift apart.
//
// A call that changes or removes something is allowed only on what carries the tags
// of this daemon, and these tags can be given only to what is just being made.
//
// To add an operation: give it a line in operations, and run go generate.
package policy

//go:generate go run ./generate ../../../docs/aws-permissions.md

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxSize is how many characters a managed policy may have; white space is free.
const MaxSize = 6144

// Document is an IAM policy.
type Document struct {
	Version   string      `json:"Version"`
	Statement []Statement `json:"Statement"`
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string    `json:"Sid"`
	Effect    string    `json:"Effect"`
	Action    []string  `json:"Action"`
	Resource  []string  `json:"Resource"`
	Condition Condition `json:"Condition,omitempty"`
}

// Condition is operator, key, value.
type Condition map[string]map[string]any

// Size is how IAM counts.
func (d Document) Size() int {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // texts alone
	}
	return len(strings.Join(strings.Fields(string(text)), ""))
}

// Placeholders, which the reader replaces.
const (
	account  = "ACCOUNT"
	region   = "REGION"
	bucket   = "BUCKET"
	owner    = "OWNER"
	role     = "INSTANCE_ROLE"
	managed  = "ingot:managed"
	ownerTag = "ingot:owner"
)

// Placeholders lists the words of the policies that stand for something of the reader's.
func Placeholders() []string { return []string{account, region, bucket, owner, role} }

// For returns the policy that allows a list of operations, such as ec2.RunInstances.
func For(operations []string) (Document, error) {
	actions := map[string][]string{}
	for _, op := range operations {
		needs, ok := known[op]
		if !ok {
			return Document{}, fmt.Errorf("no permission is known for %s: add it to package policy", op)
		}
		for _, n := range needs {
			actions[n.on] = append(actions[n.on], n.action)
		}
	}
	d := Document{Version: "2012-10-17"}
	for _, g := range grounds() {
		if asked := actions[g.name]; len(asked) > 0 {
			slices.Sort(asked)
			d.Statement = append(d.Statement, Statement{
				Sid: g.name, Effect: "Allow", Action: slices.Compact(asked), Resource: g.resources, Condition: g.condition,
			})
			delete(actions, g.name)
		}
	}
	if len(actions) > 0 {
		return Document{}, fmt.Errorf("no ground is called %s", strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	return d, nil
}

// InstanceRole is the policy of the role of build and test instances: what the
// Systems Manager agent needs to be sent commands. It is AWS's own policy
// AmazonSSMManagedInstanceCore without its GetParameter and GetParameters, with which
// every recipe could read every parameter of the account.
func InstanceRole() Document {
	return Document{Version: "2012-10-17", Statement: []Statement{
		{
			Sid: "SystemsManagerAgent", Effect: "Allow", Resource: []string{"*"},
			Action: []string{
				"ssm:DescribeAssociation", "ssm:DescribeDocument", "ssm:GetDeployablePatchSnapshotForInstance", "ssm:GetDocument",
				"ssm:GetManifest", "ssm:ListAssociations", "ssm:ListInstanceAssociations", "ssm:PutComplianceItems",
				"ssm:PutConfigurePackageResult", "ssm:PutInventory", "ssm:UpdateAssociationStatus", "ssm:UpdateInstanceAssociationStatus",
				"ssm:UpdateInstanceInformation",
			},
		},
		{
			Sid: "SystemsManagerMessages", Effect: "Allow", Resource: []string{"*"},
			Action: []string{
				"ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage", "ec2messages:GetEndpoint",
				"ec2messages:GetMessages", "ec2messages:SendReply",
				"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
			},
		},
	}}
}

// InstanceTrust lets EC2 give the role to instances.
func InstanceTrust() map[string]any {
	return map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Effect": "Allow", "Principal": map[string]any{"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole",
		}},
	}
}

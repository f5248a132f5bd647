package policy

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// Page is the page of the documentation with all policies, for the source at root.
func Page(root string) (string, error) {
	driver := filepath.Join(root, "builder/ec2")
	publishing := filepath.Join(driver, "publish")
	build, err := Calls([]string{driver, filepath.Join(root, "cmd/ingot")}, publishing, filepath.Join(driver, "policy"))
	if err != nil {
		return "", err
	}
	publish, err := Calls([]string{publishing})
	if err != nil {
		return "", err
	}
	blocks, imports := splitImports(publish.Operations)
	var b strings.Builder
	b.WriteString(pageHead)
	for _, part := range []struct {
		title, says string
		operations  []string
	}{
		{"The daemon that builds", sayBuild, build.Operations},
		{"The daemon that publishes local disks", sayPublish, blocks},
		{"The daemon that imports disks by VM Import", sayImports, imports},
	} {
		policy, err := For(part.operations)
		if err != nil {
			return "", err
		}
		b.WriteString("\n## " + part.title + "\n\n" + part.says + "\n")
		writePolicy(&b, policy, policy.Size())
		b.WriteString("\nCalls: " + calls(part.operations) + ".\n")
	}
	b.WriteString("\n## The role of instances\n\n" + sayInstances + "\n")
	writePolicy(&b, InstanceRole(), InstanceRole().Size())
	b.WriteString("\nIts trust policy:\n")
	writePolicy(&b, InstanceTrust(), 0)
	return b.String(), nil
}

// splitImports tells what VM Import alone is for, with the bucket that it reads, from
// the rest: it needs more power, and most do without it.
func splitImports(operations []string) (rest, imports []string) {
	for _, op := range operations {
		// An image that is registered needs no change afterwards.
		if strings.Contains(op, "Import") || strings.HasPrefix(op, "s3.") || op == "ec2.ModifyImageAttribute" {
			imports = append(imports, op)
		} else {
			rest = append(rest, op)
		}
	}
	return rest, imports
}

const pageHead = `# What ingot may do on AWS

<!-- Written by go generate ./builder/ec2/policy from the calls that the code makes; a test holds it to them. -->

A policy for each part, with what its part needs and nothing else. In them stand ` + "`ACCOUNT`" + ` for the account's number, ` + "`REGION`" + ` for the
region, ` + "`BUCKET`" + ` for the bucket, ` + "`OWNER`" + ` for ` + "`aws.owner`" + ` of the [configuration](aws.md#configuration), and ` + "`INSTANCE_ROLE`" + ` for the name of
the instances' role. Outside of the public regions ` + "`arn:aws:`" + ` is ` + "`arn:aws-cn:`" + ` or ` + "`arn:aws-us-gov:`" + `.

What ingot makes it tags with ` + "`ingot:managed=true`" + `, ` + "`ingot:owner=OWNER`" + `, ` + "`ingot:ledger=ID`" + ` and ` + "`ingot:build=ID`" + `, in the call that makes it. Stopping,
ending, imaging, deleting, and sending commands are allowed only on what carries the first two, and the only way to get them is to be made by
this daemon: an existing instance cannot be tagged with them. Instances have to require IMDSv2.
`

const sayBuild = `It launches instances, sends them commands, and makes images of them. It is also what ` + "`ingot reap`" + ` needs.

- Where recipes start from parameters of your own (` + "`parentImage: ssm:/golden/web`" + `), add them to ` + "`PublicParameters`" + `, such as
  ` + "`arn:aws:ssm:REGION:ACCOUNT:parameter/golden/*`" + `. One that another account shares with you needs its ARN here, too.
- ` + "`PassInstanceRole`" + ` is how a role gets to instances; name the one role, and each that ` + "`aws.infrastructures`" + ` has beside it, never a pattern.
- Where recipes name keys of your own for their volumes (` + "`kmsKeyId`" + `), or start from images that are encrypted with one, add
  ` + "`kms:CreateGrant`, `kms:Decrypt`, `kms:DescribeKey`, `kms:GenerateDataKeyWithoutPlaintext`" + ` and ` + "`kms:ReEncrypt*`" + ` on these keys, the first with the
  condition ` + "`\"Bool\": {\"kms:GrantIsForAWSResource\": \"true\"}`" + `. An instance whose key may not be used ends while it starts.
- ` + "`CancelCommands`" + ` is for all commands of the account, because IAM knows no narrower resource for it. The daemon cancels those that it
  has sent itself. Without the statement, what a cancelled build has begun runs on until its instance is terminated.
- Spot instances need the account's role AWSServiceRoleForEC2Spot; ` + "`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`" + `
  makes it, once.`

const sayPublish = `It writes disks that were built locally into snapshots and makes images of them, without an instance. Images are tested on EC2 with the
policy above.`

const sayImports = `For parents that are [disks in S3](aws.md#disks-in-s3), and for recipes that say how they are [published](publish.md#vm-import) with
` + "`via: import-image` or `via: import-snapshot`" + `. Give it beside the others, and only where it is used: VM Import does not tag what it makes, so that this policy has to tag images and snapshots that are there already and carry no tag of ingot. ` + "`ingot reap`" + ` needs it to find and end imports; without it, it passes them over. VM Import itself needs
the role vmimport with access to the bucket. Where disks lie in other buckets than ingot's own, add those to ` + "`Objects` and `ListBucket`" + `.`

const sayInstances = `What the Systems Manager agent needs, and no more: files and results travel through addresses of S3 that the daemon signs, so that
instances have no access to the bucket. It is AmazonSSMManagedInstanceCore without ` + "`ssm:GetParameter` and `ssm:GetParameters`" + `, with which
any recipe could read every parameter of the account. Whatever a recipe's components do on AWS by themselves has to be added here, and is
then open to every recipe.`

func writePolicy(b *strings.Builder, policy any, size int) {
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		panic(err) // texts alone
	}
	fmt.Fprintf(b, "\n```json\n%s\n```\n", text)
	if size > 0 {
		fmt.Fprintf(b, "\n%d of the %d characters that a managed policy may have.\n", size, MaxSize)
	}
}

func calls(operations []string) string {
	quoted := make([]string, len(operations))
	for i, op := range operations {
		quoted[i] = "`" + op + "`"
	}
	return strings.Join(quoted, ", ")
}

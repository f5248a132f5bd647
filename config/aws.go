package config

import "regexp"

// Names as AWS has them, as far as they can be checked without asking.
var (
	regionName        = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	bucketName        = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixName        = regexp.MustCompile(`^([A-Za-z0-9._-]+/)*$`)
	awsOwnerName      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	instanceTypeName  = regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`)
	subnetName        = regexp.MustCompile(`^subnet-[0-9a-f]+$`)
	roleName          = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,64}$`)
	securityGroupName = regexp.MustCompile(`^sg-[0-9a-f]+$`)
)

// IsRegion tells whether a text has the form of a region's name.
func IsRegion(text string) bool { return regionName.MatchString(text) }

// IsInstanceType tells whether a text has the form of an instance type's name.
func IsInstanceType(text string) bool { return instanceTypeName.MatchString(text) }

func (r *reading) aws(f *awsFile) AWS {
	r.named("aws.region", regionName, "expected a region such as eu-central-1", f.Region)
	r.named("aws.bucket", bucketName, "expected the name of an S3 bucket", f.Bucket)
	r.named("aws.prefix", prefixName, "expected folders of letters, digits, dots and hyphens, with a slash at the end", f.Prefix)
	r.named("aws.owner", awsOwnerName, "expected small letters, digits and hyphens", f.Owner)
	r.places("aws", f.InstanceTypes, f.Subnets, f.SecurityGroups)
	r.named("aws.importRole", roleName, "expected the name of a role, not its ARN", f.ImportRole)
	if f.Region.Node == nil {
		for _, useless := range []text{f.Bucket, f.InstanceProfile} {
			if useless.Node != nil {
				r.bad(useless.Node, "without it nothing is built on EC2", "aws.region is missing")
			}
		}
		return AWS{}
	}
	if f.Bucket.Node == nil {
		r.bad(f.Region.Node, "instances are given work, and tell of it, through a bucket", "aws.bucket is missing")
	}
	if f.InstanceProfile.Value == "" {
		r.bad(f.Region.Node, "an instance without a profile does not reach Systems Manager", "aws.instanceProfile is missing")
	}
	a := AWS{
		Region: f.Region.Value, Bucket: f.Bucket.Value, Prefix: "ingot/", Owner: "ingot", ImportRole: f.ImportRole.Value, Tags: f.Tags,
		Infrastructure: Infrastructure{
			InstanceProfile: f.InstanceProfile.Value,
			InstanceTypes:   values(f.InstanceTypes), Subnets: values(f.Subnets), SecurityGroups: values(f.SecurityGroups),
			KeyPair: f.KeyPair.Value, Spot: f.Spot.Value,
		},
	}
	if f.Prefix.Node != nil {
		a.Prefix = f.Prefix.Value
	}
	if f.Owner.Node != nil {
		a.Owner = f.Owner.Value
	}
	if len(a.InstanceTypes) == 0 {
		a.InstanceTypes = []string{"t3.medium"}
	}
	a.Infrastructures = r.infrastructures(f.Infrastructures, a.Infrastructure)
	return a
}

// infrastructures reads those that recipes may choose. What one leaves out it has from
// the usual one.
func (r *reading) infrastructures(files []infrastructureFile, usual Infrastructure) map[string]Infrastructure {
	all := map[string]Infrastructure{}
	for _, f := range files {
		r.places("aws.infrastructures", f.InstanceTypes, f.Subnets, f.SecurityGroups)
		if f.Name.Node == nil {
			continue // decoding has said so
		}
		r.named("aws.infrastructures.name", legalName, "expected a name of letters, digits and ._-", f.Name)
		if _, taken := all[f.Name.Value]; taken {
			r.bad(f.Name.Node, "expected names that differ", "aws.infrastructures: the name %q is given twice", f.Name.Value)
		}
		i := usual
		for from, to := range map[*text]*string{&f.InstanceProfile: &i.InstanceProfile, &f.KeyPair: &i.KeyPair} {
			if from.Node != nil {
				*to = from.Value
			}
		}
		for from, to := range map[*[]text]*[]string{&f.InstanceTypes: &i.InstanceTypes, &f.Subnets: &i.Subnets, &f.SecurityGroups: &i.SecurityGroups} {
			if len(*from) > 0 {
				*to = values(*from)
			}
		}
		if f.Spot.Node != nil {
			i.Spot = f.Spot.Value
		}
		all[f.Name.Value] = i
	}
	return all
}

// places checks where instances may run.
func (r *reading) places(key string, instanceTypes, subnets, securityGroups []text) {
	r.named(key+".instanceTypes", instanceTypeName, "expected a type such as m6i.large", instanceTypes...)
	r.named(key+".subnets", subnetName, "expected an id such as subnet-0a1b2c3d", subnets...)
	r.named(key+".securityGroups", securityGroupName, "expected an id such as sg-0a1b2c3d", securityGroups...)
}

// named checks the names that a key has.
func (r *reading) named(key string, pattern *regexp.Regexp, expected string, all ...text) {
	for _, at := range all {
		if at.Node != nil && !pattern.MatchString(at.Value) {
			r.bad(at.Node, expected, "%s: %q is none", key, at.Value)
		}
	}
}

func values(all []text) []string {
	var out []string
	for _, at := range all {
		out = append(out, at.Value)
	}
	return out
}

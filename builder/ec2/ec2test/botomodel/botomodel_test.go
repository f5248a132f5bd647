package botomodel

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/internal/mototest"
)

func open(t *testing.T, service string) *Model {
	t.Helper()
	m, err := Open(mototest.Need(t), service)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// hold checks an outcome against the words that it must have; none: no error.
func hold(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestForms(t *testing.T) {
	m := open(t, "ec2")
	for _, c := range []struct{ name, form, want string }{
		{"good", "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&ImageId=ami-1&BlockDeviceMapping.1.DeviceName=a&BlockDeviceMapping.1.Ebs.VolumeSize=8&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k", ""},
		{"import", "Action=ImportImage&Version=2016-11-15&DiskContainer.1.Format=VMDK&DiskContainer.1.UserBucket.S3Bucket=b&DiskContainer.1.UserBucket.S3Key=k", ""},
		{"import of what is not there", "Action=ImportImage&Version=2016-11-15&DiskContainers.1.Format=VMDK", "DiskContainers: there is no such parameter"},
		{"nested unknown", "Action=ImportImage&Version=2016-11-15&DiskContainer.1.UserBucket.Bucket=b", "DiskContainer[1].UserBucket.Bucket: there is no such parameter"},
		{"no operation", "Action=RunInstance&Version=2016-11-15", `no operation "RunInstance"`},
		{"no version", "Action=DescribeImages", "Version"},
		{"unknown", "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&Tag.1.Key=k", "Tag: there is no such parameter"},
		{"missing", "Action=RunInstances&Version=2016-11-15&MinCount=1", "MaxCount is missing"},
		{"number", "Action=RunInstances&Version=2016-11-15&MinCount=one&MaxCount=1", `MinCount: "one" is no integer`},
		{"enumeration", "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&InstanceType=t3.huge", "InstanceType: \"t3.huge\" is not one of"},
		{"boolean", "Action=CreateImage&Version=2016-11-15&InstanceId=i-1&Name=n&NoReboot=yes", "NoReboot: \"yes\" is no boolean"},
		{"numbers with a gap", "Action=DescribeImages&Version=2016-11-15&ImageId.2=ami-1", "numbered from 1"},
		{"list as value", "Action=DescribeImages&Version=2016-11-15&ImageId=ami-1", "a value where a list belongs"},
		{"structure as value", "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&Placement=a", "a value where a structure belongs"},
		{"twice", "Action=DescribeImages&Version=2016-11-15&DryRun=true&DryRun=false", "given 2 times"},
		{"range", "Action=DescribeInstanceTypes&Version=2016-11-15&MaxResults=4", "MaxResults: 4, at least 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			form, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			hold(t, m.Form(form), c.want)
		})
	}
}

func TestJSON(t *testing.T) {
	m := open(t, "ssm")
	for _, c := range []struct{ name, operation, body, want string }{
		{"good", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["i-0123456789abcdef0"],"Parameters":{"commands":["a"]},"TimeoutSeconds":30}`, ""},
		{"missing", "SendCommand", `{}`, "DocumentName is missing"},
		{"unknown", "SendCommand", `{"DocumentName":"d","Command":"x"}`, "Command: there is no such parameter"},
		{"range", "SendCommand", `{"DocumentName":"AWS-RunShellScript","TimeoutSeconds":29}`, "TimeoutSeconds: 29, at least 30"},
		{"length", "SendCommand", `{"DocumentName":"AWS-RunShellScript","Comment":"` + strings.Repeat("x", 101) + `"}`, "Comment: 101 characters, at most 100"},
		{"members", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":[` + strings.Repeat(`"i-01234567",`, 50) + `"i-01234567"]}`, "InstanceIds: 51 members, at most 50"},
		{"pattern", "SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["ami-1"]}`, "does not match"},
		{"map of lists", "SendCommand", `{"DocumentName":"AWS-RunShellScript","Parameters":{"commands":"a"}}`, "Parameters.commands: string where a list belongs"},
		{"enumeration", "ListCommandInvocations", `{"Filters":[{"key":"Until","value":"x"}]}`, "Filters[1].key: \"Until\" is not one of"},
		{"fraction", "ListCommandInvocations", `{"MaxResults":1.5}`, "MaxResults: \"1.5\" is no integer"},
		{"boolean", "ListCommandInvocations", `{"Details":"true"}`, "string where a boolean belongs"},
		{"no JSON", "ListCommandInvocations", `{`, "body"},
		{"two", "ListCommandInvocations", `{}{}`, "more than one value"},
		{"no operation", "SendCommands", `{}`, "no operation"},
	} {
		t.Run(c.name, func(t *testing.T) { hold(t, m.JSON(c.operation, []byte(c.body)), c.want) })
	}
}

func TestREST(t *testing.T) {
	m := open(t, "ebs")
	put := http.Header{"X-Amz-Data-Length": {"524288"}, "X-Amz-Checksum": {strings.Repeat("A", 43) + "="}, "X-Amz-Checksum-Algorithm": {"SHA256"}}
	with := func(h http.Header, name, value string) http.Header {
		h = h.Clone()
		h.Set(name, value)
		return h
	}
	for _, c := range []struct {
		name, method, url string
		header            http.Header
		body, want        string
	}{
		{"start", "POST", "/snapshots", nil, `{"VolumeSize":8,"ClientToken":"t"}`, ""},
		{"start without a size", "POST", "/snapshots", nil, `{}`, "VolumeSize is missing"},
		{"start with too much", "POST", "/snapshots", nil, `{"VolumeSize":8,"BlockSize":1}`, "BlockSize: there is no such parameter"},
		{"put", "PUT", "/snapshots/snap-0123456789abcdef0/blocks/1", put, "bytes", ""},
		{"put with another algorithm", "PUT", "/snapshots/snap-0123456789abcdef0/blocks/1", with(put, "X-Amz-Checksum-Algorithm", "MD5"), "", "ChecksumAlgorithm: \"MD5\" is not one of"},
		{"put without a checksum", "PUT", "/snapshots/snap-0123456789abcdef0/blocks/1", nil, "", "Checksum: is missing"},
		{"put to no number", "PUT", "/snapshots/snap-0123456789abcdef0/blocks/x", put, "", `BlockIndex: "x" is no integer`},
		{"complete", "POST", "/snapshots/completion/snap-0123456789abcdef0", http.Header{"X-Amz-Changedblockscount": {"1"}}, "", ""},
		{"list", "GET", "/snapshots/snap-0123456789abcdef0/blocks?maxResults=99", nil, "", "MaxResults: 99, at least 100"},
		{"query", "GET", "/snapshots/snap-0123456789abcdef0/blocks?most=100", nil, "", "most: there is no such parameter"},
		{"nowhere", "GET", "/volumes", nil, "", "no operation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := httptest.NewRequest(c.method, c.url, nil)
			if c.header != nil {
				request.Header = c.header
			}
			hold(t, m.REST(request, []byte(c.body)), c.want)
		})
	}
}

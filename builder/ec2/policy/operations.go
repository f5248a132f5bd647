package policy

// need is an action on one ground.
type need struct{ action, on string }

// ground is what actions are allowed on: resources and the conditions that they meet.
type ground struct {
	name      string
	resources []string
	condition Condition
}

// Grounds, by the names that the statements carry.
const (
	look          = "Look"
	launch        = "LaunchTagged"
	launchFrom    = "LaunchFrom"
	launchVolume  = "LaunchVolumesTagged"
	passRole      = "PassInstanceRole"
	makeImages    = "MakeImagesTagged"
	startSnapshot = "StartSnapshotsTagged"
	tagNew        = "TagWhatIsJustMade"
	changeOurs    = "ChangeWhatIsOurs"
	parameters    = "PublicParameters"
	sendDocuments = "SendTheseDocuments"
	sendToOurs    = "SendToOurInstances"
	cancelCommand = "CancelCommands"
	objects       = "Objects"
	listBucket    = "ListBucket"
	importTagged  = "ImportTagged"
	importInto    = "ImportInto"
	tagImports    = "TagImportsThatBegin"
	adoptImports  = "TagWhatImportsMade"
	changeImports = "ChangeOurImports"
)

func ec2ARN(kind string) string { return "arn:aws:ec2:" + region + ":" + account + ":" + kind + "/*" }

// sharedARN is of what has no account in its name: images and snapshots.
func sharedARN(kind string) string { return "arn:aws:ec2:" + region + "::" + kind + "/*" }

// requestTagged holds for what is made with the daemon's tags.
func requestTagged() map[string]any {
	return map[string]any{"aws:RequestTag/" + managed: "true", "aws:RequestTag/" + ownerTag: owner}
}

// resourceTagged holds for what carries them.
func resourceTagged() map[string]any {
	return map[string]any{"aws:ResourceTag/" + managed: "true", "aws:ResourceTag/" + ownerTag: owner}
}

// with adds a key to a condition.
func with(values map[string]any, key string, value any) map[string]any {
	values[key] = value
	return values
}

// grounds are in the order of the statements.
func grounds() []ground {
	return []ground{
		{name: look, resources: []string{"*"}}, // IAM knows no resources for these
		{
			name: launch, resources: []string{ec2ARN("instance")},
			condition: Condition{
				"StringEquals": with(requestTagged(), "ec2:MetadataHttpTokens", "required"),
			},
		},
		{name: launchVolume, resources: []string{ec2ARN("volume")}, condition: Condition{"StringEquals": requestTagged()}},
		{name: launchFrom, resources: []string{
			sharedARN("image"), sharedARN("snapshot"), ec2ARN("key-pair"), ec2ARN("network-interface"), ec2ARN("security-group"), ec2ARN("subnet"),
		}},
		{
			name: passRole, resources: []string{"arn:aws:iam::" + account + ":role/" + role},
			condition: Condition{"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
		},
		{
			name: makeImages, resources: []string{sharedARN("image"), sharedARN("snapshot")},
			condition: Condition{"StringEquals": requestTagged()},
		},
		{name: startSnapshot, resources: []string{sharedARN("snapshot")}, condition: Condition{"StringEquals": requestTagged()}},
		{
			name: tagNew, resources: []string{ec2ARN("instance"), ec2ARN("volume"), sharedARN("image"), sharedARN("snapshot")},
			condition: Condition{"StringEquals": with(requestTagged(), "ec2:CreateAction", []string{"CreateImage", "RegisterImage", "RunInstances"})},
		},
		{
			name: changeOurs, resources: []string{ec2ARN("instance"), ec2ARN("volume"), sharedARN("image"), sharedARN("snapshot")},
			condition: Condition{"StringEquals": resourceTagged()},
		},
		{name: parameters, resources: []string{"arn:aws:ssm:" + region + "::parameter/aws/service/*"}},
		{name: sendDocuments, resources: documentARNs()},
		{
			name: sendToOurs, resources: []string{ec2ARN("instance")},
			condition: Condition{"StringEquals": {"ssm:resourceTag/" + managed: "true", "ssm:resourceTag/" + ownerTag: owner}},
		},
		{name: cancelCommand, resources: []string{"*"}}, // IAM knows no resource for it
		{name: objects, resources: []string{"arn:aws:s3:::" + bucket + "/*"}},
		{name: listBucket, resources: []string{"arn:aws:s3:::" + bucket}},
		{
			name: importTagged, resources: []string{ec2ARN("import-image-task"), ec2ARN("import-snapshot-task")},
			condition: Condition{"StringEquals": requestTagged()},
		},
		{name: importInto, resources: []string{sharedARN("image"), sharedARN("snapshot")}},
		{
			name: tagImports, resources: []string{ec2ARN("import-image-task"), ec2ARN("import-snapshot-task")},
			condition: Condition{"StringEquals": with(requestTagged(), "ec2:CreateAction", []string{"ImportImage", "ImportSnapshot"})},
		},
		{
			// VM Import tags its task and not what comes of it.
			name: adoptImports, resources: []string{sharedARN("image"), sharedARN("snapshot")},
			condition: Condition{"StringEquals": requestTagged(), "Null": {"aws:ResourceTag/" + managed: "true"}},
		},
		{
			name: changeImports, resources: []string{ec2ARN("import-image-task"), ec2ARN("import-snapshot-task")},
			condition: Condition{"StringEquals": resourceTagged()},
		},
	}
}

// Documents are those of Systems Manager that the driver runs; AWS owns them.
func Documents() []string {
	return []string{"AWS-RunPowerShellScript", "AWS-RunShellScript", "AWSEC2-RunSysprep"}
}

func documentARNs() []string {
	var all []string
	for _, name := range Documents() {
		all = append(all, "arn:aws:ssm:"+region+"::document/"+name)
	}
	return all
}

// known tells what each operation of AWS takes, beside those that the SDK makes of
// one call: a manager of transfers splits an object into parts.
var known = map[string][]need{
	"ec2.CreateImage": {
		{"ec2:CreateImage", changeOurs}, {"ec2:CreateImage", makeImages}, {"ec2:CreateTags", tagNew},
	},
	"ec2.CreateTags":        {{"ec2:CreateTags", changeOurs}},
	"ec2.DeleteSnapshot":    {{"ec2:DeleteSnapshot", changeOurs}},
	"ec2.DeleteVolume":      {{"ec2:DeleteVolume", changeOurs}},
	"ec2.DeregisterImage":   {{"ec2:DeregisterImage", changeOurs}},
	"ec2.DescribeImages":    {{"ec2:DescribeImages", look}},
	"ec2.DescribeInstances": {{"ec2:DescribeInstances", look}},
	"ec2.DescribeSnapshots": {{"ec2:DescribeSnapshots", look}},
	"ec2.DescribeVolumes":   {{"ec2:DescribeVolumes", look}},
	"ec2.GetConsoleOutput":  {{"ec2:GetConsoleOutput", changeOurs}},

	"ec2.CancelImportTask":            {{"ec2:CancelImportTask", changeImports}},
	"ec2.DescribeImportImageTasks":    {{"ec2:DescribeImportImageTasks", look}},
	"ec2.DescribeImportSnapshotTasks": {{"ec2:DescribeImportSnapshotTasks", look}},
	"ec2.ImportImage": {
		{"ec2:ImportImage", importTagged}, {"ec2:ImportImage", importInto},
		{"ec2:CreateTags", tagImports}, {"ec2:CreateTags", adoptImports}, {"ec2:CreateTags", changeImports},
	},
	"ec2.ImportSnapshot": {
		{"ec2:ImportSnapshot", importTagged}, {"ec2:ImportSnapshot", importInto},
		{"ec2:CreateTags", tagImports}, {"ec2:CreateTags", adoptImports}, {"ec2:CreateTags", changeImports},
	},
	"ec2.ModifyImageAttribute": {{"ec2:ModifyImageAttribute", changeOurs}},
	"ec2.RegisterImage": {
		{"ec2:RegisterImage", makeImages}, {"ec2:RegisterImage", changeOurs}, {"ec2:CreateTags", tagNew},
	},
	"ec2.RunInstances": {
		{"ec2:RunInstances", launch}, {"ec2:RunInstances", launchVolume}, {"ec2:RunInstances", launchFrom},
		{"ec2:CreateTags", tagNew}, {"iam:PassRole", passRole},
	},
	"ec2.StopInstances":      {{"ec2:StopInstances", changeOurs}},
	"ec2.TerminateInstances": {{"ec2:TerminateInstances", changeOurs}},

	"ssm.CancelCommand":               {{"ssm:CancelCommand", cancelCommand}},
	"ssm.DescribeInstanceInformation": {{"ssm:DescribeInstanceInformation", look}},
	"ssm.GetCommandInvocation":        {{"ssm:GetCommandInvocation", look}},
	"ssm.GetParameter":                {{"ssm:GetParameter", parameters}},
	"ssm.ListCommandInvocations":      {{"ssm:ListCommandInvocations", look}},
	"ssm.SendCommand":                 {{"ssm:SendCommand", sendDocuments}, {"ssm:SendCommand", sendToOurs}},

	"s3.AbortMultipartUpload":    {{"s3:AbortMultipartUpload", objects}},
	"s3.CompleteMultipartUpload": {{"s3:PutObject", objects}},
	"s3.CreateMultipartUpload":   {{"s3:PutObject", objects}},
	"s3.DeleteObject":            {{"s3:DeleteObject", objects}},
	"s3.DeleteObjects":           {{"s3:DeleteObject", objects}},
	"s3.GetObject":               {{"s3:GetObject", objects}},
	// Without ListBucket, S3 answers for an object that is not there as for one that
	// may not be seen.
	"s3.HeadObject":    {{"s3:GetObject", objects}, {"s3:ListBucket", listBucket}},
	"s3.ListObjectsV2": {{"s3:ListBucket", listBucket}},
	"s3.PutObject":     {{"s3:PutObject", objects}},
	"s3.UploadPart":    {{"s3:PutObject", objects}},

	"ebs.CompleteSnapshot":   {{"ebs:CompleteSnapshot", changeOurs}},
	"ebs.GetSnapshotBlock":   {{"ebs:GetSnapshotBlock", changeOurs}},
	"ebs.ListChangedBlocks":  {{"ebs:ListChangedBlocks", changeOurs}},
	"ebs.ListSnapshotBlocks": {{"ebs:ListSnapshotBlocks", changeOurs}},
	"ebs.PutSnapshotBlock":   {{"ebs:PutSnapshotBlock", changeOurs}},
	"ebs.StartSnapshot":      {{"ebs:StartSnapshot", startSnapshot}},

	"sts.GetCallerIdentity": nil, // needs no permission
}

// managers are packages of the SDK that make calls of their own, and which.
var managers = map[string][]string{
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager": {
		"s3.AbortMultipartUpload", "s3.CompleteMultipartUpload", "s3.CreateMultipartUpload", "s3.GetObject", "s3.HeadObject", "s3.PutObject", "s3.UploadPart",
	},
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager": {
		"s3.AbortMultipartUpload", "s3.CompleteMultipartUpload", "s3.CreateMultipartUpload", "s3.GetObject", "s3.HeadObject", "s3.PutObject", "s3.UploadPart",
	},
}

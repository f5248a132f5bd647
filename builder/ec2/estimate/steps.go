package estimate

import (
	"slices"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// driver is the name of driver ec2 in recipes.
const driver = "ec2"

func onEC2(r *recipe.Recipe) bool { return r.Infrastructure.Driver == driver }

func published(r *recipe.Recipe) bool { return r.Publish != nil && r.Publish.Driver == driver }

// imported reports whether the disk is published by VM Import.
func imported(r *recipe.Recipe) bool { return published(r) && r.Publish.Via.Imports() }

// Concerns reports whether builds of a recipe make calls of AWS.
func Concerns(r *recipe.Recipe) bool { return onEC2(r) || published(r) }

// stageClose ends an instance; it has no row in a build's progress.
const stageClose = builder.Stage("close")

// The two instances, as close names them.
const (
	buildInstance = "build instance"
	testInstance  = "test instance"
)

// stepper makes the steps of one plan, in their order.
type stepper struct {
	Input
	clock clock
	gib   int    // of the disk that is published; 0: not known
	on    string // the instance that runs
	all   []Step
}

func (s *stepper) add(stage builder.Stage, name string, calls ...Call) {
	seconds, from := s.clock.of(stage, name)
	s.all = append(s.all, Step{Stage: string(stage), Name: name, Calls: slices.Concat([]Call{}, calls), Seconds: seconds, From: from, On: s.on})
}

func (s *stepper) windows() bool { return s.Recipe.Platform == component.Windows }

// steps are the stages of a build.
func (s *stepper) steps() []Step {
	switch {
	case onEC2(s.Recipe):
		s.resolve()
		if !s.TestsOnly {
			s.build()
		}
	case s.TestsOnly:
		s.add(builder.StageResolve, "")
	default:
		s.buildOnHost()
	}
	if published(s.Recipe) {
		s.publish()
	}
	s.test()
	return s.all
}

// resolve looks up the parent, and whether the image is there.
func (s *stepper) resolve() {
	calls := append(resolveCalls(s.Recipe), call("ec2.DescribeImages"))
	if s.TestsOnly {
		calls = append(calls, call("s3.GetObject"), call("ec2.DescribeSnapshots"))
	}
	s.add(builder.StageResolve, "", calls...)
}

func (s *stepper) build() {
	r := s.Recipe
	s.on = buildInstance
	s.add(builder.StageLaunch, "", launch()...)
	first := deliverAgent()
	operate := func(stage builder.Stage, name string, before ...Call) {
		s.add(stage, name, slices.Concat(before, first, operation())...)
		first = nil
	}
	if len(r.Files) > 0 {
		operate(builder.StageFiles, "", call("s3.PutObject"))
	}
	for _, u := range r.BuildUses() {
		operate(builder.StageBuild, u.Name)
	}
	operate(builder.StageInventory, "")
	if s.windows() {
		s.add(builder.StageClean, "", slices.Concat(removeAgent(script()), []Call{
			call("ssm.ListCommandInvocations"), call("ssm.SendCommand"), // Sysprep, which stops it
			polls("ec2.DescribeInstances"), maybePolls("ssm.ListCommandInvocations"),
		})...)
	} else {
		s.add(builder.StageClean, "", operation()...)
	}
	s.add(builder.StageImage, "", s.imageCalls()...)
	s.add(stageClose, buildInstance, call("ec2.TerminateInstances"))
	s.on = ""
}

func (s *stepper) imageCalls() []Call {
	var calls []Call
	if s.windows() {
		calls = []Call{call("s3.GetObject")} // that the agent is gone
	} else { // what has been brought is taken off again
		calls = slices.Concat(operation(), removeAgent(operation()))
	}
	if !s.Spot || s.windows() { // Spot instances are shut down by CreateImage
		calls = append(calls, call("ec2.StopInstances"), polls("ec2.DescribeInstances"))
	}
	return append(calls, call("s3.PutObject"),
		call("ec2.CreateImage"), polls("ec2.DescribeImages"), maybePolls("ec2.DescribeSnapshots"),
		call("s3.GetObject"), call("ec2.DescribeSnapshots"), call("ec2.CreateTags"))
}

// buildOnHost is the build of driver local, which asks AWS for nothing.
func (s *stepper) buildOnHost() {
	r := s.Recipe
	s.add(builder.StageResolve, "")
	s.add(builder.StageLaunch, "")
	if len(r.Files) > 0 {
		s.add(builder.StageFiles, "")
	}
	for _, u := range r.BuildUses() {
		s.add(builder.StageBuild, u.Name)
	}
	for _, stage := range []builder.Stage{builder.StageInventory, builder.StageClean, builder.StageImage} {
		s.add(stage, "")
	}
}

// publish makes an AMI of the disk. An image that is there already may be published, too.
func (s *stepper) publish() {
	var look, work, wait []Call
	switch via := s.Recipe.Publish.Via; via {
	case recipe.ViaImportImage:
		look = []Call{call("ec2.DescribeImages")}
		work = slices.Concat(
			[]Call{call("ec2.DescribeImportImageTasks")}, stage(),
			[]Call{call("ec2.ImportImage"), polls("ec2.DescribeImportImageTasks"), call("ec2.CreateTags"), call("ec2.ModifyImageAttribute"), call("s3.DeleteObject")})
		wait = []Call{polls("ec2.DescribeImages")}
	case recipe.ViaImportSnapshot:
		look = []Call{call("ec2.DescribeImages")}
		work = slices.Concat(
			[]Call{call("ec2.DescribeImages"), call("ec2.DescribeImportSnapshotTasks")}, stage(),
			[]Call{
				call("ec2.ImportSnapshot"), polls("ec2.DescribeImportSnapshotTasks"), call("ec2.CreateTags"),
				call("ec2.DescribeImages"), polls("ec2.DescribeSnapshots"), call("ec2.RegisterImage"), call("s3.DeleteObject"),
			})
		wait = []Call{polls("ec2.DescribeImages")}
	default:
		look = []Call{perhaps("ec2.DescribeSnapshots"), perhaps("ec2.CreateTags")}
		work = []Call{call("ebs.StartSnapshot"), {Operation: "ebs.PutSnapshotBlock", Most: s.gib * blocksPerGiB}, call("ebs.CompleteSnapshot")}
		wait = []Call{call("ec2.DescribeImages"), polls("ec2.DescribeSnapshots"), call("ec2.RegisterImage"), polls("ec2.DescribeImages")}
		if s.TestsOnly {
			wait[1].Perhaps, wait[2].Perhaps = true, true
		}
	}
	if s.TestsOnly {
		for n := range work {
			work[n].Perhaps = true
		}
	}
	s.add(builder.StagePublish, "", slices.Concat(look, work, wait)...)
}

// stage writes a disk into the bucket, from which VM Import reads it: in parts, unless
// it is small.
func stage() []Call {
	return []Call{perhaps("s3.PutObject"), perhaps("s3.CreateMultipartUpload"), maybePolls("s3.UploadPart"), perhaps("s3.CompleteMultipartUpload")}
}

// test boots an instance of the image, also where there are no tests: it has to boot.
func (s *stepper) test() {
	uses := s.Recipe.TestUses()
	prepared := slices.DeleteFunc(slices.Clone(uses), func(u recipe.Use) bool {
		return u.Document == nil || !u.Document.HasPhase(builder.PhasePrepare)
	})
	boot := launch()
	if len(prepared) > 0 && !s.windows() { // it is made a new instance again, by a clean-up and a restart
		boot = slices.Concat(boot, operation(), operation())
	}
	s.on = testInstance
	s.add(builder.StageBoot, "", boot...)
	var first []Call
	if s.TestsOnly || !onEC2(s.Recipe) || builder.NeedAWS(s.Recipe.BuildUses()) { // else it is there since the build
		first = deliverAgent()
	}
	operate := func(stage builder.Stage, name string) {
		s.add(stage, name, slices.Concat(first, operation())...)
		first = nil
	}
	for _, u := range prepared {
		operate(builder.StagePrepare, u.Name)
	}
	for _, u := range uses {
		operate(builder.StageTest, u.Name)
	}
	s.add(stageClose, testInstance, call("ec2.TerminateInstances"))
}

// blocksPerGiB is how many blocks EBS takes for a GiB.
const blocksPerGiB = 2048

func resolveCalls(r *recipe.Recipe) []Call {
	switch r.Parent.Kind {
	case recipe.ParentObject: // imported once for each content
		return []Call{
			call("s3.HeadObject"), call("ec2.DescribeImages"), perhaps("ec2.DescribeImportImageTasks"), perhaps("ec2.ImportImage"),
			maybePolls("ec2.DescribeImportImageTasks"), perhaps("ec2.CreateTags"), polls("ec2.DescribeImages"), perhaps("s3.HeadObject"), call("ec2.DescribeImages"),
		}
	case recipe.ParentSSM:
		return []Call{call("ssm.GetParameter"), call("ec2.DescribeImages")}
	case recipe.ParentARN:
		return []Call{perhaps("ssm.GetParameter"), call("ec2.DescribeImages")}
	case recipe.ParentAlias:
		if catalogue.ByParameter(r.Parent.Name) {
			return []Call{call("ssm.GetParameter"), call("ec2.DescribeImages")}
		}
	}
	return []Call{call("ec2.DescribeImages")}
}

// launch starts an instance and waits for it. One that the build has is taken up.
func launch() []Call {
	return []Call{
		call("ec2.DescribeImages"), call("ec2.DescribeInstances"), call("ec2.RunInstances"),
		polls("ec2.DescribeInstances"), polls("ssm.DescribeInstanceInformation"),
	}
}

// operation is what the driver asks for one job on an instance: the job goes through
// the bucket, a command fetches it, its news come back through the bucket, and its
// outcome is remembered there.
func operation() []Call {
	return []Call{
		call("s3.PutObject"), call("ssm.SendCommand"), polls("s3.ListObjectsV2"), polls("s3.GetObject"), polls("s3.DeleteObjects"),
		polls("ec2.DescribeInstances"), maybePolls("ssm.ListCommandInvocations"), call("s3.PutObject"),
	}
}

// script is a command that does without the agent.
func script() []Call {
	return []Call{call("ssm.SendCommand"), polls("ssm.ListCommandInvocations"), polls("ec2.DescribeInstances"), call("s3.PutObject")}
}

// removeAgent records that the agent goes, and looks whether it has gone, before it does.
func removeAgent(how []Call) []Call {
	return slices.Concat([]Call{call("ec2.CreateTags"), call("s3.GetObject")}, how)
}

// deliverAgent puts the agent into the bucket, once for each version; each daemon looks
// once whether it is there.
func deliverAgent() []Call { return []Call{perhaps("s3.HeadObject"), perhaps("s3.PutObject")} }

func call(operation string) Call       { return Call{Operation: operation} }
func polls(operation string) Call      { return Call{Operation: operation, Polls: true} }
func perhaps(operation string) Call    { return Call{Operation: operation, Perhaps: true} }
func maybePolls(operation string) Call { return Call{Operation: operation, Polls: true, Perhaps: true} }

// Asks lists the operations of the step's calls, each once: with … where it is repeated
// until what it waits for is there, with ? where it may not be needed, and with the
// number of calls that there may be besides.
func (s Step) Asks() []string {
	var order []string
	all := map[string]Call{}
	for _, c := range s.Calls {
		sum, known := all[c.Operation]
		if !known {
			order = append(order, c.Operation)
			sum = Call{Perhaps: true}
		}
		if !c.Polls {
			sum.Most += max(1, c.Most)
		}
		sum.Polls, sum.Perhaps = sum.Polls || c.Polls, sum.Perhaps && c.Perhaps
		all[c.Operation] = sum
	}
	for n, operation := range order {
		sum := all[operation]
		switch {
		case sum.Polls:
			order[n] += "…"
		case sum.Most > 1:
			order[n] += "×" + thousands(sum.Most)
		}
		if sum.Perhaps {
			order[n] += "?"
		}
	}
	return order
}

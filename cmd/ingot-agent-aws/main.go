// Command ingot-agent-aws is ingot-agent with access to AWS: S3 actions, aws:ssm:
// references, documents from S3 and of Image Builder. It goes into an instance in
// place of the other one when a document needs that.
package main

import (
	"os"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/component/aws"
)

func main() { os.Exit(agent.Main("ingot-agent-aws", aws.New(os.Getenv).Reach(component.Env{}))) }

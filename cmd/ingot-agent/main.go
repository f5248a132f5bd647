// Command ingot-agent runs component documents inside an instance; agent.Main
// describes its arguments. It travels into every instance and stays small: what
// reaches beyond the machine is in ingot-agent-aws.
package main

import (
	"os"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

func main() { os.Exit(agent.Main("ingot-agent", component.Env{})) }

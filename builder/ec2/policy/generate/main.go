// Command generate writes the page of the IAM policies. It is run by go generate, in
// the folder of package policy.
package main

import (
	"fmt"
	"os"

	"github.com/seed-6db18919/ingot/builder/ec2/policy"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate PAGE")
		os.Exit(2)
	}
	page, err := policy.Page("../../..")
	if err == nil {
		err = os.WriteFile(os.Args[1], []byte(page), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

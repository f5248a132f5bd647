package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// sources are where documents come from beside this machine.
type sources struct {
	owner string // the account that must own a bucket; empty: any
}

// flags are the options that concern documents elsewhere.
func (s *sources) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.owner, "document-s3-bucket-owner", "", "`account` that must own the buckets of documents")
}

// remote tells what is read from an account in the cloud.
func (sources) remote(ref string) bool {
	return strings.HasPrefix(ref, "s3://") || strings.HasPrefix(ref, "arn:")
}

func (s sources) fetch(_ context.Context, ref string) (written, error) {
	return written{}, fmt.Errorf("%s: this program has no access to an account; fetch the document first, with `aws s3 cp` or `aws imagebuilder get-component`", ref)
}

// reachable refuses a target of logs that this program cannot reach, before anything
// is run whose log would be lost.
func (t logTarget) reachable() error {
	switch {
	case t.bucket != "":
		return fmt.Errorf("--log-s3-bucket-name %s: this program has no access to an account; leave the option out, and send the folder that logUrl names with `aws s3 cp --recursive`", t.bucket)
	case t.owner != "" || t.prefix != "":
		return errors.New("--log-s3-bucket-owner and --log-s3-key-prefix say something about the bucket of --log-s3-bucket-name, which is not given")
	case t.group != "" && !t.ignoreFailures:
		return fmt.Errorf("--cw-log-group %s: this program does not send to CloudWatch; leave the option out and let the CloudWatch agent collect console.log, or say --cw-ignore-failures", t.group)
	case t.group == "" && (t.stream != "" || t.logsRegion != ""):
		return errors.New("--cw-log-stream and --cw-log-region say something about the group of --cw-log-group, which is not given")
	}
	return nil
}

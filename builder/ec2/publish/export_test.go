package publish

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// NewImpatientBlocks is NewBlocks with less patience for what stands still.
func NewImpatientBlocks(cfg aws.Config, workers int, quiet time.Duration) Blocks {
	return newBlocks(cfg, workers, quiet)
}

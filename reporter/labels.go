package reporter

import (
	"fmt"
	"time"
)

// StageLabel is a stage's name for people.
func StageLabel(stage string) string {
	switch stage {
	case "resolve":
		return "Parent image"
	case "launch":
		return "Launch"
	case "files":
		return "Files"
	case "build":
		return "Build"
	case "inventory":
		return "Inventory"
	case "clean":
		return "Clean up"
	case "image":
		return "Image"
	case "boot":
		return "Boot"
	case "prepare":
		return "Prepare test"
	case "test":
		return "Test"
	case "publish":
		return "Publish"
	case "distribute":
		return "Distribute"
	default:
		return Line(stage, 40)
	}
}

// Ago writes how long something is past for people: just now, 12 s ago, 3 days ago.
func Ago(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

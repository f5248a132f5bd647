//go:build unix

package component

import "testing"

func tempDir(t *testing.T) string { return t.TempDir() }

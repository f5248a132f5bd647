package local

import (
	"context"
	"os"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/inventory"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/sanitize"
)

// Inventory implements builder.Instance.
func (i *instance) Inventory(ctx context.Context) (builder.Inventory, error) {
	if err := i.mounted(ctx); err != nil {
		return builder.Inventory{}, err
	}
	root, err := os.OpenRoot(i.mount.Root())
	if err != nil {
		return builder.Inventory{}, atStage(builder.StageInventory, "the image could not be opened", err)
	}
	defer root.Close()
	found, err := inventory.Read(root)
	return found, atStage(builder.StageInventory, "the installed packages could not be listed", err)
}

// Clean implements builder.Instance.
func (i *instance) Clean(ctx context.Context) error {
	if err := i.mounted(ctx); err != nil {
		return err
	}
	return cleanUp(i.mount, i.spec.WorkingDir)
}

// cleanUp makes a mounted disk that of an image again.
func cleanUp(m *mount.Mount, workingDir string) error {
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		return atStage(builder.StageClean, "the image could not be opened", err)
	}
	defer root.Close()
	if _, err := sanitize.Clean(root, sanitize.Options{WorkingDir: workingDir}); err != nil {
		return atStage(builder.StageClean, "what must not be in an image could not be removed", err)
	}
	return nil
}

package store

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// holdFile is the name of a hold in its workspace.
const holdFile = "hold.json"

// hold is the layer that the disks of a workspace stand on.
type hold struct {
	Layer string `json:"layer"`
}

// Hold keeps a layer, and so everything below it, from being pruned for as long as
// the workspace has its folder, whatever becomes of this process. The caller has the
// layer leased until Hold returns.
func (s *Store) Hold(workspace, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return WriteJSON(filepath.Join(s.Work(), workspace, holdFile), hold{key})
}

// holds are the layers that workspaces hold.
func (s *Store) holds() (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(s.Work(), "*", holdFile))
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, file := range files {
		var h hold
		switch err := ReadJSON(file, &h); {
		case errors.Is(err, fs.ErrNotExist): // its workspace was removed since
		case err != nil:
			return nil, err
		default:
			held[h.Layer] = true
		}
	}
	return held, nil
}

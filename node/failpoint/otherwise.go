package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func (f Folder) otherwise(node string) string { return filepath.Join(string(f), node+".otherwise") }

// SetOtherwise has the node apply log entries in another way than the others, as broken
// memory or a broken program would, or as they do.
func (f Folder) SetOtherwise(node string, otherwise bool) error {
	if otherwise {
		return f.tell(f.otherwise(node), "")
	}
	if err := os.Remove(f.otherwise(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("have %s apply as others do: %w", node, err)
	}
	return nil
}

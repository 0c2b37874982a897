package keystore

import (
	"os"
	"path"
	"path/filepath"
	"slices"
)

// rollBack removes a hidden folder and, if it still is a journal, the files that
// were moved out of it. Files of the present manifest stay, also replaced ones: a
// replaced file was damaged before, and the next run will see whether it is right.
func (f *folder) rollBack(stage string) error {
	present, err := readManifest(f.path)
	if err != nil {
		return err
	}
	// An unreadable journal was never complete, so nothing was moved.
	if journal, err := readManifest(f.at(stage)); err == nil && journal != nil {
		if err := f.takeBack(journal, present); err != nil {
			return err
		}
	}
	return f.removeTree(f.at(stage))
}

// takeBack removes the files of a journal that no manifest has yet, and the
// folders that are empty then.
func (f *folder) takeBack(journal, present *manifest) error {
	folders := map[string]bool{}
	for name, sum := range journal.Files {
		if present != nil && present.Files[name] != "" {
			continue
		}
		for above := path.Dir(name); above != "."; above = path.Dir(above) {
			folders[above] = true
		}
		if intact(f.at(name), sum) {
			if err := f.disk.remove(f.at(name)); err != nil {
				return err
			}
		}
	}
	deepest := make([]string, 0, len(folders))
	for name := range folders {
		deepest = append(deepest, name)
	}
	slices.SortFunc(deepest, func(a, b string) int { return len(b) - len(a) })
	for _, name := range deepest {
		if entries, err := os.ReadDir(f.at(name)); err != nil || len(entries) > 0 {
			continue // gone already, or holds something that stays
		}
		if err := f.disk.remove(f.at(name)); err != nil {
			return err
		}
	}
	return f.disk.syncFolder(f.path)
}

// removeTree removes a folder with its content, through disk, so that tests can
// interrupt it. Nothing has to be taken back any more, so the order does not matter.
func (f *folder) removeTree(root string) error {
	entries, err := os.ReadDir(root)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		full := filepath.Join(root, entry.Name())
		if entry.IsDir() {
			err = f.removeTree(full)
		} else {
			err = f.disk.remove(full)
		}
		if err != nil {
			return err
		}
	}
	return f.disk.remove(root)
}

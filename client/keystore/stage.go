package keystore

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// stage writes files and the next manifest into a new hidden folder and syncs
// everything. The manifest is written last: with it the folder is a journal. The
// name of the hidden folder is returned even with an error.
func (f *folder) stage(files []file, next []byte, random io.Reader) (string, error) {
	var suffix [8]byte
	if _, err := io.ReadFull(random, suffix[:]); err != nil {
		return "", fmt.Errorf("draw a name: %w", err)
	}
	stage := stagePrefix + hex.EncodeToString(suffix[:])
	if err := f.disk.mkdir(f.at(stage)); err != nil {
		return stage, err
	}
	folders := map[string]bool{stage: true}
	for _, file := range files {
		name := path.Join(stage, file.name)
		if err := f.stageFolders(path.Dir(name), folders); err != nil {
			return stage, err
		}
		if err := f.disk.writeFile(f.at(name), file.data); err != nil {
			return stage, err
		}
	}
	for name := range folders {
		if err := f.disk.syncFolder(f.at(name)); err != nil {
			return stage, err
		}
	}
	if err := f.disk.writeFile(f.at(path.Join(stage, ManifestFile)), next); err != nil {
		return stage, err
	}
	if err := f.disk.syncFolder(f.at(stage)); err != nil {
		return stage, err
	}
	return stage, f.disk.syncFolder(f.path)
}

// stageFolders makes a folder and those above it, once.
func (f *folder) stageFolders(name string, made map[string]bool) error {
	if made[name] {
		return nil
	}
	if err := f.stageFolders(path.Dir(name), made); err != nil {
		return err
	}
	made[name] = true
	return f.disk.mkdir(f.at(name))
}

// publish moves what was staged into place: passwords, keystores, and when these
// are durable the manifest, which makes the folder complete.
func (f *folder) publish(stage string, layout Layout) error {
	entries, err := os.ReadDir(f.at(stage))
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		if entry.Name() != ManifestFile {
			names = append(names, entry.Name())
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(layout, a) - rank(layout, b) })
	changed := map[string]bool{f.path: true}
	for _, name := range names {
		if err := f.merge(f.at(path.Join(stage, name)), f.at(name), changed); err != nil {
			return err
		}
	}
	for name := range changed {
		if err := f.disk.syncFolder(name); err != nil {
			return err
		}
	}
	if err := f.disk.rename(f.at(path.Join(stage, ManifestFile)), f.at(ManifestFile)); err != nil {
		return err
	}
	return f.disk.syncFolder(f.path)
}

func rank(layout Layout, name string) int {
	if layout.isPassword(name) {
		return 0
	}
	return 1
}

// merge moves a file, or a folder with all that is in it, in as few steps as
// possible. Folders that get new names are added to changed.
func (f *folder) merge(from, to string, changed map[string]bool) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	target, err := os.Lstat(to)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err != nil || (!source.IsDir() && target.Mode().IsRegular()) {
		changed[filepath.Dir(to)] = true
		return f.disk.rename(from, to)
	}
	if !source.IsDir() || !target.IsDir() {
		return fmt.Errorf("%w: %s is in the way", ErrOccupied, to)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := f.merge(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), changed); err != nil {
			return err
		}
	}
	return f.disk.remove(from)
}

// recover takes back what killed runs left. The lock is held, so none of them lives.
func (f *folder) recover() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), stagePrefix) && entry.IsDir() {
			if err := f.rollBack(entry.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

package keystore

import (
	"errors"
	"fmt"
	"os"
)

const (
	fileMode   os.FileMode = 0o600
	folderMode os.FileMode = 0o700
)

// disk is everything that changes the file system, one step at a time, so that
// tests can let any step fail.
type disk interface {
	// mkdir makes a folder with folderMode, whatever the umask.
	mkdir(path string) error
	// writeFile makes a new file with fileMode and syncs it.
	writeFile(path string, data []byte) error
	// syncFolder makes the names in a folder durable.
	syncFolder(path string) error
	rename(from, to string) error
	chmod(path string, mode os.FileMode) error
	// remove removes a file or an empty folder.
	remove(path string) error
}

type realDisk struct{}

func (realDisk) mkdir(path string) error {
	if err := os.Mkdir(path, folderMode); err != nil {
		return err
	}
	return os.Chmod(path, folderMode)
}

func (realDisk) writeFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Chmod(fileMode), file.Sync(), file.Close())
}

func (realDisk) syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

func (realDisk) rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) chmod(path string, mode os.FileMode) error { return os.Chmod(path, mode) }

func (realDisk) remove(path string) error { return os.Remove(path) }

package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors about a data folder. Nothing in it was changed.
var (
	// ErrForeignFolder says that the folder holds something that is no node's data.
	ErrForeignFolder = errors.New("not the data folder of a keysteward node")
	// ErrFolderInUse says that another process runs on the folder.
	ErrFolderInUse = errors.New("data folder is in use by another process")
)

const idFile = "node-id"

// folder is a data folder that belongs to this process until it is closed.
type folder struct {
	path   string
	nodeID string
	lock   *os.File
}

// openFolder locks the data folder, made 0700 if it is new, and reads or mints
// the node's ID. The ID is minted once and never for a folder that holds
// anything else: a wiped disk under an old ID would be a voter with amnesia.
func openFolder(path, name string) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	id, err := readID(path, name)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a file descriptor fits an int
		_ = lock.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrFolderInUse)
	}
	if id == "" {
		if id, err = mintID(path, name); err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	return &folder{path: path, nodeID: id, lock: lock}, nil
}

func (f *folder) close() error {
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("unlock data folder: %w", err)
	}
	return nil
}

// readID returns the ID that the folder holds, empty if the folder is new.
func readID(path, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(path, idFile)) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", checkNew(path)
	}
	if err != nil {
		return "", fmt.Errorf("node ID: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if !strings.HasPrefix(id, name+"-") {
		return "", fmt.Errorf("%s belongs to node %q, this one is called %q: %w", path, id, name, ErrForeignFolder)
	}
	return id, nil
}

func checkNew(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	for _, e := range entries {
		// A volume's own folder is nobody's data; a lock may be left of a start that failed.
		if e.Name() != "lost+found" && e.Name() != "lock" {
			return fmt.Errorf("%s holds %q but no %s: %w", path, e.Name(), idFile, ErrForeignFolder)
		}
	}
	return nil
}

func mintID(path, name string) (string, error) {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	id := name + "-" + hex.EncodeToString(suffix)
	if err := writeDurably(filepath.Join(path, idFile), []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("node ID: %w", err)
	}
	return id, nil
}

// writeDurably makes the file appear whole, and stay after a power cut.
func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // below the data folder
	if err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	return errors.Join(d.Sync(), d.Close())
}

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

	"github.com/keysteward/keysteward/node/raftlog"
)

// Errors about a data folder. Nothing in it was changed.
var (
	// ErrForeignFolder says that the folder holds something that is no node's data.
	ErrForeignFolder = errors.New("not the data folder of a keysteward node")
	// ErrFolderInUse says that another process runs on the folder.
	ErrFolderInUse = errors.New("data folder is in use by another process")
)

const (
	idFile   = "node-id"
	lockFile = "lock"
	newFile  = ".new" // suffix of a file that is being written
)

// folder is a data folder that belongs to this process until it is closed.
type folder struct {
	path   string
	nodeID string
	lock   *os.File
	// belongs is to which cluster.
	belongs belonging
}

// openFolder locks the data folder, made 0700 if it is new, and reads or mints
// the node's ID. The ID is minted once and never for a folder that holds
// anything else: a wiped disk under an old ID would be a voter with amnesia.
func openFolder(path, name string) (_ *folder, err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if _, err := readID(path, name); err != nil { // before anything is touched
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("%s: %w", path, ErrFolderInUse)
	case err != nil:
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	id, err := readID(path, name) // whoever had the lock before may have minted it
	if err == nil && id == "" {
		id, err = mintID(path, name)
	}
	if err != nil {
		return nil, err
	}
	f := &folder{path: path, nodeID: id, lock: lock}
	if err = f.readCluster(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *folder) close() error {
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("unlock data folder: %w", err)
	}
	return nil
}

// readID returns the ID that the folder holds, empty if the folder is new.
func readID(path, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(path, idFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", checkNew(path)
	}
	if err != nil {
		return "", fmt.Errorf("node ID: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("%w: %s is empty (%w). %s", ErrDamaged, filepath.Join(path, idFile), ErrForeignFolder, wayOut(path))
	}
	suffix, ok := strings.CutPrefix(id, name+"-")
	if _, err := hex.DecodeString(suffix); !ok || err != nil || len(suffix) != 2*suffixBytes {
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
		switch e.Name() {
		case "lost+found": // a volume's own folder is nobody's data
		case lockFile, idFile + newFile: // left of a start that failed
		case idFile: // minted a moment ago by another process; whoever gets the lock will see
			return nil
		default:
			err := fmt.Errorf("%s holds %q but no %s: %w", path, e.Name(), idFile, ErrForeignFolder)
			_, lost := os.Lstat(filepath.Join(path, raftlog.Folder))
			_, older := os.Lstat(filepath.Join(path, raftlog.OlderFile))
			if lost == nil || older == nil {
				err = fmt.Errorf("%w, unless it is of this node, which has lost its ID then. %s", err, wayOut(path))
			}
			return err
		}
	}
	return nil
}

const suffixBytes = 4

func mintID(path, name string) (string, error) {
	suffix := make([]byte, suffixBytes)
	_, _ = rand.Read(suffix) // never fails
	id := name + "-" + hex.EncodeToString(suffix)
	if err := writeDurably(filepath.Join(path, idFile), []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("node ID: %w", err)
	}
	return id, nil
}

// writeDurably makes the file appear whole, and stay after a power cut.
func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path+newFile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+newFile, path); err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes what was added to the folder stay after a power cut.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	return errors.Join(d.Sync(), d.Close())
}

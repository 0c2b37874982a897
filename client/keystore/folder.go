package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// PodUIDFile is the file in which the command line keeps, under the destination,
	// the pod UID that it minted. It is no foreign file.
	PodUIDFile = ".keysteward-pod-uid"
	// ManifestFile marks a complete folder. Its name has no .json, because Teku would
	// take that for a key.
	ManifestFile = ".keysteward-manifest"

	stagePrefix = ".keysteward-tmp-"
)

// folder is a destination, locked against other runs.
type folder struct {
	path   string
	disk   disk
	lock   *os.File
	minted []string // folders that were made for this run, outermost first
}

// openFolder makes the destination if need be, locks it, and takes back what a
// killed run left in it. Close it. ErrBusy if another run has it.
func openFolder(path string, d disk) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find folder: %w", err)
	}
	f := &folder{path: path, disk: d}
	if err := f.mint(path); err != nil {
		f.discard()
		return nil, fmt.Errorf("make folder %s: %w", path, err)
	}
	if err := f.acquire(); err != nil {
		return nil, err
	}
	if err := f.recover(); err != nil {
		f.close()
		return nil, fmt.Errorf("take back what a killed run left in %s: %w", path, err)
	}
	return f, nil
}

// mint makes a folder and those above it, and remembers which it made.
func (f *folder) mint(path string) error {
	info, err := os.Stat(path)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
		}
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := f.mint(parent); err != nil {
		return err
	}
	if err := f.disk.mkdir(path); err != nil {
		if errors.Is(err, os.ErrExist) { // another run was quicker; the lock decides
			return nil
		}
		return err
	}
	f.minted = append(f.minted, path)
	return f.disk.syncFolder(parent)
}

// acquire locks the folder itself, so that the lock leaves no file behind.
func (f *folder) acquire() error {
	lock, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", f.path, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%w %s", ErrBusy, f.path)
		}
		return fmt.Errorf("lock folder %s: %w", f.path, err)
	}
	locked, err := lock.Stat()
	if err != nil {
		_ = lock.Close()
		return fmt.Errorf("inspect folder %s: %w", f.path, err)
	}
	// A failing run may have removed the folder between open and lock.
	if current, err := os.Stat(f.path); err != nil || !os.SameFile(locked, current) {
		_ = lock.Close()
		return fmt.Errorf("%w %s", ErrBusy, f.path)
	}
	f.lock = lock
	return nil
}

// close gives up the lock.
func (f *folder) close() { _ = f.lock.Close() }

// discard removes the folders that were made for this run and are still empty.
func (f *folder) discard() {
	for _, path := range slices.Backward(f.minted) {
		_ = f.disk.remove(path)
	}
}

// at returns the path of a name in the folder; names have slashes.
func (f *folder) at(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

// entries returns the names in the folder that count: not what is ours beside the
// keys, and not the lost+found of a fresh file system.
func (f *folder) entries() ([]string, error) {
	found, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range found {
		name := entry.Name()
		ours := name == ManifestFile || strings.HasPrefix(name, PodUIDFile) || strings.HasPrefix(name, stagePrefix)
		if !ours && (name != "lost+found" || !entry.IsDir()) {
			names = append(names, name)
		}
	}
	return names, nil
}

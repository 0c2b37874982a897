package kubefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
)

// ErrOccupied is wrapped when a file holds what a kubeconfig must not replace.
var ErrOccupied = errors.New("the file holds something else")

// Write puts a kubeconfig into a file of its own, of mode 0600, whole or not at all. A
// symbolic link of that name is replaced, not followed. A file that is no kubeconfig,
// or one with contexts that the new one has not, is replaced only with force: the
// error wraps [ErrOccupied] then.
func Write(path string, text []byte, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return replace(path, text, nil)
	case err != nil:
		return err
	case info.Mode()&os.ModeSymlink != 0: // its target stays as it is
		return replace(path, text, nil)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is no regular file", ErrOccupied, path)
	}
	if !force && info.Size() > 0 {
		if err := mayReplace(path, text); err != nil {
			return err
		}
	}
	return replace(path, text, info)
}

// mayReplace refuses to replace what would be missed.
func mayReplace(path string, text []byte) error {
	fresh, err := clientcmd.Load(text)
	if err != nil {
		return fmt.Errorf("the new kubeconfig: %w", err)
	}
	old, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("%w: %s is no kubeconfig", ErrOccupied, path)
	}
	for name := range old.Contexts {
		if fresh.Contexts[name] == nil {
			return fmt.Errorf("%w: %s has context %q", ErrOccupied, path, name)
		}
	}
	if len(old.Contexts) == 0 {
		return fmt.Errorf("%w: %s has no context", ErrOccupied, path)
	}
	return nil
}

// replace writes a file of mode 0600 beside the name and renames it. The owner stays
// who it was.
func replace(path string, text []byte, before os.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil && before != nil {
		err = keepOwner(f, before)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// keepOwner gives a file the owner of the one that it replaces, for root who works in
// somebody's home.
func keepOwner(f *os.File, before os.FileInfo) error {
	old, ok := before.Sys().(*syscall.Stat_t)
	if !ok || int(old.Uid) == os.Geteuid() {
		return nil
	}
	if err := f.Chown(int(old.Uid), int(old.Gid)); err != nil {
		return fmt.Errorf("keep the file's owner: %w", err)
	}
	return nil
}

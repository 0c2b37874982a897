package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotOwner says that a data folder is of a node that runs as another user.
var ErrNotOwner = errors.New("the data belong to another user")

// checkOwner refuses what would leave files that the node can not read. The node's ID
// tells who the node is: it wrote that itself, and a volume's folder may be root's.
func checkOwner(folder string, euid int) error {
	owner, err := ownerOf(filepath.Join(folder, idFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there are no data
	}
	if err != nil {
		return fmt.Errorf("whose data these are: %w", withOwner(err))
	}
	if owner != euid {
		return fmt.Errorf("%s: %w: the node runs as uid %d, this is uid %d, and the node could not read what it writes. Run it as that user (sudo -u '#%[3]d' …)",
			folder, ErrNotOwner, owner, euid)
	}
	return nil
}

// withOwner adds to an error of permissions whose the file is, or the nearest folder of
// it that can be looked at.
func withOwner(err error) error { return withOwnerFor(err, os.Geteuid()) }

func withOwnerFor(err error, euid int) error {
	var failed *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &failed) {
		return err
	}
	path := failed.Path
	owner, cannot := ownerOf(path)
	for cannot != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		owner, cannot = ownerOf(path)
	}
	if cannot != nil || owner == euid {
		return err
	}
	return fmt.Errorf("%w: %s belongs to another user, uid %d, and this is uid %d. Run the node as that user, or give it the whole data folder (chown -R)",
		err, path, owner, euid)
}

func ownerOf(path string) (int, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: the system does not say whose it is", path)
	}
	return int(stat.Uid), nil
}

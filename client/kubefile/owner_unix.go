//go:build unix

package kubefile

import (
	"fmt"
	"os"
	"syscall"
)

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

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ballast is the file that fills a disk.
const ballast = "ballast"

// MountDisk gives a node that was not started yet a disk of its own, in memory, of so
// many bytes. Unmount it when the node has ended; it must not outlive the test. What is on
// it by then stays in the folder.
func (s Stage) MountDisk(i int, bytes int64) (unmount func() error, err error) {
	data := s.Nodes.DataDir(i)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("disk of %s: %w", NodeName(i), err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return nil, fmt.Errorf("mount a disk for %s: %w", NodeName(i), err)
	}
	return func() error {
		kept := data + ".kept"
		err := os.CopyFS(kept, os.DirFS(data))
		if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the disk of %s: %w", NodeName(i), err)
		}
		if err = errors.Join(err, os.Remove(data)); err == nil {
			err = os.Rename(kept, data)
		}
		if err != nil {
			return fmt.Errorf("keep what is on the disk of %s: %w", NodeName(i), err)
		}
		return nil
	}, nil
}

// DiskFull fills the disk of a node, which MountDisk made, but for so many bytes. With
// none left the node has to end at the next thing that it writes; with some it has to hand
// its leadership over and be unready. It is healed by making room and starting the node.
func (s Stage) DiskFull(i int, left uint64) Fault {
	return New(fmt.Sprintf("disk of %s full but for %d bytes", NodeName(i), left), func(context.Context) (func(context.Context) error, error) {
		data := s.Nodes.DataDir(i)
		if err := onMemory(data); err != nil {
			return nil, err
		}
		path := filepath.Join(data, ballast)
		heal := func(ctx context.Context) error {
			if err := os.Remove(path); err != nil {
				return err //nolint:wrapcheck // says which file
			}
			return s.start(i)(ctx)
		}
		if err := fill(path, left); err != nil {
			_ = os.Remove(path)
			return nil, err
		}
		return heal, nil
	})
}

// errNoDisk says that a folder is on a disk that others need.
var errNoDisk = errors.New("is not on a disk of its own")

const tmpfsMagic = 0x01021994

// onMemory checks that only a disk in memory is filled.
func onMemory(folder string) error {
	var inside, outside unix.Stat_t
	var s unix.Statfs_t
	if err := errors.Join(unix.Statfs(folder, &s), unix.Stat(folder, &inside), unix.Stat(filepath.Dir(folder), &outside)); err != nil {
		return fmt.Errorf("disk of %s: %w", folder, err)
	}
	if s.Type != tmpfsMagic || inside.Dev == outside.Dev {
		return fmt.Errorf("%s %w", folder, errNoDisk)
	}
	return nil
}

// fill writes a file until so many bytes are left.
func fill(path string, left uint64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	defer f.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	room := int64(s.Bavail)*s.Bsize - int64(left) //nolint:gosec // a disk in memory
	if room <= 0 {
		return nil
	}
	if _, err := io.CopyN(f, zeroes{}, room); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

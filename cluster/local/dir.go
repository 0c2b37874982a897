package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Errors about the folder of all data. Nothing in it was changed.
var (
	// ErrForeignDir says that the folder holds something that no launcher made.
	ErrForeignDir = errors.New("the folder is not one of keysteward-local")
	// ErrDirInUse says that another launcher runs on the folder.
	ErrDirInUse = errors.New("the folder is in use by another keysteward-local")
)

const (
	memoryFile = "launcher.json"
	lockFile   = "lock"
)

// folder is a folder of all data, ours until it is closed.
type folder struct {
	path   string
	lock   *os.File
	memory memory
	fresh  bool
	claims claims
}

// memory is what must be the same at the next start, or should be.
type memory struct {
	Version int   `json:"version"`
	Nodes   int   `json:"nodes"`
	Ports   ports `json:"ports"`
	// FundingETH is what the funding account had at the beginning; 0 means plenty.
	FundingETH uint64 `json:"fundingEth,omitempty"`
	// TLS is true if the nodes speak TLS on both ports.
	TLS bool `json:"tls,omitempty"`
}

const memoryVersion = 1

// openFolder makes or finds the folder, mode 0700, and locks it. Its errors wrap
// ErrForeignDir and ErrDirInUse.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	f := &folder{path: path}
	if err := f.recognize(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	if err := os.Chmod(path, folderMode); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	if f.lock, err = os.OpenFile(f.in(lockFile), os.O_CREATE|os.O_RDWR, secretMode); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	if err := unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.lock.Close()
		return nil, fmt.Errorf("--dir %s: %w", path, ErrDirInUse)
	}
	// Another launcher may have made the folder its own before we had the lock.
	if err := f.recognize(); err != nil {
		_ = f.lock.Close()
		return nil, err
	}
	return f, nil
}

// recognize reads the memory of an earlier start, and refuses a folder that holds
// anything else.
func (f *folder) recognize() error {
	raw, err := os.ReadFile(f.in(memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		f.fresh = true
		return f.checkEmpty()
	}
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	f.fresh = false
	if err := json.Unmarshal(raw, &f.memory); err != nil {
		return fmt.Errorf("--dir %s: %s can not be read: %w: %w", f.path, memoryFile, ErrForeignDir, err)
	}
	if f.memory.Version != memoryVersion || !f.memory.Ports.fit(f.memory.Nodes) {
		return fmt.Errorf("--dir %s: %s is of another version: %w", f.path, memoryFile, ErrForeignDir)
	}
	return nil
}

func (f *folder) checkEmpty() error {
	entries, err := os.ReadDir(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	for _, e := range entries {
		// Both may be left of a start that was killed.
		if e.Name() != lockFile && e.Name() != memoryFile+".new" {
			return fmt.Errorf("--dir %s: it holds %q but no %s: %w", f.path, e.Name(), memoryFile, ErrForeignDir)
		}
	}
	return nil
}

// remember keeps m for the next start.
func (f *folder) remember(m memory) error {
	m.Version = memoryVersion
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", memoryFile, err)
	}
	f.memory = m
	return writeFile(f.in(memoryFile), append(raw, '\n'))
}

// nodes returns how many nodes there are to be.
func (f *folder) nodes(wanted int) (int, error) {
	switch {
	case f.fresh && wanted == 0:
		return DefaultNodes, nil
	case f.fresh || wanted == f.memory.Nodes:
		return wanted, nil
	case wanted == 0:
		return f.memory.Nodes, nil
	}
	return 0, fmt.Errorf("%w: --nodes %d: the cluster in %s was made with %d; leave the flag out, or use another --dir",
		ErrUsage, wanted, f.path, f.memory.Nodes)
}

// in returns a path in the folder.
func (f *folder) in(elements ...string) string {
	return filepath.Join(append([]string{f.path}, elements...)...)
}

// close gives the folder and its ports up.
func (f *folder) close() error {
	f.claims.release()
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", f.path, err)
	}
	return nil
}

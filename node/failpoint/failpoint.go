// Package failpoint stops a process at a named instruction and holds it there, so
// that a test can kill it, pause it or cut it off at exactly that moment.
//
// Only programs that are built with the tag failpoints have such places. In all
// others Reach is an empty function, which the compiler leaves out.
//
// A test and the processes that it torments share a Folder, which the processes
// find by the environment variable Variable. An armed point catches one process
// and one only: the file NAME.armed becomes NAME.hit.PID in one step of the file
// system. The process then waits until that file is gone, whatever becomes of
// contexts and sessions meanwhile, so a process that slept through an election
// goes on as if nothing had happened.
package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Name names a point. It is part of a file's name.
type Name string

// Variable is the environment variable that names the Folder.
const Variable = "KEYSTEWARD_FAILPOINTS"

// lookAgain is how often a process that is held looks whether it may go on.
const lookAgain = 2 * time.Millisecond

// Folder is where a test and the processes tell each other.
type Folder string

func (f Folder) armed(n Name) string { return filepath.Join(string(f), string(n)+".armed") }

func (f Folder) hit(n Name, pid string) string {
	return filepath.Join(string(f), string(n)+".hit."+pid)
}

// Arm makes the point catch the next process that reaches it, after the ones that
// it caught before were released.
func (f Folder) Arm(n Name) error {
	if err := os.WriteFile(f.armed(n), nil, 0o600); err != nil {
		return fmt.Errorf("arm failpoint %s: %w", n, err)
	}
	return nil
}

// Caught returns the ID of the process that is held at the point; 0 if none is.
func (f Folder) Caught(n Name) (pid int, err error) {
	prefix := string(n) + ".hit."
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return 0, fmt.Errorf("look at failpoint %s: %w", n, err)
	}
	for _, e := range entries {
		if text, found := strings.CutPrefix(e.Name(), prefix); found {
			if pid, err := strconv.Atoi(text); err == nil {
				return pid, nil
			}
		}
	}
	return 0, nil
}

// Release disarms the point and lets go whom it caught.
func (f Folder) Release(n Name) error {
	files, err := filepath.Glob(f.hit(n, "*"))
	if err != nil {
		return fmt.Errorf("release failpoint %s: %w", n, err)
	}
	for _, file := range append([]string{f.armed(n)}, files...) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release failpoint %s: %w", n, err)
		}
	}
	return nil
}

// reach holds the caller if the point is armed, until it is released.
func (f Folder) reach(n Name) {
	hit := f.hit(n, strconv.Itoa(os.Getpid()))
	if os.Rename(f.armed(n), hit) != nil {
		return // not armed, or somebody else was quicker
	}
	for {
		if _, err := os.Lstat(hit); err != nil {
			return
		}
		time.Sleep(lookAgain)
	}
}

package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// LogFault is how writing a node's log fails.
type LogFault string

// How writing a log fails. Nothing is written, but for a failed fsync, of which nobody
// knows what it left.
const (
	LogBroken   LogFault = "eio"
	LogUnsynced LogFault = "fsync"
	LogFull     LogFault = "enospc"
)

const stall = "stall "

// errLogFault says that a file says something that is no fault of a log.
var errLogFault = errors.New("not a fault of a log")

// parse returns the error of a failed write, or how much longer it takes.
func (l LogFault) parse() (err error, late time.Duration) { //nolint:revive,staticcheck // the first is a value here
	switch l {
	case LogBroken, LogUnsynced:
		return syscall.EIO, 0
	case LogFull:
		return syscall.ENOSPC, 0
	}
	text, _ := strings.CutPrefix(string(l), stall)
	late, err = time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%w: %q", errLogFault, string(l)), 0
	}
	return nil, late
}

func (f Folder) log(node string) string { return filepath.Join(string(f), node+".log") }

// FailLog has every write of the node's log fail, until HealLog.
func (f Folder) FailLog(node string, how LogFault) error { return f.tell(f.log(node), string(how)) }

// StallLog has every write of the node's log take so much longer, until HealLog, which
// ends the wait of those that wait, too.
func (f Folder) StallLog(node string, by time.Duration) error {
	return f.tell(f.log(node), stall+by.String())
}

// HealLog ends what FailLog or StallLog began.
func (f Folder) HealLog(node string) error {
	if err := os.Remove(f.log(node)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("heal the log of %s: %w", node, err)
	}
	return nil
}

// tell writes a file that others see whole or not at all.
func (f Folder) tell(path, text string) error {
	part := path + ".new"
	err := os.WriteFile(part, []byte(text), 0o600)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return fmt.Errorf("failpoint %s: %w", filepath.Base(path), err)
	}
	return nil
}

// write does a write of the node's log as the folder says.
func (f Folder) write(node string, do func() error) error {
	text, err := os.ReadFile(f.log(node))
	if err != nil {
		return do() // nobody says that it fails
	}
	fault := LogFault(text)
	failure, late := fault.parse()
	if fault == LogUnsynced {
		_ = do()
	}
	if failure != nil {
		return &fs.PathError{Op: "write", Path: "log of " + node, Err: failure}
	}
	for until := time.Now().Add(late); time.Now().Before(until); time.Sleep(lookAgain) {
		if _, err := os.Lstat(f.log(node)); err != nil {
			break
		}
	}
	return do()
}

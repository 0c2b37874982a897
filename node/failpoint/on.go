//go:build failpoints

package failpoint

import (
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// Enabled reports whether this program was built with failpoints.
const Enabled = true

// Reach is called where the point stands. If the point is armed the call returns
// when it is released.
func Reach(n Name) {
	if folder := os.Getenv(Variable); folder != "" {
		Folder(folder).reach(n)
	}
}

// Armed reports whether the point would catch whoever reaches it.
func Armed(n Name) bool {
	folder := os.Getenv(Variable)
	if folder == "" {
		return false
	}
	_, err := os.Lstat(Folder(folder).armed(n))
	return err == nil
}

// Write does a write of this node's log, which fails or stalls if that was asked for.
func Write(do func() error) error {
	folder, node := os.Getenv(Variable), here.Load()
	if folder != "" && node != nil {
		return Folder(folder).write(*node, do)
	}
	return do()
}

// Hand is called before something is handed to Raft. It returns when this node's words are
// not held.
func Hand() {
	folder, node := os.Getenv(Variable), here.Load()
	if folder != "" && node != nil {
		Folder(folder).hand(*node)
	}
}

var here atomic.Pointer[string]

// Here says which node this process is, for its log and its clock.
func Here(node string) { here.Store(&node) }

// Now is the wall clock, which is wrong if that was asked for. It is for what is written
// down or compared with what was: times between two instants are measured with time.Now.
func Now() time.Time {
	now, folder, node := time.Now(), os.Getenv(Variable), here.Load()
	if folder == "" || node == nil {
		return now
	}
	return now.Add(Folder(folder).offset(*node))
}

// odd is an unknown field at the end of an entry: it changes nothing but the entry's bytes,
// over which the members compare a hash.
var odd = []byte{0xc0, 0x3e, 1}

// Entry is the log entry as this node applies it: another one if that was asked for.
func Entry(data []byte) []byte {
	folder, node := os.Getenv(Variable), here.Load()
	if folder == "" || node == nil {
		return data
	}
	if _, err := os.Lstat(Folder(folder).otherwise(*node)); err != nil {
		return data
	}
	return slices.Concat(data, odd)
}

// Slow is how many times longer than it should a time-out of this node's Raft takes.
func Slow() int {
	folder, node := os.Getenv(Variable), here.Load()
	if folder == "" || node == nil {
		return 1
	}
	return Folder(folder).slow(*node)
}

// Often reports whether snapshots are to be made every few seconds.
func Often() bool {
	folder := os.Getenv(Variable)
	return folder != "" && exists(Folder(folder).often())
}

// Whole reports whether the log is to be kept from its first entry.
func Whole() bool {
	folder := os.Getenv(Variable)
	return folder != "" && exists(Folder(folder).whole())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

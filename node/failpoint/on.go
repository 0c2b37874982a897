//go:build failpoints

package failpoint

import "os"

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

//go:build !failpoints

package failpoint

// Enabled reports whether this program was built with failpoints.
const Enabled = false

// Reach does nothing: this program was built without failpoints.
func Reach(Name) {}

// Armed is false: this program was built without failpoints.
func Armed(Name) bool { return false }

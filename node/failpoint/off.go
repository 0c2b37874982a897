//go:build !failpoints

package failpoint

// Enabled reports whether this program was built with failpoints.
const Enabled = false

// Reach does nothing: this program was built without failpoints.
func Reach(Name) {}

//go:build !failpoints

package failpoint

import "time"

// Enabled reports whether this program was built with failpoints.
const Enabled = false

// Reach does nothing: this program was built without failpoints.
func Reach(Name) {}

// Armed is false: this program was built without failpoints.
func Armed(Name) bool { return false }

// Write does what it is given: this program was built without failpoints.
func Write(do func() error) error { return do() }

// Hand does nothing: this program was built without failpoints.
func Hand() {}

// Here does nothing: this program was built without failpoints.
func Here(string) {}

// Now is time.Now: this program was built without failpoints.
func Now() time.Time { return time.Now() }

// Entry is the entry: this program was built without failpoints.
func Entry(data []byte) []byte { return data }

// Often is false: this program was built without failpoints.
func Often() bool { return false }

// Slow is 1: this program was built without failpoints.
func Slow() int { return 1 }

// Whole is false: this program was built without failpoints.
func Whole() bool { return false }

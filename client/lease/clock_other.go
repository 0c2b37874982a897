//go:build !linux

package lease

import "time"

var began = time.Now()

// BootTime is of no use but on Linux, where alone there are pods; [BootID] fails here.
func BootTime() time.Duration { return time.Since(began) }

//go:build !linux

package seal

import "errors"

func newPages(n int) []byte { return make([]byte, n) }

func freePages(pages []byte) { clear(pages) }

func tryLock() error {
	return errors.New("memory for keys is locked on Linux only: switch swap off, or encrypt it")
}

package seal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newPages are zeroed pages of at least n bytes that nobody shares. Where they can not
// be locked they are used all the same: [LockedMemory] tells beforehand.
func newPages(n int) []byte {
	pages, err := mapPages(n)
	if err != nil {
		return make([]byte, n) // out of address space: the heap says so better
	}
	_ = unix.Mlock(pages)
	return pages
}

func mapPages(n int) ([]byte, error) {
	size := max(n, 1)
	if rest := size % os.Getpagesize(); rest != 0 {
		size += os.Getpagesize() - rest
	}
	pages, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("pages for a secret: %w", err)
	}
	_ = unix.Madvise(pages, unix.MADV_DONTDUMP)
	return pages, nil
}

// freePages zeroes pages and gives them back. What Mmap did not make is zeroed only.
func freePages(pages []byte) {
	clear(pages)
	_ = unix.Munmap(pages) // unlocks too
}

func tryLock() error {
	pages, err := mapPages(1)
	if err != nil {
		return err
	}
	defer freePages(pages)
	if err := unix.Mlock(pages); err != nil {
		return fmt.Errorf("memory for keys can not be locked (%w): raise the limit (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock= of a container) or grant CAP_IPC_LOCK, or switch swap off", err)
	}
	return nil
}

package boltfile

import (
	"bytes"
	"fmt"
	"os"
)

// Walk reads the file at the path and calls visit for each key of each bucket, in the
// order of the keys, until it returns an error. The slices are visit's own for as long as
// it runs. Errors of a damaged file wrap ErrDamaged. A file that is empty, as bbolt leaves
// it when it was killed at its very first breath, has no keys.
//
// Nobody may write to the file meanwhile. Buckets within buckets are not known.
func Walk(path string, visit func(bucket string, key, value []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err //nolint:wrapcheck // says which file
	}
	m, err := readMetas(f, info.Size())
	if err != nil {
		return err
	}
	w := &walker{file: f, meta: m, seen: make(map[uint64]bool)}
	type bucket struct {
		name string
		root []byte
	}
	var buckets []bucket
	err = w.tree(m.root, func(_ uint32, key, value []byte) error {
		buckets = append(buckets, bucket{name: string(key), root: bytes.Clone(value)})
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range buckets {
		err := w.bucket(b.root, func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return fmt.Errorf("%w: the key %x in the bucket %q is a bucket", ErrDamaged, key, b.name)
			}
			return visit(b.name, key, value)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type item func(flags uint32, key, value []byte) error

type walker struct {
	file *os.File
	meta meta
	seen map[uint64]bool // pages, so that a circle ends
	last []byte          // the key before, of the same tree
}

// bucketHeader is what a bucket's value begins with: its root page, and a sequence. With
// the root 0 the page follows.
const bucketHeader = 16

func (w *walker) bucket(value []byte, visit item) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("%w: a bucket of %d bytes", ErrDamaged, len(value))
	}
	root := little.Uint64(value)
	if root != 0 {
		return w.tree(root, visit)
	}
	w.last = nil
	page := value[bucketHeader:]
	if len(page) < headerSize {
		return fmt.Errorf("%w: a page within a bucket of %d bytes", ErrDamaged, len(page))
	}
	return w.leaf(0, page, visit)
}

func (w *walker) tree(root uint64, visit item) error {
	w.last = nil
	return w.page(root, visit)
}

func (w *walker) page(id uint64, visit item) error {
	page, err := w.read(id)
	if err != nil {
		return err
	}
	switch little.Uint16(page[8:]) {
	case flagBranch:
		return w.branch(id, page, visit)
	case flagLeaf:
		return w.leaf(id, page, visit)
	}
	return fmt.Errorf("%w: page %d is neither branch nor leaf", ErrDamaged, id)
}

// read returns a page with those that it overflows into.
func (w *walker) read(id uint64) ([]byte, error) {
	if id < 2 || id >= w.meta.pages || w.seen[id] {
		return nil, fmt.Errorf("%w: something leads to page %d, of %d, which is not its place", ErrDamaged, id, w.meta.pages)
	}
	w.seen[id] = true
	size := int64(w.meta.pageSize)
	page := make([]byte, size)
	if _, err := w.file.ReadAt(page, int64(id)*size); err != nil { //nolint:gosec // bounded above
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(little.Uint32(page[12:]))
	switch {
	case little.Uint64(page) != id:
		return nil, fmt.Errorf("%w: page %d says that it is page %d", ErrDamaged, id, little.Uint64(page))
	case more >= w.meta.pages-id:
		return nil, fmt.Errorf("%w: page %d claims %d more than there are", ErrDamaged, id, more)
	case more == 0:
		return page, nil
	}
	page = make([]byte, (int64(more)+1)*size)                      //nolint:gosec // bounded above
	if _, err := w.file.ReadAt(page, int64(id)*size); err != nil { //nolint:gosec // bounded above
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

const elementSize = 16 // of branches and leaves

// elements returns how many the page has, if it has room for them.
func elements(id uint64, page []byte) (int, error) {
	count := int(little.Uint16(page[10:]))
	if headerSize+count*elementSize > len(page) {
		return 0, fmt.Errorf("%w: page %d has no room for %d elements", ErrDamaged, id, count)
	}
	return count, nil
}

func (w *walker) branch(id uint64, page []byte, visit item) error {
	count, err := elements(id, page)
	if err != nil {
		return err
	}
	if count == 0 {
		return fmt.Errorf("%w: page %d is a branch without leaves", ErrDamaged, id)
	}
	for i := range count {
		e := page[headerSize+i*elementSize:]
		if err := w.page(little.Uint64(e[8:]), visit); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(id uint64, page []byte, visit item) error {
	count, err := elements(id, page)
	if err != nil {
		return err
	}
	for i := range count {
		at := headerSize + i*elementSize
		e := page[at:]
		from, key, value := uint64(little.Uint32(e[4:])), uint64(little.Uint32(e[8:])), uint64(little.Uint32(e[12:]))
		if from+key+value > uint64(len(e)) {
			return fmt.Errorf("%w: element %d of page %d reaches beyond it", ErrDamaged, i, id)
		}
		k, v := e[from:from+key], e[from+key:from+key+value]
		if w.last != nil && bytes.Compare(w.last, k) >= 0 {
			return fmt.Errorf("%w: the keys of page %d are out of order", ErrDamaged, id)
		}
		w.last = append(w.last[:0], k...)
		if w.last == nil {
			w.last = []byte{}
		}
		if err := visit(little.Uint32(e), k, v); err != nil {
			return err
		}
	}
	return nil
}

package ethereum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The parts of bbolt's file format (version 2) that are read here, little endian:
//
//	page    number 8, flags 2, count 2, overflow 4
//	meta    magic 4, version 4, page size 4, flags 4, root 8, sequence 8, freelist 8, pages 8, transaction 8, FNV-1a of all before 8
//	branch  position 4, key size 4, child 8
//	leaf    flags 4, position 4, key size 4, value size 4
//	bucket  root 8, sequence 8; with root 0 a page follows
const (
	pageHeader  = 16
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	branchPage  = 0x01
	leafPage    = 0x02
	bucketLeaf  = 0x01
	maxPageSize = 64 << 10
)

// verifyIndexFile reads every row and compares their sum with the one that was
// written with the last change. bbolt itself trusts its pages: a wrong one makes
// it touch memory that is not there, go round in circles, or panic where nobody can
// catch it: it looks for free pages in a goroutine of its own. So this is at least
// as strict about where pages and keys may be as that search.
func verifyIndexFile(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the index of DepositEvents: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open the index of DepositEvents: %w", err)
	}
	if info.Size() == 0 {
		return nil // bbolt makes it
	}
	v := &verifier{file: file, size: info.Size()}
	if err := v.verify(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

type verifier struct {
	file     io.ReaderAt
	size     int64
	pageSize uint64
	pages    uint64
	visited  []uint64 // a bit for each page
	sum      rowsSum
	events   uint64
	written  []byte // rowSum as it was written
	last     []byte // key of the row before, in the same bucket
	floor    []byte // what the branches above say the next key is not below
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamagedIndex, fmt.Sprintf(format, args...))
}

func (v *verifier) verify() error {
	root, err := v.meta()
	if err != nil {
		return err
	}
	v.visited = make([]uint64, v.pages/64+1)
	if err := v.tree(root, nil); err != nil {
		return err
	}
	written, events := sumOf(v.written)
	if written != v.sum || events != v.events {
		return damaged("its %d events are not those that were written", v.events)
	}
	return nil
}

// meta finds the newest intact meta page and returns the page of the root bucket.
func (v *verifier) meta() (root uint64, err error) {
	var newest uint64
	found := false
	first := make([]byte, min(v.size, 2*maxPageSize))
	if _, err := v.file.ReadAt(first, 0); err != nil {
		return 0, damaged("%v", err)
	}
	// The second meta page stands behind the first, wherever that ends.
	for at := 0; at+pageHeader+64 <= len(first); at += 512 {
		m := first[at+pageHeader:][:64]
		size := uint64(binary.LittleEndian.Uint32(m[8:]))
		if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != boltVersion ||
			size < 512 || size > maxPageSize || uint64(at) != 0 && uint64(at) != size {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write(m[:56])
		if tx := binary.LittleEndian.Uint64(m[48:]); h.Sum64() == binary.LittleEndian.Uint64(m[56:]) && (!found || tx > newest) {
			found, newest, v.pageSize = true, tx, size
			root, v.pages = binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[40:])
		}
	}
	if !found {
		return 0, damaged("it has no intact header")
	}
	if v.pages > uint64(v.size)/v.pageSize { //nolint:gosec // the size of a file
		return 0, damaged("it has %d bytes of at least %d pages of %d", v.size, v.pages, v.pageSize)
	}
	return root, nil
}

// tree reads the pages below one; bucket is nil for the root.
func (v *verifier) tree(id uint64, bucket []byte) error {
	if id < 2 || id >= v.pages {
		return damaged("page %d of %d is out of place", id, v.pages)
	}
	header := make([]byte, pageHeader)
	if _, err := v.file.ReadAt(header, int64(id*v.pageSize)); err != nil { //nolint:gosec // within the file
		return damaged("page %d: %v", id, err)
	}
	overflow := uint64(binary.LittleEndian.Uint32(header[12:]))
	if binary.LittleEndian.Uint64(header) != id || id+overflow >= v.pages {
		return damaged("page %d calls itself %d, with %d more", id, binary.LittleEndian.Uint64(header), overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if v.visited[i/64]&(1<<(i%64)) != 0 {
			return damaged("page %d is in two places", i)
		}
		v.visited[i/64] |= 1 << (i % 64)
	}
	page := make([]byte, (1+overflow)*v.pageSize)
	if _, err := v.file.ReadAt(page, int64(id*v.pageSize)); err != nil { //nolint:gosec // within the file
		return damaged("page %d: %v", id, err)
	}
	return v.page(page, bucket)
}

func (v *verifier) page(page, bucket []byte) error {
	flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage || pageHeader+count*pageHeader > len(page) ||
		count == 0 && (flags == branchPage || v.floor != nil) { // what is empty has nothing above it
		return damaged("a page has the kind %d and %d entries", flags, count)
	}
	for i := range count {
		entry := page[pageHeader+i*pageHeader:]
		if flags == branchPage {
			if err := v.branch(entry, i, bucket); err != nil {
				return err
			}
			continue
		}
		position, keySize, valueSize := uint64(binary.LittleEndian.Uint32(entry[4:])), uint64(binary.LittleEndian.Uint32(entry[8:])), uint64(binary.LittleEndian.Uint32(entry[12:]))
		if position+keySize+valueSize > uint64(len(entry)) {
			return damaged("an entry reaches beyond its page")
		}
		key, value := entry[position:][:keySize], entry[position+keySize:][:valueSize]
		if v.last != nil && bytes.Compare(v.last, key) >= 0 || bytes.Compare(v.floor, key) > 0 {
			return damaged("its entries are out of order")
		}
		v.last, v.floor = bytes.Clone(key), nil
		if err := v.row(bucket, key, value, binary.LittleEndian.Uint32(entry)&bucketLeaf != 0); err != nil {
			return err
		}
	}
	return nil
}

// branch reads what is below an entry of a branch page. Its key leads to the rows
// from there on, so a wrong one would hide some of them.
func (v *verifier) branch(entry []byte, i int, bucket []byte) error {
	position, keySize := uint64(binary.LittleEndian.Uint32(entry)), uint64(binary.LittleEndian.Uint32(entry[4:]))
	if position+keySize > uint64(len(entry)) {
		return damaged("an entry reaches beyond its page")
	}
	key := entry[position:][:keySize]
	if keySize == 0 || i > 0 && bytes.Compare(v.last, key) >= 0 || bytes.Compare(v.floor, key) > 0 {
		return damaged("its branches are out of order")
	}
	v.floor = bytes.Clone(key)
	return v.tree(binary.LittleEndian.Uint64(entry[8:]), bucket)
}

// row counts a row in, or reads the bucket that it is.
func (v *verifier) row(bucket, key, value []byte, isBucket bool) error {
	if isBucket {
		last := v.last
		v.last, v.floor = nil, nil
		defer func() { v.last, v.floor = last, nil }()
	}
	switch {
	case isBucket != (bucket == nil) || isBucket && len(value) < pageHeader:
		return damaged("a bucket stands where none can be")
	case isBucket && binary.LittleEndian.Uint64(value) != 0:
		return v.tree(binary.LittleEndian.Uint64(value), key)
	case isBucket && len(value) < 2*pageHeader:
		return damaged("a bucket has no page")
	case isBucket:
		return v.page(value[pageHeader:], key)
	case string(bucket) == string(bucketAbout) && string(key) == string(rowSum):
		v.written = append([]byte(nil), value...)
		return nil
	}
	v.sum.add(bucket, key, value)
	if string(bucket) == string(bucketEvents) {
		v.events++
	}
	return nil
}

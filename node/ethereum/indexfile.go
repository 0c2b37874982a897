package ethereum

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// errDamagedIndex says that the file is not what was once written. It can be
// removed: all of it can be read from the chain again.
var errDamagedIndex = errors.New("the index of DepositEvents is damaged")

// indexFormat begins the identity; a file of another format is not ours to read.
const indexFormat = "deposit-events 1, "

// Buckets of the file, and rows of the first.
var (
	bucketAbout  = []byte("about")
	bucketBlocks = []byte("blocks")
	bucketEvents = []byte("events")

	rowIdentity = []byte("identity") // indexFormat and a chainIdentity in words
	rowStart    = []byte("start")    // first block that is read
	rowBase     = []byte("base")     // index of the first event from there on
	rowFinal    = []byte("final")    // newest final block that was seen: a checkpoint with its number before it
	rowSum      = []byte("sum")      // of all other rows, see rowsSum, and the number of events
)

// indexFile is the index of DepositEvents on disk. Every change is one
// transaction, so a checkpoint is there exactly if the events before it are.
type indexFile struct {
	path  string
	db    *bbolt.DB
	fault func() error // tests: why nothing can be written
}

// openIndexFile opens the file, made new if there is none. Its error wraps
// errDamagedIndex if what is there can not be used. A passing one need not be on
// the disk after a crash.
func openIndexFile(path string, passing bool) (*indexFile, error) {
	if err := verifyIndexFile(path); err != nil {
		return nil, err
	}
	f := &indexFile{path: path}
	err := guarded(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second, NoSync: passing,
		})
		return err //nolint:wrapcheck // below
	})
	if err != nil {
		return nil, fmt.Errorf("open the index of DepositEvents %s: %w", path, err)
	}
	err = f.change(func(c *change) error {
		for _, name := range [][]byte{bucketAbout, bucketBlocks, bucketEvents} {
			if _, err := c.tx.CreateBucketIfNotExists(name); err != nil {
				return err //nolint:wrapcheck // change wraps
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *indexFile) close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close the index of DepositEvents: %w", err)
	}
	return nil
}

// removeIndexFile makes room for a new one. Another process that has the old one
// open keeps what it has.
func removeIndexFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the index of DepositEvents: %w", err)
	}
	return nil
}

// indexContent is what is read when the file is opened.
type indexContent struct {
	identity    string // empty in a new file
	start, base uint64
	final       *checkpoint
	read        []checkpoint
	events      uint64
}

func (f *indexFile) load() (content indexContent, err error) {
	err = f.view(func(tx *bbolt.Tx) error {
		about := tx.Bucket(bucketAbout)
		content.identity = string(about.Get(rowIdentity))
		content.start, content.base = number(about.Get(rowStart)), number(about.Get(rowBase))
		_, content.events = sumOf(about.Get(rowSum))
		if row := about.Get(rowFinal); len(row) > 8 {
			final, err := checkpointOf(row[:8], row[8:])
			if err != nil {
				return err
			}
			content.final = &final
		}
		return tx.Bucket(bucketBlocks).ForEach(func(k, v []byte) error {
			c, err := checkpointOf(k, v)
			content.read = append(content.read, c)
			return err
		})
	})
	return content, err
}

// seen returns where DepositEvents of this public key were seen.
func (f *indexFile) seen(key validator.PublicKey) (events []seenEvent, err error) {
	err = f.view(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucketEvents).Cursor()
		for k, v := cursor.Seek(key[:]); bytes.HasPrefix(k, key[:]); k, v = cursor.Next() {
			event, err := eventOf(k, v)
			if err != nil {
				return err
			}
			events = append(events, event)
		}
		return nil
	})
	return events, err
}

func (f *indexFile) view(do func(*bbolt.Tx) error) error {
	if err := guarded(func() error { return f.db.View(do) }); err != nil {
		return fmt.Errorf("read the index of DepositEvents %s: %w", f.path, err)
	}
	return nil
}

// change is one transaction. It keeps the sum of all rows and the number of events.
type change struct {
	tx     *bbolt.Tx
	sum    rowsSum
	events uint64
}

func (f *indexFile) change(do func(*change) error) error {
	err := guarded(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			c := &change{tx: tx}
			if about := tx.Bucket(bucketAbout); about != nil {
				c.sum, c.events = sumOf(about.Get(rowSum))
			}
			if err := do(c); err != nil {
				return err
			}
			if f.fault != nil {
				if err := f.fault(); err != nil {
					return err
				}
			}
			return tx.Bucket(bucketAbout).Put(rowSum, append(c.sum.bytes(), bigEndian(c.events)...))
		})
	})
	if err != nil {
		return fmt.Errorf("write the index of DepositEvents in %s: %w", filepath.Dir(f.path), err)
	}
	return nil
}

// set puts a row in the place of the one with the same key.
func (c *change) set(bucket, key, value []byte) error {
	if err := c.unset(bucket, key); err != nil {
		return err
	}
	c.sum.add(bucket, key, value)
	if &bucket[0] == &bucketEvents[0] {
		c.events++
	}
	return c.tx.Bucket(bucket).Put(key, value) //nolint:wrapcheck // indexFile.change wraps
}

func (c *change) unset(bucket, key []byte) error {
	b := c.tx.Bucket(bucket)
	old := b.Get(key)
	if old == nil {
		return nil
	}
	c.sum.subtract(bucket, key, old)
	if &bucket[0] == &bucketEvents[0] {
		c.events--
	}
	return b.Delete(key) //nolint:wrapcheck // indexFile.change wraps
}

// rowsSum is the sum modulo 2^256 of the SHA-256 of each row. It does not depend
// on their order, so it is kept up with every change and checked by reading all.
type rowsSum [4]uint64

func (s *rowsSum) add(bucket, key, value []byte) {
	var carry uint64
	for i, word := range rowHash(bucket, key, value) {
		s[i], carry = bits.Add64(s[i], word, carry)
	}
}

func (s *rowsSum) subtract(bucket, key, value []byte) {
	var borrow uint64
	for i, word := range rowHash(bucket, key, value) {
		s[i], borrow = bits.Sub64(s[i], word, borrow)
	}
}

func (s *rowsSum) bytes() []byte {
	var b []byte
	for _, word := range s {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

func rowHash(bucket, key, value []byte) (words [4]uint64) {
	h := sha256.New()
	for _, part := range [][]byte{bucket, key, value} {
		_, _ = h.Write(bigEndian(uint64(len(part))))
		_, _ = h.Write(part)
	}
	var digest [sha256.Size]byte
	h.Sum(digest[:0])
	for i := range words {
		words[i] = binary.BigEndian.Uint64(digest[8*i:])
	}
	return words
}

func sumOf(row []byte) (sum rowsSum, events uint64) {
	if len(row) != 40 {
		return sum, 0
	}
	for i := range sum {
		sum[i] = binary.BigEndian.Uint64(row[8*i:])
	}
	return sum, binary.BigEndian.Uint64(row[32:])
}

func number(row []byte) uint64 {
	if len(row) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(row)
}

// guarded turns what bbolt does on meeting a damaged page, which is to panic or
// to touch memory that the file does not back, into an error.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamagedIndex, r)
		}
	}()
	return do()
}

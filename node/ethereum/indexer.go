package ethereum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Indexer keeps every DepositEvent of the deposit contract in a local file, from
// the start block up to the head. It is kept up on each node by [Indexer.Run] and
// on the leader besides by each pass of the duty, which may happen at once: what
// was asked of an execution client is taken only if nothing else was meanwhile.
type Indexer struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	path     string
	scratch  string // folder to be removed at the end, where no path was given
	file     *indexFile
	identity string // what the file is of
	events   uint64
	base     uint64       // index of the first event from the start block on
	baseErr  error        // why base is not known and taken for 0
	read     []checkpoint // ascending; the last is how far reading has come
	final    *checkpoint  // newest final block that was seen
	step     uint64       // blocks asked for at once
	version  uint64       // grows with every change of what is read next
	head     uint64       // newest head that was seen
	trouble  *waiting     // why events may be missing, until they are complete again
	doubted  time.Time    // since when, or since they were read again
	failure  *waiting     // why the last attempt to read on failed
	closed   bool
	added    []validator.PublicKey // of events that were kept since the last drain
	overflow bool                  // there were more than mostAdded
}

func newIndexer(cfg Config) *Indexer {
	return &Indexer{cfg: cfg, log: cfg.Logger, path: cfg.IndexFile, step: firstBlocks}
}

// Close closes the file. Nothing is read or written after that.
func (x *Indexer) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	var err error
	if x.file != nil {
		err = x.file.close()
		x.file = nil
	}
	if x.scratch != "" {
		err = errors.Join(err, os.RemoveAll(x.scratch))
	}
	return err
}

// begin opens the file where that has not happened yet, and makes sure that it is
// of this chain and this start block.
func (x *Indexer) begin(id chainIdentity) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.file == nil {
		if err := x.open(); err != nil {
			return x.failed(err)
		}
	}
	want := indexFormat + id.String()
	if x.identity == want {
		return nil
	}
	if x.identity != "" {
		x.log.Warn("the index of DepositEvents is of another chain or contract, and is read anew", "file", x.path, "was", x.identity, "is", want)
		if err := x.replace(); err != nil {
			return x.failed(err)
		}
	}
	return x.failed(x.write(func(c *change) error { return x.describe(c, want) }, func() { x.identity = want }))
}

// describe says what a new file is of.
func (x *Indexer) describe(c *change, identity string) error {
	return errors.Join(c.set(bucketAbout, rowIdentity, []byte(identity)),
		c.set(bucketAbout, rowStart, bigEndian(x.cfg.StartBlock)))
}

// open opens the file and reads how far it has come. One that is damaged is
// replaced.
func (x *Indexer) open() error {
	if x.closed {
		return fmt.Errorf("the index of DepositEvents: %w", os.ErrClosed)
	}
	if x.path == "" {
		folder, err := os.MkdirTemp("", "keysteward-index-")
		if err != nil {
			return fmt.Errorf("make room for the index of DepositEvents: %w", err)
		}
		x.scratch, x.path = folder, filepath.Join(folder, "deposit-events.db")
	}
	file, err := openIndexFile(x.path, x.scratch != "")
	if errors.Is(err, errDamagedIndex) {
		x.log.Warn("the index of DepositEvents is damaged and is read anew: what was seen only in blocks that were reorganised away is forgotten", "file", x.path, "error", err)
		if err := removeIndexFile(x.path); err != nil {
			return err
		}
		file, err = openIndexFile(x.path, x.scratch != "")
	}
	if err != nil {
		return err
	}
	x.file = file
	content, err := file.load()
	if err != nil {
		return errors.Join(err, x.discard())
	}
	x.version++
	x.identity, x.base, x.baseErr = content.identity, content.base, nil
	x.read, x.final, x.events = content.read, content.final, content.events
	if content.identity != "" && content.start != x.cfg.StartBlock {
		x.log.Info("DepositEvents are read again, from another start block", "file", x.path, "was", content.start, "is", x.cfg.StartBlock)
		return x.restart()
	}
	if len(x.read) > 0 {
		x.log.Info("the index of DepositEvents was read up to a block before", "file", x.path, "block", x.last().number, "events", x.events)
	}
	return nil
}

// restart has everything read again. Events that were seen stay seen.
func (x *Indexer) restart() error {
	return x.write(func(c *change) error {
		var errs []error
		for _, old := range x.read {
			errs = append(errs, c.unset(bucketBlocks, bigEndian(old.number)))
		}
		errs = append(errs, c.unset(bucketAbout, rowFinal), c.unset(bucketAbout, rowBase),
			c.set(bucketAbout, rowStart, bigEndian(x.cfg.StartBlock)))
		return errors.Join(errs...)
	}, func() { x.read, x.final, x.base, x.baseErr = nil, nil, 0, nil })
}

// write makes one change of the file, and of what is known of it if that went well.
func (x *Indexer) write(do func(*change) error, then func()) error {
	if x.file == nil {
		return fmt.Errorf("the index of DepositEvents: %w", os.ErrClosed)
	}
	var events uint64
	err := x.file.change(func(c *change) error {
		err := do(c)
		events = c.events
		return err
	})
	if errors.Is(err, errDamagedIndex) {
		return errors.Join(err, x.discard())
	}
	if err != nil {
		return err
	}
	x.version++
	x.events = events
	then()
	return nil
}

// discard closes the file, which is opened again, and looked through, when it is
// needed next.
func (x *Indexer) discard() error {
	file := x.file
	x.file, x.identity, x.read, x.final = nil, "", nil, nil
	x.version++
	if file == nil {
		return nil
	}
	return file.close()
}

// replace puts an empty file in the place of the present one.
func (x *Indexer) replace() error {
	if err := errors.Join(x.discard(), removeIndexFile(x.path)); err != nil {
		return err
	}
	return x.open()
}

// failed makes a reason to wait of an error about the file; nil stays nil.
func (x *Indexer) failed(err error) error {
	if err == nil {
		return nil
	}
	return waitFor(IndexFailed, "%v; no deposit is made before DepositEvents can be kept", err)
}

// seen returns where DepositEvents of this public key were seen. What was seen
// stays, also when its block was reorganised away: the safe direction is to take
// a key for paid.
func (x *Indexer) seen(key validator.PublicKey) ([]seenEvent, error) {
	x.mu.Lock()
	file := x.file
	x.mu.Unlock()
	if file == nil {
		return nil, waitFor(IndexFailed, "the index of DepositEvents is not open")
	}
	events, err := file.seen(key)
	if errors.Is(err, errDamagedIndex) {
		x.mu.Lock()
		if x.file == file {
			err = errors.Join(err, x.discard())
		}
		x.mu.Unlock()
	}
	return events, x.failed(err)
}

// mostAdded bounds how many public keys of new events are remembered.
const mostAdded = 10_000

// remember notes that events were kept, for drain.
func (x *Indexer) remember(events []seenEvent) {
	for _, event := range events {
		if len(x.added) == mostAdded {
			x.added, x.overflow = nil, true
		}
		if x.overflow {
			return
		}
		x.added = append(x.added, event.key)
	}
}

// drain returns the public keys of events that were kept since it was last called,
// or that there were too many to remember.
func (x *Indexer) drain() (added []validator.PublicKey, overflow bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	added, overflow = x.added, x.overflow
	x.added, x.overflow = nil, false
	return added, overflow
}

// last returns the checkpoint that reading has come to.
func (x *Indexer) last() checkpoint {
	if len(x.read) == 0 {
		return checkpoint{next: x.base}
	}
	return x.read[len(x.read)-1]
}

// next is the first block that was not read.
func (x *Indexer) next() uint64 {
	if len(x.read) == 0 {
		return x.cfg.StartBlock
	}
	return x.last().number + 1
}

// IndexStatus tells how far a node's index of DepositEvents has come.
type IndexStatus struct {
	// Block up to which DepositEvents were read, and the newest Head that was seen.
	// NextBlock is the first that was not read.
	NextBlock, Head uint64
	// Events in the index, those of blocks that were reorganised away included.
	Events uint64
	// Complete says that none up to Head is missing, by the contract's own count.
	Complete bool
	// Code and Detail say why reading does not go on, empty while it does.
	Code   Code
	Detail string
}

// Status returns how far the index has come. Before the file was opened it knows
// of no block.
func (x *Indexer) Status() IndexStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := IndexStatus{NextBlock: x.next(), Head: x.head, Events: x.events}
	last := x.last()
	s.Complete = last.counted && last.number >= x.head && x.failure == nil
	for _, w := range []*waiting{x.failure, x.trouble} {
		if w != nil {
			s.Code, s.Detail = w.code, w.detail
			break
		}
	}
	return s
}

// noted keeps why reading failed, or that it did not.
func (x *Indexer) noted(e extent, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.head != nil {
		x.head = uint64(e.head.Number)
	}
	x.failure = nil
	if w := (*waiting)(nil); errors.As(err, &w) {
		x.failure = w
	} else if err != nil && !errors.Is(err, context.Canceled) {
		x.failure = waitFor(IndexFailed, "%v", err)
	}
}

// thin returns which checkpoints to forget when there is one more: the newest are
// all kept, of the older ones one in so many blocks, so that neither a deep
// reorganisation nor a restart begins from the start.
func thin(read []checkpoint) (kept, dropped []checkpoint) {
	at := len(read) - recentCheckpoints
	if at < 1 {
		return read, nil
	}
	if old := read[at-1]; at >= 2 && old.number/mostBlocks == read[at-2].number/mostBlocks {
		return slices.Delete(slices.Clone(read), at-1, at), []checkpoint{old}
	}
	return read, nil
}

package audit

import (
	"bytes"
	"fmt"
	"slices"
)

// BrokenError names the first record at which a chain is not what was once written.
type BrokenError struct {
	// Seq of the record, or of the one that should stand there.
	Seq uint64
	// Why in words.
	Why string
	// Err is the reason where the record's version is unknown, else nil.
	Err error
}

// Error implements error.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log is broken at record %d: %s", e.Seq, e.Why)
}

// Unwrap returns the reason, such as [ErrVersion].
func (e *BrokenError) Unwrap() error { return e.Err }

// Chain follows records and verifies that each follows from the one before.
type Chain struct {
	head    Head
	blind   bool   // the hash before the first record is not known
	waiting []Head // that were noted
}

// NewChain begins behind the anchor, the record before the first one that will
// be given. An anchor that has a sequence number and no hash is of a chain whose
// beginning is lost: its first record is taken at its word.
func NewChain(anchor Head) *Chain {
	c := &Chain{}
	c.skip(anchor)
	return c
}

// Expect adds a head that was noted earlier. The record with its number must have
// its hash, whenever it comes; [Chain.Unseen] tells which did not come.
func (c *Chain) Expect(heads ...Head) { c.waiting = append(c.waiting, heads...) }

// Unseen lists the heads of Expect that no record and no anchor came up to.
func (c *Chain) Unseen() []Head { return slices.Clone(c.waiting) }

// Next verifies one record. The error is a [BrokenError].
func (c *Chain) Next(r Record) error {
	if want := c.head.Seq + 1; r.Seq != want {
		return &BrokenError{Seq: want, Why: fmt.Sprintf("record %d stands in its place", r.Seq)}
	}
	sum, err := r.Sum(c.head.Hash)
	if err != nil {
		return &BrokenError{Seq: r.Seq, Why: err.Error(), Err: err}
	}
	if !c.blind && !bytes.Equal(sum, r.Hash) {
		return &BrokenError{Seq: r.Seq, Why: fmt.Sprintf("its hash is %s and its fields give %s", r.Hash, sum)}
	}
	c.blind = false
	c.head = Head{Seq: r.Seq, Hash: r.Hash}
	return c.compare()
}

// compare holds the head against what was noted of it.
func (c *Chain) compare() error {
	if c.blind {
		return nil
	}
	for _, h := range c.waiting {
		if h.Seq == c.head.Seq && !bytes.Equal(h.Hash, c.head.Hash) {
			return &BrokenError{Seq: h.Seq, Why: fmt.Sprintf("its hash is %s and was noted as %s: history was rewritten", c.head.Hash, h.Hash)}
		}
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(h Head) bool { return h.Seq == c.head.Seq })
	return nil
}

// Skip goes on behind another anchor, because the records between were dropped.
// The error is a [BrokenError] if the anchor goes back, or is not what was noted.
func (c *Chain) Skip(anchor Head) error {
	if anchor.Seq < c.head.Seq {
		return &BrokenError{Seq: c.head.Seq, Why: fmt.Sprintf("record %d comes after it", anchor.Seq+1)}
	}
	c.skip(anchor)
	return c.compare()
}

func (c *Chain) skip(anchor Head) {
	c.head, c.blind = anchor, anchor.Seq > 0 && len(anchor.Hash) == 0
}

// Head is the last record that was verified, or the anchor.
func (c *Chain) Head() Head { return c.head }

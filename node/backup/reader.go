package backup

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
)

// What can be wrong with a file.
var (
	// ErrForeign says that no key-encryption key that was given opens the keyring of a
	// backup, so that its key can not be had.
	ErrForeign = errors.New("this is no backup of a cluster with this key-encryption key")
	// ErrNotABackup says that a file does not begin like a backup.
	ErrNotABackup = errors.New("this file is no backup")
	// ErrNewer says that a newer program is needed to read the file.
	ErrNewer = errors.New("the backup is of a newer format")
	// ErrTruncated says that the end of the file is missing.
	ErrTruncated = errors.New("the backup is cut off: its end is missing")
	// ErrDamaged says that the file was altered, or damaged on its way.
	ErrDamaged = errors.New("the backup is damaged or was altered")
)

// Header is what stands in front of the stream.
type Header struct {
	Manifest
	raw []byte
	tag [tagBytes]byte
}

// Reader gives the stream of a backup, checked chunk by chunk. Only when Read has
// returned io.EOF is the file known to be whole.
type Reader struct {
	in      io.Reader
	chain   *chain // nil without a key
	sum     hash.Hash
	n       int64
	head    [sha256.Size]byte // of the manifest
	chunk   []byte            // what is left of it
	buffer  []byte
	trailer Trailer
	err     error
}

// ReadHeader reads the manifest. Nothing of it is authenticated before [NewReader]
// had the key, which can be found only by what it says. The error is [ErrNotABackup],
// [ErrNewer], [ErrTruncated] or [ErrDamaged], or that of reading.
func ReadHeader(in io.Reader) (*Header, error) {
	line := make([]byte, len(first))
	n, err := io.ReadFull(in, line)
	if err != nil && !isEnd(err) {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if err := checkFirst(string(line[:n])); err != nil {
		return nil, err
	}
	head, err := readHead(in)
	if err != nil {
		return nil, err
	}
	if head > maxManifest {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", ErrDamaged, head)
	}
	h := &Header{raw: make([]byte, head)}
	if err := readFull(in, h.raw, h.tag[:]); err != nil {
		return nil, err
	}
	h.Manifest, err = decodeManifest(h.raw)
	return h, err
}

func checkFirst(line string) error {
	switch rest, begins := strings.CutPrefix(line, magic); {
	case line == first:
		return nil
	case strings.HasPrefix(first, line) && line != "":
		return ErrTruncated
	case !begins:
		return ErrNotABackup
	default:
		number, _, _ := strings.Cut(rest, "\n")
		if n, err := strconv.Atoi(number); err != nil || n <= Format {
			return ErrNotABackup
		}
		return fmt.Errorf("%w (%s; this program reads %d)", ErrNewer, number, Format)
	}
}

// NewReader goes on behind [ReadHeader]. The error is [ErrDamaged] if the manifest is
// not authenticated by the key. A nil key checks everything but the tags.
func NewReader(in io.Reader, h *Header, key *Key) (*Reader, error) {
	r := &Reader{in: in, sum: sha256.New(), head: sha256.Sum256(h.raw)}
	if key == nil {
		return r, nil
	}
	if key.inner == nil {
		return nil, errNoKey
	}
	r.chain = newChain(*key)
	if !hmac.Equal(h.tag[:], r.chain.next(first, uint32(len(h.raw)), h.raw)) { //nolint:gosec // bounded by maxManifest
		return nil, fmt.Errorf("%w: its manifest", ErrDamaged)
	}
	return r, nil
}

// Read implements io.Reader. The error wraps [ErrTruncated] or [ErrDamaged], or is that
// of reading; io.EOF comes only behind a file that is whole.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// Trailer is the end of the file, once Read has returned io.EOF.
func (r *Reader) Trailer() Trailer { return r.trailer }

// next reads one chunk, or the end.
func (r *Reader) next() error {
	head, err := readHead(r.in)
	if err != nil {
		return err
	}
	length, last := head&^lastPart, head&lastPart != 0
	if length == 0 || length > maxChunk || last && length > maxTrailer {
		return fmt.Errorf("%w: a part of %d bytes behind %d", ErrDamaged, length, r.n)
	}
	if r.buffer == nil {
		r.buffer = make([]byte, maxChunk)
	}
	var tag [tagBytes]byte
	if err := readFull(r.in, r.buffer[:length], tag[:]); err != nil {
		return err
	}
	if r.chain != nil && !hmac.Equal(tag[:], r.chain.next("", head, r.buffer[:length])) {
		return fmt.Errorf("%w behind byte %d of its stream", ErrDamaged, r.n)
	}
	if last {
		return r.end(r.buffer[:length])
	}
	r.chunk = r.buffer[:length]
	_, _ = r.sum.Write(r.chunk)
	r.n += int64(length)
	return nil
}

// end holds the trailer against what was read. Nothing may stand behind it.
func (r *Reader) end(trailer []byte) error {
	if err := json.Unmarshal(trailer, &r.trailer); err != nil {
		return fmt.Errorf("%w: its end: %w", ErrDamaged, err)
	}
	if r.trailer.Bytes != r.n || !bytes.Equal(r.trailer.SHA256, r.sum.Sum(nil)) || !bytes.Equal(r.trailer.ManifestSHA256, r.head[:]) {
		return fmt.Errorf("%w: its end does not fit what it has", ErrDamaged)
	}
	var more [1]byte
	switch n, err := io.ReadFull(r.in, more[:]); {
	case n > 0:
		return fmt.Errorf("%w: something stands behind its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read backup: %w", err)
	}
	return io.EOF
}

func readHead(in io.Reader) (uint32, error) {
	var b [4]byte
	if err := readFull(in, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

func readFull(in io.Reader, parts ...[]byte) error {
	for _, p := range parts {
		if _, err := io.ReadFull(in, p); isEnd(err) {
			return ErrTruncated
		} else if err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
	}
	return nil
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Verify reads a whole file and keeps nothing of it. Without a key only damage is
// found: who wants to can alter the file so that it passes.
func Verify(in io.Reader, key *Key) (Manifest, Trailer, error) {
	h, err := ReadHeader(in)
	if err != nil {
		return Manifest{}, Trailer{}, err
	}
	r, err := NewReader(in, h, key)
	if err != nil {
		return h.Manifest, Trailer{}, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return h.Manifest, Trailer{}, err //nolint:wrapcheck // says what it is
	}
	return h.Manifest, r.Trailer(), nil
}

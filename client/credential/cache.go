package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	maxRecord    = 256 << 10
	recordFormat = 1
	lockPause    = 20 * time.Millisecond
	// forgetAfter is when a file that nobody wrote again is removed.
	forgetAfter = 7 * 24 * time.Hour
)

// ErrCache is wrapped by errors about the cache. Nobody has to have one.
var ErrCache = errors.New("no cache")

// Cache is a file with one credential, in a folder that nobody else can read.
type Cache struct {
	path, subject string
}

// OpenCache makes the folder, of mode 0700, if it is not there. The subject tells one
// credential from others: whose it is, and who asked whom for it. Errors wrap [ErrCache].
func OpenCache(folder, subject string) (*Cache, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	info, err := os.Lstat(folder)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	case !info.IsDir() || !isOurs(info):
		return nil, fmt.Errorf("%w: %s is not a folder of ours", ErrCache, folder)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: others can read %s: want mode 0700", ErrCache, folder)
	}
	sum := sha256.Sum256([]byte(subject))
	return &Cache{path: filepath.Join(folder, hex.EncodeToString(sum[:16])+".json"), subject: subject}, nil
}

func isOurs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// record is what the file holds.
type record struct {
	Format  int    `json:"format"`
	Subject string `json:"subject"`
	// Fetched is when the cluster gave it, or said that it is the newest, Failed when it
	// was last asked in vain.
	Fetched     time.Time `json:"fetched"`
	Failed      time.Time `json:"failed,omitzero"`
	Certificate []byte    `json:"certificate"`
	Key         []byte    `json:"key"`

	credential Credential
}

// load returns false for no record, and for one that is damaged or that others may have
// read or written: it is not used then, and written anew.
func (c *Cache) load() (record, bool) {
	var r record
	f, err := os.OpenFile(c.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return r, false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || !isOurs(info) || info.Mode().Perm()&0o077 != 0 {
		return r, false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil || json.Unmarshal(text, &r) != nil || r.Format != recordFormat || r.Subject != c.subject {
		return record{}, false
	}
	if r.credential, err = newCredential(r.Certificate, r.Key); err != nil {
		return record{}, false
	}
	return r, true
}

// save replaces the record in one step.
func (c *Cache) save(r record) error {
	r.Format, r.Subject, r.Certificate, r.Key = recordFormat, c.subject, r.credential.Certificate, r.credential.Key
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCache, err)
	}
	defer clear(text)
	f, err := os.CreateTemp(filepath.Dir(c.path), "new-*") // of mode 0600
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCache, err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%w: %w", ErrCache, err)
	}
	c.sweep()
	return nil
}

// sweep removes what nobody has used for long: keys do not lie about for ever.
func (c *Cache) sweep() {
	own, err := os.Stat(c.path)
	if err != nil {
		return
	}
	files, err := os.ReadDir(filepath.Dir(c.path))
	if err != nil {
		return
	}
	for _, file := range files {
		info, err := file.Info()
		if err == nil && own.ModTime().Sub(info.ModTime()) > forgetAfter && (strings.HasSuffix(file.Name(), ".json") || strings.HasPrefix(file.Name(), "new-")) {
			_ = os.Remove(filepath.Join(filepath.Dir(c.path), file.Name()))
		}
	}
}

func (c *Cache) remove() { _ = os.Remove(c.path) }

// lock keeps other processes out until unlock is called, so that many kubectls that
// start together ask the cluster once.
func (c *Cache) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(strings.TrimSuffix(c.path, ".json")+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	ticks := time.NewTicker(lockPause)
	defer ticks.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("%w: lock %s: %w", ErrCache, f.Name(), err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("%w: another process holds %s: %w", ErrCache, f.Name(), ctx.Err())
		}
	}
}

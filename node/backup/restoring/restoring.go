// Package restoring brings a backup back into a cluster. The file is received whole,
// onto the disk of the data folder, and checked to its last byte before anything of it
// is proposed; then it is staged, part by part, by commands in the log, and one more
// command puts it in the place of the state. So all members do it at one index, or none.
package restoring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/backup"
)

// Why a backup is not restored. Besides there are the errors of package backup,
// [node.ErrSealed], and those of proposing.
var (
	// ErrBusy says that another backup is being restored.
	ErrBusy = errors.New("another backup is being restored")
	// ErrTooLarge says that it is larger than what can be restored.
	ErrTooLarge = errors.New("the backup is too large")
	// ErrNoSpace says that the disk of the data folder has not enough room.
	ErrNoSpace = errors.New("the disk of the data folder has not enough room")
	// ErrOtherCluster says that the backup is of another cluster, and that the present
	// one has something to lose.
	ErrOtherCluster = errors.New("the backup is of another cluster")
	// ErrOlder says that the present cluster would lose what came after the backup.
	ErrOlder = errors.New("what came after the backup would be lost")
	// ErrStaging says that the members did not take the backup in time. Nothing happened.
	ErrStaging = errors.New("the backup could not be staged")
	// ErrNewerState says that the state in the backup is of a newer version of the program.
	ErrNewerState = errors.New("the state in the backup is of a newer version of Keysteward")
)

const (
	prefix = "restore-"
	// framing is what a file has besides its stream, at most: manifest, ends and tags.
	framing = 2<<20 + fsm.MaxStaged/1000
	// A restore takes the file's size this many times on the disk: the file, the log,
	// and the snapshots with what is staged and then with what it became.
	copies = 4
	// keepFree is left to the log whatever a file needs.
	keepFree = 256 << 20
	// lookEvery is after how many bytes the disk is looked at again.
	lookEvery = 16 << 20
)

// Vault finds the key of a backup; [seal.Vault] says what its method promises.
type Vault interface {
	// OpenBackup finds the key of a backup.
	OpenBackup(ctx context.Context, m *backup.Manifest) (backup.Key, error)
}

// Restorer restores backups on one node, one at a time.
type Restorer struct {
	// Folder is where a file lies meanwhile: on the disk that has the log.
	Folder string
	Logger *slog.Logger

	busy   atomic.Bool
	free   func() (uint64, error) // of tests
	memory func() uint64          // of this process, at most; 0 without a limit
}

// New removes what a process left that was killed.
func New(folder string, log *slog.Logger) *Restorer {
	left, _ := filepath.Glob(filepath.Join(folder, prefix+"*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Restorer{Folder: folder, Logger: log, memory: memoryLimit}
}

// File is a backup that was received and is genuine. Close it.
type File struct {
	// Manifest is what it says it is, Trailer what it ends with.
	Manifest backup.Manifest
	Trailer  backup.Trailer

	of       *Restorer
	file     *os.File
	key      backup.Key
	examined bool
}

// Receive reads a backup to its end and checks that it is whole and genuine: that one
// of this node's key-encryption keys opens the keyring in it, and that its key
// authenticates every byte. Until the file is closed another one gets [ErrBusy].
func (r *Restorer) Receive(ctx context.Context, vault Vault, in io.Reader) (*File, error) {
	if !r.busy.CompareAndSwap(false, true) {
		return nil, ErrBusy
	}
	file, err := os.CreateTemp(r.Folder, prefix+"*")
	if err != nil {
		r.busy.Store(false)
		return nil, fmt.Errorf("receive backup: %w", err)
	}
	f := &File{of: r, file: file}
	if err := f.receive(ctx, vault, in); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close removes the file, and lets another one in.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.file.Close(), os.Remove(f.file.Name()))
	f.file = nil
	f.of.busy.Store(false)
	return err
}

func (f *File) receive(ctx context.Context, vault Vault, in io.Reader) error {
	out := &bounded{file: f.file, free: f.of.freeSpace}
	n, err := io.Copy(out, in)
	if err != nil {
		return fmt.Errorf("receive backup: %w", err)
	}
	if err := f.of.checkSpace(uint64(n) * (copies - 1)); err != nil { //nolint:gosec // not negative
		return err
	}
	// Damage is found first, and called so: the key could not tell it from forgery.
	if _, _, err := f.verify(nil); err != nil {
		return err
	}
	h, err := f.rewind()
	if err != nil {
		return err
	}
	if f.key, err = vault.OpenBackup(ctx, &h.Manifest); err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	f.Manifest, f.Trailer, err = f.verify(&f.key)
	return err
}

func (f *File) verify(key *backup.Key) (m backup.Manifest, t backup.Trailer, err error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return m, t, fmt.Errorf("read backup: %w", err)
	}
	return backup.Verify(bufio.NewReaderSize(f.file, 1<<20), key) //nolint:wrapcheck // says what it is
}

func (f *File) rewind() (*backup.Header, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	return backup.ReadHeader(f.file) //nolint:wrapcheck // says what it is
}

// Wish is what an operator gives up for a backup.
type Wish struct {
	// Replace is the ID of the present cluster, if it is another one than the backup's.
	Replace string
	// Force gives up what this cluster did after the backup.
	Force bool
}

// Check refuses a backup that gives up what the operator did not name. The state
// machine decides it once more.
func (f *File) Check(view *fsm.View, w Wish) error {
	mine, m := view.Meta().GetClusterId(), f.Manifest
	switch {
	case m.SnapshotFormat > fsm.SnapshotFormat, m.FeatureLevel > fsm.FeatureLevel:
		return fmt.Errorf("%w: stream %d and feature level %d, this program knows %d and %d", ErrNewerState, m.SnapshotFormat, m.FeatureLevel, fsm.SnapshotFormat, fsm.FeatureLevel)
	case f.Trailer.Bytes > fsm.MaxStaged:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, f.Trailer.Bytes, int64(fsm.MaxStaged))
	case w.Replace != "" && w.Replace != mine:
		return fmt.Errorf("%w: the cluster that is to be given up is called %q, and this is %s", ErrOtherCluster, clip(w.Replace), mine)
	case isBlank(view):
		return nil
	case m.ClusterID != mine && w.Replace == "":
		return fmt.Errorf("%w: it is of %s, and this is %s, with %s", ErrOtherCluster, m.ClusterID, mine, wealth(view))
	case m.ClusterID == mine && !w.Force:
		return fmt.Errorf("%w: it is of index %d, and the cluster is at index %d, with %s", ErrOlder, m.Index, view.Meta().GetAppliedIndex(), wealth(view))
	}
	return nil
}

// isBlank reports whether nothing is lost with the state that a person would miss.
func isBlank(view *fsm.View) bool {
	for range view.Keys(nil) {
		return false
	}
	for range view.Deposits(nil) {
		return false
	}
	for range view.Projects() {
		return false
	}
	for range view.ClusterProviders() {
		return false
	}
	return true
}

// wealth says in words what a cluster has to lose.
func wealth(view *fsm.View) string {
	keys, deposits, clouds := uint64(0), uint64(0), 0
	for _, n := range view.Meta().GetKeyCounts() {
		keys += n
	}
	for _, n := range view.Meta().GetDepositCounts() {
		deposits += n
	}
	for range view.AllClouds() {
		clouds++
	}
	return fmt.Sprintf("%d keys, %d deposits, %d logical clouds", keys, deposits, clouds)
}

func clip(s string) string { return s[:min(len(s), 64)] }

func (r *Restorer) freeSpace() (uint64, error) {
	if r.free != nil {
		return r.free()
	}
	var s unix.Statfs_t
	if err := unix.Statfs(r.Folder, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", r.Folder, err)
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // not negative
}

func (r *Restorer) checkSpace(need uint64) error {
	free, err := r.freeSpace()
	if err != nil {
		return err
	}
	if free < need+keepFree {
		return fmt.Errorf("%w: %d MiB are free, and restoring takes %d", ErrNoSpace, free>>20, (need+keepFree)>>20)
	}
	return nil
}

// bounded ends a file that is larger than the disk, or than any backup.
type bounded struct {
	file  *os.File
	free  func() (uint64, error)
	n     int64
	until int64 // it was looked at the disk up to here
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.n += int64(len(p))
	if b.n > fsm.MaxStaged+framing {
		return 0, ErrTooLarge
	}
	if b.n > b.until {
		free, err := b.free()
		if err != nil {
			return 0, err
		}
		if free < keepFree+lookEvery {
			return 0, fmt.Errorf("%w: %d MiB are free, and %d have to be at any time", ErrNoSpace, free>>20, (keepFree+lookEvery)>>20)
		}
		b.until = b.n + lookEvery
	}
	return b.file.Write(p) //nolint:wrapcheck // names the file
}

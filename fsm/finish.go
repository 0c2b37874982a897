package fsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Restored is the value of a FinishRestore command: the number of the restore.
type Restored uint64

// finishRestore replaces the state by the one that is staged, rewound: see
// [write.rewind]. It refuses what any version of the program sees in the same way; what
// is staged stays then. Whether the state in the backup can be read and is sound was
// looked at before it was proposed ([CheckBackup]). A node that can not read it all the
// same can not read the entry. The restore that was finished last may be repeated. After
// it there is no session.
func (w *write) finishRestore(c *fsmpb.FinishRestore) Result {
	if r := w.meta.GetRestore(); r.GetId() != "" && r.GetId() == c.GetRestoreId() {
		return Result{Value: Restored(r.GetNumber())}
	}
	if no := w.checkFinish(c); no != nil {
		return Result{Refusal: no}
	}
	s, no := w.decodeStaged(c)
	if no != nil {
		return Result{Refusal: no}
	}
	next := beginWrite(s.db, w.index, w.term)
	next.cmd, next.next = w.cmd, s
	if no := next.rewind(c, w); no != nil {
		next.abort()
		return Result{Refusal: no}
	}
	w.abort()
	*w = *next
	return Result{Value: Restored(w.meta.GetRestore().GetNumber())}
}

// checkFinish refuses a restore that gives something up which its operator did not name.
func (w *write) checkFinish(c *fsmpb.FinishRestore) *Refusal {
	s, mine := w.meta.GetStaging(), w.meta.GetClusterId()
	switch {
	case s == nil || s.GetRestoreId() != c.GetRestoreId():
		return refuse(NotFound, "nothing is staged as %q", brief(c.GetRestoreId()))
	case c.GetClusterId() == "" || len(c.GetClusterId()) > maxName:
		return refuse(Invalid, "a backup of no cluster")
	case w.isBlank():
		return nil
	case c.GetClusterId() == mine && !c.GetForce():
		return refuse(InUse, "cluster %s has keys, deposits or clouds, and what came after the backup would be lost", mine)
	case c.GetClusterId() != mine && c.GetReplaces() != mine:
		return refuse(InUse, "cluster %s has keys, deposits or clouds, and the backup is of cluster %s", mine, c.GetClusterId())
	}
	return nil
}

// isBlank reports whether nothing is lost with the state that a person would miss.
func (w *write) isBlank() bool {
	return !w.any(tableKeys) && !w.any(tableDeposits) && !w.any(tableObjects)
}

// decodeStaged makes a store of what is staged.
func (w *write) decodeStaged(c *fsmpb.FinishRestore) (*store, *Refusal) {
	staged := func() io.Reader { return (&View{txn: w.txn}).Staged() }
	sum := sha256.New()
	if _, err := io.Copy(sum, staged()); err != nil || !bytes.Equal(sum.Sum(nil), c.GetSha256()) {
		return nil, refuse(DamagedBackup, "what is staged has another SHA-256")
	}
	s, err := decode(staged())
	if err != nil {
		w.unreadable = fmt.Errorf("the backup that the leader restores: %w", err)
		return nil, refuse(DamagedBackup, "")
	}
	return s, s.isOf(c.GetClusterId(), c.GetIndex(), w.meta.GetFeatureLevel())
}

func decode(in io.Reader) (*store, error) {
	s := newStore()
	txn := s.db.Txn(true)
	if err := restore(txn, in); err != nil {
		txn.Abort()
		return nil, err
	}
	txn.Commit()
	return s, nil
}

// isOf refuses a decoded state that is not what it was said to be, or of a feature level
// that the cluster does not have yet.
func (s *store) isOf(clusterID string, index uint64, level uint32) *Refusal {
	m := (&View{txn: s.db.Txn(false), from: s}).Meta()
	switch {
	case m.GetClusterId() != clusterID || m.GetAppliedIndex() != index:
		return refuse(DamagedBackup, "the backup is of another cluster, or of another Raft index, than was said")
	case m.GetFeatureLevel() > level:
		return refuse(FeatureRefused, "the state in the backup is of feature level %d, and the cluster is at %d until the programs of all members know more", m.GetFeatureLevel(), level)
	}
	return nil
}

// CheckBackup reads the state of a backup and looks for whatever must never be in one
// ([View.Check]): to go on from there could stop every node, again and again. Who
// proposes to finish a restore asks it before. It is no part of applying the command,
// because what it finds depends on the version of the program, and replicas may have
// different ones. The level is the cluster's feature level. Errors wrap a [*Refusal], or
// [ErrDamaged] or [ErrUnknownCommand] where the stream can not be read.
func CheckBackup(in io.Reader, clusterID string, index uint64, level uint32) error {
	s, err := decode(in)
	if err != nil {
		return fmt.Errorf("the state in the backup: %w", err)
	}
	if no := s.isOf(clusterID, index, level); no != nil {
		return no
	}
	if err := (&View{txn: s.db.Txn(false), from: s}).Check(); err != nil {
		return fmt.Errorf("the state in the backup contradicts itself: %w: %w", ErrDamaged, err)
	}
	return nil
}

// Counters leap over whatever the history that was lost may have given out. Fences and
// generations leap to the clock of who restores at least, so that two clusters that
// restored the same backup one after the other do not give out the same.
const (
	latestWallMS   = 1 << 44
	fencesPerMS    = 8 // as a power of two, so that a fence stays below 2^53
	fenceLeap      = 1 << 32
	generationLeap = 1 << 20
	indexLeap      = 100_000
)

// leap moves the counters on, beyond those of the state that is given up too: the
// same backup may be restored twice.
func (w *write) leap(old *write) *Refusal {
	was, r := old.meta, w.meta.GetRestore()
	at := uint64(min(max(0, w.cmd.GetWallMs()), latestWallMS))
	w.meta.Fence = max(max(w.meta.GetFence(), was.GetFence())+fenceLeap, at<<fencesPerMS)
	r.FirstGeneration = w.meta.GetGeneration() + 1
	w.meta.Generation = max(max(w.meta.GetGeneration(), was.GetGeneration())+generationLeap, at)
	r.NextGeneration = w.meta.GetGeneration() + 1
	next := w.meta.GetNextIndex()
	r.FirstIndex = next
	if mine, its := w.secret(SecretSeed), old.secret(SecretSeed); mine != nil && mine.GetFingerprint() == its.GetFingerprint() {
		next = max(next, was.GetNextIndex())
	}
	if next+indexLeap > maxIndex {
		return refuse(Invalid, "after index %d the seed has no room for another restore", next)
	}
	w.meta.NextIndex = next + indexLeap
	r.NextIndex = w.meta.GetNextIndex()
	return nil
}

// keep takes over what is of the present cluster and not of the backup: who its
// members are and what they can do.
func (w *write) keep(old *write) {
	for _, m := range gather(lowerBound[*fsmpb.Member](w.txn, tableMembers, nil)) {
		mustDelete(w.txn, tableMembers, m)
	}
	for m := range lowerBound[*fsmpb.Member](old.txn, tableMembers, nil) {
		mustInsert(w.txn, tableMembers, m)
	}
	w.meta.FeatureLevel, w.meta.RunningHash, w.meta.Mark = old.meta.GetFeatureLevel(), old.meta.GetRunningHash(), old.meta.GetMark()
	w.meta.Session, w.meta.SessionNode = 0, ""
}

// recordRestore leaves the heads of both histories in the one that goes on.
func (w *write) recordRestore(c *fsmpb.FinishRestore, old *write) {
	head, lost := auditHead(w.txn, w.meta), auditHead(old.txn, old.meta)
	w.record("restore.finish", w.meta.GetClusterId(), fmt.Sprintf(
		"restore %d of the backup of index %d, made at %d ms; its audit log ended at %s; cluster %s is given up at index %d, its audit log ended at %s",
		w.meta.GetRestore().GetNumber(), c.GetIndex(), c.GetMadeWallMs(), head, old.meta.GetClusterId(), w.index-1, lost))
}

// beginRestore writes down what is restored; it is open from now on.
func (w *write) beginRestore(c *fsmpb.FinishRestore, old *write) {
	was := w.meta.GetRestore()
	w.meta.Restore = &fsmpb.Restore{
		Number: max(was.GetNumber(), old.meta.GetRestore().GetNumber()) + 1, Open: true, Id: c.GetRestoreId(),
		MadeWallMs: c.GetMadeWallMs(), Index: c.GetIndex(), ClusterTimeMs: w.meta.GetClusterTimeMs(),
		By: brief(w.cmd.GetCaller().GetName()), WallMs: w.cmd.GetWallMs(),
		Deposited:       w.hasDeposited() || was.GetOpen() && was.GetDeposited(),
		ReplacedCluster: old.meta.GetClusterId(), ReplacedIndex: w.index - 1,
	}
}

// hasDeposited reports whether there is any sign that deposits were made, or looked for.
func (w *write) hasDeposited() bool {
	return w.meta.GetSeedSearch() != nil || w.meta.GetFinalBlock() != nil ||
		w.any(tableAccounts) || w.any(tableDeposits)
}

// any reports whether a table has a row.
func (w *write) any(table string) bool {
	row, err := w.txn.Lowest(table, indexID)
	return err != nil || row != nil
}

package fsm

import (
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// CommandVersion is the newest version of the command format that this code applies.
const CommandVersion = 2

// maxCommand bounds one command, in bytes, so that every row that it makes fits
// a record of a snapshot ([maxRecord]).
const maxCommand = 4 << 20

// ErrDamaged says that a log entry or snapshot is not what was once written.
var ErrDamaged = errors.New("damaged data")

// ErrUnknownCommand says that a log entry was written by a newer version of
// Keysteward; this node has to be upgraded before it can go on.
var ErrUnknownCommand = errors.New("command of a newer version")

// Machine is one replica of the state. Apply and Restore must not run
// concurrently with each other; everything else may.
type Machine struct {
	store atomic.Pointer[store]
}

// store is a database together with the signal that it was replaced by a restore.
type store struct {
	db       *memdb.MemDB
	replaced chan struct{}
}

// Result is the answer to one command: a refusal, or a value whose type the
// command's documentation names (nil for most).
type Result struct {
	Refusal *Refusal
	Value   any
}

// Err returns the refusal as an error, nil if there is none.
func (r Result) Err() error {
	if r.Refusal == nil {
		return nil
	}
	return r.Refusal
}

// New returns a machine with an empty state.
func New() *Machine {
	m := &Machine{}
	s := newStore()
	txn := s.db.Txn(true)
	mustInsert(txn, tableMeta, emptyMeta())
	txn.Commit()
	m.store.Store(s)
	return m
}

func newStore() *store {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		panic(fmt.Sprintf("the schema is invalid: %v", err))
	}
	return &store{db: db, replaced: make(chan struct{})}
}

func emptyMeta() *fsmpb.Meta {
	return &fsmpb.Meta{
		KeyCounts:     make([]uint64, len(fsmpb.KeyState_name)),
		DepositCounts: make([]uint64, len(fsmpb.DepositState_name)),
		FirstAudit:    1,
	}
}

// Apply applies one log entry (an encoded [fsmpb.Batch]) at its Raft index and
// term and answers each of its commands. On an error nothing was changed and
// the machine must not be used further.
func (m *Machine) Apply(index, term uint64, entry []byte) ([]Result, error) {
	var batch fsmpb.Batch
	if err := proto.Unmarshal(entry, &batch); err != nil {
		return nil, fmt.Errorf("log entry %d: %w: %w", index, ErrDamaged, err)
	}
	for _, c := range batch.GetCommands() {
		if c.GetVersion() == 0 || c.GetVersion() > CommandVersion || c.GetBody() == nil {
			return nil, fmt.Errorf("log entry %d, command version %d: %w: upgrade this node", index, c.GetVersion(), ErrUnknownCommand)
		}
		if err := knows(c.GetRaiseFeatureLevel().GetLevel()); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", index, err)
		}
	}
	w := beginWrite(m.store.Load().db, index, term)
	defer w.abort()
	w.large = len(entry) > maxCommand
	results := make([]Result, len(batch.GetCommands()))
	for i, c := range batch.GetCommands() {
		if err := w.differs(c); err != nil {
			return nil, err
		}
		results[i] = w.apply(c)
		if w.unreadable != nil {
			return nil, fmt.Errorf("log entry %d: %w", index, w.unreadable)
		}
		if no := results[i].Refusal; no != nil {
			w.refused(no)
		}
	}
	w.run(entry, results)
	w.commit()
	if w.next != nil {
		m.become(w.next)
	}
	return results, nil
}

// mayDecide refuses what was decided in another session, and what a restore holds back.
func (w *write) mayDecide(c *fsmpb.Command) *Refusal {
	if c.GetSession() != w.term || w.meta.GetSession() != w.term {
		return refuse(StaleSession, "decided in session %d, the session is %d", c.GetSession(), w.meta.GetSession())
	}
	return w.heldBack(c)
}

// become takes another store in place of the one that is there, and wakes whoever
// watches that one.
func (m *Machine) become(s *store) {
	if old := m.store.Swap(s); old != nil {
		close(old.replaced)
	}
}

// commandSize is the command's length in bytes, or 0 if it can not be too long.
func (w *write) commandSize(c *fsmpb.Command) int {
	if !w.large {
		return 0
	}
	return proto.Size(c)
}

// apply decides one command. Every command checks before it writes, so a
// refusal leaves nothing behind but, at most, an audit record.
func (w *write) apply(c *fsmpb.Command) Result {
	w.cmd = c
	if n := w.commandSize(c); n > maxCommand {
		return Result{Refusal: refuse(Invalid, "a command of %d bytes, the longest has %d", n, maxCommand)}
	}
	if b := c.GetBeginSession(); b != nil {
		return w.beginSession(b)
	}
	if no := w.mayDecide(c); no != nil {
		return Result{Refusal: no}
	}
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_Allocate:
		return w.allocate(b.Allocate)
	case *fsmpb.Command_Release:
		return w.release(b.Release)
	case *fsmpb.Command_GenerateKeys:
		return w.generateKeys(b.GenerateKeys)
	case *fsmpb.Command_OpenAccount:
		return w.openAccount(b.OpenAccount)
	case *fsmpb.Command_SignDeposits:
		return w.signDeposits(b.SignDeposits)
	case *fsmpb.Command_ObserveDeposits:
		return w.observeDeposits(b.ObserveDeposits)
	case *fsmpb.Command_SetDepositStatus:
		return w.setDepositStatus(b.SetDepositStatus)
	case *fsmpb.Command_ReplaceDeposit:
		return w.replaceDeposit(b.ReplaceDeposit)
	case *fsmpb.Command_RetireKeys:
		return w.retireKeys(b.RetireKeys)
	case *fsmpb.Command_ObserveValidators:
		return w.observeValidators(b.ObserveValidators)
	default:
		return w.applyCluster(c)
	}
}

// applyCluster decides the commands about the cluster itself, its accounts, and
// the keys that it is brought.
func (w *write) applyCluster(c *fsmpb.Command) Result {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_Tick:
		return w.tick(b.Tick)
	case *fsmpb.Command_SetMember:
		return w.setMember(b.SetMember.GetMember())
	case *fsmpb.Command_RemoveMember:
		return w.removeMember(b.RemoveMember.GetNodeId())
	case *fsmpb.Command_SetSpareKeys:
		return w.setSpareKeys(b.SetSpareKeys)
	case *fsmpb.Command_StopAccount:
		return w.stopAccount(b.StopAccount)
	case *fsmpb.Command_ResumeDeposits:
		return w.resumeDeposits(b.ResumeDeposits)
	case *fsmpb.Command_AdvanceNonce:
		return w.advanceNonce(b.AdvanceNonce)
	case *fsmpb.Command_ImportKeys:
		return w.importKeys(b.ImportKeys)
	case *fsmpb.Command_AdoptKeys:
		return w.adoptKeys(b.AdoptKeys)
	case *fsmpb.Command_SeeFinal:
		return w.seeFinal(b.SeeFinal.GetBlock())
	case *fsmpb.Command_ConfirmStopped:
		return w.confirmStopped(b.ConfirmStopped)
	case *fsmpb.Command_CreateToken:
		return w.createToken(b.CreateToken.GetToken())
	case *fsmpb.Command_RevokeToken:
		return w.revokeToken(b.RevokeToken)
	}
	return w.applyPods(c)
}

// applyPods decides the commands about what becomes of pods that hold keys, and about
// the versions and the sameness of the replicas.
func (w *write) applyPods(c *fsmpb.Command) Result {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_ObservePods:
		return w.observePods(b.ObservePods)
	case *fsmpb.Command_RenewLease:
		return w.renewLease(b.RenewLease)
	case *fsmpb.Command_RaiseFeatureLevel:
		return w.raiseFeatureLevel(b.RaiseFeatureLevel)
	case *fsmpb.Command_Checkpoint:
		return w.checkpoint()
	}
	return w.applyClouds(c)
}

// applyClouds decides the commands about logical clouds.
func (w *write) applyClouds(c *fsmpb.Command) Result {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_PutObject:
		return w.put(b.PutObject)
	case *fsmpb.Command_DeleteObject:
		return w.deleteObject(b.DeleteObject)
	case *fsmpb.Command_ActOnCloud:
		return w.actOnCloud(b.ActOnCloud)
	case *fsmpb.Command_InstallCloudKey:
		return w.installCloudKey(b.InstallCloudKey)
	case *fsmpb.Command_RequestCertificates:
		return w.requestCertificates(b.RequestCertificates)
	case *fsmpb.Command_ObserveCertificates:
		return w.observeCertificates(b.ObserveCertificates)
	case *fsmpb.Command_IdentifyCluster:
		return w.identifyCluster(b.IdentifyCluster)
	case *fsmpb.Command_DiscloseKubeconfig:
		return w.discloseKubeconfig(b.DiscloseKubeconfig)
	}
	return w.applySecrets(c)
}

// applySecrets decides the commands about what is secret, and who may have it.
func (w *write) applySecrets(c *fsmpb.Command) Result {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_InstallKeyring:
		return w.installKeyring(b.InstallKeyring)
	case *fsmpb.Command_UpdateKeyring:
		return w.updateKeyring(b.UpdateKeyring)
	case *fsmpb.Command_Reseal:
		return w.reseal(b.Reseal)
	case *fsmpb.Command_InstallSeed:
		return w.installSeed(b.InstallSeed)
	}
	return w.applyRestore(c)
}

// applyRestore decides the commands about restoring a backup.
func (w *write) applyRestore(c *fsmpb.Command) Result {
	if no := w.needs(1); no != nil {
		return Result{Refusal: no}
	}
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_StageRestore:
		return w.stageRestore(b.StageRestore)
	case *fsmpb.Command_AbandonRestore:
		return w.abandonRestore(b.AbandonRestore)
	case *fsmpb.Command_FinishRestore:
		return w.finishRestore(b.FinishRestore)
	case *fsmpb.Command_ConfirmRestore:
		return w.confirmRestore(b.ConfirmRestore)
	case *fsmpb.Command_SettleAccount:
		return w.settleAccount(b.SettleAccount)
	case *fsmpb.Command_ConfirmToken:
		return w.confirmToken(b.ConfirmToken)
	case *fsmpb.Command_RecordAct:
		return w.recordAct(b.RecordAct)
	}
	return Result{Refusal: refuse(Invalid, "the command has no body")}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/raftlog"
)

// diskLog is what a node that does not run has on its disk.
type diskLog struct {
	name        string
	store       *raftlog.Store
	first, last uint64 // indexes
}

// openLogs opens the logs of all nodes, none of which runs.
func (s *stage) openLogs() (logs []*diskLog, err error) {
	for i := range s.count {
		l := &diskLog{name: faults.NodeName(i)}
		l.store, err = raftlog.OpenReadOnly(s.Nodes.DataDir(i), slog.New(slog.DiscardHandler), func(error) {})
		if err == nil {
			logs = append(logs, l)
			l.first, err = l.store.FirstIndex()
		}
		if err == nil {
			l.last, err = l.store.LastIndex()
		}
		if err != nil {
			closeLogs(logs)
			return nil, fmt.Errorf("log of %s: %w", l.name, err)
		}
	}
	return logs, nil
}

func closeLogs(logs []*diskLog) {
	for _, l := range logs {
		_ = l.store.Close()
	}
}

// auditLogs compares the logs of nodes that do not run any more, entry by entry, up to
// what was applied, and applies one of them to a state machine of this program: it must
// come to what the nodes said.
//
// The replicas compared themselves, too: at an entry not before the one that is asked
// for, their running hashes were confirmed in the log.
func (s *stage) auditLogs(worked, applied uint64, said answers.Testimony) (found []string, late int) {
	logs, err := s.openLogs()
	if err != nil {
		return []string{err.Error()}, 0
	}
	defer closeLogs(logs)
	whole := slices.IndexFunc(logs, func(l *diskLog) bool { return l.first == 1 && l.last >= applied })
	if whole < 0 {
		return []string{fmt.Sprintf("no node has a log from the first entry to entry %d", applied)}, 0
	}
	for i := range logs {
		if i != whole {
			found = append(found, logs[whole].differs(logs[i], applied)...)
		}
	}
	r := &replay{log: logs[whole], machine: fsm.New()}
	if wrong := r.run(applied); len(wrong) > 0 {
		return append(found, wrong...), r.late // what comes of it says no more
	}
	if s.Points != "" && r.confirmed < worked {
		found = append(found, fmt.Sprintf("the replicas were compared at entry %d, and not at %d or later", r.confirmed, worked))
	}
	return append(found, disagrees(r.machine.View(), said)...), r.late
}

// differs returns the first entry in which two logs differ, of those that were applied.
func (l *diskLog) differs(other *diskLog, applied uint64) []string {
	var a, b raft.Log
	for index := max(l.first, other.first); index <= min(l.last, other.last, applied); index++ {
		if err := errors.Join(l.store.GetLog(index, &a), other.store.GetLog(index, &b)); err != nil {
			return []string{fmt.Sprintf("entry %d of %s and %s: %v", index, l.name, other.name, err)}
		}
		if a.Term != b.Term || a.Type != b.Type || !bytes.Equal(a.Data, b.Data) {
			return []string{fmt.Sprintf("entry %d is another one on %s (term %d, %d bytes) than on %s (term %d, %d bytes)",
				index, l.name, a.Term, len(a.Data), other.name, b.Term, len(b.Data))}
		}
	}
	return nil
}

// replay applies a log anew.
type replay struct {
	log     *diskLog
	machine *fsm.Machine
	// late is how many commands came in another session than the one in which they were
	// decided, confirmed the last entry at which most replicas had the same running hash.
	late      int
	confirmed uint64
}

// run goes up to an entry. A checkpoint with which the state machine of this program does
// not agree is an error.
func (r *replay) run(until uint64) []string {
	for index := uint64(1); index <= until; index++ {
		var entry raft.Log
		if err := r.log.store.GetLog(index, &entry); err != nil {
			return []string{fmt.Sprintf("entry %d of %s: %v", index, r.log.name, err)}
		}
		if entry.Type != raft.LogCommand {
			continue
		}
		results, err := r.machine.Apply(entry.Index, entry.Term, entry.Data)
		if err != nil {
			return []string{fmt.Sprintf("the nodes decided otherwise than the log of %s says: %v", r.log.name, err)}
		}
		r.note(entry.Data, results)
	}
	if err := r.machine.View().Check(); err != nil {
		return []string{"the state is not sound: " + err.Error()}
	}
	return nil
}

func (r *replay) note(entry []byte, results []fsm.Result) {
	var batch fsmpb.Batch
	_ = proto.Unmarshal(entry, &batch) // it was applied
	for i, c := range batch.GetCommands() {
		no := results[i].Refusal
		if no != nil && no.Code == fsm.StaleSession {
			r.late++
		}
		if mark := c.GetCheckpoint().GetConfirmed(); mark != nil && no == nil {
			r.confirmed = mark.GetIndex()
		}
	}
}

// disagrees compares the state by the log with what the nodes said.
func disagrees(view *fsm.View, said answers.Testimony) (found []string) {
	for _, k := range said.Keys {
		row := view.Key(common.FromHex(k.Pubkey))
		if row == nil || k.State != keyStateOf(row) || k.Fence != int64(row.GetFence()) || k.Holder.PodUID != row.GetHolder().GetUid() { //nolint:gosec // small
			found = append(found, fmt.Sprintf("nodes say that %s is %s, held by %q at fence %d; by the log it is %v", k.Pubkey, k.State, k.Holder.Pod, k.Fence, row))
		}
	}
	for _, a := range said.Allocations {
		row := view.Allocation(a.Namespace, a.Pod)
		if row.GetPod().GetUid() != a.PodUID || int64(row.GetFence()) != a.Fence || len(row.GetKeys()) != len(a.Keys) { //nolint:gosec // small
			found = append(found, fmt.Sprintf("nodes say that %s (%s) has fence %d; by the log it is %v", a.Pod, a.PodUID, a.Fence, row))
		}
	}
	keys, deposits := 0, 0
	for range view.Keys(nil) {
		keys++
	}
	for range view.Deposits(nil) {
		deposits++
	}
	if keys != len(said.Keys) || deposits != len(said.Deposits) {
		found = append(found, fmt.Sprintf("nodes know of %d keys and %d deposits, the log of %d and %d", len(said.Keys), len(said.Deposits), keys, deposits))
	}
	return summary(found)
}

// appliedByAll returns the least index that all nodes say they applied.
func (s *stage) appliedByAll(ctx context.Context) (least uint64, err error) {
	for i, api := range s.Nodes.APIs() {
		applied, err := s.asker.Applied(ctx, api)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", faults.NodeName(i), err)
		}
		if i == 0 || applied < least {
			least = applied
		}
	}
	return least, nil
}

func keyStateOf(k *fsmpb.Key) wire.KeyState {
	return wire.KeyState(strings.ToLower(strings.TrimPrefix(k.GetState().String(), "KEY_STATE_")))
}

// badWords are in the log of a node that found out itself that something is wrong.
var badWords = []string{"panic:", "fatal error:", "DATA RACE", "members differ", fsm.ErrDiverged.Error()}

// confessions are lines of nodes' logs that say so.
func (s *stage) confessions() (found []string) {
	for i := range s.count {
		raw, err := os.ReadFile(s.Nodes.LogFile(i))
		if err != nil {
			return append(found, err.Error())
		}
		for line := range strings.Lines(string(raw)) {
			if slices.ContainsFunc(badWords, func(w string) bool { return strings.Contains(line, w) }) {
				found = append(found, faults.NodeName(i)+" says: "+strings.TrimSpace(line))
			}
		}
	}
	return summary(found)
}

// summary is a list of violations of one kind, not endless.
func summary(found []string) []string {
	const most = 6
	if len(found) > most {
		found = append(found[:most:most], fmt.Sprintf("and %d more of this kind", len(found)-most))
	}
	return found
}

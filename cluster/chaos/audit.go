package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/answers"
	"github.com/keysteward/keysteward/cluster/chaos/books"
	"github.com/keysteward/keysteward/cluster/chaos/history"
)

const (
	// settleTime is how long it may take until nothing is under way any more.
	settleTime = 90 * time.Second
	// compareTime is how long replicas may take to compare themselves.
	compareTime = 4 * time.Second
	// judgeTime is how long Porcupine may think.
	judgeTime = 2 * time.Minute
	// verifyTime bounds each of the product's own verifications, which wait for a leader.
	verifyTime = time.Minute
)

var errUnsettled = errors.New("the nodes and the chain do not come to rest")

// audit returns everything that is not as it must be, when no client does anything any
// more. It waits so long for deposits that are on their way.
func (p program) audit(ctx context.Context, out io.Writer, s *stage, w *workload, patience time.Duration) ([]string, error) {
	worked, err := s.appliedByAll(ctx)
	if err != nil {
		return append([]string{err.Error()}, s.confessions()...), nil
	}
	found, said := s.settle(ctx, patience)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) //nolint:wrapcheck // says who
	}
	found = append(found, holdings(said)...)
	held := map[string][]string{}
	for _, a := range said.Allocations {
		held[a.Pod] = a.Keys
	}
	found = append(found, w.settlers.violations(held)...)
	if w.clouds != nil {
		found = append(found, w.clouds.violations(ctx)...)
		w.clouds.close()
	}
	found = append(found, s.verify(ctx)...)
	_ = pause(ctx, compareTime)
	applied, err := s.appliedByAll(ctx)
	if err != nil {
		found = append(found, err.Error())
	}
	if err := s.Nodes.Close(); err != nil {
		return nil, fmt.Errorf("stop the nodes: %w", err)
	}
	s.down = true
	entries, late := s.auditLogs(worked, applied, said)
	found = append(found, append(entries, s.confessions()...)...)
	fmt.Fprintf(out, "chaos: %d log entries applied anew; %d commands came in another session than their own\n", applied, late)
	ops := w.rec.Ops()
	more := slices.Concat(w.signing.Found(), history.Sightings(ops),
		history.Linearizable(ops, judgeTime, filepath.Join(s.dir, "history.html")))
	if n := w.seen.internal.Load(); n > 0 {
		more = append(more, fmt.Sprintf("%d answers had status 500", n))
	}
	found = append(more, found...) // what clients saw first
	if len(found) > 0 {
		found = append(found, dump(w, s.dir)...)
	}
	return found, nil
}

// dump writes the history into the folder.
func dump(w *workload, dir string) []string {
	file, err := os.Create(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	if err := w.rec.Write(file); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// settle waits, so long at most, until all nodes say the same and the books agree with it. It returns what
// is not so, and what they say.
func (s *stage) settle(ctx context.Context, patience time.Duration) (found []string, said answers.Testimony) {
	err := await.For(ctx, patience, errUnsettled, func() bool {
		found, said = s.look(ctx)
		return len(found) == 0
	})
	if err != nil && len(found) == 0 {
		found = []string{err.Error()}
	}
	return found, said
}

// look compares the nodes with each other, and with the chain.
func (s *stage) look(ctx context.Context) (found []string, first answers.Testimony) {
	for i, api := range s.Nodes.APIs() {
		said, err := s.asker.Hear(ctx, api)
		if err != nil {
			return []string{fmt.Sprintf("n%d: %v", i+1, err)}, first
		}
		if i == 0 {
			first = said
		} else if d := difference(first, said); d != "" {
			found = append(found, fmt.Sprintf("n1 and n%d do not know the same: %s", i+1, d))
		}
	}
	for _, a := range first.Allocations {
		if a.Proof.Kind != "" {
			found = append(found, fmt.Sprintf("the keys of %s still rest with proof", a.Pod))
		}
	}
	ledger, err := s.books.Read(ctx)
	if err != nil {
		return append(found, err.Error()), first
	}
	return append(found, books.Violations(ledger, first.Deposits, first.Accounts)...), first
}

// difference is the first thing in which two testimonies differ.
func difference(a, b answers.Testimony) string {
	return cmp.Or(differs("keys", a.Keys, b.Keys), differs("deposits", a.Deposits, b.Deposits),
		differs("allocations", a.Allocations, b.Allocations), differs("accounts", a.Accounts, b.Accounts))
}

func differs[T any](what string, a, b []T) string {
	for i := range min(len(a), len(b)) {
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Sprintf("%s: %+v and %+v", what, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d and %d %s", len(a), len(b), what)
	}
	return ""
}

// holdings: no key has two holders, and keys and allocations agree.
func holdings(said answers.Testimony) (found []string) {
	holder := map[string]wire.Allocation{}
	for _, a := range said.Allocations {
		for _, key := range a.Keys {
			if other, twice := holder[key]; twice {
				found = append(found, fmt.Sprintf("%s is held by %s and by %s", key, other.Pod, a.Pod))
			}
			holder[key] = a
		}
	}
	for _, k := range said.Keys {
		a, has := holder[k.Pubkey]
		taken := k.State == wire.KeyStateHeld || k.State == wire.KeyStateResting
		if has != taken || has && (a.Pod != k.Holder.Pod || a.PodUID != k.Holder.PodUID || string(a.State) != string(k.State)) {
			found = append(found, fmt.Sprintf("%s is %s, held by %q, and an allocation has it: %t (%s)", k.Pubkey, k.State, k.Holder.Pod, has, a.Pod))
		}
		if has && k.Fence > a.Fence {
			found = append(found, fmt.Sprintf("%s has fence %d, its allocation %d", k.Pubkey, k.Fence, a.Fence))
		}
	}
	return found
}

// verify asks the product itself: keysteward deposits verify, keysteward audit verify.
func (s *stage) verify(ctx context.Context) (found []string) {
	chain := books.ChainOf(s.Nodes)
	for _, args := range [][]string{
		{"deposits", "verify", "--execution-rpc", chain.RPC, "--deposit-contract", chain.DepositContract, "--fork-version", chain.ForkVersion, "--settle", "0s"},
		{"audit", "verify"},
	} {
		limited, cancel := context.WithTimeout(ctx, verifyTime)
		if out, err := s.Nodes.Keysteward(limited, args[0], args[1:]...); err != nil {
			found = append(found, fmt.Sprintf("%s verify: %v: %s", args[0], err, strings.TrimSpace(out)))
		}
		cancel()
	}
	return found
}

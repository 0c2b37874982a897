package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	stockChunk = 1000 // keys for which something is proposed at once
	stakeGwei  = 32_000_000_000
)

var (
	errStock    = errors.New("stock")
	stockPayer  = bytes.Repeat([]byte{7}, 20)
	stockChain  = uint64(1)
	stockHolder = "stock-%d" // pods that go on holding keys
)

// stocked is what takes commands: a node, or a state machine alone.
type stocked interface {
	View() *fsm.View
	Propose(ctx context.Context, c *fsmpb.Command) (any, error)
}

// stock brings keys into the state as the duties would, by the same commands: pods ask,
// keys are generated, and their deposits are signed, sent, mined and final. Pods of
// keysPerPod keys go on holding nine tenths, and what is left is the pool; without
// keysPerPod all are.
func stock(ctx context.Context, n stocked, keys, keysPerPod int) error {
	if err := openStock(ctx, n); err != nil {
		return err
	}
	if err := stockPods(ctx, n, keys, keysPerPod); err != nil {
		return err
	}
	return fillPool(ctx, n, keys)
}

// stockPods has pods hold so many new keys: nine tenths of them for good.
func stockPods(ctx context.Context, n stocked, keys, keysPerPod int) error {
	for from := 0; from < keys; from += stockChunk {
		pod := fmt.Sprintf("chunk-%d", from)
		if err := stockPod(ctx, n, pod, min(stockChunk, keys-from), keysPerPod > 0 && from < keys/10*9, keysPerPod); err != nil { //nolint:mnd // a tenth
			return fmt.Errorf("%w: %d of %d keys: %w", errStock, from, keys, err)
		}
	}
	return nil
}

// openStock brings what there has to be before there are keys.
func openStock(ctx context.Context, n stocked) error {
	if err := installSeed(ctx, n); err != nil {
		return err
	}
	return accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{Account: &fsmpb.Account{
		ChainId: stockChain, GenesisHash: make([]byte, 32), Address: stockPayer, //nolint:mnd // of a hash
	}}}})
}

// fillPool has the pods give back that do not go on holding: at the end, because whoever
// asks takes from the pool.
func fillPool(ctx context.Context, n stocked, keys int) error {
	for from := 0; from < keys; from += stockChunk {
		pod := fmt.Sprintf("chunk-%d", from)
		if a := n.View().Allocation("bench", pod); a != nil {
			if err := accept(ctx, n, releaseOf(pod, a.GetFence())); err != nil {
				return fmt.Errorf("%w: release of %s: %w", errStock, pod, err)
			}
		}
	}
	return nil
}

// stockPod has the pod, or pods that go on holding them, hold new keys.
func stockPod(ctx context.Context, n stocked, pod string, keys int, held bool, keysPerPod int) error {
	each := keys
	if held {
		each = min(keysPerPod, keys)
	}
	for first := 0; first < keys; first += each {
		name := pod
		if held {
			name = fmt.Sprintf(stockHolder, int(n.View().Meta().GetNextIndex())+first) //nolint:gosec // a count
		}
		want := uint32(min(each, keys-first)) //nolint:gosec // at most 1000
		value, err := propose(ctx, n, allocation(name, want))
		if err != nil {
			return err
		}
		if a, ok := value.(fsm.Allocated); ok && a.Request == nil {
			return fmt.Errorf("%w: there were keys in the pool", errStock)
		}
	}
	if err := generate(ctx, n); err != nil {
		return err
	}
	return pay(ctx, n)
}

// announce says where the nodes' APIs would be, which is a part of being ready.
func announce(ctx context.Context, n stocked, servers []nodeServer) error {
	for _, s := range servers {
		err := accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{
			Member: &fsmpb.Member{NodeId: s.ID, RaftAddress: s.Address, ApiUrl: "http://" + s.ID + ".test"},
		}}})
		if err != nil {
			return err
		}
	}
	return nil
}

func allocation(pod string, keys uint32) *fsmpb.Command {
	return &fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod: &fsmpb.Pod{Namespace: "bench", Name: pod, Uid: pod + "-uid"}, Keys: keys,
	}}}
}

func accept(ctx context.Context, n stocked, c *fsmpb.Command) error {
	_, err := propose(ctx, n, c)
	return err
}

// installSeed gives the state the ciphertexts without which it takes no keys.
func installSeed(ctx context.Context, n stocked) error {
	if n.View().Secret(fsm.SecretSeed) != nil {
		return nil
	}
	return errors.Join(
		accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: []byte("keyring")}}}),
		accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_InstallSeed{InstallSeed: &fsmpb.InstallSeed{
			Sealed: append(binary.BigEndian.AppendUint32(nil, 1), "seed"...), Fingerprint: "bench",
		}}}),
	)
}

// generate brings the keys that requests lack.
func generate(ctx context.Context, n stocked) error {
	c := &fsmpb.GenerateKeys{FirstIndex: n.View().Meta().GetNextIndex()}
	for i := range uint64(n.View().Shortfall()) { //nolint:gosec // a count
		c.Pubkeys = append(c.Pubkeys, spread(c.GetFirstIndex()+i, fsm.PubkeyLength))
	}
	return accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_GenerateKeys{GenerateKeys: c}})
}

// spread makes bytes that differ as those of keys and hashes do.
func spread(i uint64, length int) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
	return append(sum[:], sum[:]...)[:length]
}

// pay sees all deposits that are planned through to the end.
func pay(ctx context.Context, n stocked) error {
	sign, err := signPlanned(ctx, n)
	if err != nil {
		return err
	}
	for _, kind := range []fsmpb.Observation_Kind{fsmpb.Observation_KIND_MINED, fsmpb.Observation_KIND_FINAL} {
		if err := accept(ctx, n, observation(sign, kind)); err != nil {
			return err
		}
	}
	return nil
}

// signPlanned signs all deposits that are planned.
func signPlanned(ctx context.Context, n stocked) (*fsmpb.SignDeposits, error) {
	sign := &fsmpb.SignDeposits{ChainId: stockChain, Account: stockPayer}
	nonce := n.View().Account(stockChain, stockPayer).GetNextNonce()
	for d := range n.View().ToSign() {
		sign.Deposits = append(sign.Deposits, &fsmpb.SignedDeposit{
			Pubkey: d.GetPubkey(), AmountGwei: stakeGwei, Credentials: make([]byte, 32), Signature: make([]byte, 96), //nolint:mnd // as deposits have
			Attempt: &fsmpb.Attempt{Nonce: nonce, TxHash: spread(nonce, 32), Raw: make([]byte, 650), FeeCapWei: 2, TipWei: 1}, //nolint:mnd // likewise
		})
		nonce++
	}
	return sign, accept(ctx, n, &fsmpb.Command{Body: &fsmpb.Command_SignDeposits{SignDeposits: sign}})
}

// observation says that all of these were seen.
func observation(sign *fsmpb.SignDeposits, kind fsmpb.Observation_Kind) *fsmpb.Command {
	seen := &fsmpb.ObserveDeposits{}
	for _, s := range sign.GetDeposits() {
		seen.Observations = append(seen.Observations, &fsmpb.Observation{
			Pubkey: s.GetPubkey(), Kind: kind, TxHash: s.GetAttempt().GetTxHash(),
			BlockNumber: s.GetAttempt().GetNonce(), BlockHash: spread(s.GetAttempt().GetNonce()+1, 32), //nolint:mnd // of a hash
		})
	}
	return &fsmpb.Command{Body: &fsmpb.Command_ObserveDeposits{ObserveDeposits: seen}}
}

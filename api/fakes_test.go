package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// fakeNode is a cluster of one around a real state machine. Its leadership and
// the outcomes of proposing can be set.
type fakeNode struct {
	mu        sync.Mutex
	machine   *fsm.Machine
	index     uint64
	status    node.Status
	checks    []node.Check
	proposed  []*fsmpb.Command
	barriers  int
	onPropose func(apply func() (any, error)) (any, error)
	onBarrier func(context.Context) error
}

const testTerm = 7

func newFakeNode() *fakeNode {
	n := &fakeNode{machine: fsm.New(), status: node.Status{
		NodeID: "node-a", IsLeader: true, LeaderID: "node-a", LeaderAPI: "https://a.example:7400", Term: testTerm,
		Peers: []node.Peer{
			{ID: "node-a", Raft: "a:7500", API: "https://a.example:7400", Voter: true},
			{ID: "node-b", Raft: "b:7500", API: "https://b.example:7400", Voter: true, Lag: 3},
			{ID: "node-c", Raft: "c:7500", Voter: true, Lag: -1},
		},
	}}
	n.checks = []node.Check{{Name: "leader", OK: true, Detail: "node-a"}}
	n.must(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{
		BeginSession: &fsmpb.BeginSession{NodeId: "node-a", NewClusterId: "cluster-1"},
	}})
	return n
}

func (n *fakeNode) Status() node.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.AppliedIndex, s.CommitIndex = n.index, n.index
	return s
}

func (n *fakeNode) Leads() bool { return n.Status().IsLeader }

func (n *fakeNode) LastContact() time.Duration { return n.Status().LastContact }

func (n *fakeNode) View() *fsm.View { return n.machine.View() }

func (n *fakeNode) Checks() []node.Check { return n.checks }

func (n *fakeNode) Barrier(ctx context.Context) error {
	n.mu.Lock()
	n.barriers++
	leads, hook := n.status.IsLeader, n.onBarrier
	n.mu.Unlock()
	if hook != nil {
		return hook(ctx)
	}
	if !leads {
		return node.ErrNotLeader
	}
	return ctx.Err()
}

func (n *fakeNode) Propose(_ context.Context, cmd *fsmpb.Command) (any, error) {
	if !n.Status().IsLeader {
		return nil, node.ErrNotLeader
	}
	n.mu.Lock()
	n.proposed = append(n.proposed, cmd)
	hook := n.onPropose
	n.mu.Unlock()
	if hook != nil {
		return hook(func() (any, error) { return n.apply(cmd) })
	}
	return n.apply(cmd)
}

// proposals is how often Propose was called by the server.
func (n *fakeNode) proposals() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.proposed)
}

func (n *fakeNode) apply(cmd *fsmpb.Command) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cmd = proto.CloneOf(cmd)
	cmd.Version, cmd.Session, cmd.WallMs = fsm.CommandVersion, testTerm, 1_700_000_000_000
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		return nil, err
	}
	n.index++
	results, err := n.machine.Apply(n.index, testTerm, entry)
	if err != nil {
		return nil, err
	}
	if err := results[0].Err(); err != nil {
		return nil, fmt.Errorf("proposing: %w", err)
	}
	return results[0].Value, nil
}

func (n *fakeNode) must(cmd *fsmpb.Command) {
	if _, err := n.apply(cmd); err != nil {
		panic(err)
	}
}

// follow makes the node a follower of a leader with this URL.
func (n *fakeNode) follow(leaderID, api string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.IsLeader, n.status.LeaderID, n.status.LeaderAPI = false, leaderID, api
	n.status.LastContact = 120 * time.Millisecond
}

func (n *fakeNode) deposit(code, detail string) {
	n.must(&fsmpb.Command{Body: &fsmpb.Command_SetDepositStatus{
		SetDepositStatus: &fsmpb.SetDepositStatus{Code: code, Detail: detail},
	}})
}

var testSeed = sync.OnceValue(func() *validator.Seed {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	seed, err := validator.SeedFromBytes(b)
	if err != nil {
		panic(err)
	}
	return seed
})

// pubkeys are those of the test seed's indexes from first on.
func pubkeys(first uint64, n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		k, err := testSeed().SigningKey(first + uint64(i))
		if err != nil {
			panic(err)
		}
		public := k.PublicKey()
		keys[i] = public[:]
	}
	return keys
}

func (n *fakeNode) installSeed(fingerprint string) error {
	_, err := n.apply(&fsmpb.Command{Body: &fsmpb.Command_InstallSeed{
		InstallSeed: &fsmpb.InstallSeed{Sealed: []byte("ciphertext"), Fingerprint: fingerprint},
	}})
	return err
}

// generate makes the keys that requests lack, as the leader's duty would.
func (n *fakeNode) generate() {
	view := n.View()
	first := view.Meta().GetNextIndex()
	n.must(&fsmpb.Command{Body: &fsmpb.Command_GenerateKeys{
		GenerateKeys: &fsmpb.GenerateKeys{FirstIndex: first, Pubkeys: pubkeys(first, view.Shortfall())},
	}})
}

var testAccount = []byte("account-of-20-bytes!")

// sign signs every deposit that is planned.
func (n *fakeNode) sign() {
	const chain = 1337
	n.must(&fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{
		Account: &fsmpb.Account{ChainId: chain, Address: testAccount, GenesisHash: make([]byte, 32)},
	}}})
	view := n.View()
	nonce := view.Account(chain, testAccount).GetNextNonce()
	c := &fsmpb.SignDeposits{ChainId: chain, Account: testAccount}
	for d := range view.ToSign() {
		c.Deposits = append(c.Deposits, &fsmpb.SignedDeposit{
			Pubkey: d.GetPubkey(), AmountGwei: 32_000_000_000, Credentials: make([]byte, 32), Signature: make([]byte, 96),
			Attempt: &fsmpb.Attempt{Nonce: nonce, TxHash: txHash(nonce), Raw: []byte{2}, FeeCapWei: 9, TipWei: 1},
		})
		nonce++
	}
	n.must(&fsmpb.Command{Body: &fsmpb.Command_SignDeposits{SignDeposits: c}})
}

func txHash(nonce uint64) []byte { return fmt.Appendf(nil, "%032d", nonce) }

// observe reports the same about every deposit in a state.
func (n *fakeNode) observe(in fsmpb.DepositState, kind fsmpb.Observation_Kind) {
	c := &fsmpb.ObserveDeposits{}
	for d := range n.View().DepositsIn(in) {
		c.Observations = append(c.Observations, &fsmpb.Observation{
			Pubkey: d.GetPubkey(), Kind: kind, TxHash: d.GetAttempts()[0].GetTxHash(),
			BlockNumber: 5, BlockHash: make([]byte, 32),
		})
	}
	n.must(&fsmpb.Command{Body: &fsmpb.Command_ObserveDeposits{ObserveDeposits: c}})
}

// finish does all that the leader's duty does for the requests that wait.
func (n *fakeNode) finish() {
	n.generate()
	n.pay()
}

func (n *fakeNode) pay() {
	n.sign()
	n.observe(fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.Observation_KIND_MINED)
	n.observe(fsmpb.DepositState_DEPOSIT_STATE_MINED, fsmpb.Observation_KIND_FINAL)
}

// fakeVault keeps a seed in the clear.
type fakeVault struct {
	node   *fakeNode
	mu     sync.Mutex
	seed   *validator.Seed
	reason string
	by     *fsmpb.Caller
	// onSecrets, if set, is called when secrets are asked for.
	onSecrets func()
}

func (v *fakeVault) Secrets(_ context.Context, list []*fsmpb.Key) ([]*validator.SecretKey, error) {
	if _, isSealed := v.Sealed(); isSealed {
		return nil, node.ErrSealed
	}
	if v.onSecrets != nil {
		v.onSecrets()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	keys := make([]*validator.SecretKey, len(list))
	for i, k := range list {
		var err error
		if k.GetImported() {
			keys[i], err = validator.SecretKeyFromBytes(unmask(k.GetSealed()))
		} else {
			keys[i], err = v.seed.SigningKey(k.GetIndex())
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// unmask stands for a cipher, both ways.
func unmask(b []byte) []byte {
	masked := make([]byte, len(b))
	for i := range b {
		masked[i] = b[i] ^ 0xa5
	}
	return masked
}

func (v *fakeVault) ImportKeys(ctx context.Context, secrets []*validator.SecretKey, caller *fsmpb.Caller, requestID string) (fsm.Imported, error) {
	c := &fsmpb.ImportKeys{}
	for _, secret := range secrets {
		public := secret.PublicKey()
		c.Keys = append(c.Keys, &fsmpb.ImportedKey{Pubkey: public[:], Sealed: unmask(secret.Bytes())})
	}
	value, err := v.node.Propose(ctx, &fsmpb.Command{Caller: caller, RequestId: requestID, Body: &fsmpb.Command_ImportKeys{ImportKeys: c}})
	fresh, _ := value.(fsm.Imported)
	return fresh, err
}

func (v *fakeVault) InstallSeed(_ context.Context, seed *validator.Seed, caller *fsmpb.Caller, _ string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.by = caller
	return v.node.installSeed(seed.Fingerprint())
}

func (v *fakeVault) Sealed() (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reason, v.reason != ""
}

func (v *fakeVault) sealUp(reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reason = reason
}

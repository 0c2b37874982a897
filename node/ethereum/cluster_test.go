package ethereum

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var errOutcomeUnknown = errors.New("outcome unknown")

// cluster is a replicated state of one replica: commands are applied at once.
type cluster struct {
	t       *testing.T
	machine *fsm.Machine
	mu      sync.Mutex
	index   uint64
	term    uint64
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, machine: fsm.New()}
	s := c.begin()
	_, err := s.Propose(t.Context(), &fsmpb.Command{Body: &fsmpb.Command_InstallSeed{
		InstallSeed: &fsmpb.InstallSeed{Sealed: []byte("sealed"), Fingerprint: "test"},
	}})
	require.NoError(t, err)
	return c
}

// begin opens the session of a new leader; all earlier sessions are over then.
func (c *cluster) begin() *session {
	c.t.Helper()
	c.mu.Lock()
	c.term++
	s := &session{cluster: c, term: c.term}
	c.mu.Unlock()
	_, err := s.Propose(c.t.Context(), &fsmpb.Command{Body: &fsmpb.Command_BeginSession{
		BeginSession: &fsmpb.BeginSession{NodeId: "n", NewClusterId: "c"},
	}})
	require.NoError(c.t, err)
	return s
}

// apply applies a command and returns its result.
func (c *cluster) apply(cmd *fsmpb.Command) fsm.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		panic(err)
	}
	c.index++
	results, err := c.machine.Apply(c.index, c.term, entry)
	if err != nil {
		panic(err)
	}
	return results[0]
}

// ask has a pod ask for keys in the newest session.
func (c *cluster) ask(pod string, keys uint32) {
	c.t.Helper()
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod: &fsmpb.Pod{Namespace: "default", Name: pod, Uid: pod}, Keys: keys,
	}}})
}

func (c *cluster) propose(cmd *fsmpb.Command) {
	c.t.Helper()
	_, err := (&session{cluster: c, term: c.term}).Propose(c.t.Context(), cmd)
	require.NoError(c.t, err)
}

// resume is what an operator does.
func (c *cluster) resume() {
	c.t.Helper()
	for a := range c.machine.View().Accounts() {
		if a.GetStop() != nil {
			c.propose(&fsmpb.Command{Body: &fsmpb.Command_ResumeDeposits{ResumeDeposits: &fsmpb.ResumeDeposits{
				ChainId: a.GetChainId(), Account: a.GetAddress(), Nonce: a.GetStop().GetNonce(),
			}}})
		}
	}
}

func (c *cluster) status() string { return c.machine.View().DepositStatus().GetCode() }

func (c *cluster) detail() string { return c.machine.View().DepositStatus().GetDetail() }

// states counts deposits by state.
func (c *cluster) states() map[fsmpb.DepositState]int {
	n := make(map[fsmpb.DepositState]int)
	for d := range c.machine.View().Deposits(nil) {
		n[d.GetState()]++
	}
	return n
}

// session is a leadership in cluster. Its hooks may fail a proposal before it is
// logged, or lose the answer to one that was.
type session struct {
	cluster *cluster
	term    uint64
	before  func(*fsmpb.Command) bool
	after   func(*fsmpb.Command) bool
}

func (s *session) View() *fsm.View { return s.cluster.machine.View() }

func (s *session) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	cmd.Version, cmd.Session = fsm.CommandVersion, s.term
	cmd.Caller = &fsmpb.Caller{Name: "leader"}
	if s.before != nil && !s.before(cmd) || ctx.Err() != nil {
		return nil, errOutcomeUnknown
	}
	result := s.cluster.apply(cmd)
	if s.after != nil && !s.after(cmd) {
		return nil, errOutcomeUnknown
	}
	return result.Value, result.Err()
}

// seeds is a SeedSource with a fixed seed, or an error.
type seeds struct {
	number byte
	err    error
}

func (s seeds) Seed(context.Context) (*validator.Seed, error) {
	if s.err != nil {
		return nil, s.err
	}
	return validator.SeedFromBytes(bytes.Repeat([]byte{s.number}, 64))
}

// wallet is a Signer that holds a plain key.
type wallet struct{ key *ecdsa.PrivateKey }

func (w wallet) Address() common.Address { return crypto.PubkeyToAddress(w.key.PublicKey) }

func (w wallet) SignTx(_ context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	return types.SignTx(tx, types.LatestSignerForChainID(chainID), w.key)
}

// scene is a cluster that pays on a chain, and how its duties are configured.
// Several scenes may use one chain, each with an account and a seed of its own.
type scene struct {
	*cluster
	*chain
	t       *testing.T
	cfg     Config
	account *ecdsa.PrivateKey
	seeds   seeds
	before  uint64      // deposits that the chain held already
	first   common.Hash // the first block
}

// newScene returns the scene with this number: that of its account and its seed,
// of which it is known that no deposit was made with it before.
func newScene(t *testing.T, c *chain, number int, changes ...func(*Config)) *scene {
	t.Helper()
	s := freshScene(t, c, number, changes...)
	genesis, err := c.client.HeaderByNumber(t.Context(), new(big.Int))
	require.NoError(t, err)
	hash := genesis.Hash()
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_AdoptKeys{AdoptKeys: &fsmpb.AdoptKeys{Search: &fsmpb.SeedSearch{
		ChainId: simulatedChainID, GenesisHash: hash[:], Contract: s.cfg.Network.DepositContract[:], NextIndex: gapLimit, Done: true,
	}}}})
	return s
}

// freshScene is a scene whose cluster has just got its seed.
func freshScene(t *testing.T, c *chain, number int, changes ...func(*Config)) *scene {
	t.Helper()
	s := &scene{
		cluster: newCluster(t), chain: c, t: t,
		account: accountKey(number), seeds: seeds{number: byte(number)}, before: c.count(),
	}
	s.cfg = Config{
		RPC: []string{c.front.URL}, Network: c.network(), Withdrawal: Withdrawal{Kind: BLS},
		AmountGwei: validator.ActivationGwei, Confirmations: 1, Funding: wallet{s.account},
		Poll: 10 * time.Millisecond,
	}
	for _, change := range changes {
		change(&s.cfg)
	}
	return s
}

// address of the account that pays.
func (s *scene) address() common.Address { return s.cfg.Funding.Address() }

// duty returns a new duty: what a node has when it becomes the leader.
func (s *scene) duty() *Duty {
	s.t.Helper()
	d, err := New(s.cfg, s.seeds)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, d.Indexer().Close()) })
	return d
}

// settle makes passes until nothing changes any more, with a block before each.
func (s *scene) settle(d *Duty, in Session) {
	s.t.Helper()
	for range 100 {
		s.backend.Commit()
		before := s.machine.View().Meta().GetAppliedIndex()
		require.NoError(s.t, d.pass(s.t.Context(), in))
		if s.machine.View().Meta().GetAppliedIndex() == before {
			return
		}
	}
	s.t.Fatalf("no rest after 100 passes: %v, %s", s.states(), s.detail())
}

// requirePaid checks the whole promise: every deposit is final, the chain holds
// exactly one valid DepositEvent for each of the n keys and nothing else, and the
// account's nonces were used by deposits and by nothing else.
func (s *scene) requirePaid(n int) {
	s.t.Helper()
	view := s.machine.View()
	require.NoError(s.t, view.Check())
	require.Equal(s.t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_FINAL: n}, s.states(), "status %s", s.detail())
	require.Equal(s.t, s.before+uint64(n), s.count(), "deposits that the contract has taken")
	paid := make(map[validator.PublicKey][]validator.DepositData)
	for _, event := range s.events() {
		paid[event.PublicKey] = append(paid[event.PublicKey], event)
	}
	for d := range view.Deposits(nil) {
		events := paid[validator.PublicKey(d.GetPubkey())]
		require.Len(s.t, events, 1, "DepositEvents for %x", d.GetPubkey())
		require.NoError(s.t, events[0].Verify(s.cfg.Network.ForkVersion))
	}
	address := s.address()
	require.Equal(s.t, view.Account(simulatedChainID, address[:]).GetNextNonce(), s.nonce(address), "nonces used up")
}

package ethereum

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// reset puts a chain with the same first block in the place of the present one.
func (s *scene) reset(blocks int) {
	s.t.Helper()
	s.backend.Rollback() // what is pending is lost too
	s.reorganise(s.first, blocks)
}

// A chain that was reset is told from one that was reorganised, whatever stage
// deposits were at, however long it has become, by the leader of before and by one
// whose node has never seen this chain. Nothing is sent, nothing is taken for lost.
func TestChainReset(t *testing.T) {
	t.Parallel()
	stages := map[string]func(s *scene, d *Duty, in *session){
		"sent": func(s *scene, d *Duty, in *session) { require.NoError(s.t, d.pass(s.t.Context(), in)) },
		"mined": func(s *scene, d *Duty, in *session) {
			require.NoError(s.t, d.pass(s.t.Context(), in))
			s.backend.Commit()
			require.NoError(s.t, d.pass(s.t.Context(), in))
		},
		"final": func(s *scene, d *Duty, in *session) { s.confirm(d, in) },
	}
	for name, stage := range stages {
		for length, blocks := range map[string]int{"shorter": 1, "longer": 40} {
			for who, sameNode := range map[string]bool{"the same node": true, "another node": false} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, length, who), func(t *testing.T) {
					t.Parallel()
					s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
					s.first = s.head().Hash()
					for range 5 {
						s.backend.Commit() // so that something is final
					}
					s.ask("a", 1)
					d, leader := s.duty(), s.begin()
					stage(s, d, leader)
					before := s.only()
					s.reset(blocks)
					// On the new chain the nonce is used by a transaction that is not ours.
					s.payAt(s.account, 0, common.Address{1}, big.NewInt(1), nil)
					s.backend.Commit()
					if !sameNode {
						d, leader = s.duty(), s.begin()
					}
					var sent bool
					s.front.hook(func(methods []string) bool {
						for _, m := range methods {
							sent = sent || m == "eth_sendRawTransaction"
						}
						return true
					}, nil)
					s.ask("b", 1)
					for range 3 {
						require.NoError(t, d.pass(t.Context(), leader))
						require.Equal(t, string(ChainReset), s.status(), s.detail())
					}
					require.Contains(t, s.detail(), "it was reset")
					require.False(t, sent, "something was sent to another chain")
					after := s.machine.View().Deposit(before.GetPubkey())
					require.Equal(t, before.GetState(), after.GetState())
					require.Empty(t, after.GetLosses())
					require.Zero(t, s.count())
				})
			}
		}
	}
}

// Where the state knows nothing of the chain, nothing can be paid twice: the index
// is read again, and what was seen stays seen.
func TestResetChainOfAnUnusedCluster(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 300, 1)
	x := s.open()
	s.finish(x)
	old := s.key(250)
	s.set(func(f *fakeChain) { f.fork, f.head = 1, 290 })
	s.finish(x)
	s.requireAll(x)
	require.Contains(t, s.log.String(), "another history")
	events, err := x.seen(old)
	require.NoError(t, err)
	require.Len(t, events, 1, "a public key was forgotten")
}

// Where the state does, the index says so and stays as it is, unless the state
// knows that this chain is the right one.
func TestIndexOfAChainThatWasReset(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 300, 1)
	c := newCluster(t)
	genesis := s.hash(0)
	c.begin()
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{
		Account: &fsmpb.Account{ChainId: simulatedChainID, GenesisHash: genesis[:], Address: make([]byte, 20)},
	}}})
	x := s.open()
	s.finish(x)
	was := x.Status()
	s.set(func(f *fakeChain) { f.fork, f.head = 1, 290 })
	for range 3 {
		_, err := s.roundWith(x, c.machine.View())
		requireWaits(t, err, ChainReset, "was final with hash")
	}
	require.Equal(t, was.Events, x.Status().Events)
	require.Equal(t, was.NextBlock, x.Status().NextBlock)

	s.set(func(f *fakeChain) { f.head = 10 })
	_, err := s.roundWith(x, c.machine.View())
	requireWaits(t, err, ChainReset, "ends with block 10")

	s.set(func(f *fakeChain) { f.head = 300 })
	hash := s.hash(280)
	c.propose(&fsmpb.Command{Body: &fsmpb.Command_SeeFinal{SeeFinal: &fsmpb.SeeFinal{
		Block: &fsmpb.FinalBlock{ChainId: simulatedChainID, GenesisHash: genesis[:], Number: 280, Hash: hash[:]},
	}}})
	_, err = s.roundWith(x, c.machine.View())
	require.NoError(t, err, "the node's client of before was the wrong one")
	s.finish(x)
	s.requireAll(x)
}

// A final block is recorded before the first signature, and now and then after.
func TestFinalBlockIsRecorded(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Confirmations = 3 })
	for range 5 {
		s.backend.Commit()
	}
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Nil(t, s.machine.View().Meta().GetFinalBlock(), "nothing is to be signed")
	s.ask("a", 1)
	signed := false
	leader.before = func(cmd *fsmpb.Command) bool {
		if cmd.GetSignDeposits() != nil {
			signed = true
			require.Less(t, s.head().Number.Uint64()-s.machine.View().Meta().GetFinalBlock().GetNumber(), uint64(finalPause+4))
		}
		return true
	}
	require.NoError(t, d.pass(t.Context(), leader))
	require.True(t, signed)
	s.confirm(d, leader)
	require.Equal(t, uint64(3), s.machine.View().Meta().GetFinalBlock().GetNumber())
	for range finalPause {
		s.backend.Commit()
	}
	s.ask("b", 1)
	s.confirm(d, leader)
	require.GreaterOrEqual(t, s.machine.View().Meta().GetFinalBlock().GetNumber(), uint64(3+finalPause))
	require.Empty(t, s.status())
}

package ethereum

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestTerms(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1)
	const common = "network=test chain-id=1337 deposit-contract=0x00000000219ab540356cBB839Cbe05303d7705Fa fork-version=0x10000039"
	require.Equal(t, common+" amount-gwei=32000000000 withdrawal=bls", s.cfg.Terms())
	require.Empty(t, Config{AmountGwei: 1}.Terms(), "no deposits, no terms")

	seen := map[string]bool{s.cfg.Terms(): true}
	for name, change := range map[string]func(*Config){
		"name":        func(c *Config) { c.Network.Name = "x" },
		"chain":       func(c *Config) { c.Network.ChainID++ },
		"contract":    func(c *Config) { c.Network.DepositContract[19]++ },
		"fork":        func(c *Config) { c.Network.ForkVersion[3]++ },
		"amount":      func(c *Config) { c.AmountGwei++ },
		"address":     func(c *Config) { c.Withdrawal = Withdrawal{Kind: Address, To: [20]byte{1}} },
		"other":       func(c *Config) { c.Withdrawal = Withdrawal{Kind: Address, To: [20]byte{2}} },
		"compounding": func(c *Config) { c.Withdrawal = Withdrawal{Kind: Compounding, To: [20]byte{1}} },
	} {
		cfg := s.cfg
		change(&cfg)
		require.False(t, seen[cfg.Terms()], "%s: %s", name, cfg.Terms())
		seen[cfg.Terms()] = true
	}
	same := s.cfg
	same.RPC, same.MaxFeeWei, same.Funding, same.StartBlock, same.Off = []string{"http://other"}, 9, nil, 7, true
	require.Equal(t, s.cfg.Terms(), same.Terms(), "each node has its own")
}

// announce has a member tell its terms.
func (s *scene) announce(node, terms string) {
	s.t.Helper()
	s.propose(&fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{
		Member: &fsmpb.Member{NodeId: node, RaftAddress: "r", Terms: terms},
	}}})
}

// Nothing new is signed while a member has other flags; what is signed goes on.
func TestMembersWithOtherFlags(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1)
	ours, other := s.cfg.Terms(), s.cfg
	other.AmountGwei, other.Withdrawal = 1e9, Withdrawal{Kind: Address, To: [20]byte{7}}
	s.announce("n", other.Terms()) // the leader itself, before it was restarted
	s.announce("n2", ours)
	s.announce("n3", "") // it never told, or makes no deposits
	d, leader := s.duty(), s.begin()
	s.ask("a", 1)
	require.NoError(t, d.pass(t.Context(), leader))
	require.Empty(t, s.status(), s.detail())
	require.Equal(t, 1, s.states()[fsmpb.DepositState_DEPOSIT_STATE_SENT])

	s.announce("n3", other.Terms())
	s.ask("b", 1)
	s.settle(d, leader)
	require.Equal(t, string(FlagsDiffer), s.status())
	require.Contains(t, s.detail(), `n3 has "amount-gwei=1000000000 withdrawal=0x01:0x0700000000000000000000000000000000000000" where the leader has "amount-gwei=32000000000 withdrawal=bls"`)
	require.NotContains(t, s.detail(), "n2")
	require.NotContains(t, s.detail(), "chain-id", "what is the same")
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_FINAL: 1, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 1,
	}, s.states(), "what was signed went on")

	s.announce("n3", ours) // restarted with the right flags
	s.settle(d, leader)
	require.Empty(t, s.status(), s.detail())
	s.requirePaid(2)
}

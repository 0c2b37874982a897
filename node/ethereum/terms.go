package ethereum

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/fsm"
)

// Terms says in one line what deposits pay for: network, contract, fork version,
// stake and withdrawals. All nodes of a cluster must be given the same. It is empty
// where no deposits are made. Who pays, and with which client and fees, is no part.
func (c Config) Terms() string {
	if !c.configured() {
		return ""
	}
	n, to := c.Network, ""
	switch c.Withdrawal.Kind {
	case BLS:
		to = "bls"
	case Address:
		to = "0x01:" + common.Address(c.Withdrawal.To).Hex()
	case Compounding:
		to = "0x02:" + common.Address(c.Withdrawal.To).Hex()
	}
	return fmt.Sprintf("network=%s chain-id=%d deposit-contract=%s fork-version=0x%x amount-gwei=%d withdrawal=%s",
		n.Name, n.ChainID, common.Address(n.DepositContract).Hex(), n.ForkVersion, c.AmountGwei, to)
}

// flagsForbid returns why nothing may be signed with these flags, nil if it may.
func (p *pass) flagsForbid(view *fsm.View) *waiting {
	if w := p.termsDiffer(view); w != nil {
		return w
	}
	if !p.searched(view, p.world.genesis) {
		return nil // searchSeed says the rest
	}
	return p.earlierUnknown()
}

// termsDiffer returns that another member was given other terms than this leader,
// nil if none was. Which of them are meant only an operator can know, so nothing
// is signed. Who never told is taken for one without deposits.
func (p *pass) termsDiffer(view *fsm.View) *waiting {
	ours, self := p.duty.cfg.Terms(), view.Meta().GetSessionNode()
	var others []string
	for m := range view.Members() {
		// What this node told before it was restarted may be told anew only after this.
		if m.GetNodeId() == self || m.GetTerms() == "" || m.GetTerms() == ours {
			continue
		}
		theirs, here := difference(m.GetTerms(), ours)
		others = append(others, fmt.Sprintf("%s has %q where the leader has %q", m.GetNodeId(), theirs, here))
	}
	if len(others) == 0 {
		return nil
	}
	return waitFor(FlagsDiffer, "nodes were started with different flags for deposits: %s (leader: %s); restart those that are wrong with the right flags",
		strings.Join(others, "; "), self)
}

// difference returns the words of each text that are not in the other.
func difference(a, b string) (onlyA, onlyB string) {
	without := func(text, other string) string {
		words := strings.Fields(other)
		return strings.Join(slices.DeleteFunc(strings.Fields(text), func(word string) bool { return slices.Contains(words, word) }), " ")
	}
	return without(a, b), without(b, a)
}

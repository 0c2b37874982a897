package api

import (
	"iter"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func (s *Server) listKeys(c *call) (answer, error) {
	state := wire.KeyState(c.query.Get("state"))
	if c.query.Has("state") && !state.Valid() {
		return answer{}, badField("state", "%s is not a state of keys", told(string(state)))
	}
	from, err := c.cursor()
	if err != nil {
		return answer{}, err
	}
	limit, err := c.limit()
	if err != nil {
		return answer{}, err
	}
	keys, next := page(c.reading.keys(from), limit, (*fsmpb.Key).GetPubkey, func(k *fsmpb.Key) bool {
		return state == "" || string(state) == keyState(k.GetState())
	}, keyOf)
	return ok(wire.KeyPage{Keys: keys, Counts: c.reading.keyCounts(), NextCursor: next}), nil
}

func (s *Server) getKey(c *call) (answer, error) {
	pubkey, err := c.pubkey()
	if err != nil {
		return answer{}, err
	}
	k := c.reading.key(pubkey)
	if k == nil {
		return answer{}, newProblem(notFound, "the cluster has no key %s", hexText(pubkey))
	}
	return ok(keyOf(k)), nil
}

func (s *Server) listDeposits(c *call) (answer, error) {
	state := wire.DepositState(c.query.Get("state"))
	if c.query.Has("state") && !state.Valid() {
		return answer{}, badField("state", "%s is not a state of deposits", told(string(state)))
	}
	from, err := c.cursor()
	if err != nil {
		return answer{}, err
	}
	limit, err := c.limit()
	if err != nil {
		return answer{}, err
	}
	view := c.reading.view
	deposits, next := page(c.reading.deposits(from), limit, (*fsmpb.Deposit).GetPubkey, func(d *fsmpb.Deposit) bool {
		return state == "" || string(state) == depositState(d.GetState())
	}, depositOf)
	answered := wire.DepositPage{
		Deposits: deposits, Counts: c.reading.depositCounts(), NextCursor: next,
		Waiting: waitingOf(view.DepositStatus()),
	}
	if c.reading.whole() { // the money is the whole cluster's
		answered.Accounts, answered.Spares = accountsOf(view.Accounts()), sparesOf(view.Spares())
		answered.Funds, answered.Pace = fundsOf(view.DepositStatus().GetFunds()), paceOf(view)
	}
	return ok(answered), nil
}

func (s *Server) getDeposit(c *call) (answer, error) {
	pubkey, err := c.pubkey()
	if err != nil {
		return answer{}, err
	}
	d := c.reading.deposit(pubkey)
	if d == nil {
		return answer{}, newProblem(notFound, "the cluster has no deposit for %s", hexText(pubkey))
	}
	return ok(depositOf(d)), nil
}

// page takes the first rows that fit, and the cursor if there are more.
func page[R, W any](rows iter.Seq[R], limit int, pubkey func(R) []byte, fits func(R) bool, show func(R) W) (items []W, next string) {
	items = []W{}
	var last []byte
	for row := range rows {
		if !fits(row) {
			continue
		}
		if len(items) == limit {
			return items, hexText(last)
		}
		items = append(items, show(row))
		last = pubkey(row)
	}
	return items, ""
}

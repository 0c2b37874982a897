package ethereum

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	// gasLimit of a deposit. The contract's Merkle tree makes the cost depend on the
	// deposits before it: 65,000 to 166,000 gas, and 261,000 for the first one.
	gasLimit = 400_000
	// gasEnough is what an estimate may be so that the limit is still safe when
	// other deposits come first.
	gasEnough = 350_000
	// leastTip in wei per gas; execution clients refuse transactions without any.
	leastTip = params.GWei
)

// quantity is a number in JSON-RPC's hexadecimal.
type quantity = hexutil.Uint64

// fees of a transaction, in wei per gas (EIP-1559).
type fees struct {
	capWei, tipWei *big.Int
}

// feesNow leaves room for the base fee to double before a deposit gets stuck, as
// far as the operator's cap (wei per gas) has it.
func feesNow(w world, most uint64) (fees, *waiting) {
	limit, tip := new(big.Int).SetUint64(most), bigger(w.tip, big.NewInt(leastTip))
	if need := new(big.Int).Add(tip, w.head.BaseFee.ToInt()); need.Cmp(limit) > 0 {
		return fees{}, waitFor(FeeCapReached, "a deposit needs %s gwei per gas now, more than --max-fee-gwei %s; it waits until the chain asks for less",
			formatGwei(need), formatGwei(limit))
	}
	return feesOf(w, most), nil
}

// feesOf is feesNow without regard to whether the cap is enough.
func feesOf(w world, most uint64) fees {
	tip := bigger(w.tip, big.NewInt(leastTip))
	capWei := new(big.Int).Lsh(w.head.BaseFee.ToInt(), 1)
	return fees{capWei: smaller(capWei.Add(capWei, tip), new(big.Int).SetUint64(most)), tipWei: tip}
}

// affordable returns as many of the keys as the balance pays for after all that
// is in flight, and reports how much is missing for the rest.
func (p *pass) affordable(keys []*fsmpb.Key, f fees) ([]*fsmpb.Key, error) {
	one := p.price(f)
	reserved, err := p.reserved(p.view)
	if err != nil {
		return nil, err
	}
	n := howMany(p.world.balance, reserved, one, len(keys))
	if n < len(keys) {
		need := new(big.Int).Mul(one, big.NewInt(int64(len(keys))))
		missing := new(big.Int).Sub(need.Add(need, reserved), p.world.balance)
		p.wait(waitFor(InsufficientFunds, "the funding account %s has %s ETH, of which deposits in flight take %s ETH; %s ETH are missing for the next %d deposits",
			p.duty.cfg.Funding.Address(), formatETH(p.world.balance), formatETH(reserved), formatETH(missing), len(keys)))
	}
	return keys[:n], nil
}

// howMany things of a price can be paid from a balance after what is reserved.
func howMany(balance, reserved, price *big.Int, most int) int {
	left := new(big.Int).Sub(balance, reserved)
	if left.Sign() <= 0 {
		return 0
	}
	if n := left.Div(left, price); n.IsInt64() && n.Int64() < int64(most) {
		return int(n.Int64())
	}
	return most
}

// reserved is the most, in wei, that the deposits in flight still take from the
// balance that was read: value and gas of every nonce the chain has not used.
func (p *pass) reserved(view *fsm.View) (*big.Int, error) {
	sum := new(big.Int)
	for d := range open(view) {
		attempts := d.GetAttempts()
		if !p.ours(d) || attempts[0].GetNonce() < p.world.latest {
			continue
		}
		dearest := new(big.Int)
		for _, a := range attempts {
			var tx types.Transaction
			if err := tx.UnmarshalBinary(a.GetRaw()); err != nil {
				return nil, fmt.Errorf("the logged transaction of the deposit for 0x%x: %w", d.GetPubkey(), err)
			}
			if cost := tx.Cost(); cost.Cmp(dearest) > 0 {
				dearest = cost
			}
		}
		sum.Add(sum, dearest)
	}
	return sum, nil
}

func estimate(cfg Config, pay payment, result *quantity) rpc.BatchElem {
	return rpc.BatchElem{Method: "eth_estimateGas", Result: result, Args: []any{map[string]any{
		"from": cfg.Funding.Address(), "to": common.Address(cfg.Network.DepositContract),
		"value": (*hexutil.Big)(pay.wei), "input": hexutil.Bytes(pay.input),
	}}}
}

// formatETH writes wei as ETH with every digit that is not a final zero.
func formatETH(wei *big.Int) string {
	whole, rest := new(big.Int).QuoRem(new(big.Int).Abs(wei), big.NewInt(params.Ether), new(big.Int))
	text := whole.String()
	if fraction := strings.TrimRight(fmt.Sprintf("%018s", rest), "0"); fraction != "" {
		text += "." + fraction
	}
	if wei.Sign() < 0 {
		return "-" + text
	}
	return text
}

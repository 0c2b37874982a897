package ethereum

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"iter"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// world is what a pass saw of the chain, all in one request.
type world struct {
	head     *block
	genesis  *block
	final    uint64 // the newest final block
	hasFinal bool
	tip      *big.Int // wei per gas that a miner wants now
	balance  *big.Int // wei of the funding account
	// Transactions of the funding account: in blocks, and with those in the pool.
	latest, pending uint64
	// used has the former, and those of other accounts with deposits under way.
	used map[common.Address]uint64
}

// holesky is the one public network whose first block go-ethereum no longer names.
var holesky = common.HexToHash("0xb5f7f912443c940f21fd611f12828d75b534364ed9e95ca4e307729a4661bde4")

// publicGenesis are the hashes of the public networks' first blocks by chain ID.
var publicGenesis = map[uint64]common.Hash{
	1: params.MainnetGenesisHash, 11155111: params.SepoliaGenesisHash, 17000: holesky, 560048: params.HoodiGenesisHash,
}

// look reads the world and makes sure that it is the right one. Any doubt ends
// the pass: nothing is sent to, and nothing believed of, another chain.
func (p *pass) look(ctx context.Context) (err error) {
	d := p.duty
	defer func() {
		if d.metrics.up(err == nil); err != nil {
			d.checked = false
		}
	}()
	if err := d.connect(ctx); err != nil {
		return err
	}
	if err := p.readWorld(ctx); err != nil {
		return err
	}
	if err := checkGenesis(d.client.host, d.cfg, p.view, p.world.genesis); err != nil {
		return err
	}
	if p.history, err = d.historian.check(ctx, d.client, d.cfg.Network.ChainID, p.view, p.world.extent()); err != nil {
		return err
	}
	if err := p.agreeOnFinal(ctx); err != nil {
		return err
	}
	if d.checked {
		return nil
	}
	if err := d.checkContract(ctx); err != nil {
		return err
	}
	d.checked = true
	return nil
}

// connect chooses the client of this pass, which is used to its end: receipts,
// nonces and events make sense together only in one view of the chain.
func (d *Duty) connect(ctx context.Context) (err error) {
	if d.endpoints == nil {
		if d.endpoints, err = dialAll(ctx, d.cfg, d.metrics); err != nil {
			return err
		}
	}
	before := d.client
	d.client, err = d.endpoints.pick(ctx, d.cfg.Network.DepositContract)
	d.checked = d.checked && d.client == before
	return err
}

func (p *pass) readWorld(ctx context.Context) error {
	cfg := p.duty.cfg
	account := cfg.Funding.Address()
	var chainID, balance, tip hexutil.Big
	var latest, pending hexutil.Uint64
	var finalized *block
	var syncing json.RawMessage
	calls := []rpc.BatchElem{
		{Method: "eth_chainId", Result: &chainID},
		getBlock(uint64(0), &p.world.genesis),
		getBlock("latest", &p.world.head),
		getNonce(account, "latest", &latest),
		getNonce(account, "pending", &pending),
		{Method: "eth_getBalance", Args: []any{account, "latest"}, Result: &balance},
		{Method: "eth_maxPriorityFeePerGas", Result: &tip},
		getBlock("finalized", &finalized), // an error or nothing while there is none
		{Method: "eth_syncing", Result: &syncing},
	}
	used, others := p.otherAccounts()
	calls = append(others, calls...)
	if err := p.duty.client.batch(ctx, calls); err != nil {
		return err
	}
	for _, call := range calls[:len(calls)-2] {
		if call.Error != nil {
			return waitFor(ChainUnreachable, "the execution client at %s answers %s with: %v", p.duty.client.host, call.Method, call.Error)
		}
	}
	if p.world.head == nil || p.world.genesis == nil || p.world.head.BaseFee == nil {
		return waitFor(ChainUnreachable, "the execution client at %s has no head block with a base fee (EIP-1559)", p.duty.client.host)
	}
	if id := chainID.ToInt(); !id.IsUint64() || id.Uint64() != cfg.Network.ChainID {
		return wrongChain(p.duty.client.host, id, cfg)
	}
	if trouble := behind(syncing); trouble != "" {
		return waitFor(ChainUnreachable, "the execution client at %s is of no use yet: %s", p.duty.client.host, trouble)
	}
	p.world.latest, p.world.pending = uint64(latest), uint64(pending)
	p.world.used = map[common.Address]uint64{account: p.world.latest}
	for other, n := range used {
		p.world.used[other] = uint64(*n)
	}
	p.world.balance, p.world.tip = balance.ToInt(), tip.ToInt()
	p.world.final, p.world.hasFinal = finalBlock(uint64(p.world.head.Number), finalized, cfg.Confirmations)
	return nil
}

// finalBlock returns the newest final block: the chain's word, or on a custom
// network the one with enough confirmations, the block itself being the first.
func finalBlock(head uint64, finalized *block, confirmations uint64) (uint64, bool) {
	if confirmations > 0 {
		return max(head+1, confirmations) - confirmations, head+1 >= confirmations
	}
	if finalized == nil {
		return 0, false
	}
	return uint64(finalized.Number), true
}

// isFinal reports whether a block of this number can no longer change.
func (w world) isFinal(number uint64) bool { return w.hasFinal && number <= w.final }

// wrongChain says that the client is on a chain with another ID.
func wrongChain(host string, id *big.Int, cfg Config) *waiting {
	return waitFor(WrongChainID, "the execution client at %s is on the chain with ID %s, deposits are for %s with chain ID %d",
		host, id, cfg.Network.Name, cfg.Network.ChainID)
}

// checkGenesis compares the first block with the public network's and with the
// one that was recorded when an account was opened on this chain.
func checkGenesis(host string, cfg Config, view *fsm.View, genesis *block) error {
	network, got := cfg.Network, genesis.Hash
	if want, public := publicGenesis[network.ChainID]; public && got != want {
		return waitFor(ForeignGenesis, "the execution client at %s is on a chain that begins with block %s, %s begins with %s",
			host, got, network.Name, want)
	}
	for account := range view.Accounts() {
		if account.GetChainId() == network.ChainID && !bytes.Equal(account.GetGenesisHash(), got[:]) {
			return waitFor(ForeignGenesis, "the execution client at %s is on a chain that begins with block %s, deposits were made on the one that begins with 0x%x",
				host, got, account.GetGenesisHash())
		}
	}
	return nil
}

// checkContract makes sure that what stands at the contract's address answers as
// the deposit contract does: a count of eight bytes.
func (d *Duty) checkContract(ctx context.Context) error {
	contract := common.Address(d.cfg.Network.DepositContract)
	var code, output hexutil.Bytes
	calls := []rpc.BatchElem{
		{Method: "eth_getCode", Args: []any{contract, "latest"}, Result: &code},
		{Method: "eth_call", Args: []any{map[string]any{"to": contract, "input": hexutil.Bytes(countInput)}, "latest"}, Result: &output},
	}
	if err := d.client.batch(ctx, calls); err != nil {
		return err
	}
	if calls[0].Error != nil {
		return waitFor(ChainUnreachable, "the execution client at %s answers %s with: %v", d.client.host, calls[0].Method, calls[0].Error)
	}
	if len(code) == 0 {
		return waitFor(ContractMissing, "there is no contract at %s on chain %d", contract, d.cfg.Network.ChainID)
	}
	if _, ok := depositCount(output); !ok || calls[1].Error != nil {
		return waitFor(ContractMissing, "the contract at %s on chain %d does not count deposits as the deposit contract does", contract, d.cfg.Network.ChainID)
	}
	return nil
}

// depositCount reads the answer of get_deposit_count: eight bytes, little endian.
func depositCount(output []byte) (uint64, bool) {
	values, err := contractABI.Unpack("get_deposit_count", output)
	if err != nil || len(values) != 1 {
		return 0, false
	}
	count, ok := values[0].([]byte)
	if !ok || len(count) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(count), true
}

// open iterates over the deposits that were signed and are not final.
func open(view *fsm.View) iter.Seq[*fsmpb.Deposit] {
	return func(yield func(*fsmpb.Deposit) bool) {
		for _, state := range []fsmpb.DepositState{
			fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT, fsmpb.DepositState_DEPOSIT_STATE_MINED,
		} {
			for deposit := range view.DepositsIn(state) {
				if !yield(deposit) {
					return
				}
			}
		}
	}
}

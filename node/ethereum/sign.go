package ethereum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/failpoint"
)

// payment is a deposit on its way to being signed.
type payment struct {
	key   *fsmpb.Key
	data  validator.DepositData
	input []byte   // of the call of the contract
	wei   *big.Int // value of the call
}

// sign checks the next deposits in order, signs a transaction for each with the
// account's next nonces, and has the bytes logged. It sends nothing.
func (p *pass) sign(ctx context.Context) error {
	if p.duty.cfg.Off {
		return nil // which was said
	}
	view := p.session.View()
	keys, err := p.chooseKeys(ctx, view)
	if err != nil || len(keys) == 0 {
		return err
	}
	fees, w := feesNow(p.world, p.duty.cfg.MaxFeeWei)
	if w != nil {
		return w
	}
	if keys, err = p.affordable(keys, fees); err != nil || len(keys) == 0 {
		return err
	}
	payments, err := p.prepare(ctx, keys)
	if err != nil {
		return err
	}
	payments, err = p.rehearse(ctx, payments)
	if err != nil || len(payments) == 0 {
		return err
	}
	failpoint.Reach(PointChecked)
	began := time.Now()
	signed, err := p.signAll(ctx, payments, p.account(view).GetNextNonce(), fees)
	if err != nil {
		return err
	}
	failpoint.Reach(PointSigned)
	address := p.duty.cfg.Funding.Address()
	_, err = p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SignDeposits{SignDeposits: &fsmpb.SignDeposits{
		ChainId: p.duty.cfg.Network.ChainID, Account: address[:], Deposits: signed,
	}}})
	if errors.Is(err, fsm.Refused(fsm.NotPlanned)) {
		return nil // a request was withdrawn meanwhile; the next pass looks again
	}
	if err != nil {
		return fmt.Errorf("log %d signed deposits: %w", len(signed), err)
	}
	failpoint.Reach(PointLogged)
	p.duty.log.Info("deposits signed", "deposits", len(signed), "nonce", signed[0].GetAttempt().GetNonce())
	p.attribute(ctx, "deposit signed", trace.SpanKindInternal, began, paidBy(signed))
	return nil
}

// paidBy lists for which keys deposits were signed, and how.
func paidBy(signed []*fsmpb.SignedDeposit) []paidFor {
	list := make([]paidFor, len(signed))
	for i, d := range signed {
		list[i] = paidFor{pubkey: d.GetPubkey(), attempt: d.GetAttempt()}
	}
	return list
}

// prepare derives the keys and makes the deposit data, which verifies.
func (p *pass) prepare(ctx context.Context, keys []*fsmpb.Key) ([]payment, error) {
	seed, err := p.seed(ctx)
	if err != nil {
		return nil, err
	}
	defer seed.Zero()
	payments := make([]payment, len(keys))
	err = onAllCores(ctx, len(keys), func(i int) error {
		var err error
		payments[i], err = p.payment(seed, keys[i])
		return err
	})
	return payments, err
}

func (p *pass) payment(seed *validator.Seed, key *fsmpb.Key) (payment, error) {
	cfg := p.duty.cfg
	secret, err := seed.SigningKey(key.GetIndex())
	if err != nil {
		return payment{}, fmt.Errorf("derive key %d: %w", key.GetIndex(), err)
	}
	defer secret.Zero()
	if pubkey := secret.PublicKey(); !bytes.Equal(pubkey[:], key.GetPubkey()) {
		return payment{}, waitFor(SeedMismatch, "the seed derives %s at index %d, the state holds 0x%x there", pubkey, key.GetIndex(), key.GetPubkey())
	}
	credentials, err := cfg.Withdrawal.credentials(seed, key.GetIndex())
	if err != nil {
		return payment{}, err
	}
	data, err := validator.NewDepositData(secret, credentials, cfg.AmountGwei, cfg.Network.ForkVersion)
	if err != nil {
		return payment{}, fmt.Errorf("deposit data: %w", err)
	}
	input, wei, err := depositCall(data)
	return payment{key: key, data: data, input: input, wei: wei}, err
}

// signAll signs the payments with nonces in order, up to what one command holds.
func (p *pass) signAll(ctx context.Context, payments []payment, nonce uint64, fees fees) ([]*fsmpb.SignedDeposit, error) {
	const most = 512 << 10 // bytes of a command
	var signed []*fsmpb.SignedDeposit
	size := 0
	for _, pay := range payments {
		attempt, err := p.attempt(ctx, pay, nonce+uint64(len(signed)), fees)
		if w := (*waiting)(nil); errors.As(err, &w) && len(signed) > 0 {
			p.wait(w) // for the rest: what is signed is used
			break
		}
		if err != nil {
			return nil, err
		}
		if size += len(attempt.GetRaw()) + 512; size > most {
			break
		}
		signed = append(signed, &fsmpb.SignedDeposit{
			Pubkey: pay.data.PublicKey[:], AmountGwei: pay.data.AmountGwei,
			Credentials: pay.data.Credentials[:], Signature: pay.data.Signature[:], Attempt: attempt,
		})
	}
	return signed, nil
}

// attempt signs one transaction and makes sure that the signer signed just that,
// for the account and the chain that are meant.
func (p *pass) attempt(ctx context.Context, pay payment, nonce uint64, fees fees) (*fsmpb.Attempt, error) {
	cfg := p.duty.cfg
	chainID := new(big.Int).SetUint64(cfg.Network.ChainID)
	contract := common.Address(cfg.Network.DepositContract)
	tx := types.NewTx(&types.DynamicFeeTx{
		ChainID: chainID, Nonce: nonce, To: &contract, Value: pay.wei, Data: pay.input,
		Gas: gasLimit, GasFeeCap: fees.capWei, GasTipCap: fees.tipWei,
	})
	signed, err := cfg.Funding.SignTx(ctx, tx, chainID)
	if err != nil {
		return nil, signerTrouble(pay.data.PublicKey, err)
	}
	signer := types.LatestSignerForChainID(chainID)
	from, err := types.Sender(signer, signed)
	if err != nil {
		return nil, signerTrouble(pay.data.PublicKey, fmt.Errorf("%w: %w", errSigner, err))
	}
	if from != cfg.Funding.Address() || signer.Hash(signed) != signer.Hash(tx) {
		return nil, signerTrouble(pay.data.PublicKey, errSigner)
	}
	raw, err := signed.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("deposit for %s: encode the transaction: %w", pay.data.PublicKey, err)
	}
	hash := signed.Hash()
	return &fsmpb.Attempt{
		Nonce: nonce, TxHash: hash[:], Raw: raw,
		FeeCapWei: fees.capWei.Uint64(), TipWei: fees.tipWei.Uint64(),
		HeadBlock: uint64(p.world.head.Number), FinalBlock: p.world.final,
	}, nil
}

var errSigner = errors.New("the signer signed something else than it was given, or for another account")

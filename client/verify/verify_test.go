package verify

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a cluster that paid for three keys, and the chain that holds them.
type scene struct {
	t       *testing.T
	cluster *clienttest.Cluster
	chain   *clienttest.Chain
	client  *client.Client
}

func prepare(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, cluster: clienttest.Start(t, 1), chain: clienttest.StartChain(t)}
	var err error
	s.client, err = client.New(client.Config{Servers: s.cluster.URLs(), Token: clienttest.Token})
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	_, _, err = s.client.Allocate(t.Context(), wire.AllocationRequest{Namespace: "default", Pod: "p", PodUID: "uid", Keys: 3}, 0)
	require.NoError(t, err)
	s.chain.Pay(s.cluster)
	return s
}

func (s *scene) config() Config {
	return Config{
		Client: s.client, ExecutionRPC: s.chain.URL(), Contract: common.HexToAddress(clienttest.Contract),
		ForkVersion: &[4]byte{0x10, 0, 0, 0x38}, Pause: time.Millisecond,
	}
}

func (s *scene) run() *Report {
	s.t.Helper()
	report, err := Run(s.t.Context(), s.config())
	require.NoError(s.t, err)
	return report
}

func kinds(r *Report) []Kind {
	var list []Kind
	for _, d := range r.Differences {
		list = append(list, d.Kind)
	}
	return slices.Compact(list)
}

func TestCleanAccount(t *testing.T) {
	t.Parallel()
	r := prepare(t).run()
	require.Empty(t, r.Differences)
	require.Equal(t, 3, r.Events)
	require.EqualValues(t, 96_000_000_000, r.PaidGwei)
	require.EqualValues(t, 3, r.Nonces)
	require.Equal(t, map[wire.DepositState]int{wire.DepositStateFinal: 3}, r.Deposits)
	require.Empty(t, r.Notes)
}

// onFirst changes what the cluster tells of its first key's deposit.
func onFirst(change func(*wire.Deposit)) func(*scene) {
	return func(s *scene) {
		first := s.cluster.Key(0).PublicKey().String()
		s.cluster.ChangeDeposit = func(d *wire.Deposit) {
			if d.Pubkey == first {
				change(d)
			}
		}
	}
}

// onChain changes the first payment on the chain.
func onFirstPayment(change func(*clienttest.Payment)) func(*scene) {
	return func(s *scene) { change(&s.chain.Payments[0]) }
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	stranger := common.HexToAddress("0x1111111111111111111111111111111111111111")
	again := func(from common.Address, nonce uint64) func(*scene) {
		return func(s *scene) {
			p := s.chain.Payments[0]
			p.Block, p.From, p.Nonce, p.Tx = 50, from, nonce, common.HexToHash("0x77")
			s.chain.Payments = append(s.chain.Payments, p)
		}
	}
	tests := map[string]struct {
		change func(*scene)
		want   []Kind
	}{
		"stake that is not there": {func(s *scene) {
			s.chain.Payments = s.chain.Payments[:2]
		}, []Kind{NotOnChain}},
		"paid twice by the account": {func(s *scene) {
			payer := s.chain.Payments[0].From
			again(payer, 3)(s)
			s.chain.Nonces[payer]++
		}, []Kind{ForeignTransaction, PaidTwice}},
		"topped up by somebody else": {again(stranger, 0), []Kind{ForeignPayment}},
		"other amount":               {onFirstPayment(func(p *clienttest.Payment) { p.AmountGwei-- }), []Kind{InvalidSignature, OtherDeposit}},
		"other credentials":          {onFirstPayment(func(p *clienttest.Payment) { p.Credentials[31]++ }), []Kind{InvalidSignature, OtherDeposit}},
		"other signature":            {onFirstPayment(func(p *clienttest.Payment) { p.Signature[5]++ }), []Kind{InvalidSignature, OtherDeposit}},
		"other nonce":                {onFirstPayment(func(p *clienttest.Payment) { p.Nonce = 7 }), []Kind{OtherPlace}},
		"other payer":                {onFirstPayment(func(p *clienttest.Payment) { p.From = stranger }), []Kind{OtherPlace}},
		"other block":                {onFirst(func(d *wire.Deposit) { d.BlockNumber = 99 }), []Kind{OtherPlace}},
		"unknown transaction": {onFirst(func(d *wire.Deposit) {
			d.Attempts[0].TxHash = common.HexToHash("0x99").Hex()
		}), []Kind{NotOnChain, PaidTwice}},
		"held before it is final": {onFirst(func(d *wire.Deposit) { d.State = wire.DepositStateMined }), []Kind{NotPaid}},
		"nonce of nobody": {onFirst(func(d *wire.Deposit) { d.Nonce = 1 }), []Kind{
			OtherPlace, Unexplained,
		}},
		"transaction of somebody else": {func(s *scene) {
			s.chain.Nonces[s.chain.Payments[0].From] = 9
		}, []Kind{ForeignTransaction}},
		"nonces that the chain does not know": {func(s *scene) {
			s.chain.Nonces[s.chain.Payments[0].From] = 2
		}, []Kind{Unexplained}},
		"nonce that landed as something else": {func(s *scene) {
			onFirst(func(d *wire.Deposit) { d.State = wire.DepositStateSent })(s)
			s.chain.Payments[0].PublicKey = s.cluster.Key(9).PublicKey()
		}, []Kind{ForeignTransaction, NotPaid}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			test.change(s)
			require.Equal(t, test.want, kinds(s.run()))
		})
	}
}

// What the cluster has not seen yet is no difference.
func TestUnderWay(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*scene){
		"mined and not reported": onFirst(func(d *wire.Deposit) {
			d.State, d.BlockNumber, d.BlockHash = wire.DepositStateSent, 0, ""
		}),
		"sent and not mined": func(s *scene) {
			last := s.cluster.Key(2).PublicKey().String()
			s.cluster.ChangeDeposit = func(d *wire.Deposit) {
				if d.Pubkey == last {
					d.State, d.BlockNumber, d.BlockHash = wire.DepositStateSent, 0, ""
				}
			}
			s.chain.Payments = s.chain.Payments[:2]
			s.chain.Nonces[common.HexToAddress("0xA3F44F18aEf570D8270a92c6aC6352973201486e")] = 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			change(s)
			require.Equal(t, []Kind{NotPaid}, kinds(s.run()), "only that the fake cluster has handed the key out")
		})
	}
}

// A difference counts if each reading found it.
func TestDifferencesThatPassAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.chain.Final = 11
	late := s.chain.Payments[2]
	s.chain.Payments = s.chain.Payments[:2]
	cfg := s.config()
	cfg.Settle = time.Minute
	cfg.Progress = func(uint64, uint64) {
		if s.chain.Lock(); s.chain.Asked["eth_getTransactionCount"] > 0 && len(s.chain.Payments) == 2 {
			s.chain.Payments = append(s.chain.Payments, late)
		}
		s.chain.Unlock()
	}
	r, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, r.Differences)
	require.Equal(t, 3, r.Events, "what is final is kept, the rest read again")
}

func TestUnbelievableChain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*scene, *Config)
		want   error
		text   string
	}{
		"other chain ID":    {func(s *scene, _ *Config) { s.chain.ID = 5 }, ErrOtherChain, "its ID is 5"},
		"hidden event":      {func(s *scene, _ *Config) { s.chain.Hidden = 1 }, ErrChain, "hides"},
		"no events at all":  {func(s *scene, _ *Config) { s.chain.Hidden = 3 }, ErrChain, "counts 3"},
		"contract unknown":  {func(_ *scene, c *Config) { c.Contract = common.Address{} }, ErrOtherChain, "has to be named"},
		"malformed address": {func(_ *scene, c *Config) { c.ExecutionRPC = "nonsense" }, ErrChain, "http"},
		"nobody there":      {func(_ *scene, c *Config) { c.ExecutionRPC = "http://127.0.0.1:1/secret" }, ErrChain, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t)
			cfg := s.config()
			test.change(s, &cfg)
			_, err := Run(t.Context(), cfg)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
			require.NotContains(t, err.Error(), "secret", "a URL may hold a key")
		})
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.chain.MostBlocks = 7 // and halve until it fits
	require.Empty(t, s.run().Differences)

	cfg := s.config()
	cfg.StartBlock = 11 // after the first
	r, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, []Kind{NotOnChain}, kinds(r))
	require.Empty(t, r.Notes)

	s.chain.Pruned = 50
	cfg.StartBlock = 10
	r, err = Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, r.Differences)
	require.Len(t, r.Notes, 1, "nobody knows how many were before")
}

func TestKeysThatWerePaidElsewhere(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	list := func(change func(k *wire.Key)) {
		s.cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/keys" {
				return false
			}
			k := wire.Key{Pubkey: s.cluster.Key(8).PublicKey().String(), State: wire.KeyStateGenerated}
			change(&k)
			clienttest.Answer(w, wire.KeyPage{Keys: []wire.Key{k}})
			return true
		}
	}
	list(func(k *wire.Key) { k.Imported, k.State = true, wire.KeyStateResting })
	require.Equal(t, []Kind{NotOnChain}, kinds(s.run()))
	list(func(k *wire.Key) { k.State = wire.KeyStateFree })
	require.Equal(t, []Kind{NotPaid}, kinds(s.run()))

	p := s.chain.Payments[0]
	p.PublicKey, p.Block = s.cluster.Key(8).PublicKey(), 50
	p.Tx, p.From = common.HexToHash("0x1"), common.HexToAddress("0x2")
	s.chain.Payments = append(s.chain.Payments, p)
	require.Equal(t, []Kind{NotPaid}, kinds(s.run()))
	list(func(*wire.Key) {})
	require.Equal(t, []Kind{ForeignPayment}, kinds(s.run()))
	list(func(k *wire.Key) { k.State, k.RetiredReason = wire.KeyStateRetired, "operator" })
	require.Equal(t, []Kind{ForeignPayment}, kinds(s.run()))
	list(func(k *wire.Key) { k.State, k.RetiredReason = wire.KeyStateRetired, retiredForeign })
	r := s.run()
	require.Empty(t, r.Differences)
	require.Equal(t, []string{"keys that are retired because somebody else paid for them: 1, 32000000000 gwei in all"}, r.Notes)
	list(func(k *wire.Key) { k.Imported, k.State = true, wire.KeyStateResting })
	require.Empty(t, s.run().Differences)

	adopted := wire.Stake{TxHash: p.Tx.Hex(), BlockNumber: 50, AmountGwei: 32e9, WithdrawalCredentials: p.Credentials.String()}
	adopt := func(k *wire.Key) { k.Adopted, k.State = adopted, wire.KeyStateFree }
	list(adopt)
	require.Empty(t, s.run().Differences)
	adopted.AmountGwei--
	require.Equal(t, []Kind{OtherDeposit}, kinds(s.run()))
	adopted.AmountGwei, adopted.TxHash = 32e9, "0x2"
	require.Equal(t, []Kind{ForeignPayment, NotOnChain}, kinds(s.run()))
	adopted.TxHash = p.Tx.Hex()

	// The cluster's own account pays once more for a key that was paid.
	again, payer := p, s.chain.Payments[0].From
	again.Block, again.Tx, again.From, again.Nonce = 60, common.HexToHash("0x3"), payer, 3
	s.chain.Payments = append(s.chain.Payments, again)
	require.Equal(t, []Kind{PaidTwice}, kinds(s.run()))
	list(func(k *wire.Key) { k.State, k.RetiredReason = wire.KeyStateRetired, retiredForeign })
	require.Equal(t, []Kind{PaidTwice}, kinds(s.run()))
	list(func(k *wire.Key) { k.Imported, k.State = true, wire.KeyStateResting })
	require.Equal(t, []Kind{PaidTwice}, kinds(s.run()))
}

// Stakes on another chain are none of this one.
func TestStakeOnAnotherChain(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	onFirst(func(d *wire.Deposit) { d.ChainID = 5 })(s)
	require.Equal(t, []Kind{NotOnChain, PaidTwice, Unexplained}, kinds(s.run()))
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.chain.Payments = s.chain.Payments[:2]
	cfg := s.config()
	cfg.Settle, cfg.Pause = time.Hour, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Progress = func(done, total uint64) {
		if done == total {
			cancel()
		}
	}
	_, err := Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled)
}

// The report's JSON is what scripts read.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	onFirst(func(d *wire.Deposit) { d.BlockNumber = 99 })(s)
	raw, err := json.Marshal(s.run())
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(raw), `{"chainId":1337,"head":100,"keys":3,"deposits":{"final":3},"events":3,"paidGwei":96000000000,"nonces":3,"differences":[{"kind":"other-place","pubkey":"0x`), "%s", raw)
}

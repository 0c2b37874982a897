package ethereum

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// account is the interface of an external signer that holds accountKey(1).
type account struct {
	asked  atomic.Int32
	answer func(ctx context.Context, n int, tx *types.Transaction) (*types.Transaction, error)
}

func (a *account) Version() string { return "6.1.0" }

func (a *account) SignTransaction(ctx context.Context, args apitypes.SendTxArgs) (any, error) {
	tx, err := args.ToTransaction()
	if err != nil {
		return nil, err
	}
	signed, err := a.answer(ctx, int(a.asked.Add(1)), tx)
	if err != nil || signed == nil {
		return map[string]any{}, err
	}
	raw, err := signed.MarshalBinary()
	return map[string]any{"raw": hexutil.Bytes(raw), "tx": signed}, err
}

// honest signs what it is asked to.
func honest(_ context.Context, _ int, tx *types.Transaction) (*types.Transaction, error) {
	return types.SignTx(tx, types.LatestSignerForChainID(tx.ChainId()), accountKey(1))
}

// newSigner serves the account over HTTP.
func newSigner(t *testing.T, a *account) (url string) {
	t.Helper()
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("account", a))
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return front.URL
}

// newFunding is the account at an endpoint, with a short patience.
func newFunding(t *testing.T, endpoint string) *ExternalFunding {
	t.Helper()
	f, err := FundingFromExternal(endpoint, crypto.PubkeyToAddress(accountKey(1).PublicKey))
	require.NoError(t, err)
	f.pause = 0
	return f
}

// sign has the funding account sign the transaction with this nonce.
func sign(ctx context.Context, f *ExternalFunding, nonce uint64) (*types.Transaction, error) {
	chainID := big.NewInt(simulatedChainID)
	return f.SignTx(ctx, types.NewTx(&types.DynamicFeeTx{
		ChainID: chainID, Nonce: nonce, To: &contractAddress, Value: ether(32), Data: []byte{1, 2, 3},
		Gas: gasLimit, GasTipCap: big.NewInt(5), GasFeeCap: big.NewInt(77),
	}), chainID)
}

func TestFundingFromExternal(t *testing.T) {
	t.Parallel()
	f := newFunding(t, newSigner(t, &account{answer: honest}))
	signed, err := sign(t.Context(), f, 9)
	require.NoError(t, err)
	chain := types.LatestSignerForChainID(big.NewInt(simulatedChainID))
	from, err := types.Sender(chain, signed)
	require.NoError(t, err)
	require.Equal(t, f.Address(), from)
	require.Equal(t, uint64(9), signed.Nonce())
	require.Equal(t, []any{ether(32), big.NewInt(77), big.NewInt(5), []byte{1, 2, 3}},
		[]any{signed.Value(), signed.GasFeeCap(), signed.GasTipCap(), signed.Data()})
}

func TestFundingFromExternalSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	f := newFunding(t, path)
	_, err := sign(t.Context(), f, 0)
	require.ErrorIs(t, err, ErrSignerUnavailable)
	require.ErrorContains(t, err, path)

	for range 2 { // the socket may come, go, and come again
		listener, server, err := rpc.StartIPCEndpoint(path, []rpc.API{{Namespace: "account", Service: &account{answer: honest}}})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err = sign(t.Context(), f, 0)
			return err == nil
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, listener.Close())
		server.Stop()
		require.Eventually(t, func() bool {
			_, err = sign(t.Context(), f, 0)
			return errors.Is(err, ErrSignerUnavailable)
		}, 10*time.Second, time.Millisecond)
	}
}

func TestFundingFromExternalConfig(t *testing.T) {
	t.Parallel()
	somebody := [20]byte{1}
	for _, endpoint := range []string{"", "clef.ipc", "127.0.0.1:8550", "ws://u:geheim@h", "ftp://u:geheim@h", "http://", "http://u:geheim@h:%zz", "stdio"} {
		_, err := FundingFromExternal(endpoint, somebody)
		require.ErrorIs(t, err, ErrConfig, endpoint)
		require.NotContains(t, err.Error(), "geheim")
	}
	_, err := FundingFromExternal("http://h", [20]byte{})
	require.ErrorIs(t, err, ErrConfig)
	f, err := FundingFromExternal("https://u:geheim@h/geheim?geheim", somebody)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", f, struct{ f any }{f}, f, f), "geheim")
	require.Equal(t, common.Address(somebody), f.Address())
}

// The URL's password goes to the signer and into no error, whatever goes wrong.
func TestExternalSignerKeepsPassword(t *testing.T) {
	t.Parallel()
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("account", &account{answer: honest}))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, password, _ := r.BasicAuth(); {
		case password != "geheim":
			http.Error(w, "who are you", http.StatusUnauthorized)
		case r.URL.Path == "/geheim/down":
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/geheim/page":
			fmt.Fprint(w, "<html>")
		default:
			server.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	host := strings.TrimPrefix(front.URL, "http://")
	_, err := sign(t.Context(), newFunding(t, "http://u:geheim@"+host+"/geheim"), 0)
	require.NoError(t, err)

	var lc net.ListenConfig
	closed, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for url, says := range map[string]string{
		"http://u:geheimer@" + host:                                 "HTTP status 401",
		"http://u:geheim@" + host + "/geheim/down":                  "EOF",
		"http://u:geheim@" + host + "/geheim/page":                  "invalid character",
		"http://u:geheim@" + closed.Addr().String() + "/geheim":     "connection refused",
		"https://u:geheim@" + host + "/geheim":                      "HTTP response to HTTPS",
		"http://u:geheim@nowhere.invalid/geheim?key=geheim":         "nowhere.invalid",
		"http://u:geheim@" + host + "/geheim/down?key=geheim#other": "EOF",
	} {
		_, err := sign(t.Context(), newFunding(t, url), 0)
		require.ErrorIs(t, err, ErrSignerUnavailable, says)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "geheim")
	}
}

func TestExternalSignerAnswers(t *testing.T) {
	t.Parallel()
	long := "no\n\x1b[31m" + strings.Repeat("ö", 5_000)
	for name, c := range map[string]struct {
		answer func(context.Context, int, *types.Transaction) (*types.Transaction, error)
		is     error
		says   string
	}{
		"refusal": {
			func(context.Context, int, *types.Transaction) (*types.Transaction, error) {
				return nil, errors.New("request denied")
			}, ErrSignerRefused, `says "request denied"`,
		},
		"long refusal": {
			func(context.Context, int, *types.Transaction) (*types.Transaction, error) {
				return nil, errors.New(long)
			},
			ErrSignerRefused, `says "no\n\x1b[31mö`,
		},
		"nothing": {
			func(context.Context, int, *types.Transaction) (*types.Transaction, error) { return nil, nil },
			ErrSignerRefused, "without a transaction",
		},
		"out of time": {
			func(context.Context, int, *types.Transaction) (*types.Transaction, error) { return nil, lateError{} },
			ErrSignerUnavailable, "request timed out",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sign(t.Context(), newFunding(t, newSigner(t, &account{answer: c.answer})), 0)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.Less(t, len(err.Error()), 1_000)
			require.True(t, utf8.ValidString(err.Error()))
		})
	}
}

// lateError is what a server of go-ethereum answers when its time ran out.
type lateError struct{}

func (lateError) Error() string  { return "request timed out" }
func (lateError) ErrorCode() int { return codeTimedOut }

// An execution client taken for a signer is told by its own words.
func TestExternalSignerIsNone(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(rpc.NewServer())
	t.Cleanup(front.Close)
	_, err := sign(t.Context(), newFunding(t, front.URL), 0)
	require.ErrorIs(t, err, ErrSignerRefused)
	require.ErrorContains(t, err, "account_version")
}

// A signer that hangs holds nobody up for long, is asked nothing else meanwhile,
// and serves again as soon as it wakes.
func TestExternalSignerHangs(t *testing.T) {
	t.Parallel()
	asleep, wake := context.WithCancel(context.Background()) //nolint:usetesting // ends before the server's cleanup
	a := &account{answer: func(ctx context.Context, n int, tx *types.Transaction) (*types.Transaction, error) {
		if n == 1 {
			<-asleep.Done()
		}
		return honest(ctx, n, tx)
	}}
	f := newFunding(t, newSigner(t, a))
	t.Cleanup(wake)
	f.timeout = 50 * time.Millisecond
	require.Eventually(t, func() bool { // a slow machine may not have connected in time
		_, err := sign(t.Context(), f, 0)
		require.ErrorIs(t, err, ErrSignerUnavailable)
		return a.asked.Load() == 1
	}, 10*time.Second, time.Millisecond)

	f.timeout = time.Hour
	for range 3 {
		_, err := sign(t.Context(), f, 1)
		require.ErrorIs(t, err, ErrSignerUnavailable)
		require.ErrorContains(t, err, "an earlier request is still open")
	}
	require.Equal(t, int32(1), a.asked.Load())
	wake()
	require.Eventually(t, func() bool {
		signed, err := sign(t.Context(), f, 2)
		return err == nil && signed.Nonce() == 2
	}, 10*time.Second, time.Millisecond)
}

// Whoever stops waiting goes at once.
func TestExternalSignerCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asleep, wake := context.WithCancel(context.Background()) //nolint:usetesting // ends before the server's cleanup
	f := newFunding(t, newSigner(t, &account{answer: func(context.Context, int, *types.Transaction) (*types.Transaction, error) {
		cancel()
		<-asleep.Done()
		return nil, errors.New("too late")
	}}))
	t.Cleanup(wake)
	f.timeout = time.Hour
	_, err := sign(ctx, f, 0)
	wake()
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrSignerUnavailable)
	_, err = sign(ctx, f, 0)
	require.ErrorIs(t, err, context.Canceled)
}

func TestExternalSignerOneAtATime(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	f := newFunding(t, newSigner(t, &account{answer: func(ctx context.Context, n int, tx *types.Transaction) (*types.Transaction, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return honest(ctx, n, tx)
	}}))
	var g errgroup.Group
	for n := range uint64(30) {
		g.Go(func() error {
			signed, err := sign(t.Context(), f, n)
			if err == nil && signed.Nonce() != n {
				return fmt.Errorf("asked for nonce %d, got %d", n, signed.Nonce())
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(1), most.Load())
}

// A refusal stands for a while, in which the signer is left in peace.
func TestExternalSignerRefusalStands(t *testing.T) {
	t.Parallel()
	a := &account{answer: func(ctx context.Context, n int, tx *types.Transaction) (*types.Transaction, error) {
		if n == 1 {
			return nil, errors.New("not now")
		}
		return honest(ctx, n, tx)
	}}
	f := newFunding(t, newSigner(t, a))
	f.pause = time.Hour
	for nonce := range uint64(3) {
		_, err := sign(t.Context(), f, nonce)
		require.ErrorIs(t, err, ErrSignerRefused)
		require.ErrorContains(t, err, "not now")
	}
	require.Equal(t, int32(1), a.asked.Load())
	f.until = time.Now()
	_, err := sign(t.Context(), f, 0)
	require.NoError(t, err)
}

// What was signed before a refusal is paid; the rest waits and says why.
func TestDutyUsesWhatWasSigned(t *testing.T) {
	t.Parallel()
	var agree atomic.Bool
	url := newSigner(t, &account{answer: func(ctx context.Context, n int, tx *types.Transaction) (*types.Transaction, error) {
		if tx.Nonce() >= 2 && !agree.Load() {
			return nil, errors.New("two are enough")
		}
		return honest(ctx, n, tx)
	}})
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Funding = newFunding(t, url) })
	s.ask("a", 4)
	d, leader := s.duty(), s.begin()
	s.settle(d, leader)
	require.Equal(t, map[fsmpb.DepositState]int{
		fsmpb.DepositState_DEPOSIT_STATE_FINAL: 2, fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 2,
	}, s.states())
	require.Equal(t, string(SignerRefused), s.status())
	require.Contains(t, s.detail(), "two are enough")
	agree.Store(true)
	s.settle(d, leader)
	s.requirePaid(4)
	require.Empty(t, s.status())
}

// A signer that signs something else, or with another key, pays nothing.
func TestDutyDistrustsSigner(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	for name, answer := range map[string]func(context.Context, int, *types.Transaction) (*types.Transaction, error){
		"another transaction": func(_ context.Context, _ int, tx *types.Transaction) (*types.Transaction, error) {
			return types.SignNewTx(accountKey(1), types.LatestSignerForChainID(tx.ChainId()), &types.DynamicFeeTx{
				ChainID: tx.ChainId(), Nonce: tx.Nonce(), To: &common.Address{1}, Value: tx.Value(),
				Gas: tx.Gas(), GasTipCap: tx.GasTipCap(), GasFeeCap: tx.GasFeeCap(),
			})
		},
		"another account": func(_ context.Context, _ int, tx *types.Transaction) (*types.Transaction, error) {
			return types.SignTx(tx, types.LatestSignerForChainID(tx.ChainId()), accountKey(2))
		},
		"no signature": func(_ context.Context, _ int, tx *types.Transaction) (*types.Transaction, error) {
			return tx, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newSigner(t, &account{answer: answer})
			s := newScene(t, chain, 1, func(cfg *Config) { cfg.Funding = newFunding(t, url) })
			s.ask("a", 2)
			require.NoError(t, s.duty().pass(t.Context(), s.begin()))
			require.Equal(t, string(SignerRefused), s.status(), s.detail())
			require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 2}, s.states())
			require.Zero(t, s.count())
		})
	}
}

// A session that ends while the signer hangs is not held up by it.
func TestDutyEndsWhileSignerHangs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asleep, wake := context.WithCancel(context.Background()) //nolint:usetesting // ends before the server's cleanup
	url := newSigner(t, &account{answer: func(context.Context, int, *types.Transaction) (*types.Transaction, error) {
		cancel()
		<-asleep.Done()
		return nil, errors.New("too late")
	}})
	t.Cleanup(wake)
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.Funding = newFunding(t, url) })
	s.ask("a", 1)
	began := time.Now()
	require.NoError(t, s.duty().Run(ctx, s.begin()))
	require.Less(t, time.Since(began), signerTimeout)
	wake()
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 1}, s.states())
}

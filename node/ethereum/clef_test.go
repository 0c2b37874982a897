package ethereum

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	masterPassword  = "master password"
	accountPassword = "account password"
)

// payee is where stakes go that the rules of a test sign for.
var payee = common.HexToAddress("0x00000000000000000000000000000000000Face1")

// clefProgram is the path of the real clef, which is built the first time.
var clefProgram = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../scripts/tool", "clef")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// clef is a real clef, with rules and folders of its own.
type clef struct {
	t       *testing.T
	program string
	dir     string
	url     string // of HTTP, on loopback
	cmd     *exec.Cmd
	output  *output
}

// output collects what a process writes while it is read.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newClef starts a clef that holds the key and signs by the rules, changed by
// old and new strings in turn.
func newClef(t *testing.T, key *ecdsa.PrivateKey, changes ...string) *clef {
	t.Helper()
	program, err := clefProgram()
	require.NoError(t, err, "scripts/tool clef")
	c := &clef{t: t, program: program, dir: t.TempDir()}
	account, err := keystore.NewKeyStore(c.path("keys"), keystore.LightScryptN/16, 1).ImportECDSA(key, accountPassword)
	require.NoError(t, err)
	c.run(masterPassword+"\n"+masterPassword+"\n", "--lightkdf", "init")
	c.run(accountPassword+"\n"+accountPassword+"\n"+masterPassword+"\n", "setpw", account.Address.Hex())
	c.rule(changes...)
	c.start(0)
	t.Cleanup(c.kill)
	return c
}

func (c *clef) path(name string) string { return filepath.Join(c.dir, name) }

// run runs one of clef's commands to its end.
func (c *clef) run(input string, args ...string) {
	c.t.Helper()
	cmd := c.command(args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(c.t, err, "clef %v: %s", args, out)
}

func (c *clef) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.program, append([]string{"--suppress-bootwarn", "--configdir", c.path("clef")}, args...)...)
	cmd.Dir = c.dir
	return cmd
}

// rule writes the rules that this project ships, with the changes, and attests them.
func (c *clef) rule(changes ...string) {
	c.t.Helper()
	rules, err := os.ReadFile("clef-rules.js")
	require.NoError(c.t, err)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(c.t, string(rules), changes[i])
	}
	text := strings.NewReplacer(changes...).Replace(string(rules))
	require.NoError(c.t, os.WriteFile(c.path("rules.js"), []byte(text), 0o600))
	hash := sha256.Sum256([]byte(text))
	c.run(masterPassword+"\n", "attest", hex.EncodeToString(hash[:]))
}

var servesAt = regexp.MustCompile(`extapi_http : (http://127\.0\.0\.1:(\d+))/`)

// start starts the signer on a port of loopback, any if that is 0.
func (c *clef) start(port int) {
	c.t.Helper()
	c.output = &output{}
	c.cmd = c.command(
		"--keystore", c.path("keys"), "--rules", c.path("rules.js"), "--auditlog", "", "--nousb", "--lightkdf",
		"--chainid", strconv.Itoa(simulatedChainID), "--http", "--http.addr", "127.0.0.1", "--http.port", strconv.Itoa(port),
	)
	c.cmd.Stdin = strings.NewReader(masterPassword + "\n")
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	require.NoError(c.t, c.cmd.Start())
	var match []string
	if !assertEventually(func() bool {
		match = servesAt.FindStringSubmatch(c.output.String())
		return match != nil
	}) {
		c.kill()
		require.Fail(c.t, "clef did not start", c.output.String())
	}
	c.url = match[1]
}

// port on which it serves, also when it is dead.
func (c *clef) port() int {
	c.t.Helper()
	port, err := strconv.Atoi(c.url[strings.LastIndexByte(c.url, ':')+1:])
	require.NoError(c.t, err)
	return port
}

// socket is the path of its IPC endpoint.
func (c *clef) socket() string { return filepath.Join(c.path("clef"), "clef.ipc") }

// kill ends the process as a crash would. It may be repeated.
func (c *clef) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

func assertEventually(condition func() bool) bool {
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// signedBy has a scene pay from an account that an external signer holds.
func signedBy(t *testing.T, endpoint string, key *ecdsa.PrivateKey) func(*Config) {
	t.Helper()
	funding, err := FundingFromExternal(endpoint, crypto.PubkeyToAddress(key.PublicKey))
	require.NoError(t, err)
	funding.pause = 0
	return func(cfg *Config) {
		cfg.Funding = funding
		cfg.Withdrawal = Withdrawal{Kind: Address, To: payee}
	}
}

// toPayee changes the rules so that they sign for nobody else's benefit.
var toPayee = []string{
	`credentials = ""`, `credentials = "0x01` + strings.Repeat("0", 22) + strings.ToLower(payee.Hex()[2:]) + `"`,
}

// The whole way: the duty pays deposits that the real clef signs by the rules
// that this project ships, over HTTP and over a socket.
func TestClefPays(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	key := accountKey(1)
	c := newClef(t, key, toPayee...)
	s := newScene(t, chain, 1, signedBy(t, c.url, key))
	s.ask("a", 3)
	s.settle(s.duty(), s.begin())
	s.requirePaid(3)
	require.Empty(t, s.detail())

	signedBy(t, c.socket(), key)(&s.cfg)
	s.ask("b", 2)
	s.settle(s.duty(), s.begin())
	s.requirePaid(5)
}

// Whatever clef refuses is not paid and is told, and flows once clef agrees.
func TestClefRefuses(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	key := accountKey(1)
	c := newClef(t, key, append([]string{`contract = "0x00000000219a`, `contract = "0x11111111219a`}, toPayee...)...)
	s := newScene(t, chain, 1, signedBy(t, c.url, key))
	s.ask("a", 2)
	d, leader := s.duty(), s.begin()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SignerRefused), s.status())
	require.Contains(t, s.detail(), `says "request denied"`)
	require.Equal(t, map[fsmpb.DepositState]int{fsmpb.DepositState_DEPOSIT_STATE_PLANNED: 2}, s.states())

	port := c.port()
	c.kill()
	require.NoError(t, d.pass(t.Context(), leader))
	require.Equal(t, string(SignerUnavailable), s.status())
	require.Contains(t, s.detail(), "connection refused")

	c.rule(toPayee...)
	c.start(port)
	s.settle(d, leader)
	s.requirePaid(2)
	require.Empty(t, s.status())
}

// An account that clef does not hold.
func TestClefLacksAccount(t *testing.T) {
	t.Parallel()
	c := newClef(t, accountKey(2), toPayee...)
	s := newScene(t, newChain(t), 1, signedBy(t, c.url, accountKey(1)))
	s.ask("a", 1)
	require.NoError(t, s.duty().pass(t.Context(), s.begin()))
	require.Equal(t, string(SignerRefused), s.status())
	require.Contains(t, s.detail(), "unknown account")
	require.Contains(t, s.detail(), crypto.PubkeyToAddress(accountKey(1).PublicKey).Hex())
}

// The rules sign deposits to our benefit only, and no other transaction.
func TestClefRules(t *testing.T) {
	t.Parallel()
	key := accountKey(1)
	c := newClef(t, key, toPayee...)
	funding, err := FundingFromExternal(c.url, crypto.PubkeyToAddress(key.PublicKey))
	require.NoError(t, err)
	funding.pause = 0
	for name, change := range map[string]func(*types.DynamicFeeTx){
		"":                  func(*types.DynamicFeeTx) {},
		"another contract":  func(tx *types.DynamicFeeTx) { tx.To = &payee },
		"another amount":    func(tx *types.DynamicFeeTx) { tx.Value = ether(33) },
		"more gas":          func(tx *types.DynamicFeeTx) { tx.Gas = 400_001 },
		"a mad fee":         func(tx *types.DynamicFeeTx) { tx.GasFeeCap = big.NewInt(2001 * params.GWei) },
		"no call":           func(tx *types.DynamicFeeTx) { tx.Data = nil },
		"another call":      func(tx *types.DynamicFeeTx) { tx.Data = common.FromHex("0xc5f2892f") },
		"other credentials": func(tx *types.DynamicFeeTx) { tx.Data[4+8*32+31]++ },
		"another kind":      func(tx *types.DynamicFeeTx) { tx.Data[4+8*32]++ },
		"another offset":    func(tx *types.DynamicFeeTx) { tx.Data[4+1*32+31] = 0x80 },
	} {
		tx := depositTx(t)
		change(tx)
		signed, err := funding.SignTx(t.Context(), types.NewTx(tx), big.NewInt(simulatedChainID))
		if name != "" {
			require.ErrorIs(t, err, ErrSignerRefused, name)
			continue
		}
		require.NoError(t, err)
		chain := types.LatestSignerForChainID(tx.ChainID)
		require.Equal(t, chain.Hash(types.NewTx(tx)), chain.Hash(signed), "signed something else")
	}
	_, err = funding.SignTx(t.Context(), types.NewTx(depositTx(t)), big.NewInt(1))
	require.NoError(t, err, "the chain ID of the transaction counts")
	tx := depositTx(t)
	tx.ChainID = big.NewInt(1)
	_, err = funding.SignTx(t.Context(), types.NewTx(tx), tx.ChainID)
	require.ErrorIs(t, err, ErrSignerRefused)
	require.ErrorContains(t, err, "chainid")
}

// depositTx is a transaction that the rules sign.
func depositTx(t *testing.T) *types.DynamicFeeTx {
	t.Helper()
	credentials := append([]byte{1, 11: 0}, payee[:]...)
	input, err := contractABI.Pack("deposit", make([]byte, 48), credentials, make([]byte, 96), [32]byte{})
	require.NoError(t, err)
	return &types.DynamicFeeTx{
		ChainID: big.NewInt(simulatedChainID), Nonce: 7, To: &contractAddress, Value: ether(32), Data: input,
		Gas: gasLimit, GasTipCap: big.NewInt(params.GWei), GasFeeCap: big.NewInt(3 * params.GWei),
	}
}

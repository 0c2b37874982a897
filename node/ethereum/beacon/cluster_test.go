package beacon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var errOutcomeUnknown = errors.New("outcome unknown")

// cluster is a replicated state of one replica, and a session in it.
type cluster struct {
	t        *testing.T
	machine  *fsm.Machine
	mu       sync.Mutex
	index    uint64
	proposed []*fsmpb.Command
	fail     func(*fsmpb.Command) error // instead of proposing
}

const term = 3

// newCluster has n keys that are held by the pod "stock", and one that was never deposited.
func newCluster(t *testing.T, n int) (*cluster, [][]byte) {
	t.Helper()
	c := &cluster{t: t, machine: fsm.New()}
	account := bytes.Repeat([]byte{7}, 20)
	var keys [][]byte
	for i := range n + 1 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		keys = append(keys, append(sum[:], sum[:fsm.PubkeyLength-len(sum)]...))
	}
	c.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n", NewClusterId: "c"}}})
	c.do(&fsmpb.Command{Body: &fsmpb.Command_InstallSeed{InstallSeed: &fsmpb.InstallSeed{Sealed: []byte("s"), Fingerprint: "f"}}})
	c.do(&fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{Account: &fsmpb.Account{
		ChainId: 1337, GenesisHash: make([]byte, 32), Address: account,
	}}}})
	c.do(&fsmpb.Command{Body: &fsmpb.Command_GenerateKeys{GenerateKeys: &fsmpb.GenerateKeys{Pubkeys: keys}}})
	if n == 0 {
		return c, nil
	}
	c.ask("stock", n)
	sign := &fsmpb.SignDeposits{ChainId: 1337, Account: account}
	seen := &fsmpb.ObserveDeposits{}
	for i, key := range keys[:n] {
		hash := sha256.Sum256(key)
		sign.Deposits = append(sign.Deposits, &fsmpb.SignedDeposit{
			Pubkey: key, AmountGwei: 32e9, Credentials: make([]byte, 32), Signature: make([]byte, 96), Attempt: &fsmpb.Attempt{Nonce: uint64(i), TxHash: hash[:], Raw: []byte{1}},
		})
		for _, kind := range []fsmpb.Observation_Kind{fsmpb.Observation_KIND_MINED, fsmpb.Observation_KIND_FINAL} {
			seen.Observations = append(seen.Observations, &fsmpb.Observation{Pubkey: key, Kind: kind, TxHash: hash[:], BlockHash: hash[:]})
		}
	}
	c.do(&fsmpb.Command{Body: &fsmpb.Command_SignDeposits{SignDeposits: sign}})
	c.do(&fsmpb.Command{Body: &fsmpb.Command_ObserveDeposits{ObserveDeposits: seen}})
	require.Len(t, c.View().Allocation("ns", "stock").GetKeys(), n)
	return c, keys[:n]
}

func (c *cluster) do(cmd *fsmpb.Command) any {
	c.t.Helper()
	value, err := c.apply(cmd)
	require.NoError(c.t, err)
	return value
}

// ask has a pod ask for keys.
func (c *cluster) ask(pod string, keys int) *fsmpb.Allocation {
	c.t.Helper()
	answer, ok := c.do(&fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod: &fsmpb.Pod{Namespace: "ns", Name: pod, Uid: pod}, Keys: uint32(keys),
	}}}).(fsm.Allocated)
	require.True(c.t, ok)
	return answer.Allocation
}

func (c *cluster) apply(cmd *fsmpb.Command) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd.Version, cmd.Session = fsm.CommandVersion, term
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		return nil, err
	}
	c.index++
	results, err := c.machine.Apply(c.index, term, entry)
	if err != nil {
		return nil, err
	}
	return results[0].Value, results[0].Err()
}

func (c *cluster) View() *fsm.View { return c.machine.View() }

func (c *cluster) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.proposed = append(c.proposed, cmd)
	c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(cmd); err != nil {
			return nil, err
		}
	}
	value, err := c.apply(cmd)
	require.NoError(c.t, c.View().Check())
	return value, err
}

// proposals returns what was proposed since the last call.
func (c *cluster) proposals() []*fsmpb.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.proposed
	c.proposed = nil
	return list
}

func (c *cluster) status(pubkey []byte) string { return c.View().Key(pubkey).GetValidatorStatus() }

func (c *cluster) reason(pubkey []byte) string { return c.View().Key(pubkey).GetRetiredReason() }

// journal is a log that can be read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// newDuty returns a duty that asks the server, and its log.
func newDuty(t *testing.T, s *server, change ...func(*Config)) (*Duty, *journal) {
	t.Helper()
	j := &journal{}
	cfg := Config{URL: s.URL, Network: testNetwork, Logger: slog.New(slog.NewTextHandler(j, nil))}
	for _, f := range change {
		f(&cfg)
	}
	d, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(d.client.cfg.HTTP.CloseIdleConnections)
	return d, j
}

func hexOf(pubkey []byte) string { return validator.PublicKey(pubkey).String() }

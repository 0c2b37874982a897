package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// replica is a machine with the log position and the session that feed it.
type replica struct {
	*Machine
	t     rapid.TB
	index uint64
	term  uint64
	wall  int64
	// twin, if there is one, takes the same entries and has to come to the same state.
	twin *Machine
}

// newReplica has an open session, a seed and one funding account.
func newReplica(t rapid.TB) *replica {
	t.Helper()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	r.ok(&fsmpb.RaiseFeatureLevel{Level: FeatureLevel})
	r.ok(&fsmpb.InstallKeyring{Sealed: []byte("keyring")})
	r.ok(&fsmpb.InstallSeed{Sealed: under(1, "sealed"), Fingerprint: "f"})
	r.ok(&fsmpb.OpenAccount{Account: testAccount(1)})
	return r
}

// under is a ciphertext that says it is under the data key of this term.
func under(term uint32, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, term), text...)
}

// command wraps the body as decided in the session.
func command(session uint64, wall int64, body proto.Message) *fsmpb.Command {
	c := &fsmpb.Command{
		Version: CommandVersion, Session: session, WallMs: wall,
		Caller: &fsmpb.Caller{Name: "tester", Role: "admin"}, RequestId: "r",
	}
	fields := c.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message() == body.ProtoReflect().Descriptor() {
			c.ProtoReflect().Set(f, protoreflect.ValueOfMessage(body.ProtoReflect()))
		}
	}
	return c
}

func entry(t rapid.TB, commands ...*fsmpb.Command) []byte {
	t.Helper()
	b, err := proto.Marshal(&fsmpb.Batch{Commands: commands})
	require.NoError(t, err)
	return b
}

func (r *replica) apply(commands ...*fsmpb.Command) []Result {
	r.t.Helper()
	r.index++
	results, err := r.Apply(r.index, r.term, entry(r.t, commands...))
	require.NoError(r.t, err)
	require.Len(r.t, results, len(commands))
	if r.twin != nil {
		_, err := r.twin.Apply(r.index, r.term, entry(r.t, commands...))
		require.NoError(r.t, err)
		require.Equal(r.t, r.View().Hash(), r.twin.View().Hash(), "machines differ after %v", commands)
	}
	return results
}

func (r *replica) do(body proto.Message) Result {
	r.t.Helper()
	r.wall++
	c := command(r.term, r.wall, body)
	c.KeyringRestore = r.View().Meta().GetRestore().GetNumber()
	return r.apply(c)[0]
}

// ok applies a command that must be accepted and returns its value.
func (r *replica) ok(body proto.Message) any {
	r.t.Helper()
	res := r.do(body)
	require.NoError(r.t, res.Err(), "%v", body)
	require.NoError(r.t, r.View().Check(), "after %v", body)
	return res.Value
}

// refused applies a command that must be refused and change nothing.
func (r *replica) refused(code Code, body proto.Message) {
	r.t.Helper()
	before := bare(r.View())
	require.ErrorIs(r.t, r.do(body).Err(), Refused(code), "%v", body)
	require.Equal(r.t, before, bare(r.View()), "refused, but changed the state: %v", body)
}

var delimited = protodelim.MarshalOptions{MarshalOptions: marshal}

// digest hashes the state without what depends on where in the log it was made,
// and with the newest audit record for all.
func digest(v *View) [sha256.Size]byte { return digestOf(v, v.Meta().GetNextAudit()) }

// bare is the digest without anything of the audit log.
func bare(v *View) [sha256.Size]byte { return digestOf(v, 0) }

func digestOf(v *View, newest uint64) [sha256.Size]byte {
	h := sha256.New()
	for rec := range v.records() {
		switch rec.GetRecord().(type) {
		case *fsmpb.Record_Meta:
			rec = proto.CloneOf(rec)
			m := rec.GetMeta()
			m.AppliedIndex, m.AppliedTerm, m.AuditAnchor, m.RunningHash, m.Mark = 0, 0, nil, nil, nil
			if newest == 0 {
				m.NextAudit, m.FirstAudit, m.AuditRefusals, m.AuditRefusalsAtMs, m.AuditLeftOut = 0, 0, 0, 0, 0
			}
		case *fsmpb.Record_Audit:
			if rec.GetAudit().GetSeq() != newest {
				continue
			}
			rec = proto.CloneOf(rec)
			rec.GetAudit().Index, rec.GetAudit().Hash = 0, nil
		}
		if _, err := delimited.MarshalTo(h, rec); err != nil {
			panic(err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func snapshot(t rapid.TB, v *View) []byte {
	t.Helper()
	var buf bytes.Buffer
	n, err := v.WriteTo(&buf)
	require.NoError(t, err)
	require.EqualValues(t, buf.Len(), n)
	return buf.Bytes()
}

// pubkey makes keys whose order by bytes is not their order of birth.
func pubkey(i uint64) []byte {
	sum := sha256.Sum256(orderKey(i))
	return append(sum[:], sum[:PubkeyLength-len(sum)]...)
}

func pubkeys(from, n uint64) [][]byte {
	var list [][]byte
	for i := from; i < from+n; i++ {
		list = append(list, pubkey(i))
	}
	return list
}

func hash32(parts ...byte) []byte {
	sum := sha256.Sum256(parts)
	return sum[:]
}

func testAccount(chain uint64) *fsmpb.Account {
	return &fsmpb.Account{ChainId: chain, GenesisHash: hash32(byte(chain)), Address: bytes.Repeat([]byte{7}, 20), NextNonce: 5}
}

func testPod(name, uid string) *fsmpb.Pod { return &fsmpb.Pod{Namespace: "ns", Name: name, Uid: uid} }

func proof() *fsmpb.Proof { return &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"} }

// ask allocates and returns the answer.
func (r *replica) ask(name, uid string, n uint32) Allocated {
	r.t.Helper()
	a, isAllocated := r.ok(&fsmpb.Allocate{Pod: testPod(name, uid), Keys: n}).(Allocated)
	require.True(r.t, isAllocated)
	return a
}

// free releases what the pod holds, with or without proof.
func (r *replica) free(name string, p *fsmpb.Proof, wait uint64) {
	r.t.Helper()
	r.ok(&fsmpb.Release{
		Namespace: "ns", Pod: name, Fence: r.View().Allocation("ns", name).GetFence(), Proof: p, WaitMs: wait,
	})
}

func (r *replica) withdraw(name string) {
	r.t.Helper()
	r.ok(&fsmpb.Release{Namespace: "ns", Pod: name})
}

func (r *replica) generate(n uint64) {
	r.t.Helper()
	next := r.View().Meta().GetNextIndex()
	r.ok(&fsmpb.GenerateKeys{FirstIndex: next, Pubkeys: pubkeys(next, n)})
}

func (r *replica) retire(reason string, keys ...[]byte) {
	r.t.Helper()
	r.ok(&fsmpb.RetireKeys{Pubkeys: keys, Reason: reason, Detail: "seen"})
}

func signed(nonce uint64, pubkey []byte) *fsmpb.SignedDeposit {
	return &fsmpb.SignedDeposit{
		Pubkey: pubkey, AmountGwei: 32e9, Credentials: hash32(1), Signature: bytes.Repeat([]byte{3}, 96),
		Attempt: &fsmpb.Attempt{Nonce: nonce, TxHash: hash32(byte(nonce), 9), Raw: []byte{byte(nonce)}, FeeCapWei: 2, TipWei: 1},
	}
}

// dearer is the transaction that replaces an attempt.
func dearer(a *fsmpb.Attempt) *fsmpb.Attempt {
	n := a.GetFeeCapWei() + 1
	return &fsmpb.Attempt{
		Nonce: a.GetNonce(), TxHash: hash32(byte(a.GetNonce()), byte(n), 9), Raw: []byte{byte(a.GetNonce()), byte(n)},
		FeeCapWei: n, TipWei: a.GetTipWei() + 1,
	}
}

// sign signs for the keys with the account's next nonces.
func (r *replica) sign(keys ...[]byte) {
	r.t.Helper()
	a := testAccount(1)
	next := r.View().Account(a.GetChainId(), a.GetAddress()).GetNextNonce()
	c := &fsmpb.SignDeposits{ChainId: a.GetChainId(), Account: a.GetAddress()}
	for i, pubkey := range keys {
		c.Deposits = append(c.Deposits, signed(next+uint64(i), pubkey))
	}
	r.ok(c)
}

// observation reports the kind about the deposit's own transaction and block.
func (r *replica) observation(kind fsmpb.Observation_Kind, pubkey []byte) *fsmpb.Observation {
	d := r.View().Deposit(pubkey)
	o := &fsmpb.Observation{Pubkey: pubkey, Kind: kind, BlockNumber: 7, BlockHash: d.GetBlockHash(), Reason: "seen"}
	if len(o.GetBlockHash()) == 0 {
		o.BlockHash = hash32(4)
	}
	if len(d.GetAttempts()) > 0 {
		o.TxHash = d.GetAttempts()[0].GetTxHash()
	}
	return o
}

func (r *replica) observe(kind fsmpb.Observation_Kind, keys ...[]byte) {
	r.t.Helper()
	c := &fsmpb.ObserveDeposits{}
	for _, pubkey := range keys {
		c.Observations = append(c.Observations, r.observation(kind, pubkey))
	}
	r.ok(c)
}

// toSign lists the public keys whose deposits are to be signed.
func (r *replica) toSign() [][]byte {
	var keys [][]byte
	for d := range r.View().ToSign() {
		keys = append(keys, d.GetPubkey())
	}
	return keys
}

// finish sees the signed deposits through to the end.
func (r *replica) finish(keys ...[]byte) {
	r.t.Helper()
	for _, kind := range []fsmpb.Observation_Kind{fsmpb.Observation_KIND_SENT, fsmpb.Observation_KIND_MINED, fsmpb.Observation_KIND_FINAL} {
		r.observe(kind, keys...)
	}
}

// pay signs and finishes all that is planned.
func (r *replica) pay() {
	r.t.Helper()
	keys := r.toSign()
	r.sign(keys...)
	r.finish(keys...)
}

// stock fills the pool with n free keys and returns them in the order of birth.
func (r *replica) stock(n uint32) [][]byte {
	r.t.Helper()
	r.ask("stock", "s", n)
	r.generate(uint64(r.View().Shortfall()))
	r.pay()
	keys := r.View().Allocation("ns", "stock").GetKeys()
	require.Len(r.t, keys, int(n))
	r.free("stock", proof(), 0)
	return keys
}

// counts are the numbers of keys and deposits in a state.
func (r *replica) keysIn(s fsmpb.KeyState) int { return int(r.View().Meta().GetKeyCounts()[s]) }

func (r *replica) depositsIn(s fsmpb.DepositState) int {
	return int(r.View().Meta().GetDepositCounts()[s])
}

func (r *replica) holder(pubkey []byte) string { return r.View().Key(pubkey).GetHolder().GetUid() }

func TestCommandWrapsEveryKind(t *testing.T) {
	t.Parallel()
	fields := (&fsmpb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	require.Equal(t, 47, fields.Len(), "a new kind of command: add it to the property test")
}

func sumOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// sameResult compares answers of two machines.
func sameResult(t rapid.TB, want, got Result) {
	t.Helper()
	require.Equal(t, want.Refusal, got.Refusal)
	if x, isMessage := want.Value.(proto.Message); isMessage {
		y, isToo := got.Value.(proto.Message)
		require.True(t, isToo && proto.Equal(x, y), "%v\n%v", want, got)
		return
	}
	a, ok := want.Value.(Allocated)
	if !ok {
		require.Equal(t, want.Value, got.Value)
		return
	}
	b, ok := got.Value.(Allocated)
	require.True(t, ok)
	require.True(t, proto.Equal(a.Allocation, b.Allocation) && proto.Equal(a.Request, b.Request), "%v\n%v", want, got)
}

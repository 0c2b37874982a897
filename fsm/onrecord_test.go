package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// onRecord says of every kind of command whether a change that it makes is worth
// an audit record; where it is not, why. A new kind has to be entered here.
var onRecord = map[protoreflect.Name]string{
	"begin_session":    "",
	"set_member":       "",
	"remove_member":    "",
	"install_keyring":  "",
	"install_seed":     "",
	"update_keyring":   "",
	"reseal":           "", // one for all, which they were tells nothing
	"allocate":         "",
	"release":          "",
	"generate_keys":    "",
	"open_account":     "",
	"sign_deposits":    "",
	"observe_deposits": "",
	"stop_account":     "",
	"resume_deposits":  "",
	"advance_nonce":    "",
	"replace_deposit":  "",
	"set_spare_keys":   "",
	"retire_keys":      "",
	"import_keys":      "",
	"confirm_stopped":  "",
	"create_token":     "",
	"revoke_token":     "",
	"put_object":       "",
	"delete_object":    "",
	"act_on_cloud":     "",

	"install_cloud_key":    "",
	"request_certificates": "",
	"observe_certificates": "", // but for why a certificate waits
	"disclose_kubeconfig":  "",
	"identify_cluster":     "",

	"observe_pods": "",
	"renew_lease":  "", // that one begins

	"adopt_keys": "", // each key that is adopted, and the end of the search

	"raise_feature_level": "",
	"checkpoint":          "compares replicas and changes nothing",
	"stage_restore":       "", // the first part of a backup
	"abandon_restore":     "",
	"finish_restore":      "",
	"confirm_restore":     "",
	"settle_account":      "",
	"confirm_token":       "",
	"record_act":          "", // that is all it does

	"tick":               "time passes; what it ends is recorded",
	"set_deposit_status": "a leader's view of why deposits wait, for people",
	"see_final":          "a leader's view of the chain",
	"observe_validators": "a leader's view of the beacon chain; what follows from it is retire_keys",
}

func TestEveryCommandIsOnRecordOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	fields := commandBodies()
	for i := range fields.Len() {
		require.Contains(t, onRecord, fields.Get(i).Name(), "is a change by this command worth an audit record?")
	}
	require.Len(t, onRecord, fields.Len())
}

func commandBodies() protoreflect.FieldDescriptors {
	return (&fsmpb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName(commandBody).Fields()
}

// substance is the digest of the state without the audit log, and without what
// nobody needs a record of.
func substance(v *View) [sha256.Size]byte {
	h := sha256.New()
	for rec := range v.records() {
		rec = proto.CloneOf(rec)
		switch r := rec.GetRecord().(type) {
		case *fsmpb.Record_Audit, *fsmpb.Record_Staged:
			continue
		case *fsmpb.Record_Meta:
			r.Meta = &fsmpb.Meta{Restore: r.Meta.GetRestore(), Staging: &fsmpb.Staging{RestoreId: r.Meta.GetStaging().GetRestoreId()}, ClusterId: r.Meta.GetClusterId(), Session: r.Meta.GetSession(), SessionNode: r.Meta.GetSessionNode(), FeatureLevel: r.Meta.GetFeatureLevel(), Fence: r.Meta.GetFence(), Seal: &fsmpb.SealState{Revision: r.Meta.GetSeal().GetRevision()}}
		case *fsmpb.Record_DepositStatus:
			if r.DepositStatus = (&fsmpb.DepositStatus{SpareKeys: r.DepositStatus.GetSpareKeys()}); r.DepositStatus.GetSpareKeys() == 0 {
				continue
			}
		case *fsmpb.Record_Certificate:
			r.Certificate.Code, r.Certificate.Detail, r.Certificate.SinceWallMs = "", "", 0
		case *fsmpb.Record_Allocation:
			r.Allocation.LeaseUntilMs, r.Allocation.LeaseWaitMs = min(1, r.Allocation.GetLeaseUntilMs()), 0
		case *fsmpb.Record_Key:
			r.Key.ValidatorStatus, r.Key.ValidatorIndex, r.Key.EffectiveBalanceGwei = "", 0, 0
		}
		if _, err := delimited.MarshalTo(h, rec); err != nil {
			panic(err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// requireOnRecord holds one command against the records that it left: some if it
// changed something, none if not, and in no case more than a refusal's one.
func requireOnRecord(t rapid.TB, before *world, c *fsmpb.Command, res Result, after *world, v *View) {
	t.Helper()
	left := records(v, before.meta.GetNextAudit())
	for _, r := range left {
		require.Equal(t, res.Refusal != nil || c.GetRecordAct().GetFailed() != "", r.Outcome != audit.OutcomeDone, "%v of %v", r, c)
		require.Equal(t, v.Meta().GetAppliedIndex(), r.Index)
		require.Equal(t, v.Meta().GetAppliedTerm(), r.Term)
		require.Equal(t, c.GetCaller().GetName(), r.Caller[audit.CallerName])
		require.NotEmpty(t, r.Action)
	}
	changed := before.substance != after.substance
	switch {
	case res.Refusal != nil:
		require.LessOrEqual(t, len(left), 1)
	case changed:
		require.NotEmpty(t, left, "a change without a record: %v", c)
	case c.GetBeginSession() != nil, c.GetAdoptKeys() != nil, c.GetDiscloseKubeconfig() != nil, c.GetAllocate().GetDisclose(), c.GetGenerateKeys() != nil, c.GetReseal() != nil, c.GetRecordAct() != nil:
		// what they did need not show in what is compared here
	case c.GetObserveDeposits() != nil && len(left) > 1:
		// what the observations of one command did may cancel out: mined and unmined
	default:
		require.Empty(t, left, "a record without a change: %v", c)
	}
	disclosed := c.GetAllocate().GetDisclose() && res.Refusal == nil && after.requests[podName(c.GetAllocate().GetPod())].GetPod().GetUid() != c.GetAllocate().GetPod().GetUid()
	require.Len(t, of(left, "key.disclose"), map[bool]int{true: 1}[disclosed], "%v", c)
}

// publicBytes are the fields of commands that hold bytes which anybody may know.
// All others are taken for secrets, also those that are still to come.
var publicBytes = map[protoreflect.Name]bool{
	"pubkey": true, "pubkeys": true, "account": true, "address": true, "tx_hash": true, "block_hash": true,
	"genesis_hash": true, "hash": true, "contract": true, "credentials": true, "signature": true,
	"public_key": true, "request": true,
}

// TestNoSecretIsOnRecord runs every command with marks in place of its secrets,
// once as it comes and once with what it needs to be accepted.
func TestNoSecretIsOnRecord(t *testing.T) {
	t.Parallel()
	mark := []byte("\x00\x00\x00\x01MARK-of-a-secret-that-nobody-may-see") // under the first data key
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	marked := 0
	fields := commandBodies()
	for i := range fields.Len() {
		body := (&fsmpb.Command{}).ProtoReflect().NewField(fields.Get(i)).Message()
		marked += markSecrets(body, mark)
		if f, ok := body.Interface().(*fsmpb.RaiseFeatureLevel); ok {
			f.Level = FeatureLevel // a higher one stops the node
		}
		r.do(body.Interface())
	}
	require.GreaterOrEqual(t, marked, 4, "the keyring, the seed, an imported key, a transaction")
	require.NotNil(t, r.View().Secret(SecretSeed), "accepted with its mark")
	require.NotNil(t, r.View().Secret(SecretKeyring), "accepted with its mark")
	r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(1), Sealed: mark}}})
	r.ok(&fsmpb.OpenAccount{Account: testAccount(1)})
	r.generate(3)
	r.ask("a", "1", 1)
	s := signed(5, r.toSign()[0])
	s.Attempt.Raw = mark
	r.ok(&fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{s}})
	text := fmt.Sprintf("%+v", records(r.View(), 0))
	require.Contains(t, text, "seed.install")
	for _, form := range []string{string(mark[4:]), hex.EncodeToString(mark), strings.ToUpper(hex.EncodeToString(mark)), base64.StdEncoding.EncodeToString(mark)[:40]} {
		require.NotContains(t, text, form)
	}
}

// markSecrets fills a message, with the mark wherever a secret may stand, and
// counts the marks.
func markSecrets(m protoreflect.Message, mark []byte) (marks int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		secret := f.Kind() == protoreflect.BytesKind && !publicBytes[f.Name()]
		switch {
		case f.IsMap():
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			marks += markSecrets(m.Mutable(f).List().AppendMutable().Message(), mark)
		case f.IsList() && secret:
			m.Mutable(f).List().Append(protoreflect.ValueOfBytes(bytes.Clone(mark)))
			marks++
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(fillValue(f, list.NewElement()))
		case f.Kind() == protoreflect.MessageKind:
			marks += markSecrets(m.Mutable(f).Message(), mark)
		case secret:
			m.Set(f, protoreflect.ValueOfBytes(bytes.Clone(mark)))
			marks++
		default:
			m.Set(f, fillValue(f, m.NewField(f)))
		}
	}
	return marks
}

// TestRecordsAreBounded: what comes from outside does not fill the log.
func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	long := strings.Repeat("x", 100_000)
	r.ok(&fsmpb.SetMember{Member: &fsmpb.Member{NodeId: long, RaftAddress: "r", ApiUrl: long}})
	c := command(r.term, 1, &fsmpb.Release{Namespace: long, Pod: long})
	c.Caller = &fsmpb.Caller{Name: long, Role: long, Remote: long}
	c.RequestId = long
	r.apply(c)
	many := &fsmpb.RetireKeys{Reason: RetiredOperator, Pubkeys: pubkeys(0, 500)}
	r.refused(NotFound, many)
	for a := range r.View().Audit(0) {
		require.Less(t, proto.Size(a), 8<<10, "%s", a.GetAction())
	}
}

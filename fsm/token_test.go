package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func testToken(n byte) *fsmpb.Token {
	return &fsmpb.Token{Name: "ci", Role: "operator", Namespaces: []string{"a", "b"}, Sha256: hash32(n), ExpiresWallMs: 9}
}

func TestTokensComeAndGo(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	asked := testToken(1)
	asked.Id, asked.CreatedBy, asked.CreatedWallMs = "mine", "me", 77 // is for the state machine to say
	made, isToken := r.ok(&fsmpb.CreateToken{Token: asked}).(*fsmpb.Token)
	require.True(t, isToken)
	require.Equal(t, hex.EncodeToString(hash32(1)[:8]), made.GetId())
	require.Equal(t, "tester", made.GetCreatedBy())
	require.Equal(t, r.wall, made.GetCreatedWallMs())
	require.True(t, proto.Equal(made, r.View().Token(made.GetId())))
	require.True(t, proto.Equal(made, r.View().TokenBySHA256([32]byte(hash32(1)))))
	require.Nil(t, r.View().TokenBySHA256([32]byte(hash32(2))))

	audits := r.View().Meta().GetNextAudit()
	require.True(t, proto.Equal(made, r.ok(&fsmpb.CreateToken{Token: testToken(1)}).(*fsmpb.Token)), "a repeat gives the same")
	require.Equal(t, audits, r.View().Meta().GetNextAudit(), "and is no news")
	for _, change := range []func(*fsmpb.Token){
		func(x *fsmpb.Token) { x.Role = "admin" },
		func(x *fsmpb.Token) { x.Name = "other" },
		func(x *fsmpb.Token) { x.Namespaces = nil },
		func(x *fsmpb.Token) { x.ExpiresWallMs = 0 },
	} {
		other := testToken(1)
		change(other)
		r.refused(TokenExists, &fsmpb.CreateToken{Token: other})
	}
	sameID := testToken(1)
	sameID.Sha256[31] ^= 1
	r.refused(TokenExists, &fsmpb.CreateToken{Token: sameID})

	restored := New()
	require.NoError(t, restored.Restore(bytes.NewReader(snapshot(t, r.View()))))
	require.True(t, proto.Equal(made, restored.View().TokenBySHA256([32]byte(hash32(1)))))

	r.ok(&fsmpb.RevokeToken{Id: made.GetId()})
	require.Nil(t, r.View().Token(made.GetId()))
	require.Nil(t, r.View().TokenBySHA256([32]byte(hash32(1))))
	r.refused(NotFound, &fsmpb.RevokeToken{Id: made.GetId()})
	var actions []string
	for a := range r.View().Audit(audits) {
		if a.GetOutcome() != audit.OutcomeDone {
			require.Contains(t, []string{"token.create", "token.revoke"}, a.GetAction())
			require.Equal(t, made.GetId(), a.GetObject())
			continue
		}
		actions = append(actions, a.GetAction()+" "+a.GetObject()+" "+a.GetDetail())
	}
	require.Equal(t, []string{
		"token.create " + made.GetId() + " operator ci in namespaces a,b until 9 ms",
		"token.revoke " + made.GetId() + " operator ci in namespaces a,b until 9 ms",
	}, actions)
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	for name, change := range map[string]func(*fsmpb.Token){
		"no hash":         func(x *fsmpb.Token) { x.Sha256 = nil },
		"short hash":      func(x *fsmpb.Token) { x.Sha256 = x.GetSha256()[:31] },
		"no name":         func(x *fsmpb.Token) { x.Name = "" },
		"long name":       func(x *fsmpb.Token) { x.Name = strings.Repeat("n", maxTokenName+1) },
		"no role":         func(x *fsmpb.Token) { x.Role = "" },
		"role of a pod":   func(x *fsmpb.Token) { x.Role = "pod" },
		"other role":      func(x *fsmpb.Token) { x.Role = "Admin" },
		"empty namespace": func(x *fsmpb.Token) { x.Namespaces = []string{""} },
		"twice":           func(x *fsmpb.Token) { x.Projects = []string{"p", "p"} },
		"too many":        func(x *fsmpb.Token) { x.Projects = slices.Repeat([]string{"p"}, MaxTokenLimits+1) },
		"before 1970":     func(x *fsmpb.Token) { x.ExpiresWallMs = -1 },
	} {
		x := testToken(1)
		change(x)
		require.ErrorIs(t, r.do(&fsmpb.CreateToken{Token: x}).Err(), Refused(Invalid), name)
	}
	r.refused(Invalid, &fsmpb.CreateToken{})
	r.refused(NotFound, &fsmpb.RevokeToken{})
}

func TestTokensAreBounded(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	var batch []*fsmpb.Command
	for i := range MaxTokens {
		sum := sha256.Sum256(orderKey(uint64(i)))
		batch = append(batch, command(1, 1, &fsmpb.CreateToken{Token: &fsmpb.Token{Name: "n", Role: "viewer", Sha256: sum[:]}}))
	}
	// Not one by one through createToken, which counts: that would take long.
	txn := r.store.Load().db.Txn(true)
	for _, c := range batch {
		x := c.GetCreateToken().GetToken()
		x.Id = tokenID(x)
		mustInsert(txn, tableTokens, x)
	}
	txn.Commit()
	r.refused(TooManyTokens, &fsmpb.CreateToken{Token: testToken(1)})
	r.ok(&fsmpb.CreateToken{Token: batch[5].GetCreateToken().GetToken()}) // which is there
	r.ok(&fsmpb.RevokeToken{Id: batch[0].GetCreateToken().GetToken().GetId()})
	r.ok(&fsmpb.CreateToken{Token: testToken(1)})
}

func TestCheckFindsWrongTokens(t *testing.T) {
	t.Parallel()
	for want, x := range map[string]*fsmpb.Token{
		"has the hash of":  {Id: "1234", Name: "n", Role: "viewer", Sha256: hash32(1)},
		"needs its SHA":    {Id: "1234", Name: "n", Role: "viewer", Sha256: []byte{1}},
		"is no role of a ": {Id: hex.EncodeToString(hash32(1)[:8]), Name: "n", Role: "root", Sha256: hash32(1)},
	} {
		r := newReplica(t)
		txn := r.store.Load().db.Txn(true)
		mustInsert(txn, tableTokens, x)
		txn.Commit()
		require.ErrorContains(t, r.View().Check(), want)
		require.ErrorIs(t, New().Restore(bytes.NewReader(snapshot(t, r.View()))), ErrDamaged)
	}
}

// token follows what was made and taken back.
func (l *ledger) token(t rapid.TB, c *fsmpb.Command) {
	t.Helper()
	if x := c.GetCreateToken().GetToken(); x != nil {
		l.tokens[tokenID(x)] = x
	}
	if c.GetRevokeToken() != nil {
		require.Contains(t, l.tokens, c.GetRevokeToken().GetId())
		delete(l.tokens, c.GetRevokeToken().GetId())
	}
}

// checkTokens: exactly those that were made and not taken back let somebody in,
// and as whom nobody but their maker decided.
func (l *ledger) checkTokens(t rapid.TB, after *world) {
	t.Helper()
	require.ElementsMatch(t, slices.Collect(maps.Keys(l.tokens)), slices.Collect(maps.Keys(after.tokens)))
	for id, x := range l.tokens {
		is := after.tokens[id]
		require.Equal(t, x.GetRole(), is.GetRole())
		require.Equal(t, x.GetSha256(), is.GetSha256())
		require.Equal(t, x.GetNamespaces(), is.GetNamespaces())
		require.Equal(t, x.GetExpiresWallMs(), is.GetExpiresWallMs())
	}
}

func drawToken(t *rapid.T, w *world) proto.Message {
	if ids := slices.Sorted(maps.Keys(w.tokens)); rapid.Bool().Draw(t, "revoke") {
		return &fsmpb.RevokeToken{Id: rapid.SampledFrom(append(ids, "", "none")).Draw(t, "id")}
	}
	x := testToken(rapid.Byte().Draw(t, "token") % 4)
	x.Role = rapid.SampledFrom([]string{"admin", "operator", "viewer", "viewer", "pod", ""}).Draw(t, "role")
	if oneIn(t, 3, "whole") {
		x.Namespaces = nil
	}
	if oneIn(t, 10, "short") {
		x.Sha256 = x.GetSha256()[:8]
	}
	return &fsmpb.CreateToken{Token: x}
}

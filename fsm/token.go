package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// Bounds of bearer tokens.
const (
	// MaxTokens is how many there may be at a time, expired ones included.
	MaxTokens = 10_000
	// MaxTokenLimits is how many namespaces, and how many projects, one may name.
	MaxTokenLimits = 100
	maxTokenName   = 128
)

// tokenRoles are those that a bearer token can give. A pod proves itself otherwise.
var tokenRoles = []string{"admin", "operator", "viewer"}

// tokenTable has the tokens by ID and by hash.
func tokenTable() *memdb.TableSchema {
	return table(
		tableTokens,
		func(t *fsmpb.Token) []byte { return []byte(t.GetId()) },
		partial(indexHash, nil, func(t *fsmpb.Token) []byte { return t.GetSha256() }),
	)
}

// Token returns the bearer token with the ID, nil if there is none.
func (v *View) Token(id string) *fsmpb.Token {
	return first[*fsmpb.Token](v.txn, tableTokens, []byte(id))
}

// TokenBySHA256 returns the bearer token with the hash, nil if there is none.
// Whether it has expired is for the caller to see.
func (v *View) TokenBySHA256(hash [sha256.Size]byte) *fsmpb.Token {
	for t := range rows[*fsmpb.Token](v.txn, tableTokens, indexHash, hash[:]...) {
		return t
	}
	return nil
}

// Tokens iterates over all bearer tokens by ID, from the first that is not less than from.
func (v *View) Tokens(from string) iter.Seq[*fsmpb.Token] {
	return lowerBound[*fsmpb.Token](v.txn, tableTokens, []byte(from))
}

// tokenID names a token without giving anything away: it is a part of its hash,
// which is that of 32 random bytes.
func tokenID(t *fsmpb.Token) string {
	const part = 8
	return hex.EncodeToString(t.GetSha256()[:min(part, len(t.GetSha256()))])
}

// createToken lets a caller in. Its value is the [*fsmpb.Token] as it is kept. The
// same token for the same caller again changes nothing, so a repeat is safe.
func (w *write) createToken(asked *fsmpb.Token) Result {
	if no := checkToken(asked); no != nil {
		return Result{Refusal: no}
	}
	t := &fsmpb.Token{
		Id: tokenID(asked), Name: asked.GetName(), Role: asked.GetRole(),
		Namespaces: asked.GetNamespaces(), Projects: asked.GetProjects(),
		Sha256: asked.GetSha256(), ExpiresWallMs: asked.GetExpiresWallMs(),
		CreatedWallMs: w.cmd.GetWallMs(), CreatedBy: brief(w.cmd.GetCaller().GetName()),
	}
	if old := first[*fsmpb.Token](w.txn, tableTokens, []byte(t.GetId())); old != nil {
		again := proto.CloneOf(t)
		again.CreatedWallMs, again.CreatedBy = old.GetCreatedWallMs(), old.GetCreatedBy()
		if proto.Equal(again, old) {
			return Result{Value: old}
		}
		if old.GetSuspended() {
			return Result{Refusal: refuse(TokenExists, "token %s is there already and suspended since a restore: confirm it, or revoke it", old.GetId())}
		}
		return Result{Refusal: refuse(TokenExists, "token %s is there already, as %s with the role %s", old.GetId(), old.GetName(), old.GetRole())}
	}
	n := 0
	for range lowerBound[*fsmpb.Token](w.txn, tableTokens, nil) {
		n++
	}
	if n >= MaxTokens {
		return Result{Refusal: refuse(TooManyTokens, "there are %d tokens, the most that are kept: revoke those that have expired", n)}
	}
	mustInsert(w.txn, tableTokens, t)
	w.record("token.create", t.GetId(), tokenText(t))
	return Result{Value: t}
}

// revokeToken takes a token back. Its value is nil.
func (w *write) revokeToken(c *fsmpb.RevokeToken) Result {
	t := first[*fsmpb.Token](w.txn, tableTokens, []byte(c.GetId()))
	if t == nil {
		return Result{Refusal: refuse(NotFound, "the cluster has no token %q", brief(c.GetId()))}
	}
	mustDelete(w.txn, tableTokens, t)
	w.record("token.revoke", t.GetId(), tokenText(t))
	return Result{}
}

// tokenText says in the audit log what a token lets its caller do.
func tokenText(t *fsmpb.Token) string {
	text := t.GetRole() + " " + t.GetName()
	if len(t.GetNamespaces()) > 0 {
		text += " in namespaces " + strings.Join(t.GetNamespaces(), ",")
	}
	if len(t.GetProjects()) > 0 {
		text += " in projects " + strings.Join(t.GetProjects(), ",")
	}
	if t.GetExpiresWallMs() != 0 {
		text += fmt.Sprintf(" until %d ms", t.GetExpiresWallMs())
	}
	return brief(text)
}

func checkToken(t *fsmpb.Token) *Refusal {
	switch {
	case len(t.GetSha256()) != sha256.Size:
		return refuse(Invalid, "a token needs its SHA-256, %d bytes, got %d", sha256.Size, len(t.GetSha256()))
	case t.GetName() == "" || len(t.GetName()) > maxTokenName:
		return refuse(Invalid, "a token needs a name of 1 to %d bytes", maxTokenName)
	case !slices.Contains(tokenRoles, t.GetRole()):
		return refuse(Invalid, "%q is no role of a token: want one of %s", brief(t.GetRole()), strings.Join(tokenRoles, ", "))
	case t.GetExpiresWallMs() < 0:
		return refuse(Invalid, "a token can not expire before 1970")
	}
	for _, list := range [][]string{t.GetNamespaces(), t.GetProjects()} {
		if len(list) > MaxTokenLimits {
			return refuse(Invalid, "a token for %d namespaces or projects: at most %d", len(list), MaxTokenLimits)
		}
		for i, name := range list {
			if name == "" || len(name) > maxName || slices.Contains(list[:i], name) {
				return refuse(Invalid, "%q is no namespace or project, or is there twice", brief(name))
			}
		}
	}
	return nil
}

// checkTokens: every token is one that can be made, under its own ID and hash.
func (c *checker) checkTokens() {
	n := 0
	for t := range c.view.Tokens("") {
		n++
		if no := checkToken(t); no != nil {
			c.failf("token %s: %w", t.GetId(), no)
			continue
		}
		if t.GetId() != tokenID(t) {
			c.failf("token %s has the hash of %s", t.GetId(), tokenID(t))
		}
		if found := c.view.TokenBySHA256([sha256.Size]byte(t.GetSha256())); found.GetId() != t.GetId() {
			c.failf("token %s is not found by its hash, %q is", t.GetId(), found.GetId())
		}
	}
	if n > MaxTokens {
		c.failf("%d tokens, at most %d may be", n, MaxTokens)
	}
}

package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
)

var tokenID = regexp.MustCompile(`^[0-9a-f]{16}$`)

func (s *Server) listTokens(c *call) (answer, error) {
	list := wire.TokenList{Tokens: []wire.Token{}}
	for t := range c.reading.view.Tokens("") {
		list.Tokens = append(list.Tokens, tokenOf(t))
	}
	return ok(list), nil
}

// createToken lets the owner of a token in, of which only the hash comes here.
func (s *Server) createToken(c *call, body wire.NewToken) (answer, error) {
	hash, err := hex.DecodeString(body.Sha256)
	if err != nil || len(hash) != sha256.Size {
		return answer{}, badField("sha256", "want %d hex digits, the SHA-256 of the token", 2*sha256.Size)
	}
	if !saneTokenName.MatchString(body.Name) {
		return answer{}, badField("name", "want 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
	}
	if !body.Role.Valid() {
		return answer{}, badField("role", "%s is none of admin, operator, viewer", told(string(body.Role)))
	}
	if err := checkLimits(body.Namespaces, body.Projects); err != nil {
		return answer{}, err
	}
	token := &fsmpb.Token{
		Name: body.Name, Role: string(body.Role), Namespaces: body.Namespaces, Projects: body.Projects, Sha256: hash,
	}
	if !body.Expires.IsZero() {
		if !body.Expires.After(failpoint.Now()) {
			return answer{}, badField("expires", "%s is over, by the clock of this node", body.Expires.UTC().Format(time.RFC3339))
		}
		token.ExpiresWallMs = body.Expires.UnixMilli()
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_CreateToken{CreateToken: &fsmpb.CreateToken{Token: token}}
	value, err := s.propose(c.ctx(), cmd)
	if err != nil {
		return answer{}, err
	}
	made, isToken := value.(*fsmpb.Token)
	if !isToken {
		return answer{}, errors.New("a CreateToken command was answered with another type")
	}
	return ok(tokenOf(made)), nil
}

func (s *Server) revokeToken(c *call) (answer, error) {
	id := c.echo.Param("id")
	if !tokenID.MatchString(id) {
		return answer{}, badField("id", "want 16 hex digits, as the list of tokens has them")
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_RevokeToken{RevokeToken: &fsmpb.RevokeToken{Id: id}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// confirmToken lets a token in again that came with a restore.
func (s *Server) confirmToken(c *call) (answer, error) {
	id := c.echo.Param("id")
	if !tokenID.MatchString(id) {
		return answer{}, badField("id", "want 16 hex digits, as the list of tokens has them")
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_ConfirmToken{ConfirmToken: &fsmpb.ConfirmToken{Id: id}}
	value, err := s.propose(c.ctx(), cmd)
	if err != nil {
		return answer{}, err
	}
	t, isToken := value.(*fsmpb.Token)
	if !isToken {
		return answer{}, errors.New("a ConfirmToken command was answered with another type")
	}
	return ok(tokenOf(t)), nil
}

func tokenOf(t *fsmpb.Token) wire.Token {
	expires := wallTime(t.GetExpiresWallMs())
	return wire.Token{
		ID: t.GetId(), Name: t.GetName(), Role: wire.TokenRole(t.GetRole()),
		Namespaces: t.GetNamespaces(), Projects: t.GetProjects(),
		Created: wallTime(t.GetCreatedWallMs()), CreatedBy: t.GetCreatedBy(),
		Expires: expires, Expired: !expires.IsZero() && !failpoint.Now().Before(expires),
		Suspended: t.GetSuspended(),
	}
}

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/keysteward/keysteward/api"
)

// roles are those that get a token each, in a file of the same name.
var roles = []api.Role{api.RoleAdmin, api.RoleOperator, api.RoleViewer}

// tokens are the files with the tokens, and the one with their hashes, which the
// nodes read.
type tokens struct {
	Admin, Operator, Viewer string
	Hashes                  string
}

type tokenHash struct {
	Name   string   `json:"name"`
	Role   api.Role `json:"role"`
	SHA256 string   `json:"sha256"`
}

// openTokens finds the tokens of the folder, or mints them. Hashes that an
// operator added stay while no token is minted.
func openTokens(f *folder) (tokens, error) {
	t := tokens{
		Admin: f.in("tokens", "admin"), Operator: f.in("tokens", "operator"), Viewer: f.in("tokens", "viewer"),
		Hashes: f.in("tokens", "hashes.json"),
	}
	minted := !exists(t.Hashes)
	var list []tokenHash
	for i, path := range []string{t.Admin, t.Operator, t.Viewer} {
		token, err := keepFile(path, func() (string, error) {
			minted = true
			token, _ := api.NewToken()
			return token, nil
		})
		if err != nil {
			return t, fmt.Errorf("token of the %s: %w", roles[i], err)
		}
		hash := sha256.Sum256([]byte(token))
		list = append(list, tokenHash{Name: string(roles[i]), Role: roles[i], SHA256: hex.EncodeToString(hash[:])})
	}
	if !minted {
		return t, nil
	}
	raw, err := json.MarshalIndent(map[string]any{"tokens": list}, "", "  ")
	if err != nil {
		return t, fmt.Errorf("hashes of tokens: %w", err)
	}
	return t, writeFile(t.Hashes, append(raw, '\n'))
}

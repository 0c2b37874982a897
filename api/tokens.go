package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/keysteward/keysteward/node/failpoint"
)

// ErrTokens is wrapped by every error about a token file.
var ErrTokens = errors.New("invalid token file")

var saneTokenName = regexp.MustCompile(`^[A-Za-z0-9._:@/-]{1,128}$`)

// Tokens are the bearer tokens of a server's file, which holds their hashes:
//
//	{"tokens":[{"name":"ci","role":"operator","sha256":"<64 hex digits>",
//	            "namespaces":["staging"],"projects":[],"expires":"2027-01-31T00:00:00Z"}]}
//
// It is the way in before the cluster has tokens, and when all of those are lost.
// The file is read again when it changes. A file that has become invalid is
// logged, and what was read before stays in force; once it is taken away none of its
// tokens is good any more. A nil Tokens has none. It may be readable by all,
// because a hash of 32 random bytes tells nothing, but writable by its owner only.
type Tokens struct {
	file *watched[map[[sha256.Size]byte]fileToken]
}

// fileToken is a caller, and when its token ends; never if that is zero.
type fileToken struct {
	caller  Caller
	expires time.Time
}

type tokenFile struct {
	Tokens []tokenEntry `json:"tokens"`
}

type tokenEntry struct {
	Name       string    `json:"name"`
	Role       Role      `json:"role"`
	SHA256     string    `json:"sha256"`
	Namespaces []string  `json:"namespaces,omitempty"`
	Projects   []string  `json:"projects,omitempty"`
	Expires    time.Time `json:"expires,omitzero"`
}

// OpenTokens reads the file; its errors wrap [ErrTokens].
func OpenTokens(path string, log *slog.Logger) (*Tokens, error) {
	file, err := watch("token file", path, log, parseTokens)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokens, err)
	}
	return &Tokens{file: file}, nil
}

// Lookup returns the caller whose token this is, unless the token has expired.
func (t *Tokens) Lookup(token string) (Caller, bool) {
	caller, expires, found := t.lookup(sha256.Sum256([]byte(token)))
	if !found || !expires.IsZero() && !failpoint.Now().Before(expires) {
		return Caller{}, false
	}
	return caller, true
}

// lookup returns the caller whose token has the hash.
func (t *Tokens) lookup(hash [sha256.Size]byte) (c Caller, expires time.Time, found bool) {
	if t == nil {
		return Caller{}, time.Time{}, false
	}
	entry, found := t.file.now()[hash]
	return entry.caller, entry.expires, found
}

// decodeFile reads a file's text strictly: a slip must not open a door.
func decodeFile(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("not the expected JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON")
	}
	return nil
}

func parseTokens(data []byte) (map[[sha256.Size]byte]fileToken, error) {
	var file tokenFile
	if err := decodeFile(data, &file); err != nil {
		return nil, err
	}
	names := make(map[string]bool)
	byHash := make(map[[sha256.Size]byte]fileToken)
	for i, e := range file.Tokens {
		hash, err := hex.DecodeString(e.SHA256)
		limits := checkLimits(e.Namespaces, e.Projects)
		switch {
		case err != nil || len(hash) != sha256.Size:
			return nil, fmt.Errorf("token %d: sha256 is not 64 hex digits", i+1)
		case !saneTokenName.MatchString(e.Name) || names[e.Name]:
			return nil, fmt.Errorf("token %d: the name %q is malformed or taken", i+1, e.Name)
		case !slices.Contains(givenRoles, e.Role):
			return nil, fmt.Errorf("token %d: role %q is none of admin, operator, viewer", i+1, e.Role)
		case limits != nil:
			return nil, fmt.Errorf("token %d: %w", i+1, limits)
		}
		key := [sha256.Size]byte(hash)
		if _, taken := byHash[key]; taken {
			return nil, fmt.Errorf("token %d: the same token twice", i+1)
		}
		names[e.Name] = true
		byHash[key] = fileToken{expires: e.Expires, caller: Caller{
			Name: e.Name, Role: e.Role, Namespaces: e.Namespaces, Projects: e.Projects,
			Method: byTokenFile, Credential: tokenIDOf(key),
		}}
	}
	return byHash, nil
}

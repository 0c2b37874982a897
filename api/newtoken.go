package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// tokenPrefix lets scanners of source and logs find a token that leaked.
const tokenPrefix = "kst_"

// NewToken mints a bearer token of 32 random bytes and returns it with the
// SHA-256 that stands for it in a token file.
func NewToken() (token, sha256hex string) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	token = tokenPrefix + hex.EncodeToString(secret[:])
	clear(secret[:])
	hash := sha256.Sum256([]byte(token))
	return token, hex.EncodeToString(hash[:])
}

// TokenFile returns the text of a token file with one token.
func TokenFile(name string, role Role, sha256hex string) ([]byte, error) {
	text, err := json.MarshalIndent(tokenFile{Tokens: []tokenEntry{{Name: name, Role: role, SHA256: sha256hex}}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode token file: %w", err)
	}
	text = append(text, '\n')
	if _, err := parseTokens(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokens, err)
	}
	return text, nil
}

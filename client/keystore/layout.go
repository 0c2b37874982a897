package keystore

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Layout names the validator client whose folders are written.
type Layout string

// The layouts. Each row gives what stands under the destination; PK is the public
// key with 0x.
const (
	// Lighthouse: validators/PK/voting-keystore.json, secrets/PK.
	Lighthouse Layout = "lighthouse"
	// Lodestar: keystores/PK/voting-keystore.json, secrets/PK.
	Lodestar Layout = "lodestar"
	// Nimbus: validators/PK/keystore.json, secrets/PK.
	Nimbus Layout = "nimbus"
	// Teku, and Web3Signer: PK.json, PK.txt.
	Teku Layout = "teku"
	// Prysm: wallet/direct/accounts/all-accounts.keystore.json with all keys,
	// wallet/direct/keymanageropts.json, wallet-password.
	Prysm Layout = "prysm"
)

// Layouts returns all layouts.
func Layouts() []Layout { return []Layout{Lighthouse, Lodestar, Nimbus, Teku, Prysm} }

// ParseLayout returns the layout of this name; the error lists them.
func ParseLayout(name string) (Layout, error) {
	if layout := Layout(name); slices.Contains(Layouts(), layout) {
		return layout, nil
	}
	names := make([]string, 0, len(Layouts()))
	for _, layout := range Layouts() {
		names = append(names, string(layout))
	}
	return "", fmt.Errorf("unknown layout %q: choose one of %s", name, strings.Join(names, ", "))
}

// scheme says where a layout with one keystore a key has its files. Paths have
// slashes and are relative to the destination.
type scheme struct {
	folder, file    string // folder/PK/file, or folder/PK+file if flat
	secrets, suffix string
	flat            bool
}

var schemes = map[Layout]scheme{
	Lighthouse: {folder: "validators", file: "voting-keystore.json", secrets: "secrets"},
	Lodestar:   {folder: "keystores", file: "voting-keystore.json", secrets: "secrets"},
	Nimbus:     {folder: "validators", file: "keystore.json", secrets: "secrets"},
	Teku:       {folder: ".", file: ".json", secrets: ".", suffix: ".txt", flat: true},
}

func (s scheme) keystorePath(key validator.PublicKey) string {
	if s.flat {
		return path.Join(s.folder, key.String()+s.file)
	}
	return path.Join(s.folder, key.String(), s.file)
}

func (s scheme) passwordPath(key validator.PublicKey) string {
	return path.Join(s.secrets, key.String()+s.suffix)
}

// roots are the names under the destination that belong to the layout; nil if its
// files lie in the destination itself.
func (l Layout) roots() []string {
	if l == Prysm {
		return []string{prysmPassword, prysmWallet}
	}
	if s := schemes[l]; !s.flat {
		return []string{s.secrets, s.folder}
	}
	return nil
}

// isPassword tells password files from keystores. Passwords are put in place
// first: alone they are harmless, while a keystore without its password is not.
func (l Layout) isPassword(name string) bool {
	if l == Prysm {
		return name == prysmPassword
	}
	s := schemes[l]
	if s.flat {
		return strings.HasSuffix(name, s.suffix)
	}
	return name == s.secrets || strings.HasPrefix(name, s.secrets+"/")
}

// keyIn returns the public key that a path names in one of its parts.
func keyIn(name string) (validator.PublicKey, bool) {
	for part := range strings.SplitSeq(name, "/") {
		digits, found := strings.CutPrefix(part, "0x")
		if stem, _, dotted := strings.Cut(digits, "."); dotted {
			digits = stem
		}
		if key, err := validator.ParsePublicKey(digits); found && err == nil {
			return key, true
		}
	}
	return validator.PublicKey{}, false
}

// looksLikeKeystore tells whether a client might load this file as a key.
func (l Layout) looksLikeKeystore(name string) bool {
	base := path.Base(name)
	if l == Prysm {
		return base == path.Base(prysmAccounts)
	}
	return base == schemes[l].file || (strings.HasPrefix(base, "keystore") && strings.HasSuffix(base, ".json")) ||
		(schemes[l].flat && strings.HasSuffix(base, ".json"))
}

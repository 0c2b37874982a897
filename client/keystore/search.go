package keystore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Found is a keystore in a folder that anybody may have written.
type Found struct {
	// File is the keystore's file, below the folder that was searched.
	File string
	// PasswordFile lies where some layout has it; empty if there is none.
	PasswordFile string

	keystore Keystore
	wallet   []byte // instead of keystore: Prysm's file of all accounts
}

// Skipped is a JSON file that is not taken for a keystore.
type Skipped struct {
	File   string
	Reason string
	// Damaged says that it may have been one.
	Damaged bool
}

// maxWalletSize bounds Prysm's file of all accounts; 10,000 keys have 2 MiB.
const maxWalletSize = 16 << 20

// Search finds the keystores of EIP-2335 and of Prysm among the *.json files of a
// folder and those below it, by name. Each file is in one of the two lists. Hidden
// files and folders are passed over: mounted secrets keep their versions there.
func Search(dir string) ([]Found, []Skipped, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("search for keystores: %w", err)
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return nil, nil, fmt.Errorf("search for keystores: %s is not a folder", dir)
	}
	var found []Found
	var skipped []Skipped
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != root && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || !strings.EqualFold(filepath.Ext(name), ".json") {
			return nil
		}
		if one, why := examine(name); why != nil {
			skipped = append(skipped, *why)
		} else {
			found = append(found, one)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("search for keystores: %w", err)
	}
	return found, skipped, nil
}

// examine reads one file, a symbolic link's target included.
func examine(name string) (Found, *Skipped) {
	isWallet := filepath.Base(name) == filepath.Base(prysmAccounts)
	limit := int64(maxKeystoreSize)
	if isWallet {
		limit = maxWalletSize
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return Found{}, &Skipped{File: name, Reason: err.Error(), Damaged: true}
	case !info.Mode().IsRegular():
		return Found{}, &Skipped{File: name, Reason: "not a regular file"}
	case info.Size() > limit:
		return Found{}, &Skipped{File: name, Reason: fmt.Sprintf("%d bytes are too many for a keystore", info.Size())}
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return Found{}, &Skipped{File: name, Reason: err.Error(), Damaged: true}
	}
	if !json.Valid(raw) {
		return Found{}, &Skipped{File: name, Reason: "not JSON", Damaged: true}
	}
	var look struct {
		Crypto  json.RawMessage `json:"crypto"`
		Version json.RawMessage `json:"version"`
	}
	if err := json.Unmarshal(raw, &look); err != nil || look.Crypto == nil {
		return Found{}, &Skipped{File: name, Reason: "no keystore"}
	}
	if text := string(look.Version); text != strconv.Itoa(version) {
		return Found{}, &Skipped{File: name, Reason: fmt.Sprintf("a keystore of version %.20s, EIP-2335 is version %d", text, version)}
	}
	one := Found{File: name, PasswordFile: passwordFor(name)}
	if isWallet {
		one.wallet = raw
		return one, nil
	}
	if one.keystore, err = Parse(raw); err != nil {
		return Found{}, &Skipped{File: name, Reason: err.Error(), Damaged: true}
	}
	return one, nil
}

// passwordFor returns the file in which a layout keeps the password of a keystore.
func passwordFor(name string) string {
	folder := filepath.Dir(name)
	stem := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	candidates := []string{
		filepath.Join(folder, stem+schemes[Teku].suffix),
		// Teku with --validator-keys=keys:passwords
		filepath.Join(filepath.Dir(folder), "passwords", stem+schemes[Teku].suffix),
		// Lighthouse, Lodestar, Nimbus: <any>/PK/<any>.json and secrets/PK
		filepath.Join(filepath.Dir(filepath.Dir(folder)), schemes[Lighthouse].secrets, filepath.Base(folder)),
	}
	if wallet, found := strings.CutSuffix(filepath.ToSlash(name), prysmAccounts); found {
		candidates = append(candidates, filepath.Join(filepath.FromSlash(wallet), prysmPassword))
	}
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
			return candidate
		}
	}
	return ""
}

// ErrNoPassword is returned for a keystore that has no password file where a
// layout would have it.
var ErrNoPassword = errors.New("no password file lies beside the keystore")

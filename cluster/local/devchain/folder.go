package devchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
)

// markerName is the file in the data folder that says whose chain lies there. It is
// written before anything else, so a folder with other files and without it is not ours.
const markerName = "devchain.json"

// marker is what must be the same whenever a chain is started on one folder. The chain ID
// is not part of the genesis block's hash, hence a check of that hash alone does not do.
type marker struct {
	ChainID uint64         `json:"chainId"`
	Funded  common.Address `json:"fundedAddress"`
	Genesis common.Hash    `json:"genesisHash"`
}

// claimFolder makes dir the folder of the chain want, or checks that it is.
// A folder of anything else is ErrForeignDir and stays untouched.
func claimFolder(dir string, want marker) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the development chain's folder: %w", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, markerName))
	if errors.Is(err, os.ErrNotExist) {
		return claimEmpty(dir, want)
	}
	if err != nil {
		return fmt.Errorf("read the development chain's folder: %w", err)
	}
	var have marker
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&have); err != nil {
		return fmt.Errorf("%w: %s in %s cannot be read: %w", ErrForeignDir, markerName, dir, err)
	}
	return have.check(dir, want)
}

// check says in which way the chain in dir is another one than want.
func (m marker) check(dir string, want marker) error {
	switch {
	case m.ChainID != want.ChainID:
		return fmt.Errorf("%w: %s holds a chain with ID %d, not %d", ErrForeignDir, dir, m.ChainID, want.ChainID)
	case m.Funded != want.Funded:
		return fmt.Errorf("%w: %s holds a chain that funds %s, not %s", ErrForeignDir, dir, m.Funded, want.Funded)
	case m.Genesis != want.Genesis:
		return fmt.Errorf("%w: %s holds a chain with the genesis block %s, not %s (made by another version?)",
			ErrForeignDir, dir, m.Genesis, want.Genesis)
	default:
		return nil
	}
}

// claimEmpty writes the marker into dir if nothing else is there.
func claimEmpty(dir string, want marker) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the development chain's folder: %w", err)
	}
	const unfinished = markerName + ".tmp" // left by a process that was killed right here
	for _, entry := range entries {
		if entry.Name() != unfinished {
			return fmt.Errorf("%w: %s holds %q and no %s", ErrForeignDir, dir, entry.Name(), markerName)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs the execute bit
		return fmt.Errorf("restrict the development chain's folder: %w", err)
	}
	raw, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", markerName, err)
	}
	temporary := filepath.Join(dir, unfinished)
	if err := os.WriteFile(temporary, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", markerName, err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, markerName)); err != nil {
		return fmt.Errorf("write %s: %w", markerName, err)
	}
	return nil
}

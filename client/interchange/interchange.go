// Package interchange writes slashing protection files (EIP-3076, version 5) in the
// minimal form: for each key a slot and an epoch below which nothing is signed any
// more. A validator client imports the file before it signs.
package interchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

// ErrClock says that the clock of this machine is so far behind that of the cluster's
// leader that a file made by it would keep the validator from signing, or be too low.
var ErrClock = errors.New("the clocks differ")

// maxAhead is how many slots the watermark of the cluster may be ahead of our clock.
const maxAhead = 32

type file struct {
	Metadata metadata `json:"metadata"`
	Data     []record `json:"data"`
}

type metadata struct {
	Version string `json:"interchange_format_version"`
	Root    string `json:"genesis_validators_root"`
}

type record struct {
	Pubkey       string        `json:"pubkey"`
	Blocks       []block       `json:"signed_blocks"`
	Attestations []attestation `json:"signed_attestations"`
}

type block struct {
	Slot string `json:"slot"`
}

type attestation struct {
	Source string `json:"source_epoch"`
	Target string `json:"target_epoch"`
}

// Encode makes the file for keys ("0x…") at a time. The watermark is the later one of
// what the cluster says, which covers earlier holders, and of now, which covers what
// this pod itself signed before its memory was lost. An attestation's source is below
// its target, so none that was signed has a later source than the epoch before.
func Encode(chain wire.SlashingProtection, keys []string, now time.Time) ([]byte, error) {
	if chain.SecondsPerSlot < 1 || chain.SlotsPerEpoch < 1 || len(chain.GenesisValidatorsRoot) != 2+64 {
		return nil, errors.New("the cluster's answer does not say which chain it is")
	}
	own := max(0, (now.Unix()-chain.GenesisTime)/chain.SecondsPerSlot)
	if chain.Slot > own+maxAhead {
		return nil, fmt.Errorf("%w: by the cluster's leader the keys were in use until slot %d, by the clock of this machine it is slot %d: mend the clocks", ErrClock, chain.Slot, own)
	}
	slot := max(own, chain.Slot)
	epoch := slot / chain.SlotsPerEpoch
	f := file{Metadata: metadata{Version: "5", Root: chain.GenesisValidatorsRoot}, Data: make([]record, len(keys))}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for i, key := range keys {
		f.Data[i] = record{
			Pubkey: key, Blocks: []block{{number(slot)}},
			Attestations: []attestation{{Source: number(max(0, epoch-1)), Target: number(epoch)}},
		}
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(data, '\n'), nil
}

// Write puts the file in its place whole, readable by its owner only.
func Write(name string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("slashing protection: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("slashing protection: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("slashing protection: %w", err)
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

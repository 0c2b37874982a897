package cli

import (
	"fmt"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// importBatch is the keys that an import brings, and a row for everything that was
// found in the folder.
type importBatch struct {
	rows []importRow
	// secrets are the keys to bring, each once; places are the rows that tell of them.
	secrets []*validator.SecretKey
	places  []int
	known   map[validator.PublicKey]wire.Key
}

// newImportBatch takes the secrets over.
func newImportBatch(opened []keystore.Opened, skipped []keystore.Skipped, known map[validator.PublicKey]wire.Key) *importBatch {
	b := &importBatch{known: known}
	first := map[validator.PublicKey]string{}
	for _, one := range opened {
		if one.Err != nil {
			b.rows = append(b.rows, importRow{Result: resultRefused, File: one.File, Reason: one.Err.Error()})
		}
		for _, key := range one.Keys {
			b.add(first, key)
		}
	}
	for _, one := range skipped {
		row := importRow{Result: resultSkipped, File: one.File, Reason: one.Reason}
		if one.Damaged {
			row.Result = resultRefused
		}
		b.rows = append(b.rows, row)
	}
	return b
}

func (b *importBatch) add(first map[validator.PublicKey]string, key keystore.Entry) {
	row := importRow{Pubkey: key.PublicKey.String(), Result: resultWould, File: key.File}
	held, isKnown := b.known[key.PublicKey]
	switch file, again := first[key.PublicKey]; {
	case again:
		row.Result, row.Reason = resultDuplicate, "the same key as "+file
		key.Secret.Zero()
	case isKnown:
		row.Result, row.Reason = string(wire.ImportResultKnown), "the cluster has it: "+string(held.State)
		if !held.Imported {
			row.Result = resultOwn
			row.Reason = fmt.Sprintf("the cluster derives it from its seed: %s; no other validator may use it", held.State)
		}
		key.Secret.Zero()
	default:
		b.secrets, b.places = append(b.secrets, key.Secret), append(b.places, len(b.rows))
	}
	if first[key.PublicKey] == "" {
		first[key.PublicKey] = key.File
	}
	b.rows = append(b.rows, row)
}

// note takes down what the cluster answered about the first of the secrets.
func (b *importBatch) note(results []wire.ImportedKey) {
	for i, place := range b.places {
		row := &b.rows[place]
		if i < len(results) {
			row.Result = string(results[i].Result)
			continue
		}
		row.Result, row.Reason = resultUnknown, "the import broke off; repeat it"
	}
}

// refusal is an error if some file or key was refused.
func (b *importBatch) refusal() error {
	n := 0
	for _, row := range b.rows {
		if row.Result == resultRefused {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("refused: %d of %d", n, len(b.rows))
}

func (b *importBatch) zero() {
	for _, secret := range b.secrets {
		secret.Zero()
	}
}

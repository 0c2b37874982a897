package keystore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Result says what Write did.
type Result struct {
	// Written is the number of keys written, new or again.
	Written int
	// Kept is the number of keys that were there already and right.
	Kept int
	// Ended is the number of keys that are over and stay in the folder; Revoked that
	// of those that were taken out.
	Ended, Revoked int
}

// Write writes keys into a folder in the layout of a validator client, all of
// them or none; the package comment says how. Keys that the folder already holds
// are kept, with the passwords they have, whatever Options say; for Prysm an
// intact wallet keeps its password also when keys are added. The error wraps
// ErrOccupied if the folder holds anything else and ErrBusy during another run.
func Write(ctx context.Context, dir string, layout Layout, keys []Key, options Options) (Result, error) {
	if _, err := ParseLayout(string(layout)); err != nil {
		return Result{}, err
	}
	keys, err := sorted(keys)
	if err != nil {
		return Result{}, err
	}
	if options, err = options.complete(); err != nil {
		return Result{}, err
	}
	f, err := openFolder(dir, options.disk)
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	result, err := f.fill(ctx, layout, keys, options)
	if err != nil {
		f.discard()
	}
	return result, err
}

// Check tells, before keys are asked for, whether Write could use a folder: it does
// not exist, is empty, or holds keys of ours in this layout, whose public keys are
// returned. What a killed run left is removed. Errors as Write.
func Check(dir string, layout Layout) ([]validator.PublicKey, error) {
	if _, err := ParseLayout(string(layout)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	f, err := openFolder(dir, realDisk{})
	if err != nil {
		return nil, err
	}
	defer f.close()
	found, err := f.inspect(layout)
	if err != nil || found.manifest == nil {
		return nil, err
	}
	return found.manifest.PublicKeys, nil
}

// sorted returns the keys by public key; none and twice the same are refused.
func sorted(keys []Key) ([]Key, error) {
	if len(keys) == 0 {
		return nil, errors.New("there are no keys to write")
	}
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].public = keys[i].Secret.PublicKey()
	}
	slices.SortFunc(keys, func(a, b Key) int { return bytes.Compare(a.public[:], b.public[:]) })
	for i := 1; i < len(keys); i++ {
		if keys[i].public == keys[i-1].public {
			return nil, fmt.Errorf("key %s is there twice", keys[i].public)
		}
	}
	return keys, nil
}

// fill brings a folder to hold these keys, and none beside them but ended ones.
func (f *folder) fill(ctx context.Context, layout Layout, keys []Key, options Options) (Result, error) {
	found, err := f.inspect(layout)
	if err != nil {
		return Result{}, err
	}
	need, err := found.missing(layout, keys, options, f.path)
	if err != nil {
		return Result{}, err
	}
	revoked := found.ofManifest(options.Revoked)
	if len(revoked) > 0 && layout != Prysm {
		if err := f.takeOut(ctx, layout, revoked, found, options.Rand); err != nil {
			return Result{}, fmt.Errorf("take retired keys out of %s: %w", f.path, err)
		}
		if found, err = f.inspect(layout); err != nil {
			return Result{}, err
		}
	}
	if len(need) > 0 {
		if err := f.add(ctx, layout, keys, need, found, options); err != nil {
			return Result{}, err
		}
	}
	for name, mode := range found.modes {
		if err := f.disk.chmod(f.at(name), mode); err != nil && !errors.Is(err, os.ErrNotExist) {
			return Result{}, fmt.Errorf("mend the mode of %s: %w", f.at(name), err)
		}
	}
	ended := found.staying(layout, options.Ended, len(need) > 0)
	return Result{Written: len(need), Kept: len(keys) - len(need), Ended: len(ended), Revoked: len(revoked)}, nil
}

// add encrypts the keys that are needed and puts them in place, or changes nothing.
func (f *folder) add(ctx context.Context, layout Layout, keys, need []Key, found held, options Options) error {
	files, err := f.render(ctx, layout, need, found, options)
	if err != nil {
		return err
	}
	next, err := nextManifest(layout, keys, files, found, options)
	if err != nil {
		return err
	}
	if err := f.exchange(ctx, layout, files, next, options.Rand); err != nil {
		return fmt.Errorf("write keystores to %s: %w", f.path, err)
	}
	return nil
}

// exchange puts files and a manifest in place, or changes nothing.
func (f *folder) exchange(ctx context.Context, layout Layout, files []file, next []byte, random io.Reader) error {
	stage, err := f.stage(files, next, random)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = f.publish(stage, layout)
	}
	// After success only the empty hidden folder is left; after a failure everything is.
	undo := f.rollBack(stage)
	if err != nil {
		return errors.Join(err, undo)
	}
	return nil
}

// nextManifest describes the folder as it will be.
func nextManifest(layout Layout, keys []Key, files []file, found held, options Options) ([]byte, error) {
	next := &manifest{Version: manifestVersion, Layout: layout, Files: map[string]string{}}
	if found.manifest != nil {
		for name, sum := range found.manifest.Files {
			next.Files[name] = sum
		}
		next.Revoked = found.manifest.Revoked
		next.PublicKeys = found.staying(layout, options.Ended, true)
	}
	for _, file := range files {
		next.Files[file.name] = digest(file.data)
	}
	for _, key := range keys {
		next.PublicKeys = append(next.PublicKeys, key.name())
	}
	return next.encode()
}

// render encrypts keys and returns their files.
func (f *folder) render(ctx context.Context, layout Layout, need []Key, found held, options Options) ([]file, error) {
	if layout == Prysm {
		return f.renderPrysm(ctx, need, found, options)
	}
	options, err := options.withPassword()
	if err != nil {
		return nil, err
	}
	keystores, err := EncryptAll(ctx, need, options)
	if err != nil {
		return nil, err
	}
	files := make([]file, 0, 2*len(need))
	for i, key := range need {
		encoded, err := json.MarshalIndent(keystores[i], "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode keystore: %w", err)
		}
		public := key.name()
		files = append(files,
			file{name: schemes[layout].passwordPath(public), data: options.Password.Reveal()},
			file{name: schemes[layout].keystorePath(public), data: encoded})
	}
	return files, nil
}

// renderPrysm makes the whole wallet. Password and wallet are two files, which
// cannot be replaced in one step, so an intact password stays.
func (f *folder) renderPrysm(ctx context.Context, keys []Key, found held, options Options) ([]file, error) {
	var files []file
	var err error
	if found.manifest != nil && !found.damaged[prysmPassword] {
		options.Password, err = readPassword(f.at(prysmPassword))
	} else {
		options, err = options.withPassword()
		files = append(files, file{name: prysmPassword, data: options.Password.Reveal()})
	}
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	accounts, err := encryptPrysm(keys, options)
	if err != nil {
		return nil, err
	}
	return append(files,
		file{name: prysmAccounts, data: accounts},
		file{name: prysmOptions, data: []byte(prysmOptionsText)}), nil
}

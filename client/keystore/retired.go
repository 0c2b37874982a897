package keystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// ofManifest returns those of the keys that the manifest lists.
func (h held) ofManifest(keys []validator.PublicKey) []validator.PublicKey {
	var listed []validator.PublicKey
	for _, key := range keys {
		if h.keys[key] && !slices.Contains(listed, key) {
			listed = append(listed, key)
		}
	}
	return listed
}

// staying returns those of the ended keys that are in the folder after a run that
// wrote keys, or none.
func (h held) staying(layout Layout, ended []validator.PublicKey, written bool) []validator.PublicKey {
	if layout == Prysm && written {
		return nil
	}
	return h.ofManifest(ended)
}

// takeOut removes the files of keys that nobody may sign with any more. The
// manifest forgets them last: a killed run leaves a folder that still lists them,
// damaged, and the next run is told to take them out again. Prysm keeps all keys
// in one file, which is written anew instead.
func (f *folder) takeOut(ctx context.Context, layout Layout, revoked []validator.PublicKey, found held, random io.Reader) error {
	next := *found.manifest
	next.Files = map[string]string{}
	for name, sum := range found.manifest.Files {
		next.Files[name] = sum
	}
	for _, key := range revoked {
		for _, name := range []string{schemes[layout].keystorePath(key), schemes[layout].passwordPath(key)} {
			if err := f.removeFile(name); err != nil {
				return fmt.Errorf("take out key %s: %w", key, err)
			}
			delete(next.Files, name)
		}
	}
	next.Revoked = append(slices.Clone(next.Revoked), revoked...)
	next.PublicKeys = slices.DeleteFunc(slices.Clone(next.PublicKeys), func(k validator.PublicKey) bool { return slices.Contains(revoked, k) })
	encoded, err := next.encode()
	if err != nil {
		return err
	}
	return f.exchange(ctx, layout, nil, encoded, random)
}

// removeFile removes a file, durably, and the folder that only it was in.
func (f *folder) removeFile(name string) error {
	if err := f.disk.remove(f.at(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := path.Dir(name)
	if _, named := keyIn(above); !named {
		return f.syncIfThere(above)
	}
	if err := f.syncIfThere(above); err != nil {
		return err
	}
	entries, err := os.ReadDir(f.at(above))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) > 0 {
		return nil // gone already, or holds what a validator client keeps there
	}
	if err == nil {
		err = f.disk.remove(f.at(above))
	}
	if err != nil {
		return err
	}
	return f.syncIfThere(path.Dir(above))
}

func (f *folder) syncIfThere(name string) error {
	if err := f.disk.syncFolder(f.at(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

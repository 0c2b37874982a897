package keystore

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// wayOut ends every message about an occupied folder.
const wayOut = "choose another folder, or move these away"

// held is what an inspection found in a folder of ours.
type held struct {
	manifest *manifest                    // nil if the folder is empty
	damaged  map[string]bool              // names of files that are missing or changed
	modes    map[string]os.FileMode       // names of files and folders with a wrong mode, and the right one
	keys     map[validator.PublicKey]bool // of the manifest
}

// inspect looks at a folder and refuses one that is not ours in this layout.
func (f *folder) inspect(layout Layout) (held, error) {
	m, err := readManifest(f.path)
	if err != nil {
		return held{}, fmt.Errorf("inspect folder %s: %w", f.path, err)
	}
	if m == nil {
		return held{}, f.requireEmpty(layout)
	}
	if m.Layout != layout {
		return held{}, fmt.Errorf("%w: %s holds keys in the layout of %s, not %s: keys in two folders get signed with twice, so stop the validator that reads this one and move it away, or ask for the layout that it has",
			ErrOccupied, f.path, m.Layout, layout)
	}
	found := held{manifest: m, damaged: map[string]bool{}, modes: map[string]os.FileMode{}, keys: map[validator.PublicKey]bool{}}
	for _, key := range m.PublicKeys {
		found.keys[key] = true
	}
	foreign, err := f.foreignKeys(found)
	if err != nil {
		return held{}, fmt.Errorf("inspect folder %s: %w", f.path, err)
	}
	if len(foreign) > 0 {
		return held{}, fmt.Errorf("%w: %s holds keys that were not written by keysteward: %s: %s", ErrOccupied, f.path, several(foreign), wayOut)
	}
	f.findDamage(found)
	return found, nil
}

// requireEmpty refuses a folder without a manifest and with anything in it, but for a
// slashing protection file where the validator client looks for keys in folders below.
func (f *folder) requireEmpty(layout Layout) error {
	names, err := f.entries()
	if err != nil {
		return fmt.Errorf("inspect folder %s: %w", f.path, err)
	}
	if layout.roots() != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return protects(f.at(name)) })
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s holds %s, and no manifest of keysteward's: %s", ErrOccupied, f.path, several(names), wayOut)
	}
	return nil
}

// foreignKeys lists what a validator client might load as a key and we did not
// write. Other files, such as a client's database, are none of our business.
func (f *folder) foreignKeys(found held) ([]string, error) {
	var foreign []string
	look := func(name string, isFile bool) {
		_, recorded := found.manifest.Files[name]
		key, named := keyIn(name)
		strange := named && !found.keys[key] && !slices.Contains(found.manifest.Revoked, key)
		if !recorded && (strange || (isFile && found.manifest.Layout.looksLikeKeystore(name))) {
			foreign = append(foreign, name)
		}
	}
	roots := found.manifest.Layout.roots()
	if roots == nil {
		names, err := f.entries()
		for _, name := range names {
			look(name, true)
		}
		return foreign, err
	}
	for _, root := range roots {
		err := filepath.WalkDir(f.at(root), func(full string, entry fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil // damage, not occupation
				}
				return err
			}
			name, err := filepath.Rel(f.path, full)
			look(filepath.ToSlash(name), !entry.IsDir())
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return foreign, nil
}

// findDamage compares every file with the manifest.
func (f *folder) findDamage(found held) {
	for name, want := range found.manifest.Files {
		if !intact(f.at(name), want) {
			found.damaged[name] = true
			continue
		}
		f.checkMode(found, name, fileMode)
		for above := path.Dir(name); above != "."; above = path.Dir(above) {
			f.checkMode(found, above, folderMode)
		}
	}
}

func (f *folder) checkMode(found held, name string, want os.FileMode) {
	if info, err := os.Lstat(f.at(name)); err == nil && info.Mode().Perm() != want {
		found.modes[name] = want
	}
}

// missing returns those of the wanted keys that have to be written, new or again.
// A folder with keys that nobody asked for is occupied, unless they are over.
func (h held) missing(layout Layout, wanted []Key, options Options, where string) ([]Key, error) {
	if h.manifest == nil {
		return wanted, nil
	}
	asked := map[validator.PublicKey]bool{}
	var need []Key
	for _, key := range wanted {
		public := key.name()
		asked[public] = true
		if !h.keys[public] || h.broken(layout, public) {
			need = append(need, key)
		}
	}
	var others []string
	for _, key := range h.manifest.PublicKeys {
		if !asked[key] && !slices.Contains(options.Ended, key) && !slices.Contains(options.Revoked, key) {
			others = append(others, key.String())
		}
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%w: %s holds %s", ErrOtherKeys, where, several(others))
	}
	if layout == Prysm && (len(need) > 0 || len(h.ofManifest(options.Revoked)) > 0) {
		return wanted, nil // one file holds them all
	}
	return need, nil
}

// broken tells whether a file of this key is damaged.
func (h held) broken(layout Layout, key validator.PublicKey) bool {
	if layout == Prysm {
		return len(h.damaged) > 0
	}
	names := []string{schemes[layout].keystorePath(key), schemes[layout].passwordPath(key)}
	return slices.ContainsFunc(names, func(name string) bool {
		_, recorded := h.manifest.Files[name]
		return h.damaged[name] || !recorded
	})
}

// several shortens a list for a message.
func several(names []string) string {
	const shown = 3
	slices.Sort(names)
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// maxProtection bounds what is read of a file to see what it is.
const maxProtection = 16 << 20

// protects reports whether a file is one for slashing protection (EIP-3076).
func protects(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxProtection {
		return false
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var file struct {
		Metadata struct {
			Version string `json:"interchange_format_version"`
		} `json:"metadata"`
		Crypto json.RawMessage `json:"crypto"` // a keystore has it
	}
	return json.Unmarshal(raw, &file) == nil && file.Metadata.Version != "" && file.Crypto == nil
}

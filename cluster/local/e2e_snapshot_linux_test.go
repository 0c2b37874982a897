package local

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/raftlog"
	"github.com/keysteward/keysteward/node/seal"
)

// replay applies the log of a copied data folder to a fresh machine, and tells after
// every entry.
func replay(t *testing.T, data string, told func(*fsm.View)) *fsm.Machine {
	t.Helper()
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(copied, raftlog.Folder), os.DirFS(filepath.Join(data, raftlog.Folder))))
	machine, next := fsm.New(), uint64(1)
	require.NoError(t, raftlog.Read(copied, slog.New(slog.DiscardHandler), func(entry *raft.Log) error {
		require.Equal(t, next, entry.Index, "the log is whole")
		next++
		if entry.Type == raft.LogCommand {
			_, err := machine.Apply(entry.Index, entry.Term, entry.Data)
			require.NoError(t, err)
			told(machine.View())
		}
		return nil
	}))
	return machine
}

// snapshot searches what a node would write as a snapshot; nodes do so by themselves
// after far more entries. A fresh machine takes it, so it is whole.
func (r *searched) snapshot(p places, s *searcher, i int) {
	r.t.Helper()
	machine := replay(r.t, r.folder.in(nodeName(i), "data"), func(*fsm.View) {})
	w, whole := s.stream(), new(bytes.Buffer)
	_, err := machine.View().WriteTo(io.MultiWriter(w, whole))
	require.NoError(r.t, err)
	p["snapshot of "+nodeName(i)] = w
	require.NoError(r.t, fsm.New().Restore(whole))
}

// keyring is the record of node/seal/DESIGN.md, as this test needs it.
type keyring struct {
	Wraps map[string]struct {
		Root    []byte `json:"root"`
		Public  string `json:"public"`
		Version string `json:"version"`
	} `json:"wraps"`
	Keys    []byte   `json:"keys"`
	Removed []string `json:"removed"`
}

// keysOfSeal opens all keyrings that ever were, and has their root keys and data keys
// looked for.
func (r *searched) keysOfSeal() {
	t := r.t
	t.Helper()
	kek, err := seal.ParseKEK("file:" + r.folder.in("next-kek"))
	require.NoError(t, err)
	var last []byte
	keys := map[string]string{}
	replay(t, r.folder.in("n1", "data"), func(view *fsm.View) {
		record, cluster := view.Secret(fsm.SecretKeyring).GetSealed(), view.Meta().GetClusterId()
		if bytes.Equal(record, last) {
			return
		}
		last = record
		var ring keyring
		require.NoError(t, json.Unmarshal(record, &ring))
		identity, err := kek.Identify(t.Context(), cluster)
		require.NoError(t, err)
		root, err := kek.Unwrap(t.Context(), cluster, ring.Wraps[identity.ID].Root, lengths("root-key", cluster, identity.ID))
		require.NoError(t, err)
		keys[string(root)] = "root key"
		var parts []string
		for _, id := range slices.Sorted(maps.Keys(ring.Wraps)) {
			parts = append(parts, id, ring.Wraps[id].Public, ring.Wraps[id].Version)
		}
		parts = append(append(parts, "removed"), ring.Removed...)
		sum := sha256.Sum256(lengths(parts...))
		plain := openGCM(t, root, ring.Keys, lengths("data-keys", cluster, string(sum[:])))
		for entry := range slices.Chunk(plain[4:], 4+seal.KeySize) {
			keys[string(entry[4:])] = "data key"
		}
	})
	kinds := strings.Join(slices.Collect(maps.Values(keys)), ",")
	require.Equal(t, 2, strings.Count(kinds, "root key"), "a key was removed once")
	require.Equal(t, 3, strings.Count(kinds, "data key"), "rotated once, and by the removal")
	for key, name := range keys {
		r.add(secretBytes(name, []byte(key)))
	}
}

// lengths puts the length of each part in front of it.
func lengths(parts ...string) (b []byte) {
	for _, part := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return b
}

func openGCM(t *testing.T, key, ciphertext, additional []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(t, err)
	plain, err := aead.Open(nil, nil, ciphertext, additional)
	require.NoError(t, err)
	return plain
}

package local

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// keysteward runs a client command with the token of an admin.
func (l *launcher) keysteward(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out := new(bytes.Buffer)
	err := runCommand(t.Context(), l.spawner, l.binary, l.site.clientArgs(l.site.tokens.Admin, name, args...), out, out)
	return out.String(), err
}

type sealStatus struct {
	wire.Seal

	Nodes []struct {
		State string `json:"state"`
	} `json:"nodes"`
}

func (l *launcher) sealStatus(t *testing.T) (s sealStatus) {
	t.Helper()
	out, err := l.keysteward(t, "seal", "status", "-o", "json")
	require.NoError(t, err, out)
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	return s
}

// A key-encryption key is replaced while the cluster runs: the new one is added, tried
// on every node, and the old one removed. After that the nodes start with the new one
// alone and hand out the same secrets; one that has only the old one is sealed.
func TestKeyEncryptionKeyIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLauncher(t, 3)
	next := l.folder.in("next-kek")
	_, err := keepFile(next, randomHex)
	require.NoError(t, err)
	l.site.more = func(int) []string { return []string{"--seal", "file:" + next} }
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))
	out := filepath.Join(l.folder.path, "before")
	_, err = l.keysteward(t, "allocate", "--pod", "v", "--pod-uid", podUID, "--keys", "2", "--out", out, "--layout", "teku")
	require.NoError(t, err)
	_, before := readPod(t, out, 2)

	var status sealStatus
	require.Eventually(t, func() bool { // every node has told its keys
		status = l.sealStatus(t)
		return len(status.Keys) == 2 && len(status.Keys[0].Nodes) == 3 && len(status.Keys[1].Nodes) == 3
	}, patience, 50*time.Millisecond, "%+v", &status)
	require.True(t, status.Keys[0].Wraps && status.Keys[1].Wraps, "a new cluster is opened by all keys of its founder")
	told, err := l.keysteward(t, "seal", "verify", "-o", "json")
	require.NoError(t, err, told)
	var nodes []struct {
		Keys []wire.SealVerified `json:"keys"`
	}
	require.NoError(t, json.Unmarshal([]byte(told), &nodes))
	old := nodes[0].Keys[0].ID // the first of its flags
	told, err = l.keysteward(t, "seal", "remove", old)
	require.NoError(t, err, told)
	require.Eventually(t, func() bool { // all is sealed again
		status = l.sealStatus(t)
		return len(status.Terms) == 1 && status.Terms[0].Term == 2 && status.CurrentTerm == 2
	}, patience, 50*time.Millisecond, "%+v", &status)
	l.restartWithOne(t, next)

	out = filepath.Join(l.folder.path, "after")
	_, err = l.keysteward(t, "allocate", "--pod", "v", "--pod-uid", podUID, "--keys", "2", "--out", out, "--layout", "teku")
	require.NoError(t, err)
	_, after := readPod(t, out, 2)
	require.Equal(t, before, after)
}

// restartWithOne kills all nodes; two come back with the key that is left, and the third,
// which is sealed then, with the one that was removed.
func (l *launcher) restartWithOne(t *testing.T, next string) {
	t.Helper()
	removed := l.site.kek
	l.site.kek, l.site.more = next, nil
	for i := range 3 {
		p := l.nodes.process(i)
		require.NoError(t, p.signal(syscall.SIGKILL))
		<-p.done
	}
	_, err := l.nodes.restart(t.Context())
	require.NoError(t, err)
	require.NoError(t, awaitReady(t.Context(), l.nodes))
	p := l.nodes.process(2)
	require.NoError(t, p.signal(syscall.SIGKILL))
	<-p.done
	l.site.kek = removed
	_, err = l.nodes.restart(t.Context())
	require.NoError(t, err)
	requireSealed(t, l, "removed")
	out, err := l.keysteward(t, "seal", "verify")
	require.Error(t, err, "a node that can open nothing is told")
	require.Contains(t, out, "no key is known to open the secrets on n3")
	l.site.kek = next
}

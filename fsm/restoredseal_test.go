package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A handler that sealed before a restore may propose after it, in a session of the same
// number. Nothing that the keyring of a lost history sealed comes into the state.
func TestCiphertextsOfALostHistory(t *testing.T) {
	t.Parallel()
	r := restored(t, func(r *replica) {
		r.describe("p", "up", "r")
		r.act(instantiate, "p", "up")
		r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(900), Sealed: under(1, "x")}}})
	}, nil)
	r.settled(5)
	r.confirmRestored(0)
	generation := r.View().Cloud("p", "up").GetGeneration()
	revision := r.View().Meta().GetSeal().GetRevision()
	for name, c := range map[string]struct {
		code Code
		body proto.Message
	}{
		"a key":        {StaleSeal, &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(901), Sealed: under(1, "y")}}}},
		"a kubeconfig": {StaleSeal, &fsmpb.PutObject{Object: testCluster("cp", "another")}},
		"a cloud's key": {StaleSeal, &fsmpb.InstallCloudKey{
			Project: "p", Cloud: "up", Generation: generation, Key: testCloudKey(generation),
		}},
		"sealed again": {StaleSeal, &fsmpb.Reseal{Records: []*fsmpb.Resealed{{
			Pubkey: pubkey(900), OldSha256: sumOf(under(1, "x")), Sealed: under(1, "z"),
		}}}},
		"a keyring": {StaleKeyring, &fsmpb.UpdateKeyring{
			Sealed: []byte("lost"), Revision: revision, Change: fsmpb.UpdateKeyring_CHANGE_ROTATE, CurrentTerm: 2, OldestTerm: 1,
		}},
		"the first keyring": {StaleKeyring, &fsmpb.InstallKeyring{Sealed: []byte("lost")}},
	} {
		before := bare(r.View())
		sealed := command(r.term, 1, c.body)
		require.Zero(t, sealed.GetKeyringRestore(), "of the time before the restore")
		require.ErrorIs(t, r.apply(sealed)[0].Err(), Refused(c.code), name)
		require.Equal(t, before, bare(r.View()), name)
	}
}

// So does a seed that is brought to a cluster which had none in the backup.
func TestSeedOfALostHistory(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	r.ok(&fsmpb.RaiseFeatureLevel{Level: 1})
	r.ok(&fsmpb.InstallKeyring{Sealed: []byte("keyring")})
	require.Equal(t, Restored(1), r.restoreBackup("a", snapshot(t, r.View()), 1000).Value)
	r.ok(&fsmpb.BeginSession{NodeId: "n1"})
	seed := &fsmpb.InstallSeed{Sealed: under(1, "sealed"), Fingerprint: "f"}
	require.ErrorIs(t, r.apply(command(r.term, 1, seed))[0].Err(), Refused(StaleSeal))
	r.ok(seed)
}

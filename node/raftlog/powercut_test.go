package raftlog

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// onDisk is a store whose disk is in memory; its mark is in a folder.
func onDisk(t require.TestingT, disk vfs.FS, marks string) *Store {
	s := &Store{path: "/raft", disk: disk, fail: func(err error) { require.NoError(t, err) }}
	require.NoError(t, s.open(false, quiet))
	var err error
	s.marker, err = openMarker(marks, mark{})
	require.NoError(t, err)
	return s
}

// What was acknowledged survives a power cut, whatever the disk kept of what was not
// synced; and what was deleted does not come back.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	marks := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewCrashableMem()
		require.NoError(t, disk.MkdirAll("/raft", 0o700))
		root, err := disk.OpenDir("/")
		require.NoError(t, err)
		require.NoError(t, root.Sync())
		s := onDisk(t, disk, marks)
		list, term := map[uint64]*raft.Log{}, uint64(1)
		last := func() uint64 {
			if all := keysOf(list); len(all) > 0 {
				return all[len(all)-1]
			}
			return 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				from := last() + 1
				added := entries(from, from+rapid.Uint64Range(0, 4).Draw(t, "more"), term)
				require.NoError(t, s.StoreLogs(added))
				for _, l := range added {
					list[l.Index] = l
				}
			},
			"delete": func(t *rapid.T) {
				from := rapid.Uint64Range(0, last()+1).Draw(t, "from")
				to := rapid.Uint64Range(from, last()+1).Draw(t, "to")
				require.NoError(t, s.DeleteRange(from, to))
				for i := from; i <= to; i++ {
					delete(list, i)
				}
			},
			"term": func(*rapid.T) {
				term++
				require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), term))
			},
			"flush": func(*rapid.T) { require.NoError(t, s.db.Flush()) },
			"power cut": func(t *rapid.T) {
				cut := vfs.CrashCloneCfg{
					UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"),
					RNG:                 rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
				}
				after := disk.CrashClone(cut)
				require.NoError(t, s.Close())
				disk = after
				s = onDisk(t, disk, marks)
				require.Equal(t, last(), s.last.Load())
				var l raft.Log
				for i := range last() + 1 {
					if list[i] == nil {
						require.Equal(t, raft.ErrLogNotFound, s.GetLog(i, &l))
						continue
					}
					require.NoError(t, s.GetLog(i, &l))
					require.Equal(t, list[i].Data, l.Data)
				}
				if term > 1 {
					had, err := s.GetUint64([]byte(KeyCurrentTerm))
					require.NoError(t, err)
					require.Equal(t, term, had)
				}
			},
		})
		require.NoError(t, s.Close())
	})
}

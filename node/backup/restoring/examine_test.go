package restoring

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/backup"
)

// stateFile is a genuine backup of a cluster's state, at feature level 1.
func stateFile(t *testing.T, change func(stream []byte) []byte) []byte {
	t.Helper()
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{
		{Version: 1, Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c1"}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}},
	}})
	require.NoError(t, err)
	m := fsm.New()
	_, err = m.Apply(7, 1, entry)
	require.NoError(t, err)
	var stream, out bytes.Buffer
	_, err = m.View().WriteTo(&stream)
	require.NoError(t, err)
	manifest := &backup.Manifest{FileID: backup.NewFileID(), ClusterID: "c1", MadeAt: time.Unix(1e9, 0).UTC(), Index: 7, SnapshotFormat: fsm.SnapshotFormat, Keyring: []byte("k")}
	key, err := keyVault{}.OpenBackup(t.Context(), manifest)
	require.NoError(t, err)
	w, err := backup.NewWriter(&out, key, manifest)
	require.NoError(t, err)
	_, err = w.Write(change(stream.Bytes()))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func same(stream []byte) []byte { return stream }

// The state in a genuine file is judged before anything is proposed, on the leader alone.
func TestExamine(t *testing.T) {
	t.Parallel()
	level1 := fsm.New()
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{
		{Version: 1, Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c2"}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}},
	}})
	require.NoError(t, err)
	_, err = level1.Apply(1, 1, entry)
	require.NoError(t, err)

	for name, c := range map[string]struct {
		file   []byte
		view   *fsm.View
		memory uint64
		want   error
	}{
		"sound":                      {stateFile(t, same), level1.View(), 0, nil},
		"memory that is enough":      {stateFile(t, same), level1.View(), 1 << 40, nil},
		"too little memory":          {stateFile(t, same), level1.View(), 1 << 20, ErrNoMemory},
		"of a level that is not yet": {stateFile(t, same), fsm.New().View(), 0, ErrNewerState},
		"no state":                   {stateFile(t, func([]byte) []byte { return []byte("onetwo") }), level1.View(), 0, ErrUnsound},
		"half a state":               {stateFile(t, func(b []byte) []byte { return b[:len(b)/2] }), level1.View(), 0, ErrUnsound},
	} {
		r := newRestorer(t)
		r.memory = func() uint64 { return c.memory }
		f := receive(t, r, c.file)
		f.examined = false
		if err := f.Examine(c.view); c.want != nil {
			require.ErrorIs(t, err, c.want, name)
		} else {
			require.NoError(t, err, name)
		}
		m := &machine{state: fsm.New()}
		_, err := f.Restore(t.Context(), m, Ask{}, Wish{})
		if c.want == nil {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, errNotExamined, name)
		require.Zero(t, len(m.staged)+m.abandoned, "%s: nothing was proposed", name)
	}
}

// A cluster that was just founded comes to the level of its programs by itself.
func TestAwaitLevel(t *testing.T) {
	t.Parallel()
	at := func(level uint32) *fsm.View {
		m := fsm.New()
		commands := []*fsmpb.Command{{Version: 1, Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c1"}}}}
		if level > 0 {
			commands = append(commands, &fsmpb.Command{Version: 1, Session: 1, Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: level}}})
		}
		entry, err := proto.Marshal(&fsmpb.Batch{Commands: commands})
		require.NoError(t, err)
		_, err = m.Apply(1, 1, entry)
		require.NoError(t, err)
		return m.View()
	}
	for name, tc := range map[string]struct {
		backup uint32
		after  time.Duration // that the cluster is at level 1
		takes  time.Duration
	}{
		"it is there":            {1, 0, 0},
		"of an older version":    {0, 2 * time.Second, 2 * time.Second},
		"it comes":               {1, 3 * time.Second, 3 * time.Second},
		"an old member stays":    {1, time.Hour, levelTime},
		"nobody here knows that": {fsm.FeatureLevel + 1, time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, raised := at(0), at(1)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := &File{Manifest: backup.Manifest{FeatureLevel: tc.backup}}
				f.AwaitLevel(t.Context(), func() *fsm.View {
					if time.Since(began) >= tc.after {
						return raised
					}
					return before
				})
				require.Equal(t, tc.takes, time.Since(began))
			})
		})
	}
}

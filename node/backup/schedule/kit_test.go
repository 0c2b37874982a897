package schedule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/making"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testVault has the same secret for all backups of a cluster.
type testVault struct {
	mu  sync.Mutex
	err error
}

func (v *testVault) set(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}

func (v *testVault) BackupKey(view *fsm.View, fileID string) (backup.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return backup.Key{}, v.err
	}
	return backup.NewKey(bytes.Repeat([]byte{7}, 32), view.Meta().GetClusterId(), fileID)
}

// stateOf is the state of a cluster with a keyring, and with so many audit records.
func stateOf(t testing.TB, clusterID string) *fsm.View {
	t.Helper()
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{
		{Version: 1, Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: clusterID}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: []byte("keyring")}}},
	}})
	require.NoError(t, err)
	m := fsm.New()
	results, err := m.Apply(1, 1, entry)
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err())
	}
	return m.View()
}

// restoredFrom is the state of a cluster into which a backup of another state was restored.
func restoredFrom(t testing.TB, view *fsm.View, restoreID string) *fsm.View {
	t.Helper()
	var stream bytes.Buffer
	_, err := view.WriteTo(&stream)
	require.NoError(t, err)
	sum := sha256.Sum256(stream.Bytes())
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{
		{Version: 1, Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n1", NewClusterId: "new"}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: restoreID, Data: stream.Bytes()}}},
		{Version: 1, Session: 1, Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
			RestoreId: restoreID, Sha256: sum[:], Index: view.Meta().GetAppliedIndex(), ClusterId: view.Meta().GetClusterId(),
		}}},
	}})
	require.NoError(t, err)
	m := fsm.New()
	results, err := m.Apply(1, 1, entry)
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err())
	}
	return m.View()
}

func maker(v *testVault) *making.Maker {
	return &making.Maker{Vault: v, Node: "n1", Program: "test"}
}

// made is a backup of the state of a cluster.
func made(t testing.TB, clusterID string, at time.Time) *making.Backup {
	t.Helper()
	b, err := maker(&testVault{}).Prepare(stateOf(t, clusterID), at)
	require.NoError(t, err)
	return b
}

// memory is a place whose troubles can be set.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	// Each of these, if set, is what the operation does besides.
	onList, onPut, onRemove func() error
	spoil                   func([]byte) []byte
	hang                    chan struct{} // Put waits for it, whatever the context says
}

func newMemory() *memory { return &memory{files: make(map[string][]byte)} }

func (m *memory) String() string { return "memory" }

func (m *memory) Put(_ context.Context, name string, content io.WriterTo) error {
	if m.hang != nil {
		<-m.hang
	}
	var b bytes.Buffer
	if _, err := content.WriteTo(&b); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.onPut != nil {
		if err := m.onPut(); err != nil {
			return err
		}
	}
	file := b.Bytes()
	if m.spoil != nil {
		file = m.spoil(file)
	}
	m.files[name] = file
	return nil
}

func (m *memory) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return io.NopCloser(bytes.NewReader(m.files[name])), nil
}

func (m *memory) List(context.Context) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.onList != nil {
		if err := m.onList(); err != nil {
			return nil, err
		}
	}
	var list []Entry
	for name, file := range m.files {
		list = append(list, Entry{Name: name, Bytes: int64(len(file))})
	}
	return list, nil
}

func (m *memory) Remove(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if m.onRemove != nil {
		if err := m.onRemove(); err != nil {
			return err
		}
	}
	delete(m.files, name)
	return nil
}

func (m *memory) Reason(err error) error { return err }

// set changes a trouble.
func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// names of this cluster's backups, the newest first.
func (m *memory) names(clusterID string) (names []string) {
	list, _ := m.List(context.Background())
	for _, e := range ours(list, clusterID) {
		names = append(names, e.Name)
	}
	return names
}

// run runs a schedule on a node that leads until stop is called.
func run(t *testing.T, cfg Config, clusterID string) (s *Schedule, stop func()) {
	t.Helper()
	return runOn(t, cfg, stateOf(t, clusterID))
}

// runOn is run for a state.
func runOn(t *testing.T, cfg Config, view *fsm.View) (s *Schedule, stop func()) {
	t.Helper()
	if cfg.Make == nil {
		cfg.Make = maker(&testVault{}).Prepare
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() { _ = s.lead(ctx, func() *fsm.View { return view }) })
	return s, func() { cancel(); running.Wait() }
}

var errTest = errors.New("trouble")

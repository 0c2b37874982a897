package auditlog

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a state machine whose records are shipped into a folder.
type stage struct {
	*testing.T
	machine *fsm.Machine
	index   uint64
	spare   uint32
	dir     string
	shipper *Shipper
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, machine: fsm.New(), dir: t.TempDir()}
	s.apply(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n", NewClusterId: "c"}}})
	s.open()
	t.Cleanup(func() { require.NoError(t, s.shipper.Close()) })
	return s
}

func (s *stage) path() string { return filepath.Join(s.dir, "audit.jsonl") }

func (s *stage) config() Config {
	return Config{
		Path: s.path(), StateFile: filepath.Join(s.dir, "place"), Metrics: prometheus.NewRegistry(),
		View: func() *fsm.View { return s.machine.View() },
	}
}

// open is a start of the node.
func (s *stage) open() {
	s.Helper()
	var err error
	if s.shipper != nil {
		require.NoError(s, s.shipper.Close())
	}
	s.shipper, err = Open(s.config())
	require.NoError(s, err)
}

func (s *stage) apply(cmd *fsmpb.Command) {
	s.Helper()
	s.index++
	cmd.Version, cmd.Session = fsm.CommandVersion, 1
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	require.NoError(s, err)
	results, err := s.machine.Apply(s.index, 1, entry)
	require.NoError(s, err)
	require.NoError(s, results[0].Err())
}

// change makes n records.
func (s *stage) change(n int) {
	s.Helper()
	for range n {
		s.spare++
		s.apply(&fsmpb.Command{
			Caller: &fsmpb.Caller{Name: "a <b> & \u2028", Role: "admin"},
			Body:   &fsmpb.Command_SetSpareKeys{SetSpareKeys: &fsmpb.SetSpareKeys{Keys: s.spare}},
		})
	}
}

// ship writes all that there is.
func (s *stage) ship() {
	s.Helper()
	for more := true; more; {
		var err error
		more, err = s.shipper.ship(s.machine.View())
		require.NoError(s, err)
	}
}

func (s *stage) lines(path string) []audit.Line {
	s.Helper()
	text, err := os.ReadFile(path)
	require.NoError(s, err)
	var list []audit.Line
	for l, err := range audit.ReadLines(bytes.NewReader(text)) {
		require.NoError(s, err)
		list = append(list, l)
	}
	return list
}

// requireAll says that the files hold each record from the first to the newest
// once, in order, and nothing else.
func (s *stage) requireAll(first uint64, paths ...string) {
	s.Helper()
	var got []audit.Line
	for _, p := range paths {
		got = append(got, s.lines(p)...)
	}
	var want []audit.Line
	for a := range s.machine.View().Audit(first) {
		r := fsm.AuditRecord(a)
		want = append(want, audit.Line{Record: &r})
	}
	require.Equal(s, want, got)
}

// restore gives the machine, as a snapshot does, a state with the same beginning
// that has more records and kept only the newest.
func (s *stage) restore(more int, kept uint64) {
	s.Helper()
	s.change(more)
	var all bytes.Buffer
	_, err := s.machine.View().WriteTo(&all)
	require.NoError(s, err)
	s.machine = fsm.New()
	require.NoError(s, s.machine.Restore(forget(s.T, &all, kept)))
	require.NoError(s, s.machine.View().Check())
}

// forget drops old records from a snapshot, the way the state machine does.
func forget(t *testing.T, in *bytes.Buffer, kept uint64) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	sum := sha256.New()
	to := io.MultiWriter(&out, sum)
	records := []*fsmpb.Record{}
	for in.Len() > 0 {
		var r fsmpb.Record
		require.NoError(t, protodelim.UnmarshalFrom(in, &r))
		records = append(records, &r)
	}
	meta := records[1].GetMeta()
	meta.AuditKept, meta.FirstAudit = kept, meta.GetNextAudit()-kept+1
	n := uint64(0)
	for _, r := range records {
		if a := r.GetAudit(); a != nil && a.GetSeq() == meta.GetFirstAudit()-1 {
			meta.AuditAnchor = a.GetHash()
		}
	}
	for _, r := range records {
		if a := r.GetAudit(); a != nil && a.GetSeq() < meta.GetFirstAudit() {
			continue
		}
		if r.GetTrailer() != nil {
			r = &fsmpb.Record{Record: &fsmpb.Record_Trailer{Trailer: &fsmpb.Trailer{Records: n, Sha256: sum.Sum(nil)}}}
		}
		n++
		_, err := protodelim.MarshalTo(to, r)
		require.NoError(t, err)
	}
	return &out
}

package auditverify

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/fsm/audit"
)

// source answers from a fake log, and changes it between the pages.
type source struct {
	*clienttest.AuditLog
	after func(page int)
	pages int
}

func (s *source) AuditPage(_ context.Context, _ client.AuditFilter, from int64) (wire.AuditPage, error) {
	page := s.Page("", "", "", from)
	if s.pages++; s.after != nil {
		s.after(s.pages)
	}
	return page, nil
}

func check(t *testing.T, l *clienttest.AuditLog, noted []audit.Head, files ...[]byte) (*Report, error) {
	t.Helper()
	s, err := read(files, noted)
	if err != nil {
		return nil, err
	}
	return Cluster(t.Context(), &source{AuditLog: l}, s, lenient)
}

// lenient looks for what was changed, not for what is lacking.
var lenient = Bounds{AllowGaps: true, MaxLag: 1000}

func read(files [][]byte, noted []audit.Head) (*Shipped, error) {
	var list []File
	for _, text := range files {
		list = append(list, File{Name: "file", Reader: bytes.NewReader(text)})
	}
	return ReadFiles(list, noted)
}

func headOf(r audit.Record) audit.Head { return audit.Head{Seq: r.Seq, Hash: r.Hash} }

func gapLine(t *testing.T, g audit.Gap) []byte {
	t.Helper()
	text, err := audit.Line{Gap: &g}.Encode()
	require.NoError(t, err)
	return text
}

// lines of a file, from one to another, both included and counted from 1.
func lines(text []byte, from, to int) []byte {
	return slices.Concat(bytes.SplitAfter(text, []byte("\n"))[from-1 : to]...)
}

func TestAGoodLogInPages(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(10)
	early := l.Head()
	l.Add(10)
	l.Drop(5)
	l.PageSize = 4
	r, err := check(t, l, []audit.Head{early, headOf(l.Records[7]), l.Anchor})
	require.NoError(t, err)
	require.Equal(t, &Report{Records: 15, Anchor: l.Anchor, Head: l.Head(), Gaps: []audit.Gap{}, Notes: []string{}}, r)
	empty, err := check(t, &clienttest.AuditLog{}, nil)
	require.NoError(t, err)
	require.Zero(t, empty.Head)
}

// TestTheLogGoesOnWhileItIsRead: records are added, and old ones dropped, between pages.
func TestTheLogGoesOnWhileItIsRead(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(10)
	l.PageSize = 4
	s := &source{AuditLog: l}
	s.after = func(page int) {
		if page == 1 {
			l.Add(3)
			l.Drop(6)
		}
	}
	r, err := Cluster(t.Context(), s, &Shipped{}, Bounds{})
	require.NoError(t, err)
	require.Equal(t, 11, r.Records)
	require.Equal(t, []string{"records 5 to 6 were dropped while this was reading"}, r.Notes)
}

// TestWhatIsNoticed changes a cluster's log, or what was noted or shipped of it.
func TestWhatIsNoticed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(l *clienttest.AuditLog)
		says   string
	}{
		"a field":         {func(l *clienttest.AuditLog) { l.Records[3].Detail = "" }, "broken at record 4: its hash"},
		"a hash":          {func(l *clienttest.AuditLog) { l.Records[3].Hash = l.Records[2].Hash }, "broken at record 4: its hash"},
		"dropped":         {func(l *clienttest.AuditLog) { l.Records = slices.Delete(l.Records, 3, 4) }, "broken at record 4: record 5 stands"},
		"anchor":          {func(l *clienttest.AuditLog) { l.Anchor.Hash = l.Records[0].Hash }, "broken at record 1"},
		"rewritten":       {func(l *clienttest.AuditLog) { l.Records[3].Detail = ""; l.Chain(3) }, "history was rewritten"},
		"cut back":        {func(l *clienttest.AuditLog) { l.Records = l.Records[:5] }, "history was cut back"},
		"newer version":   {func(l *clienttest.AuditLog) { l.Records[3].Version = 9 }, "upgrade the program"},
		"no longer there": {func(l *clienttest.AuditLog) { l.Add(5); l.Drop(12) }, "record 10 was noted and is kept no more"},
		"wrong numbers":   {func(l *clienttest.AuditLog) { l.Records[0].Seq = 0 }, "wrong number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := clienttest.NewAuditLog(10)
			noted := l.Head()
			test.change(l)
			_, err := check(t, l, []audit.Head{noted})
			require.ErrorContains(t, err, test.says)
			var broken *audit.BrokenError
			require.True(t, errors.As(err, &broken) || errors.Is(err, ErrDifferent) || errors.Is(err, client.ErrAnswer))
		})
	}
}

func TestFilesAgreeWithTheCluster(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(20)
	text := l.Lines()
	heads := []audit.Head{headOf(l.Records[1]), headOf(l.Records[17])}
	l.Drop(5)
	for name, test := range map[string]struct {
		files   [][]byte
		records int
		gaps    []audit.Gap
		notes   int
	}{
		"whole":               {[][]byte{text}, 20, []audit.Gap{}, 0},
		"rotated":             {[][]byte{lines(text, 1, 7), lines(text, 8, 20)}, 20, []audit.Gap{}, 0},
		"between files":       {[][]byte{lines(text, 1, 7), lines(text, 10, 20)}, 18, []audit.Gap{{First: 8, Last: 9, Reason: "no file has these records"}}, 0},
		"said":                {[][]byte{slices.Concat(lines(text, 1, 7), gapLine(t, audit.Gap{First: 8, Last: 9, Reason: "x"}), lines(text, 10, 20))}, 18, []audit.Gap{{First: 8, Last: 9, Reason: "x"}}, 0},
		"being written":       {[][]byte{text[:len(text)-9]}, 19, []audit.Gap{}, 1},
		"older than all":      {[][]byte{lines(text, 1, 3)}, 3, []audit.Gap{}, 1},
		"up to the anchor":    {[][]byte{lines(text, 1, 5)}, 5, []audit.Gap{}, 0},
		"begins in the midst": {[][]byte{lines(text, 8, 20)}, 13, []audit.Gap{{First: 6, Last: 7, Reason: "no file has these records, the first one begins behind them"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noted := heads[1:]
			if name == "whole" {
				noted = heads // the cluster has dropped the first one, the file has it
			}
			r, err := check(t, l, noted, test.files...)
			require.NoError(t, err)
			require.Equal(t, test.records, r.FileRecords)
			require.Equal(t, test.gaps, r.Gaps)
			require.Len(t, r.Notes, test.notes, "%v", r.Notes)
			require.Equal(t, l.Head(), r.Head)
		})
	}
}

func TestFilesThatWereTamperedWith(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(12)
	text := l.Lines()
	other := clienttest.NewAuditLog(12)
	other.Records[8].Detail = "nothing"
	other.Chain(8)
	first := clienttest.NewAuditLog(12)
	first.Records[4].Detail = "nothing" // the first of a file that begins there, which no hash before it covers
	for name, test := range map[string]struct {
		file []byte
		says string
	}{
		"a byte":       {bytes.Replace(text, []byte(`"r-7"`), []byte(`"r-8"`), 1), "broken at record 7"},
		"a line":       {slices.Concat(lines(text, 1, 4), lines(text, 6, 12)), "broken at record 5"},
		"swapped":      {slices.Concat(lines(text, 1, 4), lines(text, 6, 6), lines(text, 5, 5), lines(text, 7, 12)), "broken at record 5"},
		"twice":        {slices.Concat(lines(text, 1, 4), lines(text, 4, 12)), "broken at record 5"},
		"no record":    {slices.Concat(lines(text, 1, 4), []byte("{}\n")), "line 5"},
		"another gap":  {slices.Concat(lines(text, 1, 4), gapLine(t, audit.Gap{First: 6, Last: 7}), lines(text, 8, 12)), "a gap from record 6"},
		"history":      {slices.Concat(lines(text, 1, 4), gapLine(t, audit.Gap{First: 1, Last: 0, Reason: "another one"}), text), "another one"},
		"rewritten":    {other.Lines(), "history was rewritten"},
		"its first":    {lines(first.Lines(), 5, 12), "record 5 of the cluster is not the one of the file"},
		"more than is": {slices.Concat(text, func() []byte { l := clienttest.NewAuditLog(13); return lines(l.Lines(), 13, 13) }()), "history was cut back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := check(t, l, nil, test.file)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestFilesAlone(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(6)
	s, err := read([][]byte{l.Lines()}, []audit.Head{headOf(l.Records[2])})
	require.NoError(t, err)
	r, err := s.Report(Bounds{})
	require.NoError(t, err)
	require.Equal(t, &Report{
		Records: -1, Head: l.Head(), FileRecords: 6, FileFirst: 1, FileLast: 6, Gaps: []audit.Gap{},
		Notes: []string{"no cluster was asked: nothing says whether records behind 6 are missing"},
	}, r)
	_, err = read([][]byte{l.Lines()}, []audit.Head{{Seq: 3, Hash: l.Head().Hash}})
	require.ErrorIs(t, err, ErrDifferent)
	s, err = read([][]byte{l.Lines()}, []audit.Head{{Seq: 9, Hash: l.Head().Hash}})
	require.NoError(t, err)
	_, err = s.Report(Bounds{})
	require.ErrorContains(t, err, "the file ends at record 6 and record 9 was noted: it was cut")
}

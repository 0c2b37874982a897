package auditverify

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
	"github.com/keysteward/keysteward/fsm/audit"
)

// TestFilesThatWereCut compares a cluster's 23 records, of which it keeps those
// from 4 on, with what is left of a node's file.
func TestFilesThatWereCut(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(23)
	text := l.Lines()
	l.Drop(3)
	said := gapLine(t, audit.Gap{First: 1, Last: 9, Anchor: l.Records[5].Hash, Reason: "x"})
	const late = "the file ends at record 15, the cluster's newest is 23: it was cut, or the node that writes it is stopped"
	for name, test := range map[string]struct {
		files  [][]byte
		bounds Bounds
		says   string // the error, none if empty
		gap    uint64 // the last record of the first gap
		notes  int
	}{
		"whole":                   {[][]byte{text}, Bounds{}, "", 0, 0},
		"rotated":                 {[][]byte{lines(text, 1, 9), lines(text, 10, 23)}, Bounds{}, "", 0, 0},
		"from the oldest kept":    {[][]byte{lines(text, 4, 23)}, Bounds{}, "", 0, 0},
		"end":                     {[][]byte{lines(text, 1, 15)}, Bounds{}, late, 0, 0},
		"end, gaps are allowed":   {[][]byte{lines(text, 1, 15)}, Bounds{AllowGaps: true}, late, 0, 0},
		"end, lag":                {[][]byte{lines(text, 1, 15)}, Bounds{MaxLag: 8}, "", 0, 1},
		"end, more than the lag":  {[][]byte{lines(text, 1, 15)}, Bounds{MaxLag: 7}, late, 0, 0},
		"end, in a line":          {[][]byte{text[:len(text)-1]}, Bounds{}, "the file ends at record 22", 0, 1},
		"end, all that is kept":   {[][]byte{lines(text, 1, 2)}, Bounds{}, "the file ends at record 2", 0, 1},
		"a clock that never ran":  {[][]byte{lines(text, 1, 2)}, Bounds{Asked: time.UnixMilli(0)}, "the file ends at record 2", 0, 1},
		"beginning":               {[][]byte{lines(text, 10, 23)}, Bounds{}, "records 4 to 9 are lacking", 9, 0},
		"beginning is allowed":    {[][]byte{lines(text, 10, 23)}, Bounds{AllowGaps: true}, "", 9, 0},
		"beginning, lag":          {[][]byte{lines(text, 10, 23)}, Bounds{MaxLag: 23}, "records 4 to 9 are lacking", 9, 0},
		"beginning is said":       {[][]byte{slices.Concat(said, lines(text, 10, 23))}, Bounds{}, "records 1 to 9 are lacking: x", 9, 0},
		"said and allowed":        {[][]byte{slices.Concat(said, lines(text, 10, 23))}, Bounds{AllowGaps: true}, "", 9, 0},
		"said wrongly":            {[][]byte{slices.Concat(gapLine(t, audit.Gap{First: 1, Last: 9, Anchor: l.Head().Hash}), lines(text, 10, 23))}, Bounds{AllowGaps: true}, "broken at record 10", 0, 0},
		"midst":                   {[][]byte{lines(text, 1, 9), lines(text, 12, 23)}, Bounds{}, "records 10 to 11 are lacking: no file has these records", 11, 0},
		"beginning and midst":     {[][]byte{lines(text, 5, 9), lines(text, 12, 23)}, Bounds{}, "(and 1 more gaps)", 4, 0},
		"both ends":               {[][]byte{lines(text, 10, 15)}, Bounds{}, late, 9, 0},
		"empty":                   {[][]byte{nil}, Bounds{MaxLag: 23, AllowGaps: true}, "the file is empty", 0, 0},
		"one of two is empty":     {[][]byte{text, nil}, Bounds{}, "the file is empty", 0, 0},
		"no whole line":           {[][]byte{text[:9]}, Bounds{MaxLag: 23}, "there is no whole line in it", 0, 0},
		"nothing but a gap":       {[][]byte{gapLine(t, audit.Gap{First: 1, Last: 23, Anchor: l.Head().Hash})}, Bounds{AllowGaps: true}, "they have no record", 0, 0},
		"a gap hides the end":     {[][]byte{slices.Concat(lines(text, 1, 15), gapLine(t, audit.Gap{First: 16, Last: 23, Anchor: l.Head().Hash}))}, Bounds{AllowGaps: true}, late, 23, 0},
		"no files, strict bounds": {nil, Bounds{}, "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := read(test.files, nil)
			var r *Report
			if err == nil {
				src := &source{AuditLog: l}
				test.bounds.Newest, err = Newest(t.Context(), src)
				require.NoError(t, err)
				r, err = Cluster(t.Context(), src, s, test.bounds)
			}
			if test.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.says)
			}
			if r == nil { // nothing could be compared
				return
			}
			require.Len(t, r.Notes, test.notes, "%v", r.Notes)
			require.Equal(t, test.gap > 0, len(r.Gaps) > 0)
			if test.says != "" {
				require.ErrorIs(t, err, ErrIncomplete)
			}
			if test.gap > 0 {
				require.Equal(t, test.gap, r.Gaps[0].Last)
			}
		})
	}
}

// TestFilesMayLackWhatIsFresh: the age of the oldest record that is lacking counts.
func TestFilesMayLackWhatIsFresh(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(23) // one each second
	lacking := time.UnixMilli(l.Records[19].WallMs)
	for name, test := range map[string]struct {
		asked time.Time
		ok    bool
	}{
		"made now":              {lacking, true},
		"5 s old":               {lacking.Add(fresh), true},
		"older":                 {lacking.Add(fresh + time.Millisecond), false},
		"the leader is ahead":   {lacking.Add(-fresh), true},
		"ahead by far":          {lacking.Add(-fresh - time.Millisecond), false},
		"nobody says when":      {time.Time{}, false},
		"asked in another year": {lacking.AddDate(1, 0, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := read([][]byte{lines(l.Lines(), 1, 19)}, nil)
			require.NoError(t, err)
			r, err := Cluster(t.Context(), &source{AuditLog: l}, s, Bounds{Newest: l.Head(), Asked: test.asked})
			if !test.ok {
				require.ErrorIs(t, err, ErrIncomplete)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"records 20 to 23 are not in the files yet: they are not older than 5s"}, r.Notes)
			require.EqualValues(t, 1, r.FileFirst)
			require.EqualValues(t, 19, r.FileLast)
		})
	}
}

// TestWhatCameMeanwhileIsNotLacking: the cluster goes on behind its newest record
// that was asked for before the file was read.
func TestWhatCameMeanwhileIsNotLacking(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(5)
	newest := l.Head()
	s, err := read([][]byte{l.Lines()}, nil)
	require.NoError(t, err)
	l.Add(4)
	r, err := Cluster(t.Context(), &source{AuditLog: l}, s, Bounds{Newest: newest})
	require.NoError(t, err)
	require.Empty(t, r.Notes)
	require.Equal(t, l.Head(), r.Head)
}

// TestCutFilesWithoutACluster have but noted heads to be held against.
func TestCutFilesWithoutACluster(t *testing.T) {
	t.Parallel()
	l := clienttest.NewAuditLog(23)
	text := l.Lines()
	noted := []audit.Head{headOf(l.Records[17])}
	for name, test := range map[string]struct {
		files [][]byte
		noted []audit.Head
		allow bool
		says  string
	}{
		"whole":                   {[][]byte{text}, noted, false, ""},
		"end":                     {[][]byte{lines(text, 1, 15)}, nil, false, ""}, // and a note
		"end that was noted":      {[][]byte{lines(text, 1, 15)}, noted, true, "the file ends at record 15 and record 18 was noted: it was cut"},
		"another one was noted":   {[][]byte{text}, []audit.Head{{Seq: 18, Hash: l.Head().Hash}}, true, "record 18:"},
		"beginning":               {[][]byte{lines(text, 10, 23)}, noted, false, "records 1 to 9 are lacking"},
		"beginning is allowed":    {[][]byte{lines(text, 10, 23)}, noted, true, ""},
		"noted and not there":     {[][]byte{lines(text, 20, 23)}, noted, true, "no file has record 18, which was noted"},
		"midst":                   {[][]byte{lines(text, 1, 9), lines(text, 12, 23)}, noted, false, "records 10 to 11 are lacking"},
		"empty":                   {[][]byte{nil}, nil, true, "the file is empty"},
		"behind another history":  {[][]byte{slices.Concat(gapLine(t, audit.Gap{First: 10, Last: 9, Anchor: l.Records[8].Hash}), lines(text, 10, 23))}, noted, false, "records 1 to 9 are lacking"},
		"a record was taken away": {[][]byte{slices.Concat(lines(text, 1, 9), lines(text, 11, 23))}, nil, true, "broken at record 10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := read(test.files, test.noted)
			var r *Report
			if err == nil {
				r, err = s.Report(Bounds{AllowGaps: test.allow})
			}
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			require.Len(t, r.Notes, 1)
			require.Contains(t, r.Notes[0], "nothing says whether records behind")
		})
	}
}

package fsm

import (
	"compress/gzip"
	"encoding/gob"
	"flag"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// taken is a log entry with the hash of the state that it leaves.
type taken struct {
	Term  uint64
	Entry []byte
	Hash  [32]byte
}

var (
	decidedFile = flag.String("decided", "testdata/decided.gob.gz", "file for TestDecidedAsEver")
	decide      = flag.Int("decide", 0, "write that file anew, with so many sequences")
)

// Nodes of two versions apply the same log while a cluster is upgraded: what an entry does
// must not change but with the feature level. The file has what sequences of commands did
// when it was written. It may be written anew only with a level that nobody has in use:
// go test ./fsm -run TestDecidedAsEver -decide 60.
func TestDecidedAsEver(t *testing.T) {
	t.Parallel()
	if *decide > 0 {
		writeDecided(t)
	}
	f, err := os.Open(*decidedFile)
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	sequences := 0
	for in := gob.NewDecoder(unzipped); ; sequences++ {
		var list []taken
		if err = in.Decode(&list); err != nil {
			break
		}
		m := New()
		for i, e := range list {
			_, err := m.Apply(uint64(i+1), e.Term, e.Entry)
			require.NoError(t, err)
			require.Equal(t, e.Hash, m.View().Hash(), "sequence %d, entry %d: it is decided otherwise than by older versions", sequences, i)
		}
	}
	require.ErrorIs(t, err, io.EOF)
	require.NotZero(t, sequences)
}

func writeDecided(t *testing.T) {
	t.Helper()
	f, err := os.Create(*decidedFile)
	require.NoError(t, err)
	zipped := gzip.NewWriter(f)
	out := gob.NewEncoder(zipped)
	sequences := rapid.Custom(func(t *rapid.T) []taken { return anySequence(t).taken })
	for seed := range *decide {
		require.NoError(t, out.Encode(sequences.Example(seed)))
	}
	require.NoError(t, zipped.Close())
	require.NoError(t, f.Close())
}

package memdb

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func numbered(n int) entry { return entryOf(binary.BigEndian.AppendUint64(nil, uint64(n)), n) }

// listed are the rows of a tree; it fails where the tree is no B-tree.
func listed(t rapid.TB, tr *tree) []int {
	t.Helper()
	var list []int
	tr.AscendGreaterOrEqual(entry{}, func(e entry) bool {
		list = append(list, e.row.(int)) //nolint:forcetypeassert // see numbered
		return true
	})
	require.Len(t, list, tr.Len())
	require.True(t, slices.IsSorted(list))
	if tr.root != nil {
		depth(t, tr.root, true)
	}
	return list
}

// depth is how far below a node its leaves are: all of them.
func depth(t rapid.TB, n *node, root bool) int {
	t.Helper()
	require.LessOrEqual(t, len(n.entries), mostEntries)
	require.GreaterOrEqual(t, len(n.entries), leastOf(root))
	if len(n.children) == 0 {
		return 0
	}
	require.Len(t, n.children, len(n.entries)+1)
	d := depth(t, n.children[0], false)
	for _, c := range n.children[1:] {
		require.Equal(t, d, depth(t, c, false))
	}
	return d + 1
}

func leastOf(root bool) int {
	if root {
		return 1
	}
	return leastEntries
}

// TestTreeIsBuilt builds trees of every size at which something may go wrong.
func TestTreeIsBuilt(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 15, 16, 30, 31, 32, 33, 62, 63, 64, 991, 1022, 1023, 1024, 1025, 2047, 2048, 32766, 32767, 32768, 32769, 40000} {
		var entries []entry
		var want []int
		for i := range size {
			entries, want = append(entries, numbered(i)), append(want, i)
		}
		require.Equal(t, want, listed(t, buildTree(entries)), "%d entries", size)
	}
}

// TestTree changes a tree that was built or grew, and holds it and every clone of it
// against sets.
func TestTree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const most = 4000
		size := rapid.IntRange(0, most).Draw(t, "size")
		step := rapid.IntRange(1, 3).Draw(t, "step")
		want := map[int]bool{}
		var entries []entry
		for i := range size {
			entries = append(entries, numbered(i*step))
			want[i*step] = true
		}
		tr := buildTree(entries)
		if rapid.Bool().Draw(t, "grow") {
			tr = newTree()
			for _, i := range rapid.Permutation(entries).Draw(t, "order") {
				tr.ReplaceOrInsert(i)
			}
		}
		before := tr
		kept := listed(t, before)
		tr = tr.Clone()
		for range rapid.IntRange(0, 20).Draw(t, "rounds") {
			from := rapid.IntRange(0, most*step).Draw(t, "from")
			several := rapid.IntRange(1, 300).Draw(t, "several")
			add := rapid.Bool().Draw(t, "add")
			for i := from; i < from+several; i++ {
				if add {
					tr.ReplaceOrInsert(numbered(i))
					want[i] = true
					continue
				}
				_, found := tr.Delete(numbered(i))
				require.Equal(t, want[i], found)
				delete(want, i)
			}
		}
		list := listed(t, tr)
		require.Len(t, list, len(want))
		for _, i := range list {
			e, found := tr.Get(numbered(i))
			require.True(t, found && want[i] && e.row == i)
		}
		checkEnds(t, tr, list)
		require.Equal(t, kept, listed(t, before))
	})
}

func checkEnds(t *rapid.T, tr *tree, list []int) {
	low, ok := tr.Min()
	high, _ := tr.Max()
	require.Equal(t, len(list) > 0, ok)
	if !ok {
		return
	}
	require.Equal(t, list[0], low.row)
	require.Equal(t, list[len(list)-1], high.row)
	from := rapid.IntRange(0, high.row.(int)+1).Draw(t, "from") //nolint:forcetypeassert // see numbered
	var behind []int
	tr.AscendGreaterOrEqual(numbered(from), func(e entry) bool {
		behind = append(behind, e.row.(int)) //nolint:forcetypeassert // likewise
		return len(behind) < 100
	})
	at, _ := slices.BinarySearch(list, from)
	require.Equal(t, append([]int{}, list[at:min(at+100, len(list))]...), append([]int{}, behind...))
}

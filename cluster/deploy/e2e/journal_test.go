//go:build e2e

package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// signer is a validator's container as it wrote itself down: which keys, and from when to when it ran, in
// the time since the machine was started.
type signer struct {
	file        string
	pod         string // UID
	keys        []string
	first, last time.Duration
}

// signers reads what all containers wrote that ever ran.
func (s *site) signers(t *testing.T) []signer {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "node/volumes/journal/*"))
	require.NoError(t, err)
	list := make([]signer, 0, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		name := filepath.Base(file)
		one := signer{file: name, pod: name[:strings.LastIndex(name, "-")]}
		lines := strings.Split(string(content), "\n")
		for _, line := range lines[:len(lines)-1] { // the last may be half a line
			if strings.HasPrefix(line, "0x") {
				one.keys = append(one.keys, line)
				continue
			}
			seconds, err := strconv.ParseFloat(line, 64)
			require.NoError(t, err, name)
			one.last = time.Duration(seconds * float64(time.Second))
			one.first = cmp.Or(one.first, one.last)
		}
		list = append(list, one)
	}
	return list
}

// signedOnce fails if a key was ever in two containers at a time.
func (s *site) signedOnce(t *testing.T) {
	t.Helper()
	holders := make(map[string][]signer)
	for _, one := range s.signers(t) {
		for _, key := range one.keys {
			holders[key] = append(holders[key], one)
		}
	}
	require.NotEmpty(t, holders)
	for key, list := range holders {
		slices.SortFunc(list, func(a, b signer) int { return cmp.Compare(a.first, b.first) })
		for i := 1; i < len(list); i++ {
			require.Greater(t, list[i].first, list[i-1].last, "%s signed in two places: %s and %s",
				key, list[i-1].file, list[i].file)
		}
	}
}

// lastSign is when a pod was last seen to sign, in the time since the machine was started.
func (s *site) lastSign(t *testing.T, pod string) time.Duration {
	t.Helper()
	var last time.Duration
	for _, one := range s.signers(t) {
		if one.pod == pod {
			last = max(last, one.last)
		}
	}
	return last
}

package seal

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The kernel says of a secret's pages that they are locked and not dumped: the flags lo
// and dd of their mapping.
func TestPagesAreLockedAndNotDumped(t *testing.T) {
	t.Parallel()
	require.NoError(t, LockedMemory(), "the tests need a little locked memory")
	s := takeSecret(bytes.Repeat([]byte{7}, KeySize))
	t.Cleanup(s.destroy)
	require.NoError(t, s.use(func(b []byte) error {
		flags := flagsOf(t, uintptr(unsafe.Pointer(&b[0]))) //nolint:gosec // only compared
		require.Contains(t, flags, "lo")
		require.Contains(t, flags, "dd")
		return nil
	}))
}

// flagsOf are the kernel's flags of the mapping that holds the address.
func flagsOf(t *testing.T, address uintptr) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	inside := false
	for line := range strings.Lines(string(b)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("no mapping of %x", address)
	return nil
}

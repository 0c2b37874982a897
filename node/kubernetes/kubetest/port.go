package kubetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// reservePort is a port of loopback that is ours until the test ends, also while the
// API server is stopped: a socket is bound to it that never listens, so the kernel gives
// the port to nobody else, and only who asks to share it (and is us) can listen there.
func reservePort(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	unix.CloseOnExec(fd)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := unix.Getsockname(fd)
	require.NoError(t, err)
	address, isIPv4 := name.(*unix.SockaddrInet4)
	require.True(t, isIPv4)
	return address.Port
}

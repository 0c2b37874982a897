package seal

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pipes is a device of which the test is the TPM.
func pipes(t *testing.T, ctx context.Context) (*tpmDevice, int) { //nolint:revive // the test comes first
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	d := &tpmDevice{ctx: ctx, fd: fds[0]}
	t.Cleanup(func() { _ = d.Close() })
	return d, fds[1]
}

func answerOf(code tpm2.TPMRC) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0x8001)
	b = binary.BigEndian.AppendUint32(b, tpmHead)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// The device is written and read as the kernel's driver wants it: one command, wait, one
// answer; a busy TPM is asked again.
func TestDevice(t *testing.T) {
	t.Parallel()
	d, tpm := pipes(t, t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := d.Send([]byte("command"))
		done <- err
	}()
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCRetry, 0} {
		buffer := make([]byte, 100)
		require.Eventually(t, func() bool {
			n, err := unix.Read(tpm, buffer)
			return err == nil && string(buffer[:n]) == "command"
		}, soon, time.Millisecond)
		_, err := unix.Write(tpm, answerOf(code))
		require.NoError(t, err)
	}
	require.NoError(t, <-done)
}

func TestDeviceThatHangsOrLies(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	d, _ := pipes(t, ctx)
	_, err := d.Send([]byte("command"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for name, answer := range map[string][]byte{"short": {1}, "other length": append(answerOf(0), 1)} {
		d, tpm := pipes(t, t.Context())
		_, err = unix.Write(tpm, answer)
		require.NoError(t, err)
		_, err = d.Send([]byte("command"))
		require.ErrorIs(t, err, errTPMAnswer, name)
	}
}
